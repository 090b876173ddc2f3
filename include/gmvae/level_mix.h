/* Which levels of the covariates cells have together. */
#pragma once

#include "gmvae/data.h"

/* Combinations of levels of the covariates, one level of each key, and the share of the cells that have them. */
typedef struct gmv_level_mix {
    int n, covariates; /* C */
    int32_t *level;    /* [n, C] one-hot columns */
    float *share;      /* [n] in descending order; they add up to 1 */
    double left_out;   /* share of the cells with combinations that are not among them */
} gmv_level_mix;

/* The `most` combinations that most cells with counts have; among equals the first in the order of levels. Of a model
 * without covariates a single one, of none. Collective; the same for every number of ranks.
 * Ownership: gmv_level_mix_fini, also after an error. Errors: GMV_ERR_DATA without such cells. */
gmv_status gmv_level_mix_find(gmv_level_mix *mix, const gmv_cells *cells, const gmv_comm *comm, int most);
void gmv_level_mix_fini(gmv_level_mix *mix);
