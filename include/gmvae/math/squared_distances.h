/* Distances of a point to many, which lie side by side. Host memory; compiled once per instruction set. */
#pragma once

#include <math.h>
#include <stdint.h>

enum { GMV_LANES = 64 }; /* points of a block */

/* Squared distances of one point to those of a block, summed in the order of the dimensions.
 * @param[in] block  [dims, GMV_LANES]   @param[out] squared  [GMV_LANES]   @return  the smallest */
static inline float gmv_squared_distances(int dims, const float *restrict point, const float *restrict block,
                                          float *restrict squared)
{
    float sum[GMV_LANES] = {0.0f}, least = INFINITY;
    for (int d = 0; d < dims; d++) {
        float x = point[d];
        const float *y = block + (int64_t)d * GMV_LANES;
#pragma omp simd
        for (int j = 0; j < GMV_LANES; j++) {
            float difference = x - y[j];
            sum[j] += difference * difference;
        }
    }
#pragma omp simd reduction(min : least)
    for (int j = 0; j < GMV_LANES; j++) {
        squared[j] = sum[j];
        least = sum[j] < least ? sum[j] : least;
    }
    return least;
}
