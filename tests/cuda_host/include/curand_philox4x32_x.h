/* curand_Philox4x32_10 for device code: NVIDIA's own source where CMake found a toolkit, otherwise Random123. */
#pragma once

#include "cuda_on_host.h"

#if defined(COH_CURAND_PHILOX)
#include COH_CURAND_PHILOX
#else
#include <Random123/philox.h>

inline uint4 curand_Philox4x32_10(uint4 counter, uint2 key)
{
    philox4x32_ctr_t words = {{counter.x, counter.y, counter.z, counter.w}};
    philox4x32_key_t seed = {{key.x, key.y}};
    philox4x32_ctr_t out = philox4x32(words, seed);
    return make_uint4(out.v[0], out.v[1], out.v[2], out.v[3]);
}
#endif
