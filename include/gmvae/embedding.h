/* embedding.h5ad: what cells get from a model. */
#pragma once

#include "gmvae/clusters.h"
#include "gmvae/data.h"

/* What an embedding holds; borrowed until it is complete. */
typedef struct gmv_embedding {
    const gmv_cell_outputs *outputs;  /* the model's, with those of the clusters */
    const gmv_clustering *clustering; /* NULL: there are none */
    const char *config;               /* resolved YAML of the run */
    const char *checkpoint;           /* path of the checkpoint used */
    int64_t epoch;
    bool without_bounds;                /* no gmvae_neg_elbo and gmvae_counts */
    int genes;                          /* var; 0: there is no X and no layer */
    char *const *gene, *const *gene_id; /* [genes]; ids NULL: none */
} gmv_embedding;

typedef struct gmv_embedding_file gmv_embedding_file;

/* Begins PATH: obs of the input files (index and every column that can be carried over) with columns of the outputs,
 * gmvae_neg_elbo and gmvae_counts, obsm with the outputs, uns gmvae_dist. Rows in input order. It has a temporary name until
 * it is complete. Collective. Ownership: gmv_embedding_end, also after an error (then *file may be NULL).
 * Errors: GMV_ERR_ENVIRONMENT when it cannot be written. */
gmv_status gmv_embedding_begin(gmv_embedding_file **file, const char *path, const gmv_cells *cells,
                               const gmv_comm *comm, const gmv_embedding *embedding);

/* Takes local rows, ascending; those that are left out get NaN, and no category. Not collective.
 * @param[in] output  of each of the model's [n, cols], host memory */
gmv_status gmv_embedding_put(gmv_embedding_file *file, int n, const gmv_gidx *row, const float *const *output);

/* Of the same rows. @param[in] neg_elbo  [n] nats @param[in] total  [n] counts of the cell in the genes in use */
gmv_status gmv_embedding_put_figures(gmv_embedding_file *file, int n, const gmv_gidx *row, const float *neg_elbo,
                                     const float *total);

/* Gives the file its name when `status`, that of the work so far, is GMV_OK on all ranks; else nothing is left behind.
 * Collective. Returns `status` or what went wrong. Accepts NULL. */
gmv_status gmv_embedding_end(gmv_embedding_file **file, const gmv_comm *comm, gmv_status status);

/* Whether PATH is an embedding of cells from the same files, by their whole paths. Not collective.
 * @param[in] check_seconds  as data.check_seconds */
bool gmv_embedding_is_of(const char *path, const gmv_cells *cells, double check_seconds);
