#include "gmvae/mem.h"
#include "gmvae/train.h"

#include <stdlib.h>
#include <string.h>

static int descending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* Non-zeros of the `most` fullest local rows together: no batch can have more. */
static gmv_status largest_batch(const gmv_packed *packed, int most, int64_t *nonzeros)
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
    if (*nonzeros > INT32_MAX) {
        return GMV_FAIL(GMV_ERR_CONFIG, "a batch of %d cells on one rank can have %lld non-zeros, more than 2^31; lower "
                                        "train.batch_size or use more ranks", most, (long long)*nonzeros);
    }
    return GMV_OK;
}

static gmv_status copy_to_backend(gmv_backend *b, const void *host, int64_t bytes, const void **out)
{
    void *block = NULL;
    if (host != NULL && bytes > 0) {
        GMV_TRY(b->op->allocate(b, &block, bytes, "the packed matrix"));
        GMV_TRY(b->op->upload(b, block, host, bytes));
    }
    *out = block;
    return GMV_OK;
}

static gmv_status make_resident(gmv_feed *feed, const gmv_packed *packed)
{
    feed->resident = *packed;
    if (feed->backend->host_memory) {
        return GMV_OK;
    }
    feed->owns_resident = true;
    gmv_backend *b = feed->backend;
    int64_t nnz = packed->indptr[packed->rows];
    gmv_packed *r = &feed->resident;
    GMV_TRY(copy_to_backend(b, packed->indptr, (packed->rows + 1) * 8, (const void **)&r->indptr));
    GMV_TRY(copy_to_backend(b, packed->gene16, nnz * 2, (const void **)&r->gene16));
    GMV_TRY(copy_to_backend(b, packed->gene32, nnz * 4, (const void **)&r->gene32));
    GMV_TRY(copy_to_backend(b, packed->count8, nnz, (const void **)&r->count8));
    GMV_TRY(copy_to_backend(b, packed->overflow_at, packed->overflows * 8, (const void **)&r->overflow_at));
    GMV_TRY(copy_to_backend(b, packed->overflow_count, packed->overflows * 4, (const void **)&r->overflow_count));
    return copy_to_backend(b, packed->level, packed->rows * packed->covariates * 4, (const void **)&r->level);
}

/* Lays the batch's arrays out at `base`; returns the bytes they take. */
static int64_t arrange_batch(gmv_batch *batch, char *base, int64_t cells, int64_t genes, int64_t covariates,
                             int64_t nonzeros)
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
#undef TAKE
    return used;
}

gmv_status gmv_feed_open(gmv_feed *feed, gmv_backend *backend, const gmv_cells *cells, int max_cells)
{
    memset(feed, 0, sizeof *feed);
    feed->backend = backend;
    feed->max_cells = max_cells;
    int64_t nonzeros;
    GMV_TRY(largest_batch(&cells->packed, max_cells, &nonzeros));
    GMV_TRY(make_resident(feed, &cells->packed));
    int64_t bytes = arrange_batch(&feed->batch, NULL, max_cells, cells->genes, cells->covariates, nonzeros);
    GMV_TRY(backend->op->allocate(backend, &feed->block, bytes, "a batch"));
    arrange_batch(&feed->batch, feed->block, max_cells, cells->genes, cells->covariates, nonzeros);
    feed->batch.genes = cells->genes;
    feed->batch.covariates = cells->covariates;
    GMV_TRY(backend->op->allocate(backend, (void **)&feed->rows, max_cells * (int64_t)sizeof(int64_t), "rows of a batch"));
    return backend->op->allocate(backend, (void **)&feed->zero, sizeof *feed->zero, "a zero");
}

void gmv_feed_close(gmv_feed *feed)
{
    if (feed->backend == NULL) {
        return;
    }
    gmv_backend *b = feed->backend;
    if (feed->owns_resident) {
        const void *blocks[] = {feed->resident.indptr,      feed->resident.gene16,         feed->resident.gene32,
                                feed->resident.count8,      feed->resident.overflow_at,    feed->resident.overflow_count,
                                feed->resident.level};
        for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
            b->op->release(b, (void *)(uintptr_t)blocks[i]);
        }
    }
    b->op->release(b, feed->block);
    b->op->release(b, feed->rows);
    b->op->release(b, feed->zero);
    b->op->release(b, feed->order);
    memset(feed, 0, sizeof *feed);
}

gmv_status gmv_feed_fetch(gmv_feed *feed, const int64_t *rows, int n, gmv_input input)
{
    GMV_CHECK(n <= feed->max_cells);
    gmv_backend *b = feed->backend;
    GMV_TRY(b->op->upload(b, feed->rows, rows, n * (int64_t)sizeof *rows));
    return b->op->batch_fetch(b, &feed->resident, feed->rows, feed->zero, n, input, &feed->batch);
}

gmv_status gmv_feed_set_order(gmv_feed *feed, const int64_t *rows, int64_t n)
{
    gmv_backend *b = feed->backend;
    if (feed->order == NULL) {
        GMV_TRY(b->op->allocate(b, (void **)&feed->order, n * (int64_t)sizeof *rows, "the order of cells"));
        feed->ordered = n;
    }
    GMV_CHECK(n == feed->ordered);
    return b->op->upload(b, feed->order, rows, n * (int64_t)sizeof *rows);
}

gmv_status gmv_feed_next(gmv_feed *feed, const int64_t *first, int n, gmv_input input)
{
    GMV_CHECK(n <= feed->max_cells);
    gmv_backend *b = feed->backend;
    return b->op->batch_fetch(b, &feed->resident, feed->order, first, n, input, &feed->batch);
}
