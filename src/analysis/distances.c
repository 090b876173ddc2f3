#include "distances.h"

#include "gmvae/cpu.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"
#include "gmvae/stage.h"
#include "gmvae/work.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#define GMV_CPU_VARIANT(id, isa) extern const gmv_distance_loops gmv_distance_loops_##id;
#include "cpu_variants.def"
#undef GMV_CPU_VARIANT

static const gmv_distance_loops *const variants[] = {
#define GMV_CPU_VARIANT(id, isa) &gmv_distance_loops_##id,
#include "cpu_variants.def"
#undef GMV_CPU_VARIANT
};

const gmv_distance_loops *gmv_distance_loops_best(void)
{
    return variants[gmv_cpu_best()];
}

gmv_status gmv_blocks_init(gmv_blocks *blocks, int n, int dims, const float *point, const int32_t *order)
{
    *blocks = (gmv_blocks){.n = n, .dims = dims, .blocks = (n + GMV_LANES - 1) / GMV_LANES};
    GMV_TRY(GMV_NEW(blocks->at, (int64_t)blocks->blocks * dims * GMV_LANES, "blocks of cells"));
    for (int i = 0; i < blocks->blocks * GMV_LANES; i++) {
        float *to = blocks->at + (int64_t)(i / GMV_LANES) * dims * GMV_LANES + i % GMV_LANES;
        const float *from = i < n ? point + (int64_t)(order != NULL ? order[i] : i) * dims : NULL;
        for (int d = 0; d < dims; d++) {
            to[(int64_t)d * GMV_LANES] = from != NULL ? from[d] : INFINITY;
        }
    }
    return GMV_OK;
}

void gmv_blocks_fini(gmv_blocks *blocks)
{
    GMV_FREE(blocks->at);
}

int gmv_tile_threads(void)
{
    return omp_get_max_threads();
}

gmv_part gmv_part_of_rank(const gmv_comm *comm, int items)
{
    int64_t n = items;
    return (gmv_part){(int)(n * comm->rank / comm->size), (int)(n * (comm->rank + 1) / comm->size)};
}

/* A signal is asked for between chunks, by the thread that may call MPI. */
static gmv_status work_on_part(const gmv_comm *comm, int items, gmv_tile_work work, void *context)
{
    enum { chunk = 1024 };
    gmv_part mine = gmv_part_of_rank(comm, items);
    gmv_work shown = gmv_work_begin(mine.end - mine.first, "%s", gmv_stage_text());
    for (int first = mine.first; first < mine.end; first += chunk) {
        int end = mine.end - first < chunk ? mine.end : first + chunk;
        GMV_TRY(gmv_stop_check());
        gmv_work_at(&shown, first - mine.first);
#pragma omp parallel for schedule(dynamic)
        for (int i = first; i < end; i += GMV_TILE) {
            work(context, omp_get_thread_num(), i, end - i < GMV_TILE ? end - i : GMV_TILE);
        }
    }
    return GMV_OK;
}

gmv_status gmv_share_parts(const gmv_comm *comm, int items, void *array, int64_t bytes)
{
    gmv_part mine = gmv_part_of_rank(comm, items);
    void *all = NULL;
    int64_t total = 0;
    if (comm->size == 1) {
        return GMV_OK;
    }
    GMV_TRY(
        gmv_comm_concatenate(comm, (char *)array + mine.first * bytes, (mine.end - mine.first) * bytes, &all, &total));
    memcpy(array, all, (size_t)total);
    gmv_free(all);
    return GMV_OK;
}

gmv_status gmv_work_and_share(const gmv_comm *comm, int items, gmv_tile_work work, void *context, void *const *array,
                              const int64_t *bytes, int arrays)
{
    GMV_TRY(gmv_comm_agree(comm, work_on_part(comm, items, work, context)));
    for (int a = 0; a < arrays; a++) {
        GMV_TRY(gmv_share_parts(comm, items, array[a], bytes[a]));
    }
    return GMV_OK;
}
