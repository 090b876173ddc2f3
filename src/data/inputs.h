/* The input files while they are being read.
 *
 * Each file is looked at by one rank, which tells the others what they need to know. Afterwards a file is opened by the
 * ranks that have rows of it, one at a time, as often as something is to be read; only files that many ranks share are
 * opened by all of them together, and stay open. */
#pragma once

#include "rows/matrix.h"
#include "rows/read_rows.h"
#include "rows/row_names.h"

#include "gmvae/data.h"
#include "gmvae/names.h"

typedef struct gmv_gene_lists gmv_gene_lists; /* genes/gene_lists.h */

/* What is open of a file. */
typedef struct gmv_input_file {
    gmv_h5 file;
    gmv_matrix matrix;
    gmv_row_names cell; /* names of the cells, for messages */
    bool named;         /* it is open */
} gmv_input_file;

/* What every rank knows of a file. */
typedef struct gmv_source {
    const char *path;
    gmv_place place; /* of its matrix; the name as it may be printed */
    gmv_matrix_kind kind;
    int64_t rows, cols, nnz;       /* as in gmv_matrix */
    gmv_file_stamp looked_at;      /* as it was then */
    gmv_file_stamp *stamp;         /* the cells' */
    int list;                      /* its genes, in gmv_gene_lists */
    char id_column[64];            /* what data.gene_column calls the ids beside their names; "": there are none */
    gmv_gidx first;                /* global row of its row 0 */
    bool shared;                   /* opened by all ranks together, through MPI-IO */
    gmv_input_file *input;         /* open here; else NULL */
    gmv_csr_arrays store;          /* of the local rows */
    int64_t values;                /* stored in the local rows, where the file says it */
    double round;                  /* as data.round */
    int64_t rounded;               /* values of the local rows that were, when they were read last */
    struct gmv_transpose *by_rows; /* of its matrix, put together on disk; NULL */
} gmv_source;

/* Obs columns that are wanted, while they are read. */
typedef struct gmv_factors {
    int n;
    struct gmv_factor_reader *reader; /* [n] */
} gmv_factors;

/* Expands patterns on rank 0, in order; a pattern's files in name order. Collective.
 * Ownership: gmv_texts_free. */
gmv_status gmv_paths_expand(gmv_texts *files, const gmv_comm *comm, const gmv_texts *paths);

/* ---- what is in the files ---- */

/* What else is looked at in a file of this rank's stretch. */
typedef gmv_status (*gmv_look)(void *context, const gmv_input_file *input);

/* Looks at the files of a list, every rank at a stretch of them: matrices, lists of genes, and what `look` wants.
 * Collective; the first file with an error is named, whatever the number of ranks.
 * @param[out] source  [files->n]. Ownership: gmv_sources_close
 * @param[out] lists   Ownership: gmv_gene_lists_fini. Both also after an error. */
gmv_status gmv_sources_survey(gmv_source **source, gmv_gene_lists *lists, const gmv_texts *files, const gmv_comm *comm,
                              const gmv_config *config, const gmv_reading *reading, gmv_look look, void *context);

/* Opens the files that all ranks share, as data.driver asks; auto: those that several ranks have rows of and that have
 * at least an eighth of all cells, so that there are few. The rows of the ranks are known. Collective. */
gmv_status gmv_sources_share(const gmv_cells *cells, gmv_source *source, const gmv_comm *comm, int driver);

/* Closes what is open. Collective where files are shared. */
void gmv_sources_close(gmv_source **source, int files, const gmv_comm *comm);

/* What is done with local rows [first, end) of a source that is open. */
typedef gmv_status (*gmv_source_visitor)(void *context, gmv_source *source, int64_t first, int64_t end);

/* Visits the sources that have local rows, each open for its visit.
 * @param[in] comm  NULL: not collective. Else collective: a shared source is visited by all ranks, also those that have
 *                  no rows of it, and all calls to HDF5 in a visit may be collective; errors are agreed. */
gmv_status gmv_sources_visit(const gmv_cells *cells, gmv_source *source, const gmv_comm *comm, gmv_source_visitor visit,
                             void *context);

/* Visits one source if it has local rows. Not collective. */
gmv_status gmv_source_visit(const gmv_cells *cells, gmv_source *source, gmv_source_visitor visit, void *context);

/* Rows of a source that lie on this rank, as rows of the file; none: end == first. */
void gmv_local_rows(const gmv_cells *cells, const gmv_source *source, int64_t *first, int64_t *end);

/* For reading rows of a source that is open. */
gmv_row_source gmv_source_rows(const gmv_source *source, const gmv_gene_lists *lists);

/* ---- rows ---- */

