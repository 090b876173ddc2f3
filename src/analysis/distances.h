/* Distances between cells, and the division of work over cells among ranks and threads. The inner loops are compiled once
 * per instruction set (isa/distances.c). */
#pragma once

#include "gmvae/comm.h"
#include "gmvae/math/squared_distances.h"

/* Points side by side, so that one is compared with the points of a block at once. Those behind the last are infinitely far. */
typedef struct gmv_blocks {
    int n, dims, blocks;
    float *at; /* [blocks, dims, GMV_LANES] */
} gmv_blocks;

/* @param[in] point  [.., dims]   @param[in] order  [n] which of them; NULL: the first n
 * Ownership: gmv_blocks_fini, also after an error. */
gmv_status gmv_blocks_init(gmv_blocks *blocks, int n, int dims, const float *point, const int32_t *order);
void gmv_blocks_fini(gmv_blocks *blocks);

typedef struct gmv_distance_loops {
    /* As gmv_squared_distances. */
    float (*squared)(int dims, const float *point, const float *block, float *squared);
    /* Sum of n square roots. */
    double (*sum_roots)(const float *squared, int n);
} gmv_distance_loops;

/* The best that this processor runs. */
const gmv_distance_loops *gmv_distance_loops_best(void);

static inline const float *gmv_block_at(const gmv_blocks *blocks, int b)
{
    return blocks->at + (int64_t)b * blocks->dims * GMV_LANES;
}

/* What a rank does of so many items: [first, end). */
typedef struct gmv_part {
    int first, end;
} gmv_part;
gmv_part gmv_part_of_rank(const gmv_comm *comm, int items);

/* Each rank has its part of an array of items of so many bytes: afterwards every rank has all. Collective. */
gmv_status gmv_share_parts(const gmv_comm *comm, int items, void *array, int64_t bytes);

/* Works on items [first, first + n), n <= GMV_TILE, as one of gmv_tile_threads() threads. */
typedef void (*gmv_tile_work)(void *context, int thread, int first, int n);
enum { GMV_TILE = 16 };
int gmv_tile_threads(void);

/* Divides items among the ranks, each rank's tile by tile among its threads, and shares what came of them: every item is
 * worked out by one thread, so the results are the same for every number of ranks and threads. A signal ends it. Collective.
 * @param[in]  array  [arrays] of [items, bytes of one], of which the work writes its items
 * Errors: GMV_STOPPED. */
gmv_status gmv_work_and_share(const gmv_comm *comm, int items, gmv_tile_work work, void *context, void *const *array,
                              const int64_t *bytes, int arrays);
