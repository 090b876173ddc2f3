/* What has come of the runs of a sweep: read from their folders, written to sweep.csv, .json, .md, .svg and .png. */
#pragma once

#include "sweep_plan.h"

typedef enum gmv_trial_state {
    GMV_TRIAL_WAITING, /* has no results yet */
    GMV_TRIAL_DONE,
    GMV_TRIAL_LEFT, /* halving: others were better */
    GMV_TRIAL_FAILED
} gmv_trial_state;

/* How a run ended; travels between ranks as bytes. */
typedef struct gmv_trial_outcome {
    int trial;
    gmv_trial_state state;
    gmv_status status; /* of a failed one */
    char why[600];     /* one line */
} gmv_trial_outcome;

/* Held-out -ELBO after an epoch, of a run's metrics.jsonl, or (epoch 0) of its results; NaN: there is none. Not
 * collective. */
double gmv_trial_bound(const gmv_config *config, int64_t epoch);

/* Writes the files, and the table to the terminal. Rank 0. @param[in] outcome  [plan->n]
 * Errors: GMV_ERR_ENVIRONMENT. */
gmv_status gmv_sweep_table_write(const gmv_sweep_plan *plan, const gmv_trial_outcome *outcome);
