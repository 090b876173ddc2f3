/* What the GPU at hand can do at most, for the step's time to be seen against: one JSON line.
 *
 *   bench_ceilings [repeats=7]
 *
 * Memory copy, reads from L2, exponentials and logarithms, products of the decoder's shape in three precisions, the replay
 * of a graph of 45 empty kernels, copies from pinned host memory. Each figure is the best of the repeats. */
#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>

static const size_t copy_bytes = (size_t)1 << 30, l2_bytes = (size_t)16 << 20, host_bytes = (size_t)256 << 20;
enum { threads = 256, l2_rounds = 64, function_rounds = 4096, graph_kernels = 45, graph_replays = 200 };
enum { product_rows = 10240, product_cols = 1024, product_depth = 300 };

static void check(cudaError_t error, const char *what)
{
    if (error != cudaSuccess) {
        fprintf(stderr, "bench_ceilings: %s: %s\n", what, cudaGetErrorString(error));
        exit(5);
    }
}

static void check(cublasStatus_t status, const char *what)
{
    if (status != CUBLAS_STATUS_SUCCESS) {
        fprintf(stderr, "bench_ceilings: %s: %s\n", what, cublasGetStatusString(status));
        exit(5);
    }
}

static __global__ void copy_kernel(const float4 *from, float4 *to, size_t n)
{
    size_t step = (size_t)gridDim.x * blockDim.x;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {
        to[i] = from[i];
    }
}

/* Past L1, which would hold a block's part. */
static __global__ void read_kernel(const float4 *from, size_t n, float *sum)
{
    size_t step = (size_t)gridDim.x * blockDim.x;
    float total = 0.0f;
    for (int round = 0; round < l2_rounds; round++) {
        for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {
            float4 v = __ldcg(from + i);
            total += v.x + v.y + v.z + v.w;
        }
    }
    if (total == 1.25f) { /* never: the reads must not be left out */
        *sum = total;
    }
}

template <bool exponentials> static __global__ void function_kernel(float *sum)
{
    float x[4];
    for (int k = 0; k < 4; k++) {
        x[k] = 1.0f + (float)(threadIdx.x + (unsigned)k) * 1e-3f;
    }
    for (int i = 0; i < function_rounds; i++) {
        for (int k = 0; k < 4; k++) {
            if constexpr (exponentials) {
                asm volatile("ex2.approx.ftz.f32 %0, %0;" : "+f"(x[k]));
            } else {
                asm volatile("lg2.approx.ftz.f32 %0, %0;" : "+f"(x[k]));
            }
        }
    }
    if (x[0] + x[1] + x[2] + x[3] == 1.25f) {
        *sum = x[0];
    }
}

static __global__ void empty_kernel()
{
}

static int repeats = 7;
static cudaStream_t stream;

/* Seconds of the fastest of the repeats. */
static double best(const std::function<void()> &work)
{
    cudaEvent_t start, end;
    double least = 1e30;
    check(cudaEventCreate(&start), "event");
    check(cudaEventCreate(&end), "event");
    work();
    for (int r = 0; r < repeats; r++) {
        float ms = 0.0f;
        check(cudaEventRecord(start, stream), "event");
        work();
        check(cudaEventRecord(end, stream), "event");
        check(cudaEventSynchronize(end), "work");
        check(cudaEventElapsedTime(&ms, start, end), "event");
        least = ms * 1e-3 < least ? ms * 1e-3 : least;
    }
    check(cudaGetLastError(), "launch");
    cudaEventDestroy(start);
    cudaEventDestroy(end);
    return least;
}

/* TFLOP/s of [rows, depth] times [depth, cols] with sums in fp32. */
static double product(cublasHandle_t blas, cudaDataType_t type, cublasComputeType_t compute, const void *a,
                      const void *b, float *c)
{
    const float one = 1.0f, zero = 0.0f;
    double seconds = best([&] {
        check(cublasGemmEx(blas, CUBLAS_OP_T, CUBLAS_OP_N, product_cols, product_rows, product_depth, &one, a, type,
                           product_depth + 4, b, type, product_depth + 4, &zero, c, CUDA_R_32F, product_cols, compute,
                           CUBLAS_GEMM_DEFAULT),
              "product");
    });
    return 2e-12 * product_rows * product_cols * product_depth / seconds;
}

