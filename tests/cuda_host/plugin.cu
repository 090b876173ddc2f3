/* A plug-in with kernels, which test_plugin.c loads. */
#include "launch.cuh"

#include <cuda_runtime.h>

template <int n> __global__ void reverse_kernel(int *x)
{
    __shared__ int kept[n];
    kept[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = kept[n - 1 - static_cast<int>(threadIdx.x)];
}

/* Reverses 64 numbers. @return a cudaError_t */
extern "C" __attribute__((visibility("default"))) int plugin_reverse(int *numbers)
{
    cudaStream_t stream = nullptr;
    int *x = nullptr;
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    cudaMalloc(&x, 64 * sizeof *x);
    cudaMemcpy(x, numbers, 64 * sizeof *x, cudaMemcpyHostToDevice);
    GMV_LAUNCH(reverse_kernel<64>, 1, 64, 0, stream, x);
    cudaStreamSynchronize(stream);
    cudaMemcpy(numbers, x, 64 * sizeof *x, cudaMemcpyDeviceToHost);
    cudaFree(x);
    cudaStreamDestroy(stream);
    return cudaGetLastError();
}
