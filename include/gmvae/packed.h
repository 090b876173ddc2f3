/* Reading the packed matrix, and what the encoder sees of a count: for the host and for all kernels. */
#pragma once

#include "gmvae/hd.h"
#include "gmvae/math/special.h"
#include "gmvae/ops.h"

/* Count at stored position `at` of a packed matrix in memory that the caller can read: counts of 255 and more are
 * found in the overflow list by bisection. Not collective, cannot fail.
 * @param[in] at  0 <= at < indptr[rows] */
GMV_HD uint32_t gmv_packed_count(const gmv_packed *packed, gmv_nnz at)
{
    uint32_t count = packed->count8[at];
    if (count < 255) {
        return count;
    }
    int64_t low = 0, high = packed->overflows - 1;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (packed->overflow_at[middle] < at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return packed->overflow_count[low];
}

#if !defined(__CUDACC__)
/* Asks the caches for the start of a row that is needed soon: of rows in random order the processor cannot foresee it, of
 * the rest of a row it can. Host memory. Not collective, cannot fail. @param[in] row  0 <= row < rows */
static inline void gmv_packed_prefetch(const gmv_packed *packed, int64_t row)
{
    enum { lines = 8, line = 64 };
    gmv_nnz at = packed->indptr[row];
    const char *gene =
        packed->gene16 != NULL ? (const char *)(packed->gene16 + at) : (const char *)(packed->gene32 + at);
    const char *count = (const char *)(packed->count8 + at);
    for (int i = 0; i < lines; i++) {
        __builtin_prefetch(gene + line * i);
        __builtin_prefetch(count + line * i);
    }
}
#endif

/* Global id of a row. Not collective, cannot fail. */
GMV_HD gmv_gidx gmv_packed_cell(const gmv_packed *packed, int64_t row)
{
    return packed->cell != NULL ? packed->cell[row] : packed->first_cell + row;
}

/* Encoder input of a count > 0, without the constant part of `standardize` and the row's length of `unit_sphere`. */
GMV_HD float gmv_input_value(float count, gmv_input input)
{
    switch (input.kind) {
    case GMV_INPUT_LOG1P:
    case GMV_INPUT_UNIT_SPHERE:
        return gmv_log1pf(count);
    case GMV_INPUT_STANDARDIZE:
        return count / input.std;
    case GMV_INPUT_NONE:
        break;
    }
    return count;
}
