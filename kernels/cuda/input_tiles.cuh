/* Sparse rows times a dense matrix on the tensor cores: the form of the first layer for bf16. */
#pragma once

#include "cuda.h"

#include <limits.h>

/* A non-zero of a sparse matrix. */
typedef struct entry {
    alignas(8) int index;
    float value;
} entry;

typedef struct sparse_rows {
    int rows;
    const int32_t *start; /* [rows + 1] */
    const int32_t *index; /* ascending within a row, below `indices` */
    const float *value;
    int indices;
} sparse_rows;

/* The entry at `at`; from `end` on one behind all others. */
static __device__ __forceinline__ entry entry_at(const sparse_rows &a, int32_t at, int32_t end)
{
    entry e = {INT_MAX, 0.0f};
    if (at < end) {
        e.index = a.index[at];
        e.value = a.value[at];
    }
    return e;
}

/* out[r, :] (`add`: +)= constant (NULL: 0) + sum over k of value[k] dense[index[k], :], values and dense rounded to
 * bf16. Uses GMV_CUDA_OPERANDS and GMV_CUDA_SUMS. */
gmv_status gmv_cuda_sparse_tiles(gmv_backend *b, sparse_rows a, gmv_mat dense, const float *constant, bool add,
                                 gmv_mat out);
