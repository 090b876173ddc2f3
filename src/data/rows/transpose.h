/* Rows of a matrix whose values come in another order, by genes or by tiles, put together on disk or in memory.
 *
 * Rows are cut into buckets, and every value is appended to its bucket's part of a scratch file, 3 bytes each:
 * row within the bucket, count, and a gene whenever it changes. Then a bucket is read, and its rows are sorted in memory.
 * So the matrix is read once, whatever its size, and memory is bounded. */
#pragma once

#include "block.h"

typedef struct gmv_transpose_limits {
    int64_t values; /* whose rows are sorted in memory together, 8 bytes each; a row may have more */
    int64_t bytes;  /* of values that wait to be written, but for 4096 in each of up to 2^14 buckets */
} gmv_transpose_limits;

typedef struct gmv_transpose gmv_transpose;

/* For rows [first, end) of the matrix with about so many values, on a host where `ranks` do the same (0: do not
 * look for room). @param[in] directory  of the file; NULL: it is in memory
 * Ownership: gmv_transpose_destroy, also after an error. Errors: GMV_ERR_ENVIRONMENT. */
gmv_status gmv_transpose_create(gmv_transpose **buckets, const gmv_matrix *matrix, int64_t first, int64_t end,
                                int64_t values, const char *directory, int ranks, gmv_transpose_limits limits);
void gmv_transpose_destroy(gmv_transpose **buckets);

/* Takes a value of row `first` + `row`; genes of a row must ascend. Errors: GMV_ERR_ENVIRONMENT when the disk is full. */
gmv_status gmv_transpose_put(void *buckets, int64_t row, int64_t gene, double value);
/* After the last one. */
gmv_status gmv_transpose_finish(gmv_transpose *buckets);

/* Values that were put, and the bytes that they take on disk. */
int64_t gmv_transpose_values(const gmv_transpose *buckets);
/* Of these, those that are not as they were put (data.round). */
int64_t gmv_transpose_rounded(const gmv_transpose *buckets);
int64_t gmv_transpose_bytes(const gmv_transpose *buckets);

/* A block of rows of the matrix from `row` on, at most up to `end`; fast when rows are asked for in their order.
 * Errors: GMV_ERR_DATA, GMV_ERR_ENVIRONMENT. */
gmv_status gmv_transpose_read(gmv_transpose *buckets, const gmv_matrix *matrix, int64_t row, int64_t end,
                              gmv_block *block);
