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

/* Which rows of a set of cells are held out of training. A hash of (seed, row) by `fraction`, or marks of the local
 * rows: the same rows for every number of ranks. */
typedef struct gmv_split {
    uint64_t seed;
    double fraction;
    gmv_gidx first; /* global row of out[0] */
    uint8_t *out;   /* [local rows] 1: held out; NULL: by `fraction` */
    gmv_gidx rows;  /* held out on all ranks together; 0: none */
} gmv_split;

/* Whether a global row is held out; a split with marks knows the local rows only. Not collective. */
bool gmv_split_holds_out(const gmv_split *split, gmv_gidx row);

/* What tells one state of a file from another: what changes with its bytes and, when that has, a hash of them. The same
 * on every host. */
typedef struct gmv_file_stamp {
    int64_t inode, size, seconds, nanoseconds; /* the last two: when it was written */
    int64_t hashed;                            /* bytes that were looked at: all, or a sample; 0: none */
    uint64_t content;                          /* their hash */
} gmv_file_stamp;

/* What tells cells from others: their counts in the genes in use, their order and their levels; not the files they lie
 * in. The same for every format and residence, and for every number of files and ranks. Of each cell there is a hash;
 * these are sums over cells, modulo 2^64. */
typedef struct gmv_fingerprint {
    int64_t cells;       /* 0: there is no fingerprint */
    uint64_t counts;     /* of the cells in any order */
    uint64_t order;      /* with the number of their row */
    uint64_t held_out;   /* of those that are held out of training */
    uint64_t validation; /* counts of the cells of data.validation, where these are of other files; else 0 */
    uint64_t measured;   /* of genes in use that files lack; 0: they lack none */
    uint64_t genes;      /* of all genes in the files, in any order, or of the list of data.genes.file; 0: not known */
} gmv_fingerprint;

/* A cell in a sample that goes by the hash of its counts alone: so the same counts are found again anywhere. */
typedef struct gmv_sampled_cell {
    uint64_t hash;
    gmv_gidx row;
    int64_t held_out; /* 0, 1 */
} gmv_sampled_cell;

/* A categorical column over the local rows. */
typedef struct gmv_factor {
    char *key;
    uint64_t fingerprint; /* of a covariate: as in gmv_fingerprint, of the cells with their levels, in any order */
    int levels;
    char **level;   /* [levels] names, in order: union over all files */
    int32_t *code;  /* [count] level of each local row; -1: missing. NULL: in code8 */
    uint8_t *code8; /* [count] the same in a byte; 255: missing */
} gmv_factor;

/* Level of local row i, -1: missing. */
static inline int32_t gmv_factor_code(const gmv_factor *factor, int64_t i)
{
    return factor->code8 == NULL ? factor->code[i] : factor->code8[i] == 255 ? -1 : (int32_t)factor->code8[i];
}

typedef struct gmv_stream gmv_stream;

typedef struct gmv_cells {
    gmv_gidx total;             /* N */
    gmv_gidx first, count;      /* local rows are global rows [first, first + count) */
    int shards;                 /* S */
    int first_shard, end_shard; /* hosted here */
    int64_t *shard_start;       /* [S + 1] global row at which each shard starts */

    int32_t genes;  /* G in use */
    char **gene;    /* [G] names */
    char **gene_id; /* [G] ids that files hold beside them, without Ensembl versions; "": none. NULL: no gene has one */

    gmv_packed packed; /* local rows, host memory; every pointer in it is owned here. Empty when they are streamed */
    struct gmv_stream *stream; /* local rows that stay on disk, see stream.h; NULL: they are in `packed` */
    int32_t *set_genes;        /* [packed.sets] genes that each set has; NULL: every cell has all */
    int32_t *file_set;         /* [files] set of each file's cells, as set_genes */
    int covariates;            /* C */
    gmv_factor *covariate;
    gmv_factor *label; /* NULL without a label key */
    int levels;        /* L, all covariates together */

    gmv_split split; /* held out of training; its marks are owned here */

    char *matrix; /* where the counts were found ("X", "layers/counts", ...) */
    int files;
    char **file;           /* [files] paths after globbing */
    char **obs;            /* [files] where the table of cells is in each */
    gmv_gidx *file_start;  /* [files + 1] global row at which each file starts */
    gmv_file_stamp *stamp; /* [files] when they were read; or, with the same content, were touched later */

    gmv_fingerprint fingerprint;
    uint64_t *file_counts;    /* [files] fingerprint.counts, file by file */
    gmv_sampled_cell *sample; /* [samples] ascending; cells with few counts are left out. Rank 0; elsewhere NULL */
    int64_t samples;
    uint64_t sample_below; /* the largest hash that can be in it; UINT64_MAX: it holds all cells */
} gmv_cells;

