/* Types that every part of the program shares.
 *
 * Shape letters, reserved for these meanings everywhere:
 *   N cells in the data      B cells in a local batch     G genes in use     Z non-zeros of a batch
 *   C covariate keys         L covariate levels, all keys together
 *   H hidden units           D dimensions of x            W dimensions of w  K mixture components
 *   M Monte-Carlo draws      R rows = B * M, row i * M + m is draw m of cell i
 *   P parameters             S logical shards             V micro-batches
 * All matrices are row-major.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int64_t gmv_gidx; /* global index of a cell (row) over all input files */
typedef int64_t gmv_nnz;  /* count or offset of non-zeros: may exceed 2^31 */
typedef int32_t gmv_col;  /* index of a gene */

/* Views of backend memory (host memory on cpu, device memory on cuda). They never own. Host code
 * above the op table may take sub-views and pass them on, but must not read or write through `at`. */
typedef struct gmv_mat {
    float *at;
    int rows, cols;
    int ld; /* elements between the starts of two rows, >= cols */
} gmv_mat;

typedef struct gmv_vec {
    float *at;
    int64_t n;
} gmv_vec;

static inline gmv_mat gmv_mat_of(float *at, int rows, int cols)
{
    gmv_mat m = {at, rows, cols, cols};
    return m;
}

static inline gmv_vec gmv_vec_of(float *at, int64_t n)
{
    gmv_vec v = {at, n};
    return v;
}

/* Columns [first, first + cols) of a matrix, as a view. */
static inline gmv_mat gmv_mat_columns(gmv_mat m, int first, int cols)
{
    gmv_mat v = {m.at + first, m.rows, cols, m.ld};
    return v;
}

/* Rows [first, first + rows) of a matrix, as a view. */
static inline gmv_mat gmv_mat_rows(gmv_mat m, int first, int rows)
{
    gmv_mat v = {m.at + (size_t)first * (size_t)m.ld, rows, m.cols, m.ld};
    return v;
}
