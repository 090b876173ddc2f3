/* Rows of a matrix on their way to packed ones. */
#pragma once

#include "matrix.h"

/* Rows of a matrix as they are stored: nothing about the values has been checked, all lengths have. */
typedef struct gmv_block {
    int64_t first, rows; /* rows of the file */
    int64_t *start;      /* [rows + 1] from 0 */
    int64_t *column;     /* [start[rows]] of the matrix */
    double *value;
    int64_t rounded;        /* values that are no longer as they are stored (data.round) */
    int64_t row_room, room; /* rows, and values, that there is memory for */
} gmv_block;

/* Room for so many rows and values; what is in the block is lost. Ownership: gmv_block_fini, also after an error. */
gmv_status gmv_block_reserve(gmv_block *block, int64_t rows, int64_t values);
void gmv_block_fini(gmv_block *block);

/* The error for a row with more values than there are genes. */
gmv_status gmv_row_too_long(const gmv_matrix *matrix, int64_t row, int64_t values);
