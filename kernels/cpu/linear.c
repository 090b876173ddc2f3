/* Dense products: OpenBLAS on one thread inside OpenMP, over pieces that depend on shapes alone, so that
 * the bits do not depend on the number of threads. */
#include "cpu.h"

#include <cblas.h>

void GMV_CPU(sgemm)(gmv_trans ta, gmv_trans tb, int m, int n, int k, float alpha, const float *a, int lda,
                    const float *b2, int ldb, float beta, float *c, int ldc)
{
    if (m == 0 || n == 0) {
        return;
    }
    if (k == 0) {
        for (int i = 0; i < m; i++) {
            for (int j = 0; j < n; j++) {
                float *to = &c[(size_t)i * (size_t)ldc + (size_t)j];
                *to = beta == 0.0f ? 0.0f : *to * beta; /* as BLAS: beta 0 does not read c */
            }
        }
        return;
    }
    cblas_sgemm(CblasRowMajor, ta == GMV_T ? CblasTrans : CblasNoTrans, tb == GMV_T ? CblasTrans : CblasNoTrans, m, n,
                k, alpha, a, lda, b2, ldb, beta, c, ldc);
}

gmv_status GMV_CPU(gemm)(gmv_backend *b, gmv_trans ta, gmv_trans tb, float alpha, gmv_mat a, gmv_mat b2, float beta,
                         gmv_mat c)
{
    (void)b;
    int k = ta == GMV_T ? a.rows : a.cols;
    GMV_CHECK((ta == GMV_T ? a.cols : a.rows) == c.rows);
    GMV_CHECK((tb == GMV_T ? b2.rows : b2.cols) == c.cols);
    GMV_CHECK((tb == GMV_T ? b2.cols : b2.rows) == k);
    int piece = (gmv_cpu_pieces(c.rows, 16) + 15) / 16 * 16;
    piece = piece < 32 ? 32 : (piece > 512 ? 512 : piece);
    int pieces = gmv_cpu_pieces(c.rows, piece);
#pragma omp parallel for schedule(dynamic, 1)
    for (int p = 0; p < pieces; p++) {
        int first = p * piece, rows = c.rows - first < piece ? c.rows - first : piece;
        const float *from = ta == GMV_T ? a.at + first : a.at + (size_t)first * (size_t)a.ld;
        GMV_CPU(sgemm)
        (ta, tb, rows, c.cols, k, alpha, from, a.ld, b2.at, b2.ld, beta, c.at + (size_t)first * (size_t)c.ld, c.ld);
    }
    return GMV_OK;
}

gmv_status GMV_CPU(add_bias)(gmv_backend *b, gmv_mat x, gmv_vec bias)
{
    (void)b;
    GMV_CHECK(bias.n == x.cols);
#pragma omp parallel for schedule(static)
    for (int r = 0; r < x.rows; r++) {
        float *row = x.at + (size_t)r * (size_t)x.ld;
        for (int j = 0; j < x.cols; j++) {
            row[j] += bias.at[j];
        }
    }
    return GMV_OK;
}

gmv_status GMV_CPU(bias_backward)(gmv_backend *b, gmv_mat d_x, gmv_vec d_bias)
{
    GMV_CHECK(d_bias.n == d_x.cols);
    int pieces = gmv_cpu_pieces(d_x.rows, GMV_CPU_ROWS), n = d_x.cols;
    float *partial;
    GMV_TRY(GMV_CPU(scratch)(b, (int64_t)pieces * n * (int64_t)sizeof(float), (void **)&partial));
#pragma omp parallel for schedule(static)
    for (int p = 0; p < pieces; p++) {
        int first = p * GMV_CPU_ROWS, end = first + GMV_CPU_ROWS < d_x.rows ? first + GMV_CPU_ROWS : d_x.rows;
        float *sum = partial + (size_t)p * (size_t)n;
        gmv_cpu_zero(sum, (size_t)n);
        for (int r = first; r < end; r++) {
            const float *row = d_x.at + (size_t)r * (size_t)d_x.ld;
            for (int j = 0; j < n; j++) {
                sum[j] += row[j];
            }
        }
    }
    GMV_CPU(add_partials)(partial, pieces, n, d_bias.at);
    return GMV_OK;
}

void GMV_CPU(add_partials)(const float *partial, int pieces, int n, float *total)
{
    for (int p = 0; p < pieces; p++) {
        const float *row = partial + (size_t)p * (size_t)n;
        for (int j = 0; j < n; j++) {
            total[j] += row[j];
        }
    }
}
