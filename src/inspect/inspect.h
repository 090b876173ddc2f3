/* What inspect found, for its two printers. */
#pragma once

#include "../data/h5/column.h"
#include "../data/rows/matrix.h"

#include <stdio.h>

typedef struct gmv_inspect_matrix {
    char name[256], dtype[24];
    gmv_matrix_kind kind;
    int64_t rows, cols, stored;
    bool is_count; /* all values are counts */
    int64_t nnz;   /* zeros stored on purpose do not count */
    double total, largest, smallest;
    char problem[400]; /* why it cannot be read, "" when it can */
} gmv_inspect_matrix;

typedef struct gmv_inspect_column {
    char *name;
    const char *kind;
    int64_t levels;  /* -1: not a column of levels */
    gmv_texts level; /* the first of them */
    int64_t *cells;  /* [level.n] cells of each */
    int64_t missing;
} gmv_inspect_column;

enum { GMV_INSPECT_GENES = 50 };

typedef struct gmv_inspect_gene {
    int32_t place; /* in the matrix */
    char *name;
    double mean, variance, zeros, score; /* zeros: share of the cells; score: seurat_v3 */
} gmv_inspect_gene;

/* Summaries are least, quartiles, largest, mean: over all cells, and over all genes. */
typedef struct gmv_inspect_statistics {
    bool there;
    char problem[400];                     /* why they are not there although the matrix holds counts */
    double totals[6], genes[6];            /* of each cell */
    int64_t genes_seen;                    /* genes with a count */
    double mean[6], variance[6], zeros[6]; /* of each gene */
    int listed;
    gmv_inspect_gene gene[GMV_INSPECT_GENES]; /* those that vary most */
} gmv_inspect_statistics;

typedef struct gmv_inspected {
    const char *path;
    const char *format; /* "h5ad", "10x" */
    char encoding[80];  /* "anndata, encoding 0.1.0", which anndata 0.8 began with */
    double round;       /* as data.round */
    int64_t cells, genes;
    int main;      /* the matrix shown first: the counts of the file's own genes; -1: there is none */
    int automatic; /* the matrix that data.matrix: auto takes; -1: none holds counts */
    int matrices;
    gmv_inspect_matrix *matrix;
    int columns;
    gmv_inspect_column *column;
    gmv_inspect_statistics statistics; /* of the main matrix, when it holds counts */
    gmv_texts obsm;
    char problem[2048]; /* why train would not take the file, "" when it would */
    bool refused;       /* it is the file's fault, not that of a setting */
} gmv_inspected;

/* One pass over the rows of a matrix, in blocks, up to the first value that is no count. Of counts it fills in their
 * sums, too; else nothing is found.
 * Ownership: gmv_inspect_statistics_fini, also after an error. Errors: GMV_ERR_DATA for what is no count. */
gmv_status gmv_inspect_statistics_read(gmv_inspect_statistics *found, gmv_inspect_matrix *seen,
                                       const gmv_matrix *matrix);
void gmv_inspect_statistics_fini(gmv_inspect_statistics *found);
void gmv_inspect_print_statistics_text(const gmv_inspect_statistics *found, FILE *out);
void gmv_inspect_print_statistics_json(const gmv_inspect_statistics *found, FILE *out);

/* Fills in `problem`: what train would say under these settings of data. Reads all values of the matrix unless they
 * were read for the statistics. */
gmv_status gmv_inspect_as_training(gmv_inspected *found, const gmv_h5 *file, const gmv_config *config);

void gmv_inspect_print_text(const gmv_inspected *found, FILE *out);
void gmv_inspect_print_json(const gmv_inspected *found, FILE *out);

/* A checkpoint of ours. */
gmv_status gmv_inspect_checkpoint(const gmv_h5 *file, bool json, FILE *out);

/* A path without control characters. */
void gmv_print_path(const char *path, FILE *out);
