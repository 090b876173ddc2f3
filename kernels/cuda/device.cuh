/* Sums and maxima over the threads of a warp or a block, in a fixed order; the rows of a batch that count. */
#pragma once

#include <cstdint>

enum { warp_width = 32 };
static const unsigned all_lanes = 0xFFFFFFFFu;

/* Rows of a batch of `rows` that are cells. */
static __device__ __forceinline__ int filled_of(const int32_t *filled, int rows)
{
    return filled != NULL ? min(__ldg(filled), rows) : rows;
}

/* Every lane gets the result. All lanes of the warp must call. */
template <typename T> static __device__ __forceinline__ T warp_sum(T value)
{
    for (int offset = warp_width / 2; offset > 0; offset /= 2) {
        value += __shfl_xor_sync(all_lanes, value, offset);
    }
    return value;
}

static __device__ __forceinline__ float warp_max(float value)
{
    for (int offset = warp_width / 2; offset > 0; offset /= 2) {
        value = fmaxf(value, __shfl_xor_sync(all_lanes, value, offset));
    }
    return value;
}

/* Sum over a block of whole warps, at most 32; every thread gets it. `shared` [32] may be used again after it.
 * All threads of the block must call. */
template <typename T> static __device__ __forceinline__ T block_sum(T value, T *shared)
{
    int lane = (int)threadIdx.x % warp_width, warp = (int)threadIdx.x / warp_width;
    int warps = (int)blockDim.x / warp_width;
    value = warp_sum(value);
    if (lane == 0) {
        shared[warp] = value;
    }
    __syncthreads();
    T total = shared[0];
    for (int w = 1; w < warps; w++) {
        total += shared[w];
    }
    __syncthreads();
    return total;
}
