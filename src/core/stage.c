#include "gmvae/stage.h"

#include "gmvae/clock.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {
#define GMV_STAGE(id, name) #name,
#include "gmvae/stages.def"
#undef GMV_STAGE
};

static gmv_stage at;
static char text[80] = "other";
static double spent[GMV_STAGES], since;
static const gmv_ranges *told;

const char *gmv_stage_name(gmv_stage stage)
{
    return names[stage];
}

void gmv_stage_detail(const char *detail)
{
    snprintf(text, sizeof text, "%s%s%s", names[at], detail[0] != '\0' ? ": " : "", detail);
}

const char *gmv_stage_text(void)
{
    return text;
}

static void settle(void)
{
    double now = gmv_clock();
    spent[at] += since > 0.0 ? now - since : 0.0;
    since = now;
}

gmv_stage gmv_stage_enter(gmv_stage stage)
{
    gmv_stage before = at;
    settle();
    if (stage != before) {
        gmv_range_end();
        at = stage;
        gmv_stage_detail("");
        gmv_range_begin(names[at]);
    }
    return before;
}

double gmv_stage_seconds(gmv_stage stage)
{
    settle();
    return spent[stage];
}

void gmv_stage_restart(void)
{
    gmv_stage_enter(GMV_STAGE_OTHER);
    memset(spent, 0, sizeof spent);
    since = gmv_clock();
}

void gmv_ranges_tell(const gmv_ranges *ranges)
{
    if (told != NULL) {
        gmv_range_end();
    }
    told = ranges;
    gmv_range_begin(names[at]);
}

void gmv_range_begin(const char *name)
{
    if (told != NULL) {
        told->begin(name);
    }
}

void gmv_range_end(void)
{
    if (told != NULL) {
        told->end();
    }
}
