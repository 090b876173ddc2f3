/* Progress: when something is said, how long things take in words, and lines that are cut to a terminal. */
#define _XOPEN_SOURCE 600 /* posix_openpt */
#include "harness.h"

#include "gmvae/log.h"
#include "gmvae/work.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* A day in batches of a second; then one that is over within a minute; then one whose tenths take hours. */
static void few_plain_lines(void **state)
{
    (void)state;
    struct {
        double seconds;
        int lines;
    } cases[] = {{86400, 10}, {29, 0}, {60, 2}, {1e7, 10}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        gmv_work work = gmv_work_begin(1e6, "work");
        int lines = 0;
        for (double done = 0; done <= 1e6; done += 10) {
            lines += gmv_work_due_at(&work, done, work.begun + cases[c].seconds * done / 1e6);
        }
        assert_int_equal(lines, cases[c].lines);
    }
}

static void durations(void **state)
{
    (void)state;
    char text[24];
    assert_string_equal(gmv_duration(0.2, text, sizeof text), "0 s");
    assert_string_equal(gmv_duration(99.4, text, sizeof text), "99 s");
    assert_string_equal(gmv_duration(150, text, sizeof text), "2 min");
    assert_string_equal(gmv_duration(86400, text, sizeof text), "24.0 h");
}

/* What a terminal of so many columns gets of a line. */
static void cut_to(int columns, const char *line, const char *wanted)
{
    char got[300] = "", expected[300];
    int terminal = posix_openpt(O_RDWR | O_NOCTTY), own = dup(STDOUT_FILENO);
    assert_true(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    int slave = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)columns};
    assert_int_equal(ioctl(slave, TIOCSWINSZ, &size), 0);
    fflush(stdout);
    dup2(slave, STDOUT_FILENO);
    setenv("TERM", "xterm", 1);
    gmv_log_init(true);
    gmv_log_redraw("%s", line);
    gmv_log_clear();
    gmv_log_clear(); /* nothing is left to be cleared */
    dup2(own, STDOUT_FILENO);
    snprintf(expected, sizeof expected, "\r%s\033[K\r\033[K", wanted);
    for (size_t used = 0; used < strlen(expected); used = strlen(got)) { /* what is drawn may come in pieces */
        assert_true(read(terminal, got + used, sizeof got - 1 - used) > 0);
    }
    close(slave);
    close(terminal);
    close(own);
    assert_string_equal(got, expected);
}

static void lines_that_are_too_long(void **state)
{
    (void)state;
    unsetenv("OMPI_COMM_WORLD_RANK");
    cut_to(8, "1234567", "1234567");
    cut_to(8, "12345678", "1234567");
    cut_to(8, "\xc3\xa4\xc3\xa4 5 \xc3\xa4 8", "\xc3\xa4\xc3\xa4 5 \xc3\xa4 ");
    cut_to(8, "123456\xe7\xb4\xb0", "123456"); /* it would take two columns */
    cut_to(8, "12345\xe7\xb4\xb0", "12345\xe7\xb4\xb0");
    cut_to(8, "a\x1b[2Jb", "a?[2Jb");
    cut_to(1, "12", "");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        T_TEST(few_plain_lines),
        T_TEST(durations),
        T_TEST(lines_that_are_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
