/* The order of an epoch's cells on this rank. The next epoch's is made in a thread while the epoch before is under way:
 * 0.1 microseconds a cell is nothing beside a CPU's step, but half of a fast GPU's. */
#include "gmvae/mem.h"
#include "gmvae/train.h"

#include <string.h>

/* Batch after batch, and within a batch piece after piece. */
static void fill(gmv_order *order)
{
    int64_t n = 0, piece = 0;
    for (int64_t t = 0; t < order->sampler->batches; t++) {
        for (int p = 0; p < order->pieces; p++) {
            order->next_start[piece++] = n;
            n += gmv_sampler_rows(order->sampler, order->next_epoch, t, order->shard[p], order->shard[p + 1],
                                  order->next_row + n);
        }
    }
    order->next_start[piece] = n;
}

static void *fill_in_thread(void *order)
{
    fill(order);
    return NULL;
}

gmv_status gmv_order_init(gmv_order *order, const gmv_sampler *sampler, const int *shard, int pieces)
{
    int64_t cells = sampler->start[sampler->end_shard - sampler->first_shard], starts = sampler->batches * pieces + 1;
    memset(order, 0, sizeof *order);
    order->sampler = sampler;
    order->pieces = pieces;
    order->epoch = order->next_epoch = -1;
    GMV_TRY(GMV_NEW(order->shard, pieces + 1, "pieces of a batch"));
    memcpy(order->shard, shard, ((size_t)pieces + 1) * sizeof *shard);
    GMV_TRY(GMV_NEW(order->row, cells, "the order of cells"));
    GMV_TRY(GMV_NEW(order->next_row, cells, "the order of cells"));
    GMV_TRY(GMV_NEW(order->start, starts, "starts of batches"));
    return GMV_NEW(order->next_start, starts, "starts of batches");
}

static void join(gmv_order *order)
{
    if (order->running) {
        pthread_join(order->thread, NULL);
        order->running = false;
    }
}

void gmv_order_fini(gmv_order *order)
{
    join(order);
    GMV_FREE(order->shard);
    GMV_FREE(order->row);
    GMV_FREE(order->next_row);
    GMV_FREE(order->start);
    GMV_FREE(order->next_start);
    memset(order, 0, sizeof *order);
}

void gmv_order_take(gmv_order *order, int64_t epoch)
{
    join(order);
    if (order->next_epoch != epoch) {
        order->next_epoch = epoch;
        fill(order);
    }
    int64_t *row = order->row, *start = order->start;
    order->row = order->next_row;
    order->start = order->next_start;
    order->epoch = epoch;
    order->next_row = row;
    order->next_start = start;
    order->next_epoch = epoch + 1;
    order->running = pthread_create(&order->thread, NULL, fill_in_thread, order) == 0;
    if (!order->running) {
        order->next_epoch = -1; /* made when it is needed */
    }
}
