/* Which cells make up which batch, and in which order. */
#pragma once

#include "gmvae/data.h"
#include "gmvae/stream.h"

#include <pthread.h>

/* ---- sampler: which cells make up which batch ---- */

/* Order of the training cells. Every global batch takes from every logical shard in proportion (Webster's
 * apportionment), from each in its own shuffled order, so batch t of an epoch holds the same cells for
 * every number of ranks; every eligible cell comes once an epoch; only the last batch is shorter. Of cells that are
 * streamed all this holds within each window of an epoch. */
typedef struct gmv_sampler {
    const gmv_cells *cells;     /* borrowed */
    int shards;                 /* S */
    int first_shard, end_shard; /* hosted here */
    int64_t *count;             /* [S] eligible cells of each shard, all shards */
    int64_t total;              /* sum of count */
    int64_t batch_size, batches;
    uint64_t seed;
    int64_t *start;               /* [hosted + 1] where each hosted shard starts in `row` */
    int64_t *row;                 /* local rows of eligible cells, ascending; NULL when they are streamed */
    int64_t *taken, *taken_after; /* [S] scratch: cells of each shard before and after a batch */
    /* of cells that are streamed: blocks of `block_rows` rows of a shard, those with eligible cells */
    int64_t windows; /* of an epoch; 1 for cells in memory */
    int64_t block_rows;
    int64_t *block_start;  /* [S + 1] where each shard's begin in the next two, all shards */
    int32_t *block;        /* number within the shard */
    int32_t *block_cells;  /* eligible cells */
    int64_t fewest;        /* cells that a window has at least */
    int64_t window, whole; /* sizes of a window and of an epoch, in the same unit */
} gmv_sampler;

/* Eligible are local rows with counts that are not held out. Collective.
 * @param[in] window  cells that are in memory together, of all ranks, when they are streamed
 * Errors: GMV_ERR_DATA when no cell is left. */
gmv_status gmv_sampler_init(gmv_sampler *sampler, const gmv_comm *comm, const gmv_cells *cells, uint64_t seed,
                            int64_t batch_size, int64_t window);
void gmv_sampler_fini(gmv_sampler *sampler);

/* Whether a local row is eligible. */
bool gmv_sampler_wants(const gmv_sampler *sampler, gmv_gidx row);

/* Cells of batch t, all ranks together. */
int64_t gmv_sampler_batch_cells(const gmv_sampler *sampler, int64_t t);

/* Local rows of batch t of an epoch that lie in shards [first, end), a part of those hosted here. Cells in memory.
 * @param[out] rows  room for gmv_sampler_most(sampler, first, end)
 * @return number of rows */
int gmv_sampler_rows(const gmv_sampler *sampler, int64_t epoch, int64_t t, int first, int end, int64_t *rows);

/* Largest number of rows that shards [first, end) give to any batch. */
int gmv_sampler_most(const gmv_sampler *sampler, int first, int end);

/* A bijection of 0 .. n-1 that depends on (seed, epoch, unit): where the i-th visited cell of a shard is. */
int64_t gmv_permute(int64_t i, int64_t n, uint64_t seed, int64_t epoch, int64_t unit);

/* Cells of each shard among the first `cells` of `total`: Webster's (Sainte-Lague's) apportionment, which is
 * unique and never takes a cell back as `cells` grows. */
void gmv_apportion(const int64_t *count, int shards, int64_t total, int64_t cells, int64_t *taken);

/* ---- windows: the parts of an epoch of streamed cells ---- */

typedef struct gmv_windows {
    int64_t epoch;  /* -1 before the first */
    int64_t *start; /* [W + 1] cells of the epoch before each window, all ranks together */
    int64_t *count; /* [W, S] eligible cells of each shard in each window */
} gmv_windows;

/* Largest numbers that any window of any epoch has on this rank. */
typedef struct gmv_window_room {
    int64_t rows, values, large;
    int64_t spans, most_spans; /* of all its shards, and of one */
} gmv_window_room;

