/* Cells in the plane, beside the embedding. */
#pragma once

#include "session.h"

/* Where cells are, in row order; those that are not there have no place. */
typedef struct gmv_layout {
    int n;
    gmv_gidx *row;    /* [n] ascending */
    float *at;        /* [n, 2] */
    float *by_counts; /* [n, 2] by counts instead of the model; NULL: not wanted */
} gmv_layout;

/* A layout of the cells by their nearest neighbours in latent space, and with output.counts_umap one by their counts, of at most eval.metric_cells; none where output.umap is off, or there
 * are fewer than three cells, or the embedding is not finite. Collective; the same on every rank and for every number of them.
 * Ownership: gmv_layout_fini, also after an error. */
gmv_status gmv_find_layout(gmv_layout *layout, const gmv_config *config, const gmv_comm *comm, gmv_model *model,
                           gmv_feed *feed, const gmv_cells *cells);
void gmv_layout_fini(gmv_layout *layout);

/* Passes on results with X_umap, and X_counts_umap, behind their outputs. */
typedef struct gmv_layout_sink {
    const gmv_layout *layout;
    int outputs; /* before it */
    const gmv_row_sink *next;
    int64_t at; /* of the layout: the next one */
} gmv_layout_sink;

gmv_status gmv_layout_sink_take(void *sink, const gmv_row_results *results);

/* Adds these outputs. */
void gmv_layout_output(gmv_cell_outputs *outputs, const gmv_layout *layout);
