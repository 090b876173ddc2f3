#include "gmvae/sampler.h"
#include "gmvae/mem.h"
#include "gmvae/rng.h"
#include "gmvae/stream.h"

#include <string.h>

__extension__ typedef __int128 wide;

/* Position of shard s in the order in which ties are broken: bits reversed, so that neighbours, which lie on
 * one rank, do not get their extra cells in the same batch. */
static uint32_t tie_rank(int shard)
{
    uint32_t bits = (uint32_t)shard, reversed = 0;
    for (int i = 0; i < 32; i++) {
        reversed = reversed << 1 | (bits & 1u);
        bits >>= 1;
    }
    return reversed;
}

/* Whether shard a, having given x cells, comes before shard b, having given y: (2x+1)/n_a < (2y+1)/n_b, ties by
 * tie_rank. Exact in integers. */
static bool before(const int64_t *count, int a, int64_t x, int b, int64_t y)
{
    wide left = (wide)(2 * x + 1) * count[b], right = (wide)(2 * y + 1) * count[a];
    return left != right ? left < right : tie_rank(a) < tie_rank(b);
}

/* Next shard to take a cell from, or (backwards) the one that gave the last; -1 when there is none. */
static int next_shard(const int64_t *count, int shards, const int64_t *taken, bool backwards)
{
    int best = -1;
    for (int s = 0; s < shards; s++) {
        if (backwards ? taken[s] == 0 : taken[s] == count[s]) {
            continue;
        }
        int64_t back = backwards ? 1 : 0;
        if (best < 0 || before(count, s, taken[s] - back, best, taken[best] - back) != backwards) {
            best = s;
        }
    }
    return best;
}

/* Starts from the proportional share and mends it. */
void gmv_apportion(const int64_t *count, int shards, int64_t total, int64_t cells, int64_t *taken)
{
    int64_t sum = 0;
    for (int s = 0; s < shards; s++) {
        taken[s] = total > 0 ? (int64_t)((wide)cells * count[s] / total) : 0;
        sum += taken[s];
    }
    for (; sum < cells; sum++) {
        taken[next_shard(count, shards, taken, false)]++;
    }
    for (;;) {
        int next = next_shard(count, shards, taken, false), last = next_shard(count, shards, taken, true);
        if (next < 0 || last < 0 || !before(count, next, taken[next], last, taken[last] - 1)) {
            return;
        }
        taken[next]++;
        taken[last]--;
    }
}

bool gmv_sampler_wants(const gmv_sampler *sampler, gmv_gidx row)
{
    return gmv_cells_has_counts(sampler->cells, row) && !gmv_split_holds_out(&sampler->cells->split, row);
}

/* Eligible rows of cells in memory: each hosted shard's in a list. */
static gmv_status list_rows(gmv_sampler *sampler, const gmv_comm *comm)
{
    const gmv_cells *cells = sampler->cells;
    gmv_status status;
    int hosted = cells->end_shard - cells->first_shard;
    GMV_GO(GMV_NEW(sampler->start, hosted + 1, "the sampler"));
    GMV_GO(GMV_NEW(sampler->row, cells->count, "the order of cells"));
done:
    GMV_TRY(gmv_comm_agree(comm, status));
    int64_t n = 0;
    for (int s = 0; s < hosted; s++) {
        const int64_t *shard = cells->shard_start + cells->first_shard + s;
        sampler->start[s] = n;
        for (gmv_gidx row = shard[0]; row < shard[1]; row++) {
            if (gmv_sampler_wants(sampler, row)) {
                sampler->row[n++] = row - cells->first;
            }
        }
        sampler->count[cells->first_shard + s] = n - sampler->start[s];
    }
    sampler->start[hosted] = n;
    return GMV_OK;
}

