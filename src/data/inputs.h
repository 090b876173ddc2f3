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
    int64_t values;      /* stored in the local rows, where the file says it */
    hid_t index;         /* names of the cells, for messages */
    gmv_names genes;     /* of the file, unique */
    int32_t *map;        /* file's genes to genes in use; NULL: the same */
    gmv_gidx first;      /* global row of its row 0 */
} gmv_source;

/* Expands patterns on rank 0, in order; a pattern's files in name order. Collective.
 * Ownership: gmv_texts_free. */
gmv_status gmv_paths_expand(gmv_texts *files, const gmv_comm *comm, const gmv_texts *paths);

/* Rows of a source that lie on this rank, as rows of the file; none: end == first. */
void gmv_local_rows(const gmv_cells *cells, const gmv_source *source, int64_t *first, int64_t *end);

/* Opens the stores of all sources for the local rows. Collective.
 * @param[out] refused  a file that must be read through HDF5, the same on all ranks; -1: none */
gmv_status gmv_open_row_stores(const gmv_cells *cells, const gmv_comm *comm, gmv_source *source, bool pointers,
                               int *refused);

/* Whether the cells stay on disk: asked for, or because `values` of local rows do not fit in memory. Collective. */
gmv_status gmv_choose_stream(const gmv_cells *cells, const gmv_comm *comm, const gmv_cells_request *request,
                             gmv_nnz values, bool *stream);
gmv_status gmv_refuse_stream(const gmv_source *source);

/* Puts the rows of those files together on disk whose matrices can only be read by genes, once for both passes over the
 * cells. Not collective. */
gmv_status gmv_sort_stored_rows(const gmv_cells *cells, const gmv_comm *comm, const gmv_cells_request *request,
                                gmv_source *source);

/* Visits all local rows in order, a few thousand at a time, packed. Not collective. */
typedef gmv_status (*gmv_row_visitor)(void *context, const gmv_packed *packed);
gmv_status gmv_walk_rows(const gmv_cells *cells, const gmv_source *source, int32_t genes, gmv_row_visitor visit,
                         void *context);

/* Makes cells->stream, which takes the open stores of the sources, and the packed copies that are to be read instead.
 * Not collective. Errors: GMV_ERR_ENVIRONMENT when there is no room for these. */
gmv_status gmv_cells_to_stream(gmv_cells *cells, const gmv_comm *comm, const gmv_cells_request *request,
                               gmv_source *source);
/* Says how much was copied, and where. Collective. */
void gmv_log_cache(const gmv_cells *cells, const gmv_comm *comm, const gmv_cells_request *request);

/* Marks what request->validation holds out, in cells->split, and logs it. Collective.
 * Errors: GMV_ERR_CONFIG for files or levels that are not there, and when no cell or every cell is held out. */
gmv_status gmv_split_load(gmv_cells *cells, const gmv_comm *comm, const gmv_cells_request *request,
                          const gmv_source *source);

/* Warns of levels of covariates that are in held-out cells only. Collective. */
gmv_status gmv_split_check_levels(const gmv_cells *cells, const gmv_comm *comm);

/* Reads the obs column `name` of the local rows, as data.validation's key: code -1 where it has no value.
 * Collective. Ownership: gmv_factor_fini, also after an error. */
gmv_status gmv_factor_read(gmv_factor *factor, const gmv_cells *cells, const gmv_comm *comm, const gmv_source *source,
                           const char *name);
void gmv_factor_fini(gmv_factor *factor);

/* Sets of genes, where a file lacks some of those in use: the table, and the set of every file; of cells in memory that
 * of every local row, too. Not collective; the same sets on every rank. */
gmv_status gmv_gene_sets(gmv_cells *cells, gmv_source *source, bool stream);

/* Reads the covariates and the label of the local rows into cells. Collective. */
gmv_status gmv_factors_load(gmv_cells *cells, const gmv_comm *comm, const gmv_cells_request *request,
                            const gmv_source *source);
