/* A count matrix of cells x genes in an input file: CSR, CSC or dense. */
#pragma once

#include "../h5/layout.h"

#include <math.h>

typedef enum gmv_matrix_kind { GMV_MATRIX_CSR, GMV_MATRIX_CSC, GMV_MATRIX_DENSE } gmv_matrix_kind;

typedef struct gmv_matrix {
    const gmv_h5 *file;
    gmv_place place; /* where it was found */
    char name[256];  /* as in data.matrix: "X", "raw/X", "layers/counts", "Gene Expression" */
    gmv_matrix_kind kind;
    int64_t rows, cols;
    int64_t nnz;                    /* stored values */
    hid_t data, indices, indptr;    /* dense: data alone */
    int64_t stored_cols;            /* columns in the file: more than cols when some features do not belong to it */
    int64_t chunk_rows, chunk_cols; /* dense: of a chunk; without chunks 1 and all */
    int32_t *select;                /* [stored_cols] column of the matrix or -1; NULL: the same */
    gmv_table obs, var;             /* its cells, and the genes of the stored columns */
    double round;                   /* as data.round; set after it was opened */
} gmv_matrix;

/* Opens and checks the matrix at a place. Ownership: gmv_matrix_close. */
gmv_status gmv_matrix_open(gmv_matrix *matrix, const gmv_h5 *file, const gmv_place *place);
void gmv_matrix_close(gmv_matrix *matrix);

/* Opens the matrix named by `wanted` (as data.matrix); where several could be meant ("auto"), the first that
 * holds counts, to within `round` (as data.round). Errors: GMV_ERR_DATA with the matrices beside them that do. */
gmv_status gmv_matrix_choose(gmv_matrix *matrix, const gmv_h5 *file, const char *wanted, double round);

/* Looks at all values, or at an even sample of a large matrix: the first one that is no count.
 * @param[out] is_count  true when none was found */
gmv_status gmv_matrix_probe(const gmv_matrix *matrix, bool *is_count, double *culprit);

/* Names of its columns: the first of `columns` (as data.gene_column; NULL or empty: the index) that the table of genes
 * has. Ownership: gmv_texts_free. Errors: GMV_ERR_CONFIG with the columns there are. */
gmv_status gmv_matrix_genes(const gmv_matrix *matrix, const gmv_texts *columns, gmv_texts *names);

/* Which of the columns these are: the place of the first that the table has, -1 for none. */
int gmv_gene_column_find(const gmv_table *var, const gmv_texts *columns);

/* About how many values rows [first, end) have that are not zero: by their share of a sparse matrix, by a sample of tiles of
 * a dense one. Independent. */
gmv_status gmv_matrix_guess_values(const gmv_matrix *matrix, int64_t first, int64_t end, int64_t *values);

/* Goes through the stored values of rows [first, end), which are counted from `first`, in whatever order they lie; genes
 * of a row ascend. Without those of columns that are not selected, and zeros of dense matrices. */
typedef gmv_status (*gmv_value_visitor)(void *context, int64_t row, int64_t column, double value);
gmv_status gmv_csc_each(const gmv_matrix *matrix, int64_t first, int64_t end, gmv_value_visitor visit, void *context);
gmv_status gmv_dense_each(const gmv_matrix *matrix, int64_t first, int64_t end, gmv_value_visitor visit, void *context);

/* The whole number that is not farther than `round` from a value, else the value; round < 0.5. */
static inline double gmv_whole(double value, double round)
{
    double near = round > 0 ? nearbyint(value) : value;
    return fabs(value - near) <= round ? near : value;
}

/* Whether a value can be a count: a whole number in [0, 2^24). */
static inline bool gmv_is_count(double value)
{
    return value >= 0.0 && value < 16777216.0 && value == (double)(int32_t)value;
}
