/* The runtime with the C++ conveniences of CUDA's own header, and the device side. */
#pragma once

#include "cuda_runtime_api.h"

#if defined(__cplusplus)
#include "cuda_on_host.h"

template <typename T> cudaError_t cudaMalloc(T **block, size_t bytes)
{
    return cudaMalloc(reinterpret_cast<void **>(block), bytes);
}

template <typename T> cudaError_t cudaMallocHost(T **block, size_t bytes)
{
    return cudaMallocHost(reinterpret_cast<void **>(block), bytes);
}

template <typename T> cudaError_t cudaHostAlloc(T **block, size_t bytes, unsigned int flags)
{
    return cudaHostAlloc(reinterpret_cast<void **>(block), bytes, flags);
}

template <typename T> cudaError_t cudaFuncSetAttribute(T *kernel, cudaFuncAttribute attribute, int value)
{
    return cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel), attribute, value);
}

template <typename T> cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, T *kernel)
{
    return cudaFuncGetAttributes(attributes, reinterpret_cast<const void *>(kernel));
}

template <typename T>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, T *kernel, int block_size, size_t shared)
{
    return cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, reinterpret_cast<const void *>(kernel), block_size,
                                                         shared);
}
#endif
