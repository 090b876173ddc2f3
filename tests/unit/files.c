/* Files by their names: nothing is waited for, links are not written through, and nothing is left of what has failed. */
#include "harness.h"

#include "gmvae/files.h"
#include "gmvae/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char out[] = "files-test/out", other[] = "files-test/other";

static int wait_ms(long ms)
{
    return nanosleep(&(struct timespec){0, ms * 1000000}, NULL);
}

static int set_up(void **state)
{
    (void)state;
    gmv_error_clear();
    return mkdir("files-test", 0777);
}

static int tear_down(void **state)
{
    (void)state;
    return system("rm -r files-test");
}

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_true(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void holds(const char *path, const char *text)
{
    char *found = NULL;
    int64_t length = 0;
    assert_null(gmv_file_read_text(path, 1000, &found, &length));
    assert_string_equal(found, text);
    gmv_free(found);
}

static int entries(void)
{
    int n = 0;
    DIR *dir = opendir("files-test");
    while (readdir(dir) != NULL) {
        n++;
    }
    closedir(dir);
    return n - 2;
}

static gmv_status write_out(gmv_status end)
{
    gmv_output output;
    GMV_TRY(gmv_output_begin(&output, out));
    fputs("new", output.stream);
    return gmv_output_end(&output, end);
}

static void a_file_gets_its_name_when_it_is_whole(void **state)
{
    (void)state;
    gmv_output output;
    struct stat info;
    mode_t mask = umask(027);
    put(out, "old");
    assert_int_equal(gmv_output_begin(&output, out), GMV_OK);
    assert_null(strstr(output.temporary, "files-test/out"));
    fputs("new", output.stream);
    holds(out, "old");
    assert_int_equal(entries(), 2);
    assert_int_equal(gmv_output_also(&output, other), GMV_OK);
    assert_int_equal(gmv_output_end(&output, GMV_OK), GMV_OK);
    umask(mask);
    holds(out, "new");
    holds(other, "new");
    assert_int_equal(stat(out, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
    assert_int_equal(write_out(GMV_STOPPED), GMV_STOPPED);
    holds(out, "new");
    assert_int_equal(entries(), 2);
}

static void links_are_replaced(void **state)
{
    (void)state;
    struct stat info;
    put(other, "theirs");
    assert_int_equal(symlink("other", out), 0);
    assert_null(gmv_file_append(out));
    assert_int_equal(errno, ELOOP);
    assert_int_equal(write_out(GMV_OK), GMV_OK);
    assert_int_equal(lstat(out, &info), 0);
    assert_true(S_ISREG(info.st_mode));
    holds(other, "theirs");
    holds(out, "new");
}

static void other_kinds_are_refused_at_once(void **state)
{
    (void)state;
    FILE *in;
    char *text;
    int64_t length;
    assert_int_equal(mkfifo(out, 0666), 0);
    assert_string_equal(gmv_file_open(out, &in), "a pipe, not a file");
    assert_null(gmv_file_append(out));
    assert_int_equal(write_out(GMV_OK), GMV_ERR_ENVIRONMENT);
    assert_non_null(strstr(gmv_error_message(), "a pipe has that name"));
    holds(out, ""); /* a text may come from a pipe, but nobody writes to this one */
    assert_string_equal(gmv_file_open("files-test", &in), "a folder, not a file");
    assert_string_equal(gmv_file_read_text("files-test", 10, &text, &length), "a folder, not a file");
    assert_string_equal(gmv_file_open("/dev/null", &in), "a device, not a file");
    assert_string_equal(gmv_file_open("files-test/none", &in), "No such file or directory");
    assert_int_equal(entries(), 1);
}

static void a_text_comes_through_a_pipe(void **state)
{
    (void)state;
    int ends[2];
    char path[64];
    assert_int_equal(pipe(ends), 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
    pid_t writer = fork();
    if (writer == 0) {
        wait_ms(50);
        _exit(write(ends[1], "seed: ", 6) == 6 && wait_ms(50) == 0 && write(ends[1], "1\n", 2) == 2 ? 0 : 1);
    }
    close(ends[1]);
    holds(path, "seed: 1\n");
    close(ends[0]);
    waitpid(writer, NULL, 0);
}

static void a_long_text_is_cut(void **state)
{
    (void)state;
    char *text = NULL;
    int64_t length = 0;
    assert_null(gmv_file_read_text("/dev/zero", 200000, &text, &length));
    assert_int_equal(length, 200001);
    gmv_free(text);
}

/* Of processes that are gone; another's file, and what only looks like one, stay. */
static void what_was_left_is_removed(void **state)
{
    (void)state;
    gmv_output output;
    pid_t killed = fork();
    if (killed == 0) {
        _exit(gmv_output_begin(&output, out) == GMV_OK ? 0 : 1);
    }
    int how = 1;
    waitpid(killed, &how, 0);
    assert_int_equal(how, 0);
    put("files-test/.out.part", "");
    put("files-test/.out.0123456789abcdef0123456789abcdeF.part", "");
    put("files-test/.out.0123456789abcdef0123456789abcdef.part", ""); /* of another host, just written */
    put("files-test/out.0123456789abcdef0123456789abcdef.part", "");
    gmv_output_clean("files-test", "another");
    assert_int_equal(entries(), 5);
    gmv_output_clean("files-test", "out");
    assert_int_equal(entries(), 4);
    struct timespec long_ago[2] = {{1000000, 0}, {1000000, 0}};
    utimensat(AT_FDCWD, "files-test/.out.0123456789abcdef0123456789abcdef.part", long_ago, 0);
    gmv_output_clean("files-test", NULL);
    assert_int_equal(entries(), 3);
}

static void folders(void **state)
{
    (void)state;
    char nearest[GMV_PATH_ROOM], name[400];
    assert_int_equal(gmv_folder_check("files-test/a/b", "output.dir", nearest), GMV_OK);
    assert_string_equal(nearest, "files-test");
    assert_int_equal(entries(), 0);
    put(out, "");
    assert_int_equal(symlink("nowhere", other), 0);
    memset(name, 'n', sizeof name);
    memcpy(name, "files-test/", 11);
    name[sizeof name - 1] = '\0';
    const char *const wrong[][2] = {{out, "something else has that name"},
                                    {"files-test/out/deep", "Not a directory"},
                                    {other, "a link to nowhere"},
                                    {"files-test/other/deep", "a link to nowhere"},
                                    {name, "File name too long"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(gmv_folder_check(wrong[i][0], "output.dir", nearest), GMV_ERR_ENVIRONMENT);
        if (strstr(gmv_error_message(), wrong[i][1]) == NULL) {
            fail_msg("'%s' is not in '%s'", wrong[i][1], gmv_error_message());
        }
        gmv_error_clear();
        assert_int_equal(gmv_make_folders(wrong[i][0]), GMV_ERR_ENVIRONMENT);
        gmv_error_clear();
    }
    assert_int_equal(gmv_make_folders("files-test/a/b"), GMV_OK);
    assert_int_equal(gmv_make_folders("files-test/a/b"), GMV_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_gets_its_name_when_it_is_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(links_are_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_kinds_are_refused_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_text_comes_through_a_pipe, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_long_text_is_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_left_is_removed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(folders, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
