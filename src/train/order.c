/* The order of the cells on this rank, batch after batch: of an epoch of cells in memory, of a window of cells that are
 * streamed. What comes next is made in a thread while the batches before it are under way: the order alone is 0.1
 * microseconds a cell, nothing beside a CPU's step, but half of a fast GPU's; and windows are read from disk. */
#include "gmvae/mem.h"
#include "gmvae/sampler.h"

#include <string.h>

/* What the thread makes. */
struct gmv_order_next {
    gmv_windows windows; /* of `epoch`; of streamed cells */
    gmv_span *span;      /* [spans] */
    int64_t *scratch;
    int64_t turn;          /* windows read: slot turn % 2 is the next */
    int64_t epoch, window; /* -1: nothing was made */
    int64_t first, end;
    int64_t *row, *start;
    gmv_gidx failed; /* row that could not be read, -1: none */
    int threads;
};

static bool wants(const void *sampler, gmv_gidx row)
{
    return gmv_sampler_wants(sampler, row);
}

static void list_batches(gmv_order *order)
{
    struct gmv_order_next *next = order->next;
    const gmv_sampler *sampler = order->sampler;
    int64_t in_slot = order->slots.rows + 1, n = 0, piece = 0;
    int64_t base[2] = {(next->turn + 1) % 2 * in_slot, next->turn % 2 * in_slot};
    for (int64_t t = next->first; t < next->end; t++) {
        for (int p = 0; p < order->pieces; p++) {
            next->start[piece++] = n;
            n += sampler->cells->stream == NULL
                     ? gmv_sampler_rows(sampler, next->epoch, t, order->shard[p], order->shard[p + 1], next->row + n)
                     : gmv_windows_rows(sampler, &next->windows, next->window, t, order->shard[p], order->shard[p + 1],
                                        base, next->row + n);
        }
    }
    next->start[piece] = n;
}

static void read_window(gmv_order *order, int64_t window)
{
    struct gmv_order_next *next = order->next;
    const gmv_sampler *sampler = order->sampler;
    int64_t spans = gmv_windows_spans(sampler, sampler->cells, next->epoch, window, next->scratch, next->span);
    gmv_gidx failed = gmv_stream_read(sampler->cells, next->span, spans, (gmv_row_filter){wants, sampler},
                                      next->threads, &order->slots, (int)(next->turn % 2));
    next->failed = next->failed < 0 ? failed : next->failed;
}

/* Makes next->epoch and next->window. */
static void fill(gmv_order *order)
{
    struct gmv_order_next *next = order->next;
    next->first = 0;
    next->end = order->sampler->batches;
    if (order->sampler->cells->stream != NULL) {
        gmv_windows_plan(&next->windows, order->sampler, next->epoch);
        next->first = gmv_windows_first_batch(&next->windows, order->sampler, next->window);
        next->end = gmv_windows_first_batch(&next->windows, order->sampler, next->window + 1);
        read_window(order, next->window);
    }
    list_batches(order);
    next->turn++;
}

static void *fill_in_thread(void *order)
{
    fill(order);
    return NULL;
}

static gmv_status reserve_slots(gmv_order *order, int64_t *rows, int64_t *batches)
{
    const gmv_sampler *sampler = order->sampler;
    gmv_window_room room;
    int64_t most = 0;
    GMV_TRY(gmv_windows_room(sampler, sampler->cells, &room));
    GMV_TRY(gmv_slots_init(&order->slots, sampler->cells, room.rows, room.values, room.large));
    GMV_TRY(GMV_NEW(order->next->span, room.spans, "a window of cells"));
    GMV_TRY(GMV_NEW(order->next->scratch, room.most_spans, "a window of cells"));
    GMV_TRY(gmv_windows_init(&order->next->windows, sampler));
    *rows = room.rows + gmv_sampler_most(sampler, sampler->first_shard, sampler->end_shard);
    for (int s = 0; s < sampler->shards; s++) {
        most += gmv_windows_most_blocks(sampler, s);
    }
    *batches = most * sampler->block_rows / sampler->batch_size + 2;
    return GMV_OK;
}

