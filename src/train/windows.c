/* The order of streamed cells. An epoch is a sequence of windows; each takes blocks of rows from every logical shard, as
 * many as its share, in an order that is shuffled anew every epoch; the cells of a window are shuffled among themselves,
 * and batches take from the shards of a window as they take from the shards of cells in memory. */
#include "gmvae/mem.h"
#include "gmvae/sampler.h"
#include "gmvae/stream.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Units of gmv_permute beside the shards themselves: blocks of a shard, cells of a shard in a window. */
static int64_t unit_of_blocks(int shard)
{
    return (int64_t)1 << 60 | shard;
}

static int64_t unit_of_window(int64_t window, int shard)
{
    return (window + 1) << 20 | shard;
}

/* Place in the list of blocks of the i-th that an epoch takes from a shard. */
static int64_t block_at(const gmv_sampler *sampler, int64_t epoch, int shard, int64_t i)
{
    int64_t first = sampler->block_start[shard], n = sampler->block_start[shard + 1] - first;
    return first + gmv_permute(i, n, sampler->seed, epoch, unit_of_blocks(shard));
}

/* What lies before a window, of sampler->whole. All windows but the last have the same size, and so the same memory,
 * whatever the number of cells; when little is left, the last two share it evenly. */
static int64_t before(const gmv_sampler *sampler, int64_t window)
{
    int64_t left = sampler->whole - sampler->window * (sampler->windows - 1);
    if (window == sampler->windows) {
        return sampler->whole;
    }
    if (window > 0 && window == sampler->windows - 1 && left < sampler->window / 4) {
        return sampler->whole - (sampler->window + left) / 2;
    }
    return window * sampler->window;
}

/* Of the blocks of a shard in their order, those that lie before a window. Shards are not in step, so that windows differ by
 * few blocks. */
static int64_t blocks_before(const gmv_sampler *sampler, int shard, int64_t window)
{
    int64_t n = sampler->block_start[shard + 1] - sampler->block_start[shard];
    return (n * before(sampler, window) + sampler->whole * shard / sampler->shards) / sampler->whole;
}

/* Blocks [*first, *end) of the shard's order go to a window. */
static void blocks_of_window(const gmv_sampler *sampler, int shard, int64_t window, int64_t *first, int64_t *end)
{
    *first = blocks_before(sampler, shard, window);
    *end = blocks_before(sampler, shard, window + 1);
}

int64_t gmv_windows_most_blocks(const gmv_sampler *sampler, int shard)
{
    int64_t most = 0, first, end;
    for (int64_t w = 0; w < sampler->windows; w++) {
        blocks_of_window(sampler, shard, w, &first, &end);
        most = end - first > most ? end - first : most;
    }
    return most;
}

/* Of all windows the fewest and the most blocks of shards [first, end) together. */
static void range_of_blocks(const gmv_sampler *sampler, int first, int end, int64_t *fewest, int64_t *most)
{
    *fewest = INT64_MAX;
    *most = 0;
    for (int64_t w = 0; w < sampler->windows; w++) {
        int64_t blocks = 0;
        for (int s = first; s < end; s++) {
            blocks += blocks_before(sampler, s, w + 1) - blocks_before(sampler, s, w);
        }
        *fewest = blocks < *fewest ? blocks : *fewest;
        *most = blocks > *most ? blocks : *most;
    }
}

gmv_status gmv_windows_init(gmv_windows *windows, const gmv_sampler *sampler)
{
    memset(windows, 0, sizeof *windows);
    windows->epoch = -1;
    GMV_TRY(GMV_NEW(windows->start, sampler->windows + 1, "windows of an epoch"));
    return GMV_NEW(windows->count, sampler->windows * sampler->shards, "windows of an epoch");
}

void gmv_windows_fini(gmv_windows *windows)
{
    GMV_FREE(windows->start);
    GMV_FREE(windows->count);
}

void gmv_windows_plan(gmv_windows *windows, const gmv_sampler *sampler, int64_t epoch)
{
    if (windows->epoch == epoch) {
        return;
    }
    windows->epoch = epoch;
    for (int64_t w = 0; w < sampler->windows; w++) {
        int64_t *count = windows->count + w * sampler->shards, first, end;
        windows->start[w + 1] = windows->start[w];
        for (int s = 0; s < sampler->shards; s++) {
            blocks_of_window(sampler, s, w, &first, &end);
            count[s] = 0;
            for (int64_t i = first; i < end; i++) {
                count[s] += sampler->block_cells[block_at(sampler, epoch, s, i)];
            }
            windows->start[w + 1] += count[s];
        }
    }
}

/* A batch belongs to the window of its last cell, so that only the first of a window reaches back. */
int64_t gmv_windows_first_batch(const gmv_windows *windows, const gmv_sampler *sampler, int64_t window)
{
    return window == sampler->windows ? sampler->batches : windows->start[window] / sampler->batch_size;
}

