/* Principal components of counts, to see cells without a model. */
#pragma once

#include "gmvae/evaluate.h"

/* Some cells, and where their counts are to be projected to. */
typedef struct gmv_projection {
    int64_t n;
    const gmv_gidx *row; /* [n] global rows with counts, ascending; the same on every rank */
    int dims;            /* at most the number of genes in use */
    uint64_t seed;       /* of the directions that the search begins with */
} gmv_projection;

/* Projects log(1 + counts in 10,000 of the genes in use) onto the space of their largest principal components, found by
 * subspace iteration; within it the axes are in no order. A gene that a cell was not measured for counts as zero. Collective;
 * the same for every number of ranks. @param[in] input  of the model
 * @param[out] at  [n, dims] on every rank */
gmv_status gmv_project_counts(const gmv_projection *how, gmv_feed *feed, const gmv_cells *cells, const gmv_comm *comm,
                              gmv_input input, float *at);
