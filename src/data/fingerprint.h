/* The fingerprint of cells, taken from packed rows wherever they pass by. */
#pragma once

#include "inputs.h"

/* What is kept meanwhile. Of the local rows; the sums are in the cells. */
typedef struct gmv_prints {
    uint64_t *hash;   /* of the rows at hand */
    uint64_t **level; /* [covariates][levels] of the names */
    int covariates;
    gmv_sampled_cell *sample;
    int64_t samples, room;
} gmv_prints;

/* Errors: GMV_ERR_DATA when a file is there twice, by another name: the same one has been refused. */
gmv_status gmv_refuse_repeated_files(const gmv_cells *cells);

/* The covariates, the split and cells->total are known. Ownership: gmv_prints_fini, also after an error. */
gmv_status gmv_prints_init(gmv_prints *prints, gmv_cells *cells);
void gmv_prints_fini(gmv_prints *prints);

/* Takes local rows in their order; row 0 of `packed`, in the genes in use, is global row packed->first_cell. */
gmv_status gmv_prints_add(gmv_prints *prints, gmv_cells *cells, const gmv_packed *packed);

/* Sums over all ranks, and gathers the sample. The sets of genes are known. Collective. */
gmv_status gmv_prints_finish(gmv_prints *prints, gmv_cells *cells, const gmv_comm *comm, const gmv_config *config,
                             const gmv_reading *reading, const gmv_source *source, const gmv_gene_lists *lists);
