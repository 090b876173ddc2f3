#include "pack.h"

#include "gmvae/data.h"
#include "gmvae/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { count_bits = 24, escape = 255, narrow_genes = 65536 };
static const double nearly = 0.001; /* what rounding leaves of counts that were normalised and brought back */

/* Room for values, not zeroed: it can be most of the memory there is. */
static gmv_status make_values(gmv_packer *packer, gmv_nnz capacity)
{
    if (packer->wide) {
        GMV_TRY(GMV_ROOM(packer->gene32, capacity, "genes of the counts"));
    } else {
        GMV_TRY(GMV_ROOM(packer->gene16, capacity, "genes of the counts"));
    }
    GMV_TRY(GMV_ROOM(packer->count8, capacity, "counts"));
    packer->capacity = capacity;
    return GMV_OK;
}

bool gmv_packer_is_wide(int32_t genes)
{
    return genes > narrow_genes;
}

gmv_status gmv_packer_init(gmv_packer *packer, int32_t genes, int64_t rows, int64_t nnz)
{
    memset(packer, 0, sizeof *packer);
    packer->genes = genes;
    packer->wide = gmv_packer_is_wide(genes);
    GMV_TRY(GMV_NEW(packer->indptr, rows + 1, "row starts"));
    packer->row_capacity = rows;
    return make_values(packer, nnz);
}

static void free_values(gmv_packer *packer)
{
    if (!packer->lent) {
        GMV_FREE(packer->gene16);
        GMV_FREE(packer->gene32);
        GMV_FREE(packer->count8);
    }
}

void gmv_packer_fini(gmv_packer *packer)
{
    GMV_FREE(packer->indptr);
    free_values(packer);
    GMV_FREE(packer->overflow_at);
    GMV_FREE(packer->overflow_count);
    GMV_FREE(packer->row);
}

static void copy_values(gmv_packer *to, gmv_nnz at, const gmv_packer *from)
{
    size_t n = (size_t)from->nnz;
    if (n == 0 || to->count8 + at == from->count8) { /* lent, and in its place */
        return;
    }
    if (to->wide) {
        memmove(to->gene32 + at, from->gene32, n * sizeof *to->gene32);
    } else {
        memmove(to->gene16 + at, from->gene16, n * sizeof *to->gene16);
    }
    memmove(to->count8 + at, from->count8, n);
}

static gmv_status resize(gmv_packer *packer, gmv_nnz capacity)
{
    gmv_packer old = *packer;
    packer->gene16 = NULL;
    packer->gene32 = NULL;
    packer->count8 = NULL;
    gmv_status status = make_values(packer, capacity);
    if (status == GMV_OK) {
        copy_values(packer, 0, &old);
    } else {
        free_values(packer);
        packer->gene16 = old.gene16;
        packer->gene32 = old.gene32;
        packer->count8 = old.count8;
        packer->capacity = old.capacity;
        return status;
    }
    free_values(&old);
    return GMV_OK;
}

gmv_status gmv_packer_append_large(gmv_packer *packer, gmv_nnz at, uint32_t count)
{
    if (packer->overflows == packer->overflow_capacity) {
        int64_t room = 2 * packer->overflow_capacity + 1024;
        GMV_TRY(GMV_GROW(packer->overflow_at, packer->overflows, room, "large counts"));
        GMV_TRY(GMV_GROW(packer->overflow_count, packer->overflows, room, "large counts"));
        packer->overflow_capacity = room;
    }
    packer->overflow_at[packer->overflows] = at;
    packer->overflow_count[packer->overflows++] = count;
    return GMV_OK;
}

gmv_status gmv_packer_reserve(gmv_packer *packer, int64_t nnz)
{
    return packer->nnz + nnz > packer->capacity ? resize(packer, packer->nnz + nnz) : GMV_OK;
}

static gmv_status append(gmv_packer *packer, uint32_t gene, uint32_t count)
{
    if (packer->nnz == packer->capacity) {
        GMV_TRY(resize(packer, packer->capacity + packer->capacity / 2 + 4096));
    }
    if (packer->wide) {
        packer->gene32[packer->nnz] = gene;
    } else {
        packer->gene16[packer->nnz] = (uint16_t)gene;
    }
    packer->count8[packer->nnz] = (uint8_t)(count < escape ? count : escape);
    if (count >= escape) {
        GMV_TRY(gmv_packer_append_large(packer, packer->nnz, count));
    }
    packer->nnz++;
    return GMV_OK;
}

