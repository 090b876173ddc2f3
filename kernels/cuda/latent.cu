/* Diagonal Gaussian posterior: draws, their gradient, KL to the standard normal.
 *
 * A thread has four dimensions of a row, for which one block of Philox is the noise: it is made in registers in both
 * directions, and never stored. Kernels of a few microseconds: 12 to 24 bytes and about 100 operations an element. */
#include "cuda.h"
#include "device.cuh"
#include "launch.cuh"

#include "gmvae/math/latent_gaussian.h"
#include "gmvae/rng.h"

enum { rows_of_block = 8 };

/* The four normals of dimensions j .. j + 3 of (cell i, draw m); j is a multiple of 4. */
static __device__ __forceinline__ void normals_of(const gmv_noise &noise, int i, int m, int j, float *normal)
{
    gmv_normals(gmv_random_block(noise.seed, noise.stream, noise.step->epoch, noise.cell_id[i],
                                 noise.first_draw + (uint32_t)m, (uint32_t)(j / 4)),
                normal);
}

static __global__ void gaussian_sample_kernel(gmv_mat posterior, gmv_noise noise, bool noisy, int draws, gmv_mat sample)
{
    int r = (int)(blockIdx.x * blockDim.y + threadIdx.y), dim = sample.cols;
    if (r >= sample.rows) {
        return;
    }
    const float *mean = posterior.at + (int64_t)(r / draws) * posterior.ld, *raw = mean + dim;
    float *x = sample.at + (int64_t)r * sample.ld;
    for (int j = 4 * (int)threadIdx.x; j < dim; j += 4 * warp_width) {
        float normal[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        if (noisy) {
            normals_of(noise, r / draws, r % draws, j, normal);
        }
        for (int k = 0; k < 4; k++) {
            if (j + k < dim) {
                x[j + k] = mean[j + k] + sqrtf(gmv_variance(raw[j + k])) * normal[k];
            }
        }
    }
}

/* One row of threads a cell; its draws are added in their order. */
static __global__ void gaussian_sample_backward_kernel(gmv_mat posterior, gmv_noise noise, bool noisy, int draws,
                                                       gmv_mat d_sample, gmv_mat d_posterior)
{
    int i = (int)(blockIdx.x * blockDim.y + threadIdx.y), dim = d_sample.cols;
    if (i >= posterior.rows) {
        return;
    }
    const float *raw = posterior.at + (int64_t)i * posterior.ld + dim;
    float *d_mean = d_posterior.at + (int64_t)i * d_posterior.ld, *d_raw = d_mean + dim;
    for (int j = 4 * (int)threadIdx.x; j < dim; j += 4 * warp_width) {
        float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f}, dot[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        for (int m = 0; m < draws; m++) {
            const float *d = d_sample.at + ((int64_t)i * draws + m) * d_sample.ld;
            float normal[4] = {0.0f, 0.0f, 0.0f, 0.0f};
            if (noisy) {
                normals_of(noise, i, m, j, normal);
            }
            for (int k = 0; k < 4; k++) {
                float mine = j + k < dim ? d[j + k] : 0.0f;
                sum[k] += mine;
                dot[k] += mine * normal[k];
            }
        }
        for (int k = 0; k < 4; k++) {
            if (j + k < dim) {
                float sd = sqrtf(gmv_variance(raw[j + k]));
                d_mean[j + k] += sum[k];
                d_raw[j + k] += dot[k] * 0.5f / sd * gmv_variance_slope(raw[j + k]);
            }
        }
    }
}

/* One warp a cell. */
static __global__ void gaussian_kl_kernel(gmv_mat posterior, const int32_t *filled, gmv_mat terms, const float *scale,
                                          gmv_mat d_posterior)
{
    int i = (int)(blockIdx.x * blockDim.y + threadIdx.y), dim = posterior.cols / 2;
    if (i >= posterior.rows) {
        return;
    }
    bool is_cell = i < filled_of(filled, posterior.rows);
    const float *mean = posterior.at + (int64_t)i * posterior.ld, *raw = mean + dim;
    float kl = 0.0f;
    for (int j = (int)threadIdx.x; j < dim; j += warp_width) {
        kl += gmv_gaussian_kl(mean[j], raw[j]);
    }
    kl = warp_sum(kl);
    if (threadIdx.x == 0) {
        terms.at[(int64_t)i * terms.ld] = is_cell ? kl : 0.0f;
    }
    if (d_posterior.at == NULL || !is_cell) {
        return;
    }
    float *d_mean = d_posterior.at + (int64_t)i * d_posterior.ld, *d_raw = d_mean + dim;
    for (int j = (int)threadIdx.x; j < dim; j += warp_width) {
        d_mean[j] += *scale * mean[j];
        d_raw[j] += *scale * 0.5f * (1.0f - 1.0f / gmv_variance(raw[j])) * gmv_variance_slope(raw[j]);
    }
}

static unsigned blocks_of(int rows)
{
    return (unsigned)((rows + rows_of_block - 1) / rows_of_block);
}

gmv_status gmv_cuda_gaussian_sample(gmv_backend *b, gmv_mat posterior, const gmv_noise *noise, int draws,
                                    gmv_mat sample)
{
    GMV_CHECK(posterior.cols == 2 * sample.cols && sample.rows == posterior.rows * draws);
    if (sample.rows == 0 || sample.cols == 0) {
        return GMV_OK;
    }
    const gmv_noise none = {};
    GMV_LAUNCH(gaussian_sample_kernel, blocks_of(sample.rows), dim3(warp_width, rows_of_block), 0, gmv_cuda_stream(b),
               posterior, noise != NULL ? *noise : none, noise != NULL, draws, sample);
    GMV_LAUNCHED();
    return GMV_OK;
}

gmv_status gmv_cuda_gaussian_sample_backward(gmv_backend *b, gmv_mat posterior, const gmv_noise *noise, int draws,
                                             gmv_mat d_sample, gmv_mat d_posterior)
{
    int dim = d_sample.cols;
    GMV_CHECK(posterior.cols == 2 * dim && d_sample.rows == posterior.rows * draws);
    GMV_CHECK(d_posterior.rows == posterior.rows && d_posterior.cols == 2 * dim);
    if (d_sample.rows == 0 || dim == 0) {
        return GMV_OK;
    }
    const gmv_noise none = {};
    GMV_LAUNCH(gaussian_sample_backward_kernel, blocks_of(posterior.rows), dim3(warp_width, rows_of_block), 0,
               gmv_cuda_stream(b), posterior, noise != NULL ? *noise : none, noise != NULL, draws, d_sample,
               d_posterior);
    GMV_LAUNCHED();
    return GMV_OK;
}

gmv_status gmv_cuda_gaussian_kl(gmv_backend *b, gmv_mat posterior, const int32_t *filled, gmv_mat terms,
                                const float *scale, gmv_mat d_posterior)
{
    GMV_CHECK(terms.rows == posterior.rows && terms.cols == 1);
    if (posterior.rows == 0) {
        return GMV_OK;
    }
    GMV_LAUNCH(gaussian_kl_kernel, blocks_of(posterior.rows), dim3(warp_width, rows_of_block), 0, gmv_cuda_stream(b),
               posterior, filled, terms, scale, d_posterior);
    GMV_LAUNCHED();
    return GMV_OK;
}
