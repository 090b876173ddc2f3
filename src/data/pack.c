#include "pack.h"

#include "gmvae/data.h"
#include "gmvae/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { count_bits = 24, escape = 255, narrow_genes = 65536 };

gmv_status gmv_packer_init(gmv_packer *packer, int32_t genes, int64_t rows, int64_t nnz)
{
    memset(packer, 0, sizeof *packer);
    packer->genes = genes;
    packer->wide = genes > narrow_genes;
    GMV_TRY(GMV_NEW(packer->indptr, rows + 1, "row starts"));
    packer->row_capacity = rows;
    if (packer->wide) {
        GMV_TRY(GMV_NEW(packer->gene32, nnz, "genes of the counts"));
    } else {
        GMV_TRY(GMV_NEW(packer->gene16, nnz, "genes of the counts"));
    }
    GMV_TRY(GMV_NEW(packer->count8, nnz, "counts"));
    packer->capacity = nnz;
    return GMV_OK;
}

void gmv_packer_fini(gmv_packer *packer)
{
    GMV_FREE(packer->indptr);
    GMV_FREE(packer->gene16);
    GMV_FREE(packer->gene32);
    GMV_FREE(packer->count8);
    GMV_FREE(packer->overflow_at);
    GMV_FREE(packer->overflow_count);
    GMV_FREE(packer->row);
}

static gmv_status resize(gmv_packer *packer, gmv_nnz capacity)
{
    if (packer->wide) {
        GMV_TRY(GMV_GROW(packer->gene32, packer->nnz, capacity, "genes of the counts"));
    } else {
        GMV_TRY(GMV_GROW(packer->gene16, packer->nnz, capacity, "genes of the counts"));
    }
    GMV_TRY(GMV_GROW(packer->count8, packer->nnz, capacity, "counts"));
    packer->capacity = capacity;
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
        if (packer->overflows == packer->overflow_capacity) {
            int64_t room = 2 * packer->overflow_capacity + 1024;
            GMV_TRY(GMV_GROW(packer->overflow_at, packer->overflows, room, "large counts"));
            GMV_TRY(GMV_GROW(packer->overflow_count, packer->overflows, room, "large counts"));
            packer->overflow_capacity = room;
        }
        packer->overflow_at[packer->overflows] = packer->nnz;
        packer->overflow_count[packer->overflows++] = count;
    }
    packer->nnz++;
    return GMV_OK;
}

/* "FILE: X, row 17 (cell 'AAAC-1')"; the name is read only now, when there is something to say. */
static void name_row(const gmv_row_source *source, int64_t row, char *text, size_t size)
{
    char *cell = NULL;
    const gmv_matrix *m = source->matrix;
    bool named = source->index > 0 && gmv_h5_read_texts(m->file, source->index, NULL, row, 1, &cell) == GMV_OK;
    if (!named) {
        gmv_error_clear(); /* the message to come is the one about the value */
    }
    snprintf(text, size, "%s: %s, row %" PRId64 "%s%s%s", m->file->path, m->name, row, named ? " (cell '" : "",
             named ? gmv_shown(cell).at : "", named ? "')" : "");
    gmv_free(cell);
}

static gmv_status bad_value(const gmv_row_source *source, int64_t row, int64_t column, double value)
{
    char where[600];
    gmv_shown_text shown = gmv_shown(source->gene[column]);
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

/* Checks the values of one row and gathers them in packer->row, explicit zeros included. */
static gmv_status gather_row(gmv_packer *packer, const gmv_row_source *source, const gmv_block *block, int64_t i)
{
    int64_t from = block->start[i], n = block->start[i + 1] - from;
    if (n > packer->row_room) {
        GMV_FREE(packer->row);
        packer->row_room = 0;
        GMV_TRY(GMV_NEW(packer->row, n, "a row"));
        packer->row_room = n;
    }
    for (int64_t j = 0; j < n; j++) {
        int64_t column = block->column[from + j];
        double value = block->value[from + j];
        if (column < 0 || column >= source->matrix->cols) {
            return bad_column(source, block->first + i, column);
        }
        if (!gmv_is_count(value)) {
            return bad_value(source, block->first + i, column, value);
        }
        packer->row[j] = (uint64_t)column << count_bits | (uint64_t)value;
    }
    sort_row(packer->row, n);
    for (int64_t j = 1; j < n; j++) {
        if (packer->row[j] >> count_bits == packer->row[j - 1] >> count_bits) {
            char where[600];
            name_row(source, block->first + i, where, sizeof where);
            return GMV_FAIL(GMV_ERR_DATA, "%s: gene '%s' is repeated; run X.sum_duplicates() and write the file again",
                            where, gmv_shown(source->gene[packer->row[j] >> count_bits]).at);
        }
    }
    return GMV_OK;
}

gmv_status gmv_packer_add(gmv_packer *packer, const gmv_row_source *source, const gmv_block *block)
{
    const uint64_t mask = (1u << count_bits) - 1;
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

gmv_status gmv_packer_finish(gmv_packer *packer, gmv_packed *packed)
{
    if (packer->capacity - packer->nnz > packer->nnz / 8 + 4096) {
        GMV_TRY(resize(packer, packer->nnz));
    }
    memset(packed, 0, sizeof *packed);
    packed->rows = packer->rows;
    packed->genes = packer->genes;
    packed->indptr = packer->indptr;
    packed->gene16 = packer->gene16;
    packed->gene32 = packer->gene32;
    packed->count8 = packer->count8;
    packed->overflows = packer->overflows;
    packed->overflow_at = packer->overflow_at;
    packed->overflow_count = packer->overflow_count;
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
