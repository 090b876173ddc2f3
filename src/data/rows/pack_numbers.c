/* Rows as nearly all are, from the numbers of the file to packed ones by a few loops over the whole row. */
#include "pack.h"

#include <string.h>

enum { escape = 255 };

static uint32_t count_at(gmv_numbers in, int64_t i)
{
    if (in.kind == GMV_NUMBER_FLOAT) {
        return in.size == 4 ? (uint32_t)((const float *)in.at)[i] : (uint32_t)((const double *)in.at)[i];
    }
    switch (in.size) {
    case 8:
        return (uint32_t)((const uint64_t *)in.at)[i];
    case 4:
        return ((const uint32_t *)in.at)[i];
    case 2:
        return ((const uint16_t *)in.at)[i];
    default:
        return ((const uint8_t *)in.at)[i];
    }
}

/* Lists the large counts among count8 [n] that are kept; where they will lie is not known yet. */
static gmv_status list_large(gmv_packer *packer, const int32_t *column, gmv_numbers value, const uint8_t *count8,
                             int64_t n, const int32_t *map)
{
    for (int64_t j = 0; j < n; j++) {
        const uint8_t *next = memchr(count8 + j, escape, (size_t)(n - j));
        if (next == NULL) {
            break;
        }
        j = next - count8;
        if (map == NULL || map[column[j]] >= 0) {
            GMV_TRY(gmv_packer_append_large(packer, 0, count_at(value, j)));
        }
    }
    return GMV_OK;
}

/* There are as many of them among the values that were kept. */
static void place_large(gmv_packer *packer, int64_t first, int64_t kept)
{
    gmv_nnz at = packer->nnz, end = at + kept;
    for (int64_t i = first; i < packer->overflows; i++) {
        const uint8_t *next = memchr(packer->count8 + at, escape, (size_t)(end - at));
        at = next - packer->count8;
        packer->overflow_at[i] = at++;
    }
}

bool gmv_packer_add_numbers(gmv_packer *packer, const gmv_fast_rows *narrow, gmv_numbers column, gmv_numbers value,
                            int64_t n, int64_t cols, const int32_t *map)
{
    if (!gmv_packer_make_room(packer, n)) {
        return false;
    }
    const int32_t *columns = column.at;
    uint16_t *gene16 = packer->wide ? NULL : packer->gene16 + packer->nnz;
    uint32_t *gene32 = packer->wide ? packer->gene32 + packer->nnz : NULL;
    uint8_t *count8 = packer->count8 + packer->nnz;
    int64_t first_large = packer->overflows, kept = n;
    if (n > 0 && (column.kind != GMV_NUMBER_INT || column.size != 4)) {
        int32_t *converted = (int32_t *)(void *)packer->row;
        narrow->columns(column, n, converted);
        columns = converted;
    }
    if (n > 0 && (columns[0] < 0 || columns[n - 1] >= cols ||
                  !(packer->wide ? narrow->ascends(columns, n) : narrow->genes(columns, n, gene16)))) {
        return false;
    }
    int counts = n > 0 ? narrow->counts(value, n, count8) : 0;
    if ((counts & GMV_COUNTS_BAD) != 0) {
        return false;
    }
    if ((counts & GMV_COUNTS_LARGE) != 0 && list_large(packer, columns, value, count8, n, map) != GMV_OK) {
        packer->overflows = first_large;
        return false;
    }
    if (map != NULL || (counts & GMV_COUNTS_ZERO) != 0) {
        kept = narrow->keep(columns, count8, n, map, gene16, gene32, count8);
    } else if (packer->wide && n > 0) {
        memcpy(gene32, columns, (size_t)n * sizeof *gene32);
    }
    place_large(packer, first_large, kept);
    packer->nnz += kept;
    packer->indptr[++packer->rows] = packer->nnz;
    return true;
}