/* Parts of gmv_sampler_init: the blocks of all shards, collective; and the number of windows. */
gmv_status gmv_sampler_find_blocks(gmv_sampler *sampler, const gmv_comm *comm, const gmv_cells *cells);
gmv_status gmv_sampler_cut_windows(gmv_sampler *sampler, int64_t window);

/* Room for an epoch; gmv_windows_plan fills it with the windows of one, the same on every rank, unless it holds them. */
gmv_status gmv_windows_init(gmv_windows *windows, const gmv_sampler *sampler);
void gmv_windows_fini(gmv_windows *windows);
void gmv_windows_plan(gmv_windows *windows, const gmv_sampler *sampler, int64_t epoch);

/* First batch that has its last cell in a window, W: one past the last; whether that batch has cells of the window
 * before, too. */
int64_t gmv_windows_first_batch(const gmv_windows *windows, const gmv_sampler *sampler, int64_t window);
bool gmv_windows_reaches_back(const gmv_windows *windows, const gmv_sampler *sampler, int64_t window);

/* The blocks of this rank in a window, shard after shard and ascending.
 * @param[in] scratch  [most_spans] @param[out] span  [spans] @return how many */
int64_t gmv_windows_spans(const gmv_sampler *sampler, const gmv_cells *cells, int64_t epoch, int64_t window,
                          int64_t *scratch, gmv_span *span);

/* Rows of batch t, which belongs to the window, that lie in shards [first, end) of those hosted here. The wanted rows
 * of the spans follow each other in memory from base[1] on, those of the window before from base[0] on. */
int64_t gmv_windows_rows(const gmv_sampler *sampler, const gmv_windows *windows, int64_t window, int64_t t, int first,
                         int end, const int64_t base[2], int64_t *rows);

/* Blocks that any window has of a shard at most. */
int64_t gmv_windows_most_blocks(const gmv_sampler *sampler, int shard);

/* gmv_sampler_most of streamed cells. */
int gmv_windows_most(const gmv_sampler *sampler, int first, int end);

/* Of this rank, whatever the epochs bring. Not collective. */
gmv_status gmv_windows_room(const gmv_sampler *sampler, const gmv_cells *cells, gmv_window_room *room);

/* ---- order: the cells of an epoch, or of a window of it, batch after batch ---- */

typedef struct gmv_order {
    const gmv_sampler *sampler; /* borrowed; its scratch arrays are the order's while it exists */
    int pieces;
    int *shard;                  /* [pieces + 1] shards of each piece of a batch */
    int64_t room;                /* of row */
    int64_t epoch;               /* of row and start, -1 before the first */
    int64_t first, end;          /* batches that they hold */
    int64_t *row;                /* rows of the packed matrix, or of the slots */
    int64_t *start;              /* [(end - first) pieces + 1] where each batch's pieces start in row */
    struct gmv_order_next *next; /* being made */
    gmv_slots slots;             /* of streamed cells: what the rows are of */
    pthread_t thread;
    bool running;
} gmv_order;

/* @param[in] shard    [pieces + 1], copied: piece p of a batch takes from shards [shard[p], shard[p + 1])
 * @param[in] threads  that read streamed cells ahead, at least 1 */
gmv_status gmv_order_init(gmv_order *order, const gmv_sampler *sampler, const int *shard, int pieces, int threads);
void gmv_order_fini(gmv_order *order);

/* Makes row and start those that hold a batch. No work on the batches before it may be under way.
 * Errors: GMV_ERR_DATA when streamed cells cannot be read. */
gmv_status gmv_order_take(gmv_order *order, int64_t epoch, int64_t batch);

/* Begins with what comes after it, in a thread. Of streamed cells the first batch must have been fetched: it may lie in
 * the slot that is filled. Does nothing when it was begun. */
void gmv_order_prepare(gmv_order *order);