/* "FILE: X, row 17 (cell 'AAAC-1')"; the name is read only now, when there is something to say. */
static void name_row(const gmv_row_source *source, int64_t row, char *text, size_t size)
{
    char *cell = NULL;
    const gmv_matrix *m = source->matrix;
    bool named = source->cell != NULL && gmv_row_names_read(source->cell, row, 1, &cell) == GMV_OK && cell != NULL;
    if (!named) {
        gmv_error_clear(); /* the message to come is the one about the value */
    }
    snprintf(text, size, "%s: %s, row %" PRId64 "%s%s%s", m->file->path, m->name, row, named ? " (cell '" : "",
             named ? gmv_shown(cell).at : "", named ? "')" : "");
    gmv_free(cell);
}

static gmv_shown_text gene_name(const gmv_row_source *source, int64_t column)
{
    return gmv_shown(source->gene[source->name != NULL ? source->name[column] : column]);
}

static gmv_status bad_value(const gmv_row_source *source, int64_t row, int64_t column, double value)
{
    char where[600];
    gmv_shown_text shown = gene_name(source, column);
    const char *gene = shown.at;
    name_row(source, row, where, sizeof where);
    if (isnan(value) || isinf(value)) {
        return GMV_FAIL(GMV_ERR_DATA,
                        "%s, gene '%s': %s instead of a count; remove it or give the raw counts in "
                        "data.matrix",
                        where, gene, isnan(value) ? "NaN" : "infinity");
    }
    if (value < 0) {
        return GMV_FAIL(GMV_ERR_DATA, "%s, gene '%s': negative count %.9g; give the raw counts in data.matrix", where,
                        gene, value);
    }
    if (value >= 16777216.0) {
        return GMV_FAIL(GMV_ERR_DATA, "%s, gene '%s': count %.9g is 2^24 or more, which floats cannot hold exactly",
                        where, gene, value);
    }
    if (fabs(value - nearbyint(value)) <= nearly) {
        return GMV_FAIL(
            GMV_ERR_DATA,
            "%s, gene '%s': %.9g is not a whole number, but nearly; give the raw counts in data.matrix, or set "
            "data.round: %g to take values that near to a whole number as it",
            where, gene, value, nearly);
    }
    return GMV_FAIL(GMV_ERR_DATA,
                    "%s, gene '%s': %.9g is not a whole number, so these are not raw counts; name the "
                    "matrix with raw counts in data.matrix",
                    where, gene, value);
}

static gmv_status bad_column(const gmv_row_source *source, int64_t row, int64_t column)
{
    char where[600];
    name_row(source, row, where, sizeof where);
    return GMV_FAIL(GMV_ERR_DATA, "%s: gene index %" PRId64 " is outside 0 .. %" PRId64 "; the file is damaged", where,
                    column, source->matrix->cols - 1);
}

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Sorts keys by gene if they are not sorted yet. */
static void sort_row(uint64_t *key, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        if (key[i] < key[i - 1]) {
            qsort(key, (size_t)n, sizeof *key, compare_keys);
            return;
        }
    }
}

static gmv_status reserve_row(gmv_packer *packer, int64_t n)
{
    if (n > packer->row_room) {
        GMV_FREE(packer->row);
        packer->row_room = 0;
        GMV_TRY(GMV_NEW(packer->row, n, "a row"));
        packer->row_room = n;
    }
    return GMV_OK;
}

/* Checks the values of one row and gathers them in packer->row, explicit zeros included. */
static gmv_status gather_row(gmv_packer *packer, const gmv_row_source *source, const gmv_block *block, int64_t i)
{
    int64_t from = block->start[i], n = block->start[i + 1] - from;
    GMV_TRY(reserve_row(packer, n));
    for (int64_t j = 0; j < n; j++) {
        int64_t column = block->column[from + j];
        double stored = block->value[from + j], value = gmv_whole(stored, source->matrix->round);
        if (column < 0 || column >= source->matrix->cols) {
            return bad_column(source, block->first + i, column);
        }
        if (!gmv_is_count(value)) {
            return bad_value(source, block->first + i, column, value);
        }
        packer->rounded += value != stored;
        packer->row[j] = (uint64_t)column << count_bits | (uint64_t)value;
    }
    sort_row(packer->row, n);
    for (int64_t j = 1; j < n; j++) {
        if (packer->row[j] >> count_bits == packer->row[j - 1] >> count_bits) {
            char where[600];
            name_row(source, block->first + i, where, sizeof where);
            return GMV_FAIL(GMV_ERR_DATA, "%s: gene '%s' is repeated; run X.sum_duplicates() and write the file again",
                            where, gene_name(source, (int64_t)(packer->row[j] >> count_bits)).at);
        }
    }
    return GMV_OK;
}

