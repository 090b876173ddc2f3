/* Cells of one or more files as this rank holds them: packed counts, names, covariates.
 *
 * The rows of all files, in the order given, are numbered 0 .. N - 1 (gmv_gidx). They are divided into
 * `shards` contiguous logical shards, shard s = rows [s N / S, (s + 1) N / S), whatever the number of
 * ranks; rank r hosts shards [r S / R, (r + 1) S / R) and reads only their rows.
 */
#pragma once

#include "gmvae/comm.h"
#include "gmvae/config.h"
#include "gmvae/ops.h"
#include "gmvae/status.h"
#include "gmvae/types.h"

/* A categorical column over the local rows. */
typedef struct gmv_factor {
    char *key;
    int levels;
    char **level;  /* [levels] names, in order: union over all files */
    int32_t *code; /* [count] level of each local row; -1: missing */
} gmv_factor;

typedef struct gmv_cells {
    gmv_gidx total;        /* N */
    gmv_gidx first, count; /* local rows are global rows [first, first + count) */
    int shards;            /* S */
    int first_shard, end_shard; /* hosted here */
    int64_t *shard_start;  /* [S + 1] global row at which each shard starts */

    int32_t genes;   /* G in use */
    char **gene;     /* [G] names */

    gmv_packed packed; /* local rows, host memory; every pointer in it is owned here */
    int32_t *set_genes; /* [packed.sets] genes that each set has; NULL: every cell has all */
    int covariates;    /* C */
    gmv_factor *covariate;
    gmv_factor *label; /* NULL without a label key */
    int levels;        /* L, all covariates together */

    char *matrix;      /* where the counts were found ("X", "layers/counts", ...) */
    int files;
    char **file;           /* [files] paths after globbing */
    char **obs;            /* [files] where the table of cells is in each */
    gmv_gidx *file_start;  /* [files + 1] global row at which each file starts */
} gmv_cells;

/* What to read, and against what to match it. Zero-initialise, then set what is wanted. */
typedef struct gmv_cells_request {
    const gmv_texts *paths;   /* paths, globs */
    const char *matrix;       /* as data.matrix */
    const gmv_texts *gene_column; /* as data.gene_column; NULL: the index */
    const gmv_texts *batch_keys;
    const char *label_key;    /* "" for none */
    int genes_mode;           /* GMV_GENES_*; N_TOP counts only rows for which is_held_out is false */
    int64_t n_top;
    const char *genes_file;
    int shards;
    int driver;               /* GMV_DRIVER_* */
    uint64_t seed;
    double held_out;          /* fraction kept out of the choice of genes */
    /* From a checkpoint: take exactly these genes in this order (NULL: by genes_mode), where files may lack some, and
     * these levels of the batch keys (an unknown level in the files is an error naming it). */
    int known_genes;
    char *const *known_gene;
    int known_factors;
    const gmv_factor *known_factor;
} gmv_cells_request;

/* Reads and checks. Collective. Logs what was found (rank 0).
 * Ownership: caller destroys *cells.
 * Errors: GMV_ERR_DATA with file, row and gene; GMV_ERR_CONFIG for keys that name nothing there. */
gmv_status gmv_cells_load(gmv_cells **cells, const gmv_comm *comm, const gmv_cells_request *request);

/* Genes in use that local row i was measured for. */
static inline int32_t gmv_cells_present(const gmv_cells *cells, gmv_gidx i)
{
    return cells->packed.set != NULL ? cells->set_genes[cells->packed.set[i]] : cells->genes;
}

/* Accepts *cells == NULL; sets it NULL. */
void gmv_cells_destroy(gmv_cells **cells);

/* Whether a global row is held out under `fraction`: a hash of (seed, row), the same on any rank count. */
bool gmv_is_held_out(uint64_t seed, gmv_gidx row, double fraction);

/* Mean and standard deviation over all entries (zeros included, genes that a file lacks not) of the rows not held out:
 * the two scalars of `input: standardize`. The same bits for every number of ranks. Collective. */
gmv_status gmv_cells_scalar_statistics(const gmv_cells *cells, const gmv_comm *comm, uint64_t seed, double held_out,
                                       double *mean, double *std);

/* ---- embedding.h5ad ---- */

/* What embed computed for the local rows; host memory, borrowed. NULL parts are left out. */
typedef struct gmv_embedding {
    int dim;                  /* D */
    const float *latent;      /* [count, D] posterior means */
    int clusters;             /* K, 0 for models without clusters */
    const float *probability; /* [count, K] */
    const float *neg_elbo;    /* [count] nats */
    const char *config;       /* resolved YAML of the run */
    const char *checkpoint;   /* path of the checkpoint used */
    int64_t epoch;
} gmv_embedding;

/* Writes PATH: obs of the input files (index and every column that can be carried over) with
 * gmvae_cluster and gmvae_neg_elbo, obsm X_gmvae and gmvae_cluster_prob, uns gmvae_dist. Rows in input
 * order; all ranks write their rows. Written to a temporary name and renamed when complete.
 * Collective. Errors: GMV_ERR_ENVIRONMENT when it cannot be written, and nothing is left behind. */
gmv_status gmv_embedding_write(const char *path, const gmv_cells *cells, const gmv_comm *comm,
                               const gmv_embedding *embedding);

/* ---- inspect ---- */

/* Prints what is in an input file (or a checkpoint) on stdout, as a screenful or as one JSON object.
 * Not collective: call on rank 0. */
gmv_status gmv_inspect(const char *path, bool json);
