/* The only place that knows who compiles: C, nvcc, or the host build of the kernels in tests. Scalar maths shared by the CPU and the CUDA
 * backend is written once with GMV_HD, in the common subset of C11 and C++17. */
#pragma once

#if defined(__CUDACC__)
#define GMV_HD static __host__ __device__ __forceinline__
#else
#define GMV_HD static inline __attribute__((always_inline, unused))
#endif

#if defined(__cplusplus)
#define GMV_RESTRICT __restrict__
#else
#define GMV_RESTRICT restrict
#endif
