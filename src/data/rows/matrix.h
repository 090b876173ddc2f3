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
    struct gmv_row_buckets
        *by_rows;       /* rows put together on disk, which are then read in place of the matrix; else NULL */
    int32_t *select;    /* [stored_cols] column of the matrix or -1; NULL: the same */
    gmv_table obs, var; /* its cells, and the genes of the stored columns */
    double round;       /* as data.round; set after it was opened */
} gmv_matrix;

/* Rows of a matrix as they are stored: nothing about the values has been checked, all lengths have. */
typedef struct gmv_block {
    int64_t first, rows; /* rows of the file */
    int64_t *start;      /* [rows + 1] from 0 */
    int64_t *column;     /* [start[rows]] of the matrix */
    double *value;
    int64_t rounded; /* values that are no longer as they are stored (data.round) */
} gmv_block;

/* Reads a range of rows block by block with bounded buffers. */
typedef struct gmv_block_reader {
    const gmv_matrix *matrix;
    int64_t next, end; /* rows still to come */
    int64_t *indptr;   /* [end - first + 1] of the whole range; NULL for dense */
    int64_t first;
    int64_t capacity; /* of column and value */
    int64_t row_capacity;
    gmv_block block;
    struct gmv_row_buckets *by_rows, *own; /* read in place of the matrix: its own, or what was made of it here */
    int64_t values; /* stored values of the rows, when they are known to the reader alone; else 0 */
} gmv_block_reader;

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

/* CSR: where rows [first, end) start, and where the last ends, checked. Independent.
 * Ownership: caller frees *indptr ([end - first + 1]) with gmv_free, also after an error. */
gmv_status gmv_matrix_pointers(const gmv_matrix *matrix, int64_t first, int64_t end, int64_t **indptr);

/* Reader of rows [first, end). Independent. Every rank may read other rows. Those of a matrix that is stored by genes, and
 * has no by_rows, are put together in memory, 3 bytes a value, in one pass.
 * Ownership: gmv_block_reader_fini, also after an error. */
gmv_status gmv_block_reader_init(gmv_block_reader *reader, const gmv_matrix *matrix, int64_t first, int64_t end);
/* The next block in reader->block; block.rows == 0 at the end. */
gmv_status gmv_block_reader_next(gmv_block_reader *reader);
void gmv_block_reader_fini(gmv_block_reader *reader);

/* About how many values rows [first, end) have that are not zero: by their share of a sparse matrix, by a sample of tiles of
 * a dense one. Independent. */
gmv_status gmv_matrix_guess_values(const gmv_matrix *matrix, int64_t first, int64_t end, int64_t *values);

/* Whether rows can be had only with the whole matrix in memory, or by reading it again for every few of them: it is
 * stored by genes, or in chunks of very many rows. Then gmv_matrix_sort_rows makes by_rows, in one pass over the matrix,
 * for rows [first, end), with a file in a directory, on a host where `ranks` do so. Independent.
 * Errors: GMV_ERR_DATA; GMV_ERR_ENVIRONMENT when there is no room for the file. */
bool gmv_matrix_needs_sorting(const gmv_matrix *matrix);
gmv_status gmv_matrix_sort_rows(gmv_matrix *matrix, int64_t first, int64_t end, const char *directory, int ranks);

/* Goes through the stored values of rows [first, end), which are counted from `first`, in whatever order they lie; genes
 * of a row ascend. Without those of columns that are not selected, and zeros of dense matrices. */
typedef gmv_status (*gmv_value_visitor)(void *context, int64_t row, int64_t column, double value);
gmv_status gmv_csc_each(const gmv_matrix *matrix, int64_t first, int64_t end, gmv_value_visitor visit, void *context);
gmv_status gmv_dense_each(const gmv_matrix *matrix, int64_t first, int64_t end, gmv_value_visitor visit, void *context);

/* Inside the reader: room in the block; a message. */
gmv_status gmv_block_reserve(gmv_block_reader *reader, int64_t rows, int64_t values);
gmv_status gmv_row_too_long(const gmv_matrix *matrix, int64_t row, int64_t values);

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
