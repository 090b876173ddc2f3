/* Dense products by cuBLAS, and sums over columns.
 *
 * cuBLAS is column-major: a row-major c = op(a) op(b) is the column-major c^T = op(b)^T op(a)^T of the same arrays.
 * bf16 products take rounded copies of the operands, made here; sums are fp32 throughout. */
#include "columns.cuh"
#include "cuda.h"
#include "launch.cuh"

#include <cuda_bf16.h>

static __global__ void round_kernel(const float *from, int rows, int cols, int ld, __nv_bfloat16 *to, int to_ld)
{
    int64_t n = (int64_t)rows * to_ld;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x) {
        int r = (int)(i / to_ld), j = (int)(i % to_ld);
        to[i] = __float2bfloat16(j < cols ? from[(int64_t)r * ld + j] : 0.0f);
    }
}

gmv_status gmv_cuda_round(gmv_backend *b, gmv_mat from, gmv_cuda_rounded to)
{
    int64_t n = (int64_t)from.rows * to.ld, blocks = (n + 1023) / 1024;
    GMV_CHECK(to.rows == from.rows && to.cols == from.cols);
    if (n == 0) {
        return GMV_OK;
    }
    GMV_LAUNCH(round_kernel, (unsigned)(blocks < 4096 ? blocks : 4096), 256, 0, gmv_cuda_stream(b), from.at, from.rows,
               from.cols, from.ld, (__nv_bfloat16 *)to.at, to.ld);
    GMV_LAUNCHED();
    return GMV_OK;
}

gmv_status gmv_cuda_product_of_rounded(gmv_backend *b, gmv_trans ta, gmv_trans tb, gmv_cuda_rounded a,
                                       gmv_cuda_rounded b2, float alpha, float beta, gmv_mat c)
{
    GMV_CUBLAS(cublasGemmEx(gmv_cuda_state_of(b)->blas, tb == GMV_T ? CUBLAS_OP_T : CUBLAS_OP_N,
                            ta == GMV_T ? CUBLAS_OP_T : CUBLAS_OP_N, c.cols, c.rows, ta == GMV_T ? a.rows : a.cols,
                            &alpha, b2.at, CUDA_R_16BF, b2.ld, a.at, CUDA_R_16BF, a.ld, &beta, c.at, CUDA_R_32F, c.ld,
                            CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
    return GMV_OK;
}

static gmv_status rounded_product(gmv_backend *b, gmv_trans ta, gmv_trans tb, float alpha, gmv_mat a, gmv_mat b2,
                                  float beta, gmv_mat c)
{
    gmv_cuda_rounded left = {NULL, a.rows, a.cols, gmv_cuda_padded(a.cols)};
    gmv_cuda_rounded right = {NULL, b2.rows, b2.cols, gmv_cuda_padded(b2.cols)};
    int64_t of_left = ((int64_t)left.rows * left.ld + 127) / 128 * 128, of_right = (int64_t)right.rows * right.ld;
    GMV_TRY(gmv_cuda_scratch(b, GMV_CUDA_OPERANDS, (of_left + of_right) * (int64_t)sizeof(__nv_bfloat16), &left.at));
    right.at = (__nv_bfloat16 *)left.at + of_left;
    GMV_TRY(gmv_cuda_round(b, a, left));
    GMV_TRY(gmv_cuda_round(b, b2, right));
    return gmv_cuda_product_of_rounded(b, ta, tb, left, right, alpha, beta, c);
}

static __global__ void scale_kernel(gmv_mat c, float beta)
{
    int64_t n = (int64_t)c.rows * c.cols;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x) {
        float *at = &c.at[i / c.cols * c.ld + i % c.cols];
        *at = beta == 0.0f ? 0.0f : *at * beta;
    }
}

gmv_status gmv_cuda_product(gmv_backend *b, gmv_trans ta, gmv_trans tb, float alpha, gmv_mat a, gmv_mat b2, float beta,
                            gmv_mat c)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    int k = ta == GMV_T ? a.rows : a.cols;
    GMV_CHECK((ta == GMV_T ? a.cols : a.rows) == c.rows);
    GMV_CHECK((tb == GMV_T ? b2.rows : b2.cols) == c.cols);
    GMV_CHECK((tb == GMV_T ? b2.cols : b2.rows) == k);
    if (c.rows == 0 || c.cols == 0) {
        return GMV_OK;
    }
    if (k == 0) {
        GMV_LAUNCH(scale_kernel, 64, 256, 0, state->compute, c, beta);
        GMV_LAUNCHED();
        return GMV_OK;
    }
    if (state->precision == GMV_BF16) {
        return rounded_product(b, ta, tb, alpha, a, b2, beta, c);
    }
    GMV_CUBLAS(cublasSgemm(state->blas, tb == GMV_T ? CUBLAS_OP_T : CUBLAS_OP_N,
                           ta == GMV_T ? CUBLAS_OP_T : CUBLAS_OP_N, c.cols, c.rows, k, &alpha, b2.at, b2.ld, a.at, a.ld,
                           &beta, c.at, c.ld));
    return GMV_OK;
}

gmv_status gmv_cuda_gemm(gmv_backend *b, gmv_trans ta, gmv_trans tb, float alpha, gmv_mat a, gmv_mat b2, float beta,
                         gmv_mat c)
{
    return gmv_cuda_product(b, ta, tb, alpha, a, b2, beta, c);
}

static __global__ void add_bias_kernel(gmv_mat x, const float *bias)
{
    int64_t n = (int64_t)x.rows * x.cols;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x) {
        int j = (int)(i % x.cols);
        x.at[i / x.cols * x.ld + j] += bias[j];
    }
}

gmv_status gmv_cuda_add_bias(gmv_backend *b, gmv_mat x, gmv_vec bias)
{
    GMV_CHECK(bias.n == x.cols);
    int64_t n = (int64_t)x.rows * x.cols, blocks = (n + 1023) / 1024;
    if (n == 0) {
        return GMV_OK;
    }
    GMV_LAUNCH(add_bias_kernel, (unsigned)(blocks < 4096 ? blocks : 4096), 256, 0, gmv_cuda_stream(b), x, bias.at);
    GMV_LAUNCHED();
    return GMV_OK;
}

gmv_status gmv_cuda_bias_backward(gmv_backend *b, gmv_mat d_x, gmv_vec d_bias)
{
    GMV_CHECK(d_bias.n == d_x.cols);
    return gmv_cuda_add_columns(b, d_x, NULL, 1.0f, d_bias.at);
}
