#include "gmvae/feed.h"
#include "gmvae/mem.h"

#include "visit.h"

#include <stdlib.h>
#include <string.h>

static int descending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* Non-zeros of the `most` fullest local rows together: no batch can have more. */
static gmv_status fullest_rows(const gmv_packed *packed, int most, int64_t *nonzeros)
{
    int64_t *size;
    GMV_TRY(GMV_NEW(size, packed->rows, "row sizes"));
    for (int64_t i = 0; i < packed->rows; i++) {
        size[i] = packed->indptr[i + 1] - packed->indptr[i];
    }
    if (packed->rows > 0) { /* a rank may have none */
        qsort(size, (size_t)packed->rows, sizeof *size, descending);
    }
    *nonzeros = 0;
    for (int64_t i = 0; i < packed->rows && i < most; i++) {
        *nonzeros += size[i];
    }
    gmv_free(size);
    return GMV_OK;
}

static gmv_status largest_batch(const gmv_cells *cells, int most, int64_t *nonzeros)
{
    if (cells->stream != NULL) {
        *nonzeros = gmv_stream_fullest(cells->stream, cells->genes, most);
    } else {
        GMV_TRY(fullest_rows(&cells->packed, most, nonzeros));
    }
    if (*nonzeros > INT32_MAX) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "a batch of %d cells on one rank can have %lld non-zeros, more than 2^31; lower "
                        "train.batch_size or use more ranks",
                        most, (long long)*nonzeros);
    }
    return GMV_OK;
}

/* Arrays of a packed matrix. */
typedef struct packed_array {
    const void **at;
    int64_t bytes;
} packed_array;

enum { packed_arrays = 10 };
static const int64_t other_bytes = (int64_t)1 << 29; /* what `auto` leaves for activations and scratch memory */

static void list_arrays(gmv_packed *packed, int64_t nnz, packed_array *array)
{
    array[0] = (packed_array){(const void **)&packed->indptr, (packed->rows + 1) * 8};
    array[1] = (packed_array){(const void **)&packed->gene16, nnz * 2};
    array[2] = (packed_array){(const void **)&packed->gene32, nnz * 4};
    array[3] = (packed_array){(const void **)&packed->count8, nnz};
    array[4] = (packed_array){(const void **)&packed->overflow_at, packed->overflows * 8};
    array[5] = (packed_array){(const void **)&packed->overflow_count, packed->overflows * 4};
    array[6] = (packed_array){(const void **)&packed->level, packed->rows * packed->covariates * 4};
    array[7] = (packed_array){(const void **)&packed->cell, packed->rows * 8};
    array[8] = (packed_array){(const void **)&packed->set, packed->rows * 4};
    array[9] = (packed_array){(const void **)&packed->present, (int64_t)packed->sets * packed->genes};
}

static gmv_status choose_place(gmv_backend *b, const packed_array *array, int residence, bool *on_device)
{
    int64_t bytes = 0, left;
    for (int i = 0; i < packed_arrays; i++) {
        bytes += *array[i].at != NULL ? array[i].bytes : 0;
    }
    GMV_TRY(b->op->memory_left(b, &left));
    *on_device = residence == GMV_RESIDENCE_AUTO ? bytes <= left - other_bytes : residence == GMV_RESIDENCE_DEVICE;
    return GMV_OK;
}

/* @param[in] nnz  room of the values */
static gmv_status make_resident(gmv_resident *resident, gmv_backend *b, const gmv_packed *host, int64_t nnz,
                                int residence)
{
    packed_array array[packed_arrays];
    resident->packed = *host;
    resident->host = host;
    if (b->host_memory) {
        return GMV_OK;
    }
    list_arrays(&resident->packed, nnz, array);
    GMV_TRY(choose_place(b, array, residence, &resident->on_device));
    for (int i = 0; i < packed_arrays; i++) {
        const void *from = *array[i].at;
        void *block = NULL;
        *array[i].at = NULL;
        if (from == NULL || array[i].bytes == 0) {
            continue;
        }
        if (!resident->on_device) {
            GMV_TRY(b->op->map_host(b, from, array[i].bytes, array[i].at));
            continue;
        }
        GMV_TRY(b->op->allocate(b, &block, array[i].bytes, "the packed matrix"));
        *array[i].at = block;
        GMV_TRY(b->op->upload(b, block, from, array[i].bytes));
    }
    return GMV_OK;
}

static void end_residence(gmv_resident *resident, gmv_backend *b)
{
    if (resident->host == NULL || b->host_memory) {
        return;
    }
    packed_array seen[packed_arrays], host[packed_arrays];
    gmv_packed own = *resident->host;
    list_arrays(&resident->packed, 0, seen);
    list_arrays(&own, 0, host);
    for (int i = packed_arrays - 1; i >= 0; i--) {
        if (resident->on_device) {
            b->op->release(b, (void *)(uintptr_t)*seen[i].at);
        } else if (*seen[i].at != NULL) {
            b->op->unmap_host(b, *host[i].at);
        }
    }
}

/* Lays the batch's arrays out at `base`; returns the bytes they take. */
static int64_t arrange_batch(gmv_batch *batch, char *base, int64_t cells, int64_t genes, int64_t covariates,
                             int64_t nonzeros, int64_t with_set)
{
    int64_t used = 0;
#define TAKE(field, count)                                                                                             \
    do {                                                                                                               \
        batch->field = base == NULL ? NULL : (void *)(base + used);                                                    \
        used += ((count) * (int64_t)sizeof *batch->field + 63) / 64 * 64;                                              \
    } while (0)
    TAKE(indptr, cells + 1);
    TAKE(gene, nonzeros);
    TAKE(x, nonzeros);
    TAKE(colptr, genes + 1);
    TAKE(cell, nonzeros);
    TAKE(col_x, nonzeros);
    TAKE(col_count, nonzeros);
    TAKE(library, cells);
    TAKE(level, cells * covariates);
    TAKE(cell_id, cells);
    TAKE(set, with_set);
#undef TAKE
    return used;
}