/* Opens the stores of the local rows of the sources that are shared, and for streaming of all. Collective.
 * @param[out] refused  a file that must be read through HDF5, the same on all ranks; -1: none */
gmv_status gmv_open_csr_arrays(const gmv_cells *cells, const gmv_comm *comm, gmv_source *source, bool stream,
                               int *refused);

/* Whether the cells stay on disk: asked for, or because `values` of local rows do not fit in memory. Collective. */
gmv_status gmv_choose_stream(const gmv_cells *cells, const gmv_comm *comm, const gmv_config *config, gmv_nnz values,
                             bool *stream);
gmv_status gmv_refuse_stream(const gmv_source *source);

/* Puts the rows of those files together on disk whose matrices can only be read by genes, once for both passes over the
 * cells. Not collective. */
gmv_status gmv_sort_stored_rows(const gmv_cells *cells, const gmv_comm *comm, const gmv_config *config,
                                gmv_source *source);

/* Visits all local rows in order, a few thousand at a time, packed. Not collective. */
typedef gmv_status (*gmv_row_visitor)(void *context, const gmv_packed *packed);
gmv_status gmv_walk_rows(const gmv_cells *cells, gmv_source *source, const gmv_gene_lists *lists, int32_t genes,
                         gmv_row_visitor visit, void *context);

/* Makes cells->stream, which takes the open stores of the sources, and the packed copies that are to be read instead.
 * Not collective. Errors: GMV_ERR_ENVIRONMENT when there is no room for these. */
struct gmv_prints;
gmv_status gmv_cells_to_stream(gmv_cells *cells, const gmv_comm *comm, const gmv_config *config, gmv_source *source,
                               const gmv_gene_lists *lists, struct gmv_prints *prints);
/* Says how much was copied, and where. Collective. */
void gmv_log_cache(const gmv_cells *cells, const gmv_comm *comm, const gmv_config *config);

/* Sets of genes, where a file lacks some of those in use: the table, and the set of every file; of cells in memory that
 * of every local row, too. Not collective; the same sets on every rank. */
gmv_status gmv_gene_sets(gmv_cells *cells, const gmv_source *source, const gmv_gene_lists *lists, bool stream);

/* ---- obs columns ---- */

/* The columns that are wanted: covariates, label, key of the validation. Ownership: gmv_factors_fini, also after an
 * error. */
gmv_status gmv_factors_init(gmv_factors *factors, const gmv_config *config, const gmv_reading *reading);
void gmv_factors_fini(gmv_factors *factors);

/* Adds the levels that a file has: a gmv_look. Not collective. */
gmv_status gmv_factors_add_levels(void *wanted, const gmv_input_file *input);

/* Levels of all ranks, in their order. Collective. */
gmv_status gmv_factors_unite(gmv_factors *factors, const gmv_comm *comm);

/* Reads the covariates and the label of the local rows into cells. Collective.
 * @param[out] key  the column of the validation: code -1 where it has no value. Ownership: gmv_factor_fini, also after an
 *                  error */
gmv_status gmv_factors_load(gmv_factors *factors, gmv_cells *cells, const gmv_comm *comm, gmv_source *source,
                            gmv_factor *key);
void gmv_factor_fini(gmv_factor *factor);

/* The levels of all ranks, in the order of the ranks, the same on every one. Collective. */
gmv_status gmv_levels_unite(gmv_names *level, const gmv_comm *comm);

/* Warns of levels that differ only in how they are written. Not collective. */
gmv_status gmv_levels_compare(const char *key, char *const *level, int levels);

/* Logs the levels of a covariate. Collective. @param[in] known  they are a checkpoint's
 * Errors: GMV_ERR_DATA when every cell has another. */
gmv_status gmv_covariate_report(const gmv_factor *factor, bool known, const gmv_cells *cells, const gmv_comm *comm);

/* Brings them into the form that batches take, which differs for streamed cells. Collective. */
gmv_status gmv_factors_finish(gmv_cells *cells, const gmv_comm *comm);

/* ---- held-out cells ---- */

/* Marks what is to be held out, in cells->split, and logs it. Collective.
 * @param[in] validation  NULL: nothing
 * @param[in] seed        of a fraction
 * @param[in] key         the column of the validation, if it names one
 * Errors: GMV_ERR_CONFIG for files or levels that are not there, and when no cell or every cell is held out. */
gmv_status gmv_split_load(gmv_cells *cells, const gmv_comm *comm, const gmv_validation *validation, uint64_t seed,
                          const gmv_factor *key);

/* Warns of levels of covariates that are in held-out cells only. Collective. */
gmv_status gmv_split_check_levels(const gmv_cells *cells, const gmv_comm *comm);
