/* Long work in print: on a terminal one line that is redrawn, elsewhere a plain line now and then, at most ten for each
 * piece of work. From the speaking rank only, of its own part. */
#pragma once

#include <stdbool.h>

typedef struct gmv_work {
    char what[200];     /* "reading atlas.h5ad" */
    double all;         /* of what is counted, such as cells */
    double from;        /* what had been done before; 0 unless the caller says so */
    double begun, said; /* by the clock; said: the last plain line */
    int tenths;         /* done when it was said */
} gmv_work;

/* Says nothing yet. @param[in] format  what is being done */
gmv_work gmv_work_begin(double all, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "WHAT 43 %, 12 s left", where it is time. Cheap enough for every batch. @param[in] done  of `all` */
void gmv_work_at(gmv_work *work, double done);

/* Whether it is time to say something; then the caller does, by gmv_work_say. */
bool gmv_work_due(gmv_work *work, double done);

/* The rule where nothing is redrawn: at a tenth, when 30 s have passed. @param[in] now  by the clock */
bool gmv_work_due_at(gmv_work *work, double done, double now);

/* A line of the caller's own. */
void gmv_work_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "12 s", "7 min", "3.2 h". @param[out] text  at most `size` bytes. @return text */
const char *gmv_duration(double seconds, char *text, int size);