gmv_status gmv_sampler_init(gmv_sampler *sampler, const gmv_comm *comm, const gmv_cells *cells, uint64_t seed,
                            int64_t batch_size, int64_t window)
{
    *sampler = (gmv_sampler){.cells = cells,
                             .shards = cells->shards,
                             .first_shard = cells->first_shard,
                             .end_shard = cells->end_shard,
                             .seed = seed,
                             .batch_size = batch_size,
                             .windows = 1};
    gmv_status status;
    GMV_GO(GMV_NEW(sampler->count, cells->shards, "the sampler"));
    GMV_GO(GMV_NEW(sampler->taken, cells->shards, "the sampler"));
    GMV_GO(GMV_NEW(sampler->taken_after, cells->shards, "the sampler"));
done:
    GMV_TRY(gmv_comm_agree(comm, status));
    GMV_TRY(cells->stream != NULL ? gmv_sampler_find_blocks(sampler, comm, cells) : list_rows(sampler, comm));
    gmv_comm_sum_i64(comm, sampler->count, cells->shards);
    for (int s = 0; s < cells->shards; s++) {
        sampler->total += sampler->count[s];
    }
    if (sampler->total == 0) {
        return GMV_FAIL(GMV_ERR_DATA,
                        "no cell is left to train on: all are held out or have no counts; check data.train, "
                        "data.genes and data.validation");
    }
    sampler->batches = (sampler->total + batch_size - 1) / batch_size;
    return cells->stream != NULL ? gmv_comm_agree(comm, gmv_sampler_cut_windows(sampler, window)) : GMV_OK;
}

void gmv_sampler_fini(gmv_sampler *sampler)
{
    GMV_FREE(sampler->count);
    GMV_FREE(sampler->taken);
    GMV_FREE(sampler->taken_after);
    GMV_FREE(sampler->start);
    GMV_FREE(sampler->row);
    GMV_FREE(sampler->block_start);
    GMV_FREE(sampler->block);
    GMV_FREE(sampler->block_cells);
}

static int64_t cells_before(const gmv_sampler *sampler, int64_t t)
{
    return t < sampler->batches ? t * sampler->batch_size : sampler->total;
}

int64_t gmv_sampler_batch_cells(const gmv_sampler *sampler, int64_t t)
{
    return cells_before(sampler, t + 1) - cells_before(sampler, t);
}

/* A Feistel network on 2 * half bits, walked until it lands below n: a bijection without memory. */
int64_t gmv_permute(int64_t i, int64_t n, uint64_t seed, int64_t epoch, int64_t unit)
{
    int half = 1;
    while (((int64_t)1 << (2 * half)) < n) {
        half++;
    }
    uint64_t mask = ((uint64_t)1 << half) - 1, value = (uint64_t)i;
    do {
        uint64_t left = value >> half, right = value & mask;
        for (uint32_t round = 0; round < 6; round++) {
            gmv_philox block =
                gmv_random_block(seed, GMV_STREAM_SHUFFLE, (uint32_t)epoch, unit, round, (uint32_t)right);
            uint64_t mixed = left ^ (block.word[0] & mask);
            left = right;
            right = mixed;
        }
        value = left << half | right;
    } while (value >= (uint64_t)n);
    return (int64_t)value;
}

int gmv_sampler_rows(const gmv_sampler *sampler, int64_t epoch, int64_t t, int first, int end, int64_t *rows)
{
    gmv_apportion(sampler->count, sampler->shards, sampler->total, cells_before(sampler, t), sampler->taken);
    gmv_apportion(sampler->count, sampler->shards, sampler->total, cells_before(sampler, t + 1), sampler->taken_after);
    int n = 0;
    for (int s = first; s < end; s++) {
        const int64_t *row = sampler->row + sampler->start[s - sampler->first_shard];
        for (int64_t i = sampler->taken[s]; i < sampler->taken_after[s]; i++) {
            rows[n++] = row[gmv_permute(i, sampler->count[s], sampler->seed, epoch, s)];
        }
    }
    return n;
}

/* By Webster's rule there is an x for which every shard has given n x cells, rounded up or down. A batch moves x
 * by some d and takes between n d - 1 and n d + 1 from each shard, so that d <= (batch_size + shards) / total. */
int gmv_sampler_most(const gmv_sampler *sampler, int first, int end)
{
    if (sampler->cells->stream != NULL) {
        return gmv_windows_most(sampler, first, end);
    }
    int64_t most = 0, reach = sampler->batch_size;
    for (int s = 0; s < sampler->shards; s++) {
        reach += sampler->count[s] > 0 ? 1 : 0;
    }
    for (int s = first; s < end; s++) {
        int64_t from_shard = (int64_t)((wide)reach * sampler->count[s] / sampler->total) + 1;
        most += from_shard < sampler->count[s] ? from_shard : sampler->count[s];
    }
    return (int)(most < sampler->batch_size ? most : sampler->batch_size);
}
