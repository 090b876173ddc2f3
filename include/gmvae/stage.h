/* Stages of a run: how long each has taken on this rank. One is under way at any time. Main thread only. */
#pragma once

#include "gmvae/status.h"

typedef enum gmv_stage {
#define GMV_STAGE(id, name) GMV_STAGE_##id,
#include "gmvae/stages.def"
#undef GMV_STAGE
    GMV_STAGES
} gmv_stage;

/* Turns to a stage. @return the one before, to turn back to */
gmv_stage gmv_stage_enter(gmv_stage stage);

const char *gmv_stage_name(gmv_stage stage);

/* Names what the stage does now, for print: "metrics: silhouette". The next stage begins without one. */
void gmv_stage_detail(const char *detail);

/* The stage under way and its detail. */
const char *gmv_stage_text(void);

/* Since gmv_stage_restart, which begins with OTHER, or the start of the process. */
double gmv_stage_seconds(gmv_stage stage);
void gmv_stage_restart(void);

/* ---- names for a profiler ---- */

/* What a profiler is told of; functions of a backend that has one. */
typedef struct gmv_ranges {
    void (*begin)(const char *name);
    void (*end)(void);
} gmv_ranges;

/* NULL: nobody is told, which is so at first. The stage under way begins there. */
void gmv_ranges_tell(const gmv_ranges *ranges);

/* A part of a stage; parts lie inside one another. */
void gmv_range_begin(const char *name);
void gmv_range_end(void);

/* GMV_TRY of a call, as a range of its own. */
#define GMV_RANGE(name, call)                                                                                          \
    do {                                                                                                               \
        gmv_range_begin(name);                                                                                         \
        gmv_status gmv_range_status_ = (call);                                                                         \
        gmv_range_end();                                                                                               \
        GMV_TRY(gmv_range_status_);                                                                                    \
    } while (0)
