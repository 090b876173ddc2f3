/* Numbers of a row as they are stored to 16- or 32-bit genes and 8-bit counts: the inner loops of reading. Compiled once
 * per instruction set (isa/fast_rows.c). What is not as nearly all rows are is only noticed here; gmv_packer_add_row can do
 * with it, or says no. */
#pragma once

#include "../h5/h5_array.h"

/* Numbers of one row in the type of the file. */
typedef struct gmv_numbers {
    const void *at;
    gmv_number_kind kind;
    int size; /* bytes of one */
} gmv_numbers;

/* What the counts of a row are, beside 1 .. 254. */
enum { GMV_COUNTS_BAD = 1, GMV_COUNTS_ZERO = 2, GMV_COUNTS_LARGE = 4 };

typedef struct gmv_fast_rows {
    /* count8[i] = the smaller of number i and 255; n > 0.
     * @return  GMV_COUNTS_*; BAD: some is no whole number of 0 .. 2^24 - 1 */
    int (*counts)(gmv_numbers in, int64_t n, uint8_t *count8);
    /* Any kind to 32 bits; what does not fit becomes -1. */
    void (*columns)(gmv_numbers in, int64_t n, int32_t *column);
    /* Whether each column is larger than the one before; n > 0. The second also narrows them. */
    bool (*ascends)(const int32_t *column, int64_t n);
    bool (*genes)(const int32_t *column, int64_t n, uint16_t *gene16);
    /* gene[k], kept[k] of those with map[column] >= 0 and count > 0, in their order. In place is fine: kept == count.
     * @param[in] map   NULL: gene = column
     * @param[out] kept  [n], as gene16 or gene32, the one of them that is not NULL
     * @return  how many */
    int64_t (*keep)(const int32_t *column, const uint8_t *count, int64_t n, const int32_t *map, uint16_t *gene16,
                    uint32_t *gene32, uint8_t *kept);
} gmv_fast_rows;

/* That of a variant of gmvae/cpu.h. */
const gmv_fast_rows *gmv_fast_rows_of(int variant);
