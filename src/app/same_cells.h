/* Whether cells are those that a checkpoint was trained on. */
#pragma once

#include "gmvae/checkpoint.h"

typedef struct gmv_cells_difference {
    bool cells;      /* other cells, counts, levels, genes or held-out cells */
    bool order;      /* the same cells in another order */
    bool validation; /* other cells of data.validation, from files of their own; not in `what` */
    char what[600];  /* "mine.h5ad has other counts, cells have other levels of donor"; "" when nothing differs */
} gmv_cells_difference;

/* What of the cells may differ, beside counts, order and levels. */
enum { GMV_COMPARE_HELD_OUT = 1, GMV_COMPARE_NAMED_GENES = 2 };

/* Compares. Not collective: rank 0 has the sample and the fingerprint of the checkpoint, which must have one. */
void gmv_find_difference(const gmv_checkpoint *checkpoint, const gmv_cells *cells, unsigned parts,
                         gmv_cells_difference *difference);

/* Compares on rank 0, and tells all ranks. Of a checkpoint without a fingerprint nothing differs, with a note in the log.
 * Collective. */
void gmv_compare_cells(const gmv_checkpoint *checkpoint, const char *path, const gmv_cells *cells, const gmv_comm *comm,
                       unsigned parts, gmv_cells_difference *difference);

/* How many of the cells the checkpoint was trained on, in per cent. By samples of both: on rank 0. Not collective. */
double gmv_trained_share(const gmv_checkpoint *checkpoint, const gmv_cells *cells);
