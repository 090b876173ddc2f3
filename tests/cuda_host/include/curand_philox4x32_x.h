/* curand_Philox4x32_10 for device code: NVIDIA's own source where CMake found a toolkit, otherwise Random123. */
#pragma once

#include "cuda_on_host.h"

#if defined(COH_CURAND_PHILOX)
/* Random123 has a function and macros of these names, and both are wanted in one file. */
#undef PHILOX_W32_0
#undef PHILOX_W32_1
#undef PHILOX_M4x32_0
#undef PHILOX_M4x32_1
#define mulhilo32 coh_curand_mulhilo32
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#include COH_CURAND_PHILOX
#pragma GCC diagnostic pop
#undef mulhilo32
#undef PHILOX_W32_0
#undef PHILOX_W32_1
#undef PHILOX_M4x32_0
#undef PHILOX_M4x32_1
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
