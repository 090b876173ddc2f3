/* Products of matrices, and Philox in device code. */
#include <Random123/philox.h> /* before cmocka, whose macros C++ streams do not survive */

#include "support.h"

#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <curand_philox4x32_x.h>

enum { M = 5, N = 7, K = 11, COUNT = 3 };

static float value(int i)
{
    return static_cast<float>(i * 37 % 101) / 64.0f - 0.7f;
}

static float *numbers(size_t n)
{
    float *x = static_cast<float *>(calloc(n, sizeof(float)));
    for (size_t i = 0; i < n; i++) {
        x[i] = value(static_cast<int>(i));
    }
    return x;
}

static void product_is(const float *c, int ldc, const float *a, int lda, const float *b, int ldb, double tolerance)
{
    for (int i = 0; i < M; i++) {
        for (int j = 0; j < N; j++) {
            double sum = 0.0;
            for (int k = 0; k < K; k++) {
                sum += static_cast<double>(a[k + i * lda]) * static_cast<double>(b[k + j * ldb]);
            }
            double error = static_cast<double>(c[i + j * ldc]) - 2.0 * sum;
            assert_true(error <= tolerance && error >= -tolerance);
        }
    }
}

/* C = 2 A' B with strides larger than needed. */
static void products_are_right(void **)
{
    enum { LDA = K + 2, LDB = K + 1, LDC = M + 3 };
    float *a = numbers(COUNT * LDA * M), *b = numbers(COUNT * LDB * N), c[COUNT * LDC * N];
    float *da = device(COUNT * LDA * M, a), *db = device(COUNT * LDB * N, b), *dc = device<float>(COUNT * LDC * N);
    const float alpha = 2.0f, beta = 0.0f;
    cublasHandle_t handle = nullptr;
    cudaStream_t stream = new_stream();
    assert_int_equal(cublasCreate(&handle), CUBLAS_STATUS_SUCCESS);
    assert_int_equal(cublasSetStream(handle, stream), CUBLAS_STATUS_SUCCESS);
    for (int tf32 = 0; tf32 < 2; tf32++) {
        cublasSetMathMode(handle, tf32 != 0 ? CUBLAS_TF32_TENSOR_OP_MATH : CUBLAS_DEFAULT_MATH);
        assert_int_equal(cublasSgemmStridedBatched(handle, CUBLAS_OP_T, CUBLAS_OP_N, M, N, K, &alpha, da, LDA, LDA * M,
                                                   db, LDB, LDB * N, &beta, dc, LDC, LDC * N, COUNT),
                         CUBLAS_STATUS_SUCCESS);
        OK(cudaStreamSynchronize(stream));
        fetch(c, dc, COUNT * LDC * N);
        for (int i = 0; i < COUNT; i++) {
            product_is(c + i * LDC * N, LDC, a + i * LDA * M, LDA, b + i * LDB * N, LDB, tf32 != 0 ? 0.02 : 1e-5);
        }
        assert_true(c[M] != c[M]); /* between the columns nothing was written */
    }
    assert_int_equal(cublasSgemm(handle, CUBLAS_OP_T, CUBLAS_OP_N, M, N, K, &alpha, da, K - 1, db, LDB, &beta, dc, LDC),
                     CUBLAS_STATUS_INVALID_VALUE);
    assert_int_equal(cublasDestroy(handle), CUBLAS_STATUS_SUCCESS);
    free(a);
    free(b);
}

static void bfloat16_products_accumulate_in_float(void **)
{
    float *a = numbers(K * M), *b = numbers(K * N), c[M * N];
    __nv_bfloat16 narrow_a[K * M], narrow_b[K * N], narrow_c[M * N];
    for (int i = 0; i < K * M; i++) {
        a[i] = narrow_a[i] = a[i];
    }
    for (int i = 0; i < K * N; i++) {
        b[i] = narrow_b[i] = b[i];
    }
    __nv_bfloat16 *da = device(K * M, narrow_a), *db = device(K * N, narrow_b), *dc = device<__nv_bfloat16>(M * N);
    float *wide_c = device<float>(M * N);
    const float alpha = 2.0f, beta = 0.0f;
    cublasHandle_t handle = nullptr;
    cudaStream_t stream = new_stream();
    cublasCreate(&handle);
    cublasSetStream(handle, stream);
    for (int narrow = 0; narrow < 2; narrow++) {
        assert_int_equal(cublasGemmEx(handle, CUBLAS_OP_T, CUBLAS_OP_N, M, N, K, &alpha, da, CUDA_R_16BF, K, db,
                                      CUDA_R_16BF, K, &beta, narrow != 0 ? static_cast<void *>(dc) : wide_c,
                                      narrow != 0 ? CUDA_R_16BF : CUDA_R_32F, M, CUBLAS_COMPUTE_32F,
                                      CUBLAS_GEMM_DEFAULT),
                         CUBLAS_STATUS_SUCCESS);
    }
    OK(cudaStreamSynchronize(stream));
    fetch(c, wide_c, M * N);
    product_is(c, M, a, K, b, K, 1e-5);
    fetch(narrow_c, dc, M * N);
    for (int i = 0; i < M * N; i++) {
        c[i] = narrow_c[i];
    }
    product_is(c, M, a, K, b, K, 0.1);
    cublasDestroy(handle);
    free(a);
    free(b);
}

__global__ void philox_kernel(uint4 *out, uint2 key)
{
    unsigned int i = threadIdx.x;
    out[i] = curand_Philox4x32_10(make_uint4(i, 2 * i, 3 * i, ~i), key);
}

static void philox_has_the_bits_of_random123(void **)
{
    uint4 got[64], *out = device<uint4>(64);
    cudaStream_t stream = new_stream();
    GMV_LAUNCH(philox_kernel, 1, 64, 0, stream, out, make_uint2(123456789u, 0xfedcba98u));
    OK(cudaStreamSynchronize(stream));
    fetch(got, out, 64);
    for (unsigned int i = 0; i < 64; i++) {
        philox4x32_ctr_t counter = {{i, 2 * i, 3 * i, ~i}};
        philox4x32_key_t key = {{123456789u, 0xfedcba98u}};
        philox4x32_ctr_t want = philox4x32(counter, key);
        assert_memory_equal(&got[i], want.v, sizeof want.v);
    }
}

static void outside_fault()
{
    float *x = device<float>(16);
    const float one = 1.0f;
    cublasHandle_t handle = nullptr;
    cudaStream_t stream = new_stream();
    cublasCreate(&handle);
    cublasSetStream(handle, stream);
    cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, 4, 4, 4, &one, x, 4, x, 5, &one, x, 4);
    cudaStreamSynchronize(stream);
}

static const fault faults[] = {{"outside", outside_fault}};

static void products_outside_of_memory_are_found(void **)
{
    expect(child("outside"), "cublasSgemm: matrix B");
}

int main(int argc, char **argv)
{
    run_fault(argc, argv, faults, sizeof faults / sizeof *faults);
    const CMUnitTest tests[] = {
        cmocka_unit_test(products_are_right),
        cmocka_unit_test(bfloat16_products_accumulate_in_float),
        cmocka_unit_test(philox_has_the_bits_of_random123),
        cmocka_unit_test(products_outside_of_memory_are_found),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