/* Genes and levels that are there before the cells are: a checkpoint's. */
typedef struct gmv_known {
    int genes;
    char *const *gene;    /* [genes] the genes in use, in this order; files may lack some */
    char *const *gene_id; /* as in gmv_cells; NULL: none */
    int factors;
    const gmv_factor *factor; /* [factors] key and levels: an unknown level in the files is an error naming it */
} gmv_known;

/* What cells to be read can be matched to, of cells that are there. Borrows it. */
static inline gmv_known gmv_cells_known(const gmv_cells *cells)
{
    return (gmv_known){cells->genes, cells->gene, cells->gene_id, cells->covariates, cells->covariate};
}

/* What a reading of cells has to be told besides the config. */
typedef struct gmv_reading {
    const gmv_texts *paths;         /* paths, globs */
    const gmv_validation *held_out; /* which of the cells to hold out; NULL: none */
    const gmv_known *known;         /* what they are matched to, whatever data.genes says; NULL: nothing */
    bool training;                  /* the same file twice is an error; data.genes.file is part of the fingerprint */
    bool label_optional;            /* files without the column of data.label_key have cells without a label */
} gmv_reading;

/* Reads and checks cells as `data` and `seed` of the config say, but for the keys that name files. Collective. Logs what
 * was found (rank 0).
 * Ownership: caller destroys *cells.
 * Errors: GMV_ERR_DATA with file, row and gene; GMV_ERR_CONFIG for keys that name nothing there, and for a
 * validation that holds out no row or all. */
gmv_status gmv_cells_load(gmv_cells **cells, const gmv_comm *comm, const gmv_config *config,
                          const gmv_reading *reading);

/* Looks whether the files are as they were: each by one rank, at its size and times, and at its content when only times
 * have changed, which is logged. Collective.
 * @param[out] changed  first file that is another now, or removed; -1: none. Errors: GMV_ERR_ENVIRONMENT. */
gmv_status gmv_cells_look_at_files(const gmv_cells *cells, const gmv_comm *comm, int *changed);

/* File of a global row; genes in use that local row i was measured for. */
int gmv_cells_file(const gmv_cells *cells, gmv_gidx row);
int32_t gmv_cells_present(const gmv_cells *cells, gmv_gidx i);

/* Which genes a global row was measured for: [G], 0 for one that its file lacks; NULL: all. */
const uint8_t *gmv_genes_measured(const gmv_cells *cells, gmv_gidx row);

/* Accepts *cells == NULL; sets it NULL. */
void gmv_cells_destroy(gmv_cells **cells);

/* Mean and standard deviation over all entries (zeros included, genes that a file lacks not) of the rows not held out:
 * the two scalars of `input: standardize`. The same bits for every number of ranks. Collective. */
gmv_status gmv_cells_scalar_statistics(const gmv_cells *cells, const gmv_comm *comm, double *mean, double *std);

/* Warns, on rank 0, of cells that are there twice, in two files or in one; and of cells of `others`, which `key` names,
 * that are cells of `training`, too. By the sample: exact for few cells. Not collective. */
gmv_status gmv_cells_warn_of_repeats(const gmv_cells *cells);
gmv_status gmv_cells_warn_of_shared(const gmv_cells *training, const gmv_cells *others, const char *key);