gmv_status gmv_packer_add(gmv_packer *packer, const gmv_row_source *source, const gmv_block *block)
{
    const uint64_t mask = (1u << count_bits) - 1;
    packer->rounded += block->rounded;
    for (int64_t i = 0; i < block->rows; i++) {
        GMV_TRY(gather_row(packer, source, block, i));
        int64_t n = 0, stored = block->start[i + 1] - block->start[i];
        for (int64_t j = 0; j < stored; j++) {
            uint64_t column = packer->row[j] >> count_bits, count = packer->row[j] & mask;
            int32_t gene = source->map == NULL ? (int32_t)column : source->map[column];
            if (count > 0 && gene >= 0) {
                packer->row[n++] = (uint64_t)gene << count_bits | count;
            }
        }
        if (source->map != NULL) {
            sort_row(packer->row, n);
        }
        for (int64_t j = 0; j < n; j++) {
            GMV_TRY(append(packer, (uint32_t)(packer->row[j] >> count_bits), (uint32_t)(packer->row[j] & mask)));
        }
        GMV_CHECK(packer->rows < packer->row_capacity);
        packer->indptr[++packer->rows] = packer->nnz;
    }
    return GMV_OK;
}

static gmv_status reserve(gmv_packer *packer, int64_t more)
{
    if (packer->nnz + more <= packer->capacity) {
        return GMV_OK;
    }
    GMV_CHECK(!packer->lent);
    return resize(packer, packer->nnz + more + packer->capacity / 2 + 4096);
}

bool gmv_packer_make_room(gmv_packer *packer, int64_t n)
{
    bool fits = packer->nnz + n <= packer->capacity;
    return packer->rows < packer->row_capacity && (fits || !packer->lent) && reserve(packer, n) == GMV_OK &&
           reserve_row(packer, n) == GMV_OK;
}

/* The row as keys in the order of the genes in use; -1 when it is not as it should be. */
static int64_t order_row(gmv_packer *packer, const int32_t *column, const uint32_t *count, int64_t n, int64_t cols,
                         const int32_t *map)
{
    int64_t kept = 0;
    for (int64_t j = 0; j < n; j++) {
        if (column[j] < 0 || column[j] >= cols || count[j] >> count_bits != 0) {
            return -1;
        }
        packer->row[j] = (uint64_t)column[j] << count_bits | count[j];
    }
    sort_row(packer->row, n);
    for (int64_t j = 0; j < n; j++) {
        int64_t gene = (int64_t)(packer->row[j] >> count_bits);
        if (j + 1 < n && (int64_t)(packer->row[j + 1] >> count_bits) == gene) {
            return -1;
        }
        uint64_t only = packer->row[j] & ((1u << count_bits) - 1);
        int64_t to = map == NULL ? gene : map[gene];
        if (only > 0 && to >= 0) {
            packer->row[kept++] = (uint64_t)to << count_bits | only;
        }
    }
    if (map != NULL) {
        sort_row(packer->row, kept);
    }
    return kept;
}

bool gmv_packer_add_row(gmv_packer *packer, const int32_t *column, const uint32_t *count, int64_t n, int64_t cols,
                        const int32_t *map)
{
    if (!gmv_packer_make_room(packer, n)) {
        return false;
    }
    int64_t kept = order_row(packer, column, count, n, cols, map);
    gmv_nnz nnz = packer->nnz, overflows = packer->overflows;
    const uint64_t mask = (1u << count_bits) - 1;
    for (int64_t j = 0; j < kept; j++) {
        if (append(packer, (uint32_t)(packer->row[j] >> count_bits), (uint32_t)(packer->row[j] & mask)) != GMV_OK) {
            kept = -1;
        }
    }
    if (kept < 0) {
        packer->nnz = nnz;
        packer->overflows = overflows;
        return false;
    }
    packer->indptr[++packer->rows] = packer->nnz;
    return true;
}

