/* An even sample of the cells with counts, and their counts. */
#pragma once

#include "gmvae/evaluate.h"

typedef struct gmv_row_sample {
    int64_t n, of; /* of: cells with counts, of all ranks */
    gmv_gidx *row; /* [n] global rows, ascending; on every rank */
} gmv_row_sample;

/* Number i of n is cell i * of / n, by the order of rows. Collective; the same for every number of ranks.
 * Ownership: gmv_row_sample_fini, also after an error. */
gmv_status gmv_row_sample_take(gmv_row_sample *sample, const gmv_cells *cells, const gmv_comm *comm, int64_t most);
void gmv_row_sample_fini(gmv_row_sample *sample);

/* Number of a row in the sample; -1: it is not in it. */
int64_t gmv_row_sample_find(const gmv_row_sample *sample, gmv_gidx row);

/* Cells of the sample that were measured for each gene. @param[in,out] measured  [G] which they are added to */
void gmv_row_sample_measured(const gmv_row_sample *sample, const gmv_cells *cells, int64_t *measured);

/* Some of the sample's local rows; host memory. */
typedef struct gmv_sample_batch {
    int cells;
    int64_t number[GMV_EVAL_CELLS]; /* of each in the sample */
    float library[GMV_EVAL_CELLS];  /* total count over the genes in use */
    int32_t *start;                 /* [G + 1] CSC */
    int32_t *cell;                  /* [start[G]] of the batch */
    float *count;                   /* [start[G]] */
} gmv_sample_batch;

/* Gives them to `take`, batch after batch. Not collective. */
gmv_status gmv_row_sample_visit(const gmv_row_sample *sample, gmv_feed *feed, const gmv_cells *cells, gmv_input input,
                                gmv_status (*take)(void *context, const gmv_sample_batch *batch), void *context);
