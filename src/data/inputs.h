/* The input files while they are being read. */
#pragma once

#include "matrix.h"
#include "names.h"
#include "read_rows.h"

#include "gmvae/data.h"

typedef struct gmv_source {
    gmv_h5 file;
    gmv_matrix matrix;
    gmv_row_store store; /* of the local rows */
    hid_t index;         /* names of the cells, for messages */
    gmv_names genes;     /* of the file, unique */
    int32_t *map;        /* file's genes to genes in use; NULL: the same */
    int set;             /* of genes in use that it has */
    gmv_gidx first;      /* global row of its row 0 */
} gmv_source;

/* Expands patterns on rank 0, in order; a pattern's files in name order. Collective.
 * Ownership: gmv_texts_free. */
gmv_status gmv_paths_expand(gmv_texts *files, const gmv_comm *comm, const gmv_texts *paths);

/* Sets of genes, where a file lacks some of those in use: the table, and the set of every source and local row. Not
 * collective; the same sets on every rank. */
gmv_status gmv_gene_sets(gmv_cells *cells, gmv_source *source);

/* Reads the covariates and the label of the local rows into cells. Collective. */
gmv_status gmv_factors_load(gmv_cells *cells, const gmv_comm *comm, const gmv_cells_request *request,
                            const gmv_source *source);
