#include "gmvae/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static bool speaking = true;
static bool on_terminal;
static bool line_open; /* a progress line stands on the terminal, without its newline */

void gmv_log_init(bool speaks)
{
    speaking = speaks;
    on_terminal = isatty(STDOUT_FILENO) == 1;
}

static void close_progress_line(void)
{
    if (line_open) {
        fputs("\n", stdout);
        line_open = false;
    }
}

void gmv_log(const char *format, ...)
{
    if (!speaking) {
        return;
    }
    close_progress_line();
    va_list args;
    va_start(args, format);
    vfprintf(stdout, format, args);
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
    vfprintf(stderr, format, args);
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
    vfprintf(stdout, format, args);
    va_end(args);
    if (!on_terminal || milestone) {
        fputs("\n", stdout);
    }
    line_open = on_terminal && !milestone;
    fflush(stdout);
}
