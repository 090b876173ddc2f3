#include "gmvae/work.h"

#include "gmvae/clock.h"
#include "gmvae/log.h"

#include <stdarg.h>
#include <stdio.h>

static const double between_lines = 30.0; /* seconds, at least */

gmv_work gmv_work_begin(double all, const char *format, ...)
{
    gmv_work work = {.all = all, .begun = gmv_clock()};
    va_list args;
    va_start(args, format);
    vsnprintf(work.what, sizeof work.what, format, args);
    va_end(args);
    work.said = work.begun;
    return work;
}

bool gmv_work_due_at(gmv_work *work, double done, double now)
{
    int tenths = work->all > 0.0 ? (int)(10.0 * done / work->all) : 0;
    if (now - work->said < between_lines || tenths <= work->tenths) {
        return false;
    }
    work->tenths = tenths;
    work->said = now;
    return true;
}

bool gmv_work_due(gmv_work *work, double done)
{
    return gmv_log_on_terminal() ? gmv_log_redraws() : gmv_work_due_at(work, done, gmv_clock());
}

void gmv_work_say(const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (gmv_log_on_terminal()) {
        gmv_log_redraw("%s", text);
    } else {
        gmv_log("%s", text);
    }
}

const char *gmv_duration(double seconds, char *text, int size)
{
    const double minute = 60.0, hour = 3600.0, few = 100.0;
    if (seconds < few) {
        snprintf(text, (size_t)size, "%.0f s", seconds);
    } else if (seconds < few * minute) {
        snprintf(text, (size_t)size, "%.0f min", seconds / minute);
    } else {
        snprintf(text, (size_t)size, "%.1f h", seconds / hour);
    }
    return text;
}

void gmv_work_at(gmv_work *work, double done)
{
    char left[24];
    if (done <= work->from || !gmv_work_due(work, done)) {
        return;
    }
    double seconds = (gmv_clock() - work->begun) * (work->all - done) / (done - work->from);
    gmv_work_say("%s %.0f %%, %s left", work->what, 100.0 * done / work->all, gmv_duration(seconds, left, sizeof left));
}