gmv_status gmv_packer_append(gmv_packer *packer, const gmv_packer *from)
{
    GMV_CHECK(packer->wide == from->wide && packer->rows + from->rows <= packer->row_capacity);
    GMV_TRY(reserve(packer, from->nnz));
    copy_values(packer, packer->nnz, from);
    for (int64_t i = 0; i < from->overflows; i++) {
        GMV_TRY(gmv_packer_append_large(packer, packer->nnz + from->overflow_at[i], from->overflow_count[i]));
    }
    for (int64_t i = 1; i <= from->rows; i++) {
        packer->indptr[packer->rows + i] = packer->nnz + from->indptr[i];
    }
    packer->rows += from->rows;
    packer->nnz += from->nnz;
    packer->rounded += from->rounded;
    return GMV_OK;
}

void gmv_packer_lend(const gmv_packer *from, gmv_nnz at, gmv_nnz n, gmv_packer *to)
{
    to->lent = true;
    to->wide = from->wide;
    to->gene16 = from->wide ? NULL : from->gene16 + at;
    to->gene32 = from->wide ? from->gene32 + at : NULL;
    to->count8 = from->count8 + at;
    to->capacity = n;
}

void gmv_packer_reset(gmv_packer *packer)
{
    packer->rows = 0;
    packer->nnz = 0;
    packer->overflows = 0;
    packer->rounded = 0;
}

gmv_packed gmv_packer_view(const gmv_packer *packer)
{
    return (gmv_packed){.rows = packer->rows,
                        .genes = packer->genes,
                        .indptr = packer->indptr,
                        .gene16 = packer->gene16,
                        .gene32 = packer->gene32,
                        .count8 = packer->count8,
                        .overflows = packer->overflows,
                        .overflow_at = packer->overflow_at,
                        .overflow_count = packer->overflow_count};
}

gmv_status gmv_packer_finish(gmv_packer *packer, gmv_packed *packed)
{
    if (packer->capacity - packer->nnz > packer->nnz / 8 + 4096) {
        GMV_TRY(resize(packer, packer->nnz));
    }
    *packed = gmv_packer_view(packer);
    GMV_FREE(packer->row);
    memset(packer, 0, sizeof *packer);
    return GMV_OK;
}

/* The table lends its arrays read-only; their owner frees them here. */
static void free_const(const void *block)
{
    gmv_free((void *)(uintptr_t)block);
}

void gmv_packed_fini(gmv_packed *packed)
{
    free_const(packed->indptr);
    free_const(packed->gene16);
    free_const(packed->gene32);
    free_const(packed->count8);
    free_const(packed->overflow_at);
    free_const(packed->overflow_count);
    free_const(packed->level);
    free_const(packed->cell);
    free_const(packed->set);
    free_const(packed->present);
    memset(packed, 0, sizeof *packed);
}

gmv_status gmv_packed_keep_genes(gmv_packed *packed, const int32_t *map, int32_t genes)
{
    gmv_packer packer;
    gmv_status status = GMV_OK;
    gmv_nnz kept = 0, nnz = packed->indptr[packed->rows];
    for (gmv_nnz at = 0; at < nnz; at++) {
        kept += map[packed->gene16 != NULL ? packed->gene16[at] : packed->gene32[at]] >= 0;
    }
    GMV_GO(gmv_packer_init(&packer, genes, packed->rows, kept));
    int64_t overflow = 0;
    for (int64_t i = 0; i < packed->rows; i++) {
        for (gmv_nnz at = packed->indptr[i]; at < packed->indptr[i + 1]; at++) {
            uint32_t count = packed->count8[at];
            if (count == escape) {
                count = packed->overflow_count[overflow++];
            }
            int32_t gene = map[packed->gene16 != NULL ? packed->gene16[at] : packed->gene32[at]];
            if (gene >= 0) {
                GMV_GO(append(&packer, (uint32_t)gene, count));
            }
        }
        packer.indptr[++packer.rows] = packer.nnz;
    }
    gmv_packed_fini(packed);
    GMV_GO(gmv_packer_finish(&packer, packed));
done:
    gmv_packer_fini(&packer);
    return status;
}
