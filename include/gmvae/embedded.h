/* Cells in latent space, as metrics take them: the same cells, in row order, in the memory of every rank. */
#pragma once

#include "gmvae/evaluate.h"

typedef struct gmv_embedded {
    int n, dims;
    int64_t of;          /* cells that there were; more than n: these are a sample */
    gmv_gidx *row;       /* [n] global rows, ascending; not in those of gmv_embedded_with */
    float *latent;       /* [n, dims] posterior means */
    int32_t *label;      /* [n] level of data.label_key; -1: missing, or there is no such key */
    int32_t *batch;      /* [n] level of the first of data.batch_keys; -1 likewise */
    int labels, batches; /* levels */
} gmv_embedded;

/* What a metric needs a cell to have. */
enum { GMV_NEEDS_LABEL = 1, GMV_NEEDS_BATCH = 2 };

/* Embeds local rows with counts and shares them. Of more than `most`, a sample that follows from seed and global rows. The
 * same for every number of ranks. Collective.
 * Ownership: gmv_embedded_fini, also after an error.
 * Errors: GMV_ERR_NUMERIC, with its file, for a cell whose means are not finite. */
gmv_status gmv_gather_embedded(gmv_embedded *embedded, gmv_model *model, gmv_feed *feed, const gmv_cells *cells,
                               const gmv_comm *comm, gmv_which_cells which, uint64_t seed, int64_t most);
void gmv_embedded_fini(gmv_embedded *embedded);

/* Those that have what is needed. Not collective.
 * @param[in] needs  GMV_NEEDS_*, or'ed
 * Ownership: gmv_embedded_fini, also after an error. */
gmv_status gmv_embedded_with(const gmv_embedded *all, unsigned needs, gmv_embedded *some);

/* Levels that no cell has are left out, the others numbered anew in their order. Not collective. */
gmv_status gmv_embedded_number_anew(gmv_embedded *embedded);

/* Needs that are no condition, as every cell has it, are left out. */
unsigned gmv_embedded_conditions(const gmv_embedded *all, unsigned needs);
