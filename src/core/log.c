#include "gmvae/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool speaking = true;
static bool on_terminal;
static bool line_open; /* a progress line stands on the terminal, without its newline */

/* mpirun gives its ranks a pseudo-terminal even when its own output goes to a file: what counts is where mpirun,
 * our parent, writes. */
static bool launcher_on_terminal(void)
{
    char link[64], target[64];
    snprintf(link, sizeof link, "/proc/%ld/fd/1", (long)getppid());
    ssize_t length = readlink(link, target, sizeof target - 1);
    if (length < 0) {
        return false;
    }
    target[length] = '\0';
    return strncmp(target, "/dev/pts/", 9) == 0 || strncmp(target, "/dev/tty", 8) == 0;
}

void gmv_log_init(bool speaks)
{
    speaking = speaks;
    const char *kind = getenv("TERM");
    bool plain = kind == NULL || strcmp(kind, "dumb") == 0;
    on_terminal =
        !plain && isatty(STDOUT_FILENO) == 1 && (getenv("OMPI_COMM_WORLD_RANK") == NULL || launcher_on_terminal());
}

static void close_progress_line(void)
{
    if (line_open) {
        fputs("\n", stdout);
        line_open = false;
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

void gmv_log(const char *format, ...)
{
    if (!speaking) {
        return;
    }
    close_progress_line();
    va_list args;
    va_start(args, format);
    print_text(stdout, format, args);
    va_end(args);
    fputs("\n", stdout);
    fflush(stdout);
}

void gmv_warn(const char *format, ...)
{
    if (!speaking) {
        return;
    }
    close_progress_line();
    fflush(stdout);
    va_list args;
    va_start(args, format);
    fputs("gmvae_dist: warning: ", stderr);
    print_text(stderr, format, args);
    va_end(args);
    fputs("\n", stderr);
}

void gmv_log_progress(bool milestone, const char *format, ...)
{
    if (!speaking || (!on_terminal && !milestone)) {
        return;
    }
    if (on_terminal) {
        fputs("\r\033[K", stdout);
    }
    va_list args;
    va_start(args, format);
    print_text(stdout, format, args);
    va_end(args);
    if (!on_terminal || milestone) {
        fputs("\n", stdout);
    }
    line_open = on_terminal && !milestone;
    fflush(stdout);
}