gmv_status gmv_order_init(gmv_order *order, const gmv_sampler *sampler, const int *shard, int pieces, int threads)
{
    memset(order, 0, sizeof *order);
    order->sampler = sampler;
    order->pieces = pieces;
    order->epoch = -1;
    GMV_TRY(GMV_NEW(order->next, 1, "the order of cells"));
    struct gmv_order_next *next = order->next;
    *next = (struct gmv_order_next){.epoch = -1, .failed = -1, .windows = {.epoch = -1}};
    next->threads = threads;
    GMV_TRY(GMV_NEW(order->shard, pieces + 1, "pieces of a batch"));
    memcpy(order->shard, shard, ((size_t)pieces + 1) * sizeof *shard);
    int64_t batches = sampler->batches;
    if (sampler->cells->stream != NULL) {
        GMV_TRY(reserve_slots(order, &order->room, &batches));
    } else {
        order->room = sampler->start[sampler->end_shard - sampler->first_shard];
    }
    GMV_TRY(GMV_NEW(order->row, order->room, "the order of cells"));
    GMV_TRY(GMV_NEW(next->row, order->room, "the order of cells"));
    GMV_TRY(GMV_NEW(order->start, batches * pieces + 1, "starts of batches"));
    return GMV_NEW(next->start, batches * pieces + 1, "starts of batches");
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
    if (order->next != NULL) {
        GMV_FREE(order->next->span);
        GMV_FREE(order->next->scratch);
        GMV_FREE(order->next->row);
        GMV_FREE(order->next->start);
        gmv_windows_fini(&order->next->windows);
        GMV_FREE(order->next);
    }
    gmv_slots_fini(&order->slots);
    GMV_FREE(order->shard);
    GMV_FREE(order->row);
    GMV_FREE(order->start);
    memset(order, 0, sizeof *order);
}

/* Makes what holds a batch, when it is not what was being made. */
static void seek(gmv_order *order, int64_t epoch, int64_t batch)
{
    struct gmv_order_next *next = order->next;
    const gmv_sampler *sampler = order->sampler;
    next->epoch = epoch;
    next->window = 0;
    if (sampler->cells->stream != NULL) {
        gmv_windows_plan(&next->windows, sampler, epoch);
        while (gmv_windows_first_batch(&next->windows, sampler, next->window + 1) <= batch) {
            next->window++;
        }
        if (gmv_windows_reaches_back(&next->windows, sampler, next->window)) {
            read_window(order, next->window - 1);
            next->turn++;
        }
    }
    fill(order);
}

gmv_status gmv_order_take(gmv_order *order, int64_t epoch, int64_t batch)
{
    struct gmv_order_next *next = order->next;
    join(order);
    if (next->epoch != epoch || batch < next->first || batch >= next->end) {
        seek(order, epoch, batch);
    }
    if (next->failed >= 0) {
        return gmv_stream_fail(order->sampler->cells, next->failed);
    }
    int64_t *row = order->row, *start = order->start;
    order->row = next->row;
    order->start = next->start;
    order->first = next->first;
    order->end = next->end;
    order->epoch = epoch;
    next->row = row;
    next->start = start;
    next->epoch = -1;
    return GMV_OK;
}

void gmv_order_prepare(gmv_order *order)
{
    struct gmv_order_next *next = order->next;
    if (next->epoch >= 0) {
        return;
    }
    bool last = order->end == order->sampler->batches;
    next->epoch = last ? order->epoch + 1 : order->epoch;
    next->window = last ? 0 : next->window + 1;
    order->running = pthread_create(&order->thread, NULL, fill_in_thread, order) == 0;
    if (!order->running) {
        next->epoch = -1; /* made when it is needed */
    }
}
