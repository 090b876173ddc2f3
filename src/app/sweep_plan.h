/* The runs of a sweep: which there are, how each is configured, and what of them is there. */
#pragma once

#include "gmvae/app.h"

typedef struct gmv_trial {
    char *name;      /* of its folder in output.dir */
    int combination; /* which values it has */
    int64_t repeat;  /* what is added to the seed */
    bool done;       /* its results are there, of just this config */
} gmv_trial;

typedef struct gmv_sweep_plan {
    const gmv_run *run;
    int combinations;
    char ***value; /* [combinations][axes] in YAML flow form */
    int n;
    gmv_trial *trial; /* [n] combination after combination, their repeats together */
} gmv_sweep_plan;

/* Lists the runs that the config's sweep section asks for: the same on every rank, and for every number of ranks. `run` is
 * borrowed. Not collective. Ownership: gmv_sweep_plan_fini, also after an error.
 * Errors: GMV_ERR_CONFIG when the section contradicts itself. */
gmv_status gmv_sweep_plan_make(gmv_sweep_plan *plan, const gmv_run *run);
void gmv_sweep_plan_fini(gmv_sweep_plan *plan);

/* Resolved config of a run: that of the sweep, with the run's values, seed and folder. Not collective.
 * Ownership: caller frees it with gmv_config_fini, also after an error. Errors: GMV_ERR_CONFIG. */
gmv_status gmv_trial_config(const gmv_sweep_plan *plan, const gmv_trial *trial, gmv_config *config);

/* Checks the config of every run, and what is in their folders; fills `done`. Rank 0.
 * Errors: GMV_ERR_CONFIG naming the first run that could not be trained, or whose folder holds another one's. */
gmv_status gmv_sweep_plan_check(gmv_sweep_plan *plan);

/* "clusters=10, encoder=[100, 250]". Returns `text`. */
const char *gmv_combination_text(const gmv_sweep_plan *plan, int combination, char *text, size_t size);

/* What a key of sweep.over is called in names and tables: the last part of its path, or where that does not tell it
 * from others, all of it. */
const char *gmv_axis_name(const gmv_over *over, int axis);
