/* Exact nearest neighbours in latent space. */
#pragma once

#include "gmvae/backend.h"

/* Points in host memory. */
typedef struct gmv_points {
    int n, dims;
    const float *at; /* [n, dims] */
} gmv_points;

typedef struct gmv_neighbours {
    int n, k;
    int32_t *index;  /* [n, k] nearest first; equally near ones by their number */
    float *distance; /* [n, k] Euclidean */
} gmv_neighbours;

/* The k points of `among` that are nearest to each of `of`, by distances that are summed directly on the backend; the same
 * points on every rank, which divide those of `of` among them. k is at most as many as there are, and GMV_MOST_NEAREST.
 * Collective. @param[in] of  NULL: of each of `among`, without itself
 * Ownership: gmv_neighbours_fini, also after an error. Errors: GMV_STOPPED; GMV_ERR_ENVIRONMENT without memory. */
gmv_status gmv_find_neighbours(gmv_neighbours *found, const gmv_points *among, const gmv_points *of, int k,
                               gmv_backend *backend);
void gmv_neighbours_fini(gmv_neighbours *found);
