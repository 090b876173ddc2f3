/* Quantities of the cells that are the same for every number of ranks. */
#include "gmvae/data.h"

#include "gmvae/mem.h"
#include "gmvae/packed.h"
#include "gmvae/stream.h"

#include <math.h>
#include <string.h>

/* Per shard: entries that count, sum and sum of squares. Whole numbers below 2^53 add up exactly in any order;
 * larger sums keep their bits because a shard is always added by one rank, in row order. */
static void add_shard(const gmv_cells *cells, int shard, double *sums)
{
    const gmv_packed *packed = &cells->packed;
    for (gmv_gidx row = cells->shard_start[shard]; row < cells->shard_start[shard + 1]; row++) {
        if (gmv_split_holds_out(&cells->split, row)) {
            continue;
        }
        gmv_gidx i = row - cells->first;
        sums[0] += (double)gmv_cells_present(cells, i);
        for (gmv_nnz at = packed->indptr[i]; at < packed->indptr[i + 1]; at++) {
            double count = gmv_packed_count(packed, at);
            sums[1] += count;
            sums[2] += count * count;
        }
    }
}

gmv_status gmv_cells_scalar_statistics(const gmv_cells *cells, const gmv_comm *comm, double *mean, double *std)
{
    double *sums = NULL, n = 0, sum = 0, square = 0;
    GMV_TRY(gmv_comm_agree(comm, GMV_NEW(sums, 3 * (int64_t)cells->shards, "sums of shards")));
    for (int s = cells->first_shard; s < cells->end_shard; s++) {
        if (cells->stream != NULL) { /* taken when the cells were looked through */
            memcpy(sums + (int64_t)3 * s, cells->stream->shard_sums + (int64_t)3 * s, 3 * sizeof *sums);
        } else {
            add_shard(cells, s, sums + (int64_t)3 * s);
        }
    }
    gmv_comm_share_f64(comm, sums, 3 * (int64_t)cells->shards);
    for (int64_t s = 0; s < cells->shards; s++) {
        n += sums[3 * s];
        sum += sums[3 * s + 1];
        square += sums[3 * s + 2];
    }
    GMV_FREE(sums);
    if (n == 0 || sum == 0) {
        return GMV_FAIL(GMV_ERR_DATA, "there is no count in the training cells, so their mean and deviation are zero");
    }
    *mean = sum / n;
    *std = sqrt(square / n - *mean * *mean);
    return GMV_OK;
}
