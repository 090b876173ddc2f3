/* Noise of the operations in double, from the contract of rng.h: number j of a (cell, draw) is word j % 4 of
 * block j / 4; normals are Box-Muller of the pairs (0, 1) and (2, 3). */
#pragma once

#include "harness.h"

static inline double ref_uniform(const gmv_noise *noise, gmv_gidx cell, int draw, int j)
{
    philox4x32_ctr_t counter = {{(uint32_t)(j / 4), (noise->first_draw + (uint32_t)draw) << 16 | noise->stream,
                                 (uint32_t)((uint64_t)cell & 0xFFFFFFFFu),
                                 (uint32_t)((uint64_t)cell >> 32) << 24 | noise->step->epoch}};
    philox4x32_key_t key = {{(uint32_t)(noise->seed & 0xFFFFFFFFu), (uint32_t)(noise->seed >> 32)}};
    philox4x32_ctr_t block = philox4x32(counter, key);
    return (double)gmv_uniform(block.v[j % 4]);
}

static inline double ref_normal(const gmv_noise *noise, gmv_gidx cell, int draw, int j)
{
    int pair = j - j % 2;
    double radius = sqrt(-2.0 * log(ref_uniform(noise, cell, draw, pair)));
    double angle = 6.283185307179586476925 * ref_uniform(noise, cell, draw, pair + 1);
    return radius * (j % 2 == 0 ? cos(angle) : sin(angle));
}

/* Factor of a row's element j: 0 or 1 / (1 - rate). */
static inline double ref_dropout(const gmv_noise *noise, gmv_gidx cell, int draw, int j, float rate)
{
    if (rate == 0.0f) {
        return 1.0;
    }
    return ref_uniform(noise, cell, draw, j) >= (double)rate ? 1.0 / (1.0 - (double)rate) : 0.0;
}

/* Ids of n cells, far apart and beyond 32 bits, in no order. */
static inline gmv_gidx *t_cell_ids(int n)
{
    gmv_gidx *id = t_alloc((size_t)n, sizeof *id);
    for (int i = 0; i < n; i++) {
        id[i] = (gmv_gidx)(t_mix((uint64_t)i) >> 24);
    }
    return id;
}

/* A step of this epoch, in host memory. */
static inline gmv_step *t_epoch(uint32_t epoch)
{
    gmv_step *step = t_alloc(1, sizeof *step);
    step->epoch = epoch;
    return step;
}

/* The same key in backend memory. */
static inline gmv_noise t_noise(const gmv_noise *host, int cells)
{
    gmv_noise noise = *host;
    noise.cell_id = t_bytes((int64_t)cells * 8, host->cell_id);
    noise.step = t_bytes(sizeof *host->step, host->step);
    return noise;
}
