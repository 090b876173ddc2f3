#include "gmvae/log.h"

#include "gmvae/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { usual_columns = 80, line_room = 1024 };
static const double between_redraws = 0.1; /* seconds */

static bool speaking = true;
static int terminal = -1;     /* where lines are redrawn; -1: nowhere */
static FILE *other;           /* where messages go instead */
static char prefix[80];       /* of redrawn lines */
static double drawn;          /* when one was, by the clock */
static atomic_bool line_open; /* one stands on the terminal */
static const char clear_line[] = "\r\033[K";

/* What a process writes to. @param[out] link  [64] to open it by. @param[out] target  [64] "" when that is not known */
static void output_of(long pid, char *link, char *target)
{
    snprintf(link, 64, "/proc/%ld/fd/1", pid);
    ssize_t length = readlink(link, target, 63);
    target[length > 0 ? length : 0] = '\0';
}

/* Its parent; 0 when that is not known. */
static long parent_of(long pid)
{
    char path[64], line[512] = "";
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *in = fopen(path, "r");
    if (in != NULL) {
        line[fread(line, 1, sizeof line - 1, in)] = '\0';
        fclose(in);
    }
    const char *behind_name = strrchr(line, ')'); /* "PID (NAME) STATE PARENT" */
    return behind_name != NULL && strlen(behind_name) > 4 ? strtol(behind_name + 4, NULL, 10) : 0;
}

/* mpirun gives its ranks a pseudo-terminal even when its own output goes to a file, and of the size that its own had at
 * first: what counts is where mpirun writes, the first process above us that has another output than ours. */
static int launcher_terminal(void)
{
    char link[64], target[64], ours[64];
    long pid = getppid();
    output_of((long)getpid(), link, ours);
    output_of(pid, link, target);
    while (pid > 1 && strcmp(target, ours) == 0) { /* a shell between us */
        pid = parent_of(pid);
        output_of(pid, link, target);
    }
    if (strncmp(target, "/dev/", 5) != 0) {
        return -1;
    }
    int fd = open(link, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 && isatty(fd) != 1) {
        close(fd);
        fd = -1;
    }
    return fd;
}

void gmv_log_init(bool speaks)
{
    speaking = speaks;
    const char *kind = getenv("TERM");
    bool plain = kind == NULL || strcmp(kind, "dumb") == 0;
    if (!plain && isatty(STDOUT_FILENO) == 1) {
        terminal = getenv("OMPI_COMM_WORLD_RANK") == NULL ? STDOUT_FILENO : launcher_terminal();
    }
}

void gmv_log_clear(void)
{
    if (atomic_exchange(&line_open, false)) { /* not through stdout, which a thread that is stuck may hold */
        (void)!write(STDOUT_FILENO, clear_line, sizeof clear_line - 1);
    }
}

/* One line of any length, made printable. */
static void print_text(FILE *out, const char *format, va_list args)
{
    char fixed[1024], *text = fixed;
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(fixed, sizeof fixed, format, args);
    if (length >= (int)sizeof fixed) {
        text = malloc((size_t)length + 1);
        if (text != NULL) {
            vsnprintf(text, (size_t)length + 1, format, again);
        }
    }
    va_end(again);
    text = text != NULL ? text : fixed;
    gmv_make_printable(text);
    fputs(text, out);
    if (text != fixed) {
        free(text);
    }
}

gmv_status gmv_output_check(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    bool failed = fflush(stdout) != 0;
    int reason = errno;
    if (!failed && ferror(stdout) == 0) {
        return GMV_OK;
    }
    if (poll(&out, 1, 0) > 0 && (out.revents & POLLERR) != 0) { /* a reader that left early (| head) is no error */
        return GMV_OK;
    }
    return GMV_FAIL(GMV_ERR_ENVIRONMENT, "cannot write to standard output%s%s; is the disk full?", failed ? ": " : "",
                    failed ? strerror(reason) : "");
}

void gmv_log_to(FILE *stream)
{
    other = stream;
}

void gmv_log_prefix(const char *text)
{
    snprintf(prefix, sizeof prefix, "%s", text);
}

void gmv_log(const char *format, ...)
{
    FILE *out = other != NULL ? other : stdout;
    if (!speaking && other == NULL) {
        return;
    }
    if (out == stdout) {
        gmv_log_clear();
        fputs(!speaking && terminal >= 0 ? clear_line : "", out); /* rank 0 may have drawn one */
    }
    va_list args;
    va_start(args, format);
    print_text(out, format, args);
    va_end(args);
    fputs("\n", out);
    fflush(out);
}

void gmv_warn(const char *format, ...)
{
    FILE *out = other != NULL ? other : stderr;
    if (!speaking && other == NULL) {
        return;
    }
    if (out == stderr) {
        gmv_log_clear();
    }
    va_list args;
    va_start(args, format);
    fputs("gmvae_dist: warning: ", out);
    print_text(out, format, args);
    va_end(args);
    fputs("\n", out);
}

bool gmv_log_on_terminal(void)
{
    return speaking && terminal >= 0;
}

bool gmv_log_redraws(void)
{
    return gmv_log_on_terminal() && gmv_clock() - drawn >= between_redraws;
}

static int columns_of_terminal(void)
{
    struct winsize size;
    if (ioctl(terminal, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        return size.ws_col;
    }
    const char *text = getenv("COLUMNS");
    long columns = text != NULL ? strtol(text, NULL, 10) : 0;
    return columns > 0 && columns < line_room ? (int)columns : usual_columns;
}

/* Cuts a text behind the last character that fits. Those of three bytes and more may take two columns. */
static void cut(char *text, int columns)
{
    unsigned char *at = (unsigned char *)text;
    for (; *at != '\0'; at++) {
        if ((*at & 0xc0) != 0x80) {
            columns -= *at >= 0xe0 ? 2 : 1;
        }
        if (columns < 0) {
            *at = '\0';
            return;
        }
    }
}

void gmv_log_redraw(const char *format, ...)
{
    char line[line_room];
    size_t used = (size_t)snprintf(line, sizeof line, "%s%s", prefix, prefix[0] != '\0' ? "  " : "");
    va_list args;
    va_start(args, format);
    vsnprintf(line + used, sizeof line - used, format, args);
    va_end(args);
    gmv_make_printable(line);
    cut(line, columns_of_terminal() - 1); /* in the last column some terminals turn to the next line */
    printf("\r%s\033[K", line);
    fflush(stdout);
    line_open = true;
    drawn = gmv_clock();
}
