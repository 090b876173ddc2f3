/* run.json: where a run was computed, by what, and how long its stages took, session by session. */
#pragma once

#include "gmvae/app.h"
#include "gmvae/backend.h"

#include <cjson/cJSON.h>

typedef struct gmv_run_record {
    const gmv_config *config;
    cJSON *all;  /* rank 0: the file's object; NULL before it was begun */
    cJSON *now;  /* the session under way, in it */
    bool failed; /* and was warned of */
} gmv_run_record;

/* Begins a session behind those that the file has, or, for a run that starts anew, a file. Collective.
 * Ownership: gmv_run_record_fini, also after an error. Errors: GMV_ERR_ENVIRONMENT. */
gmv_status gmv_run_record_begin(gmv_run_record *record, const gmv_run *run, const gmv_backend *backend, bool resumed,
                                int64_t epoch);
void gmv_run_record_fini(gmv_run_record *record);

/* Writes it with the times so far. A file that cannot be written is warned about, once. Rank 0, not collective. */
void gmv_run_record_keep(gmv_run_record *record, int64_t epoch);
