/* Four neighbouring columns of a row: what a thread of a row kernel owns. Random numbers come in blocks of as many. */
#pragma once

#include "cuda.h"

typedef struct quad {
    float at[4];
} quad;

/* Whether columns 0, 4, 8, ... of every row start on 16 bytes. */
static inline bool quads_aligned(gmv_mat m)
{
    return (uintptr_t)m.at % 16 == 0 && m.ld % 4 == 0;
}

static inline bool quads_aligned_vec(gmv_vec v)
{
    return (uintptr_t)v.at % 16 == 0;
}

/* Columns j .. j + 3 of a row of n; 0 for those that the row does not have. j is a multiple of 4. */
static __device__ __forceinline__ quad quad_load(const float *row, int j, int n, bool aligned)
{
    quad v;
    if (aligned && j + 4 <= n) {
        float4 all = *reinterpret_cast<const float4 *>(row + j);
        v.at[0] = all.x;
        v.at[1] = all.y;
        v.at[2] = all.z;
        v.at[3] = all.w;
    } else {
        for (int k = 0; k < 4; k++) {
            v.at[k] = j + k < n ? row[j + k] : 0.0f;
        }
    }
    return v;
}

static __device__ __forceinline__ void quad_store(float *row, int j, int n, bool aligned, quad v)
{
    if (aligned && j + 4 <= n) {
        *reinterpret_cast<float4 *>(row + j) = make_float4(v.at[0], v.at[1], v.at[2], v.at[3]);
    } else {
        for (int k = 0; k < 4; k++) {
            if (j + k < n) {
                row[j + k] = v.at[k];
            }
        }
    }
}

static __device__ __forceinline__ float quad_sum(quad v)
{
    return (v.at[0] + v.at[1]) + (v.at[2] + v.at[3]);
}
