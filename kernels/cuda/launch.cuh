/* The two constructs of CUDA C++ that only nvcc can parse, so that any C++ compiler reads the kernels.
 * A kernel that is a template instance is given in parentheses: GMV_LAUNCH((kernel<3, true>), ...). */
#pragma once

#if defined(GMV_CUDA_ON_HOST)
#include "cuda_on_host.h" /* defines GMV_LAUNCH, GMV_DYNAMIC_SHARED */
#else
#define GMV_LAUNCH(kernel, grid, block, shared, stream, ...)                                                           \
    kernel<<<(grid), (block), (shared), (stream)>>>(__VA_ARGS__)
#define GMV_DYNAMIC_SHARED(type, name)                                                                                 \
    extern __shared__ __align__(16) unsigned char gmv_dynamic_shared[];                                                \
    type *name = reinterpret_cast<type *>(gmv_dynamic_shared)
#endif
