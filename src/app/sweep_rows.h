/* What the runs of a sweep have to show, read from their folders. Rank 0. */
#pragma once

#include "sweep_table.h"

#include "gmvae/metrics.h"

/* Columns of the tables: figures by their names in evaluation.json. */
enum {
    GMV_COLUMN_neg_elbo,
    GMV_COLUMN_neg_log_p,
    GMV_COLUMN_reconstruction,
    GMV_COLUMN_kl_w,
    GMV_COLUMN_kl_z,
    GMV_COLUMN_kl_x,
    GMV_COLUMN_active_clusters,
    GMV_COLUMN_clusters,
#define GMV_METRIC(name, title, needs, k, help) GMV_COLUMN_##name,
#include "gmvae/metrics.def"
#undef GMV_METRIC
    GMV_COLUMN_seconds, /* of training */
    GMV_COLUMNS
};

typedef struct gmv_sweep_column {
    const char *key, *title;
    int digits;
} gmv_sweep_column;
extern const gmv_sweep_column gmv_sweep_columns[GMV_COLUMNS];

/* A run as the files have it. */
typedef struct gmv_sweep_row {
    int64_t seed, epochs;      /* epochs trained */
    double value[GMV_COLUMNS]; /* NaN: not there */
} gmv_sweep_row;

/* All runs, and which columns some run has. */
typedef struct gmv_sweep_rows {
    const gmv_sweep_plan *plan;
    const gmv_over *over;
    const gmv_trial_outcome *outcome; /* [plan->n] */
    int repeats;
    gmv_sweep_row *row; /* [plan->n] */
    bool shown[GMV_COLUMNS];
} gmv_sweep_rows;

/* Plan and outcomes are borrowed. Ownership: gmv_sweep_rows_fini, also after an error. Errors: GMV_ERR_DATA. */
gmv_status gmv_sweep_rows_read(gmv_sweep_rows *rows, const gmv_sweep_plan *plan, const gmv_trial_outcome *outcome);
void gmv_sweep_rows_fini(gmv_sweep_rows *rows);

/* Draws sweep.svg and sweep.png: a chart for each column. Errors: GMV_ERR_ENVIRONMENT. */
gmv_status gmv_sweep_draw(const gmv_sweep_rows *rows);