static double replay()
{
    cudaGraph_t graph;
    cudaGraphExec_t ready;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
    for (int i = 0; i < graph_kernels; i++) {
        empty_kernel<<<1, 32, 0, stream>>>();
    }
    check(cudaStreamEndCapture(stream, &graph), "capture");
    check(cudaGraphInstantiate(&ready, graph, 0), "graph");
    double seconds = best([&] {
        for (int i = 0; i < graph_replays; i++) {
            check(cudaGraphLaunch(ready, stream), "graph");
        }
    });
    cudaGraphExecDestroy(ready);
    cudaGraphDestroy(graph);
    return seconds / graph_replays;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strncmp(argv[1], "repeats=", 8) == 0) {
        repeats = atoi(argv[1] + 8);
    }
    cudaDeviceProp device;
    int driver = 0, runtime = 0;
    float4 *from = nullptr, *to = nullptr;
    void *host = nullptr;
    cublasHandle_t blas;
    check(cudaGetDeviceProperties(&device, 0), "no GPU");
    check(cudaDriverGetVersion(&driver), "driver");
    check(cudaRuntimeGetVersion(&runtime), "runtime");
    check(cudaStreamCreate(&stream), "stream");
    check(cudaMalloc(&from, copy_bytes), "memory");
    check(cudaMalloc(&to, copy_bytes), "memory");
    check(cudaMemset(from, 0, copy_bytes), "memory");
    check(cudaMallocHost(&host, host_bytes), "pinned memory");
    memset(host, 0, host_bytes);
    check(cublasCreate(&blas), "cuBLAS");
    check(cublasSetStream(blas, stream), "cuBLAS");
    int blocks = device.multiProcessorCount * 8;
    float *sum = reinterpret_cast<float *>(to);
    double copy = best([&] { copy_kernel<<<blocks, threads, 0, stream>>>(from, to, copy_bytes / sizeof(float4)); });
    double l2 = best([&] { read_kernel<<<blocks, threads, 0, stream>>>(from, l2_bytes / sizeof(float4), sum); });
    double exponentials = best([&] { function_kernel<true><<<blocks, threads, 0, stream>>>(sum); });
    double logarithms = best([&] { function_kernel<false><<<blocks, threads, 0, stream>>>(sum); });
    double host_copy = best([&] { cudaMemcpyAsync(to, host, host_bytes, cudaMemcpyHostToDevice, stream); });
    double functions = (double)blocks * threads * function_rounds * 4;
    double bf16 = product(blas, CUDA_R_16BF, CUBLAS_COMPUTE_32F, from, from, sum);
    double tf32 = product(blas, CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32, from, from, sum);
    double fp32 = product(blas, CUDA_R_32F, CUBLAS_COMPUTE_32F_PEDANTIC, from, from, sum);
    printf("{\"bench\": \"ceilings\", \"device\": \"%s\", \"multiprocessors\": %d, \"driver\": %d, \"runtime\": %d, "
           "\"copy_GB_per_s\": %.0f, \"l2_GB_per_s\": %.0f, \"exp2_G_per_s\": %.0f, \"log2_G_per_s\": %.0f, "
           "\"bf16_TFLOP_per_s\": %.1f, \"tf32_TFLOP_per_s\": %.1f, \"fp32_TFLOP_per_s\": %.1f, "
           "\"graph_of_%d_us\": %.2f, \"host_copy_GB_per_s\": %.1f}\n",
           device.name, device.multiProcessorCount, driver, runtime, 2e-9 * (double)copy_bytes / copy,
           1e-9 * (double)l2_bytes * l2_rounds / l2, 1e-9 * functions / exponentials, 1e-9 * functions / logarithms,
           bf16, tf32, fp32, (int)graph_kernels, 1e6 * replay(), 1e-9 * (double)host_bytes / host_copy);
    cublasDestroy(blas);
    cudaFreeHost(host);
    cudaFree(from);
    cudaFree(to);
    return 0;
}