bool gmv_windows_reaches_back(const gmv_windows *windows, const gmv_sampler *sampler, int64_t window)
{
    return windows->start[window] % sampler->batch_size != 0;
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int64_t gmv_windows_spans(const gmv_sampler *sampler, const gmv_cells *cells, int64_t epoch, int64_t window,
                          int64_t *scratch, gmv_span *span)
{
    int64_t n = 0, first, end;
    for (int s = sampler->first_shard; s < sampler->end_shard; s++) {
        blocks_of_window(sampler, s, window, &first, &end);
        for (int64_t i = first; i < end; i++) {
            scratch[i - first] = block_at(sampler, epoch, s, i);
        }
        if (end > first) { /* in the order of the file */
            qsort(scratch, (size_t)(end - first), sizeof *scratch, ascending);
        }
        for (int64_t i = 0; i < end - first; i++) {
            gmv_gidx row = cells->shard_start[s] + sampler->block[scratch[i]] * sampler->block_rows;
            gmv_gidx last = row + sampler->block_rows, of_shard = cells->shard_start[s + 1];
            span[n++] = (gmv_span){row, last < of_shard ? last : of_shard};
        }
    }
    return n;
}

/* Rows that the cells [from, to) of a window have in its slot, of shards [first, end). */
static int64_t rows_of_part(const gmv_sampler *sampler, const gmv_windows *windows, int64_t window, int64_t from,
                            int64_t to, int first, int end, int64_t base, int64_t *rows)
{
    const int64_t *count = windows->count + window * sampler->shards;
    int64_t total = windows->start[window + 1] - windows->start[window], n = 0;
    gmv_apportion(count, sampler->shards, total, from, sampler->taken);
    gmv_apportion(count, sampler->shards, total, to, sampler->taken_after);
    for (int s = sampler->first_shard; s < end; s++) {
        for (int64_t i = sampler->taken[s]; s >= first && i < sampler->taken_after[s]; i++) {
            rows[n++] = base + gmv_permute(i, count[s], sampler->seed, windows->epoch, unit_of_window(window, s));
        }
        base += count[s];
    }
    return n;
}

int64_t gmv_windows_rows(const gmv_sampler *sampler, const gmv_windows *windows, int64_t window, int64_t t, int first,
                         int end, const int64_t base[2], int64_t *rows)
{
    int64_t from = t * sampler->batch_size, to = from + gmv_sampler_batch_cells(sampler, t), n = 0;
    const int64_t *start = windows->start + window;
    if (from < *start) {
        n = rows_of_part(sampler, windows, window - 1, from - start[-1], *start - start[-1], first, end, base[0], rows);
        from = *start;
    }
    return n + rows_of_part(sampler, windows, window, from - *start, to - *start, first, end, base[1], rows + n);
}

/* ---- which blocks there are ---- */

static gmv_status count_blocks(gmv_sampler *sampler, const gmv_comm *comm, const gmv_cells *cells, int64_t *cells_of,
                               const int64_t *all)
{
    for (int s = sampler->first_shard; s < sampler->end_shard; s++) {
        for (gmv_gidx row = cells->shard_start[s]; row < cells->shard_start[s + 1]; row++) {
            bool wanted = gmv_sampler_wants(sampler, row);
            cells_of[all[s] + (row - cells->shard_start[s]) / sampler->block_rows] += wanted;
            sampler->count[s] += wanted;
        }
    }
    gmv_comm_sum_i64(comm, cells_of, all[sampler->shards]);
    int64_t n = 0;
    for (int64_t b = 0; b < all[sampler->shards]; b++) {
        n += cells_of[b] > 0;
    }
    GMV_TRY(GMV_NEW(sampler->block, n, "blocks of cells"));
    GMV_TRY(GMV_NEW(sampler->block_cells, n, "blocks of cells"));
    n = 0;
    for (int s = 0; s < sampler->shards; s++) {
        sampler->block_start[s] = n;
        for (int64_t b = all[s]; b < all[s + 1]; b++) {
            if (cells_of[b] > 0) {
                sampler->block[n] = (int32_t)(b - all[s]);
                sampler->block_cells[n++] = (int32_t)cells_of[b];
            }
        }
    }
    sampler->block_start[sampler->shards] = n;
    return GMV_OK;
}

gmv_status gmv_sampler_find_blocks(gmv_sampler *sampler, const gmv_comm *comm, const gmv_cells *cells)
{
    int64_t *all = NULL, *cells_of = NULL;
    gmv_status status = GMV_NEW(all, cells->shards + 1, "blocks of cells");
    sampler->block_rows = cells->stream->block_rows;
    for (int s = 0; status == GMV_OK && s < cells->shards; s++) {
        int64_t rows = cells->shard_start[s + 1] - cells->shard_start[s];
        all[s + 1] = all[s] + (rows + sampler->block_rows - 1) / sampler->block_rows;
    }
    if (status == GMV_OK) {
        status = GMV_NEW(cells_of, all[cells->shards], "blocks of cells");
    }
    if (status == GMV_OK) {
        status = GMV_NEW(sampler->block_start, cells->shards + 1, "blocks of cells");
    }
    status = gmv_comm_agree(comm, status);
    if (status == GMV_OK) {
        status = gmv_comm_agree(comm, count_blocks(sampler, comm, cells, cells_of, all));
    }
    gmv_free(all);
    gmv_free(cells_of);
    return status;
}

/* ---- how many windows, and room for one ---- */

static int descending(const void *a, const void *b)
{
    return ascending(b, a);
}

gmv_status gmv_sampler_cut_windows(gmv_sampler *sampler, int64_t window)
{
    int64_t *sorted = NULL, blocks = sampler->block_start[sampler->shards], fewest, most;
    int64_t unit = (sampler->total >> 31) + 1; /* so that its product with a number of blocks is in range */
    GMV_TRY(GMV_NEW(sorted, blocks, "blocks of cells"));
    for (int64_t b = 0; b < blocks; b++) {
        sorted[b] = sampler->block_cells[b];
    }
    qsort(sorted, (size_t)blocks, sizeof *sorted, ascending);
    sampler->whole = sampler->total / unit;
    sampler->window = (window > 2 * sampler->batch_size ? window : 2 * sampler->batch_size) / unit + 1;
    for (;; sampler->window *= 2) { /* until a batch lies in no more than two windows */
        sampler->windows = (sampler->whole + sampler->window - 1) / sampler->window;
        range_of_blocks(sampler, 0, sampler->shards, &fewest, &most);
        sampler->fewest = 0;
        for (int64_t b = 0; b < fewest; b++) {
            sampler->fewest += sorted[b];
        }
        if (sampler->windows == 1 || sampler->fewest >= sampler->batch_size) {
            break;
        }
    }
    gmv_free(sorted);
    return GMV_OK;
}

/* As gmv_sampler_most, of parts of two windows: none has fewer cells than the fewest, and no shard more in it than its
 * blocks can hold. */
int gmv_windows_most(const gmv_sampler *sampler, int first, int end)
{
    int64_t most = 0, reach = sampler->batch_size + 2 * (int64_t)sampler->shards;
    for (int s = first; s < end; s++) {
        int64_t cells = gmv_windows_most_blocks(sampler, s) * sampler->block_rows;
        int64_t from_shard = (int64_t)((double)reach * (double)cells / (double)sampler->fewest) + 3;
        most += from_shard < sampler->count[s] ? from_shard : sampler->count[s];
    }
    return (int)(most < sampler->batch_size ? most : sampler->batch_size);
}

/* Sum of the n largest of `values`, which it sorts. */
static int64_t largest(int64_t *values, int64_t of, int64_t n)
{
    int64_t sum = 0;
    if (of > 0) {
        qsort(values, (size_t)of, sizeof *values, descending);
    }
    for (int64_t i = 0; i < n && i < of; i++) {
        sum += values[i];
    }
    return sum;
}

gmv_status gmv_windows_room(const gmv_sampler *sampler, const gmv_cells *cells, gmv_window_room *room)
{
    const gmv_stream *stream = cells->stream;
    int first_shard = sampler->first_shard, end_shard = sampler->end_shard;
    int64_t first = sampler->block_start[first_shard], n = sampler->block_start[end_shard] - first, fewest;
    int64_t *values = NULL, *large = NULL, *rows = NULL;
    gmv_status status = GMV_OK;
    memset(room, 0, sizeof *room);
    GMV_GO(GMV_NEW(rows, n, "blocks of cells"));
    GMV_GO(GMV_NEW(values, n, "blocks of cells"));
    GMV_GO(GMV_NEW(large, n, "blocks of cells"));
    for (int s = first_shard; s < end_shard; s++) {
        int64_t blocks = gmv_windows_most_blocks(sampler, s);
        room->most_spans = blocks > room->most_spans ? blocks : room->most_spans;
        for (int64_t b = sampler->block_start[s]; b < sampler->block_start[s + 1]; b++) {
            int64_t in_stream = stream->block_start[s - first_shard] + sampler->block[b];
            rows[b - first] = sampler->block_cells[b];
            values[b - first] = stream->values[in_stream];
            large[b - first] = stream->large[in_stream];
        }
    }
    range_of_blocks(sampler, first_shard, end_shard, &fewest, &room->spans);
    room->rows = largest(rows, n, room->spans);
    room->values = largest(values, n, room->spans);
    room->large = largest(large, n, room->spans);
done:
    gmv_free(rows);
    gmv_free(values);
    gmv_free(large);
    return status;
}