static gmv_status reserve_batch(gmv_feed *feed, gmv_batch *batch, void **block, const gmv_cells *cells,
                                int64_t nonzeros)
{
    gmv_backend *b = feed->backend;
    int64_t with_set = cells->packed.sets > 0 ? feed->max_cells : 0;
    int64_t bytes = arrange_batch(batch, NULL, feed->max_cells, cells->genes, cells->covariates, nonzeros, with_set);
    GMV_TRY(b->op->allocate(b, block, bytes, "a batch"));
    arrange_batch(batch, *block, feed->max_cells, cells->genes, cells->covariates, nonzeros, with_set);
    batch->genes = cells->genes;
    batch->covariates = cells->covariates;
    return GMV_OK;
}

/* A device reads streamed cells where they are: each comes over the bus once. */
static gmv_status share_slots(gmv_resident *resident, gmv_backend *b, const gmv_slots *slots)
{
    return make_resident(resident, b, &slots->view, 2 * slots->values, GMV_RESIDENCE_HOST);
}

gmv_status gmv_feed_open(gmv_feed *feed, gmv_backend *backend, const gmv_cells *cells, int max_cells, int residence,
                         const gmv_slots *windows)
{
    memset(feed, 0, sizeof *feed);
    feed->backend = backend;
    feed->cells = cells;
    feed->max_cells = max_cells;
    feed->ahead_row = -1;
    int64_t nonzeros;
    GMV_TRY(largest_batch(cells, max_cells, &nonzeros));
    if (cells->stream == NULL) {
        GMV_TRY(
            make_resident(&feed->matrix, backend, &cells->packed, cells->packed.indptr[cells->packed.rows], residence));
    } else {
        GMV_TRY(windows != NULL ? share_slots(&feed->matrix, backend, windows) : GMV_OK);
        GMV_TRY(gmv_visit_reserve(&feed->slots, cells));
        GMV_TRY(share_slots(&feed->spans, backend, &feed->slots));
    }
    GMV_TRY(reserve_batch(feed, &feed->batch, &feed->block[0], cells, nonzeros));
    if (!backend->host_memory) {
        GMV_TRY(reserve_batch(feed, &feed->ahead, &feed->block[1], cells, nonzeros));
    }
    GMV_TRY(
        backend->op->allocate(backend, (void **)&feed->rows, max_cells * (int64_t)sizeof(int64_t), "rows of a batch"));
    return backend->op->allocate(backend, (void **)&feed->zero, sizeof *feed->zero, "a zero");
}

void gmv_feed_close(gmv_feed *feed)
{
    if (feed->backend == NULL) {
        return;
    }
    gmv_backend *b = feed->backend;
    end_residence(&feed->spans, b);
    end_residence(&feed->matrix, b);
    gmv_slots_fini(&feed->slots);
    b->op->release(b, feed->block[0]);
    b->op->release(b, feed->block[1]);
    b->op->release(b, feed->rows);
    b->op->release(b, feed->zero);
    b->op->release(b, feed->order);
    memset(feed, 0, sizeof *feed);
}

gmv_status gmv_feed_fetch(gmv_feed *feed, const int64_t *rows, int n, gmv_input input)
{
    GMV_CHECK(n <= feed->max_cells);
    gmv_backend *b = feed->backend;
    const gmv_resident *from = feed->cells->stream != NULL ? &feed->spans : &feed->matrix;
    GMV_TRY(b->op->upload(b, feed->rows, rows, n * (int64_t)sizeof *rows));
    return b->op->batch_fetch(b, &from->packed, feed->rows, feed->zero, NULL, n, input, &feed->batch);
}

gmv_status gmv_feed_set_order(gmv_feed *feed, const int64_t *rows, int64_t n, int64_t room)
{
    gmv_backend *b = feed->backend;
    if (feed->order == NULL) {
        GMV_TRY(b->op->allocate(b, (void **)&feed->order, room * (int64_t)sizeof *rows, "the order of cells"));
        feed->ordered = room;
    }
    GMV_CHECK(n <= feed->ordered);
    feed->ahead_row = -1;
    return b->op->upload(b, feed->order, rows, n * (int64_t)sizeof *rows);
}

gmv_status gmv_feed_next(gmv_feed *feed, const int64_t *first, const int32_t *filled, int rows, gmv_input input)
{
    GMV_CHECK(rows <= feed->max_cells);
    gmv_backend *b = feed->backend;
    return b->op->batch_fetch(b, &feed->matrix.packed, feed->order, first, filled, rows, input, &feed->batch);
}

bool gmv_feed_turn(gmv_feed *feed, int64_t row, int rows)
{
    bool there = feed->ahead_row >= 0 && feed->ahead_row == row;
    if (there) {
        gmv_batch was = feed->batch;
        feed->batch = feed->ahead;
        feed->ahead = was;
        feed->turn = 1 - feed->turn;
        feed->ahead_row = -1;
        feed->batch.cells = rows; /* a sequence that ran again fetched them without a call here */
    }
    return there;
}

gmv_status gmv_feed_ahead(gmv_feed *feed, const int64_t *first, const int32_t *filled, int rows, gmv_input input)
{
    gmv_backend *b = feed->backend;
    GMV_CHECK(rows <= feed->max_cells && !b->host_memory);
    GMV_TRY(b->op->aside_begin(b));
    GMV_TRY(b->op->batch_fetch(b, &feed->matrix.packed, feed->order, first, filled, rows, input, &feed->ahead));
    return b->op->aside_end(b);
}
