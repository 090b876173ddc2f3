/* Diagonal Gaussian posterior: draws, their gradient, KL to the standard normal. */
#include "cpu.h"

#include "gmvae/math/latent_gaussian.h"
#include "gmvae/rng.h"

/* The four normals with indices 4 * block.. of (cell i, draw m). */
static void normals_of(const gmv_noise *noise, int i, int m, int block, float *normal)
{
    gmv_normals(gmv_random_block(noise->seed, noise->stream, noise->step->epoch, noise->cell_id[i],
                                 noise->first_draw + (uint32_t)m, (uint32_t)block),
                normal);
}

gmv_status GMV_CPU(gaussian_sample)(gmv_backend *b, gmv_mat posterior, const gmv_noise *noise, int draws,
                                    gmv_mat sample)
{
    (void)b;
    int dim = sample.cols;
    GMV_CHECK(posterior.cols == 2 * dim && sample.rows == posterior.rows * draws);
#pragma omp parallel for schedule(static)
    for (int r = 0; r < sample.rows; r++) {
        const float *mean = posterior.at + (size_t)(r / draws) * (size_t)posterior.ld, *raw = mean + dim;
        float *x = sample.at + (size_t)r * (size_t)sample.ld;
        for (int j = 0; j < dim; j += 4) {
            float normal[4] = {0.0f, 0.0f, 0.0f, 0.0f};
            if (noise != NULL) {
                normals_of(noise, r / draws, r % draws, j / 4, normal);
            }
            for (int k = 0; k < 4 && j + k < dim; k++) {
                x[j + k] = mean[j + k] + sqrtf(gmv_variance(raw[j + k])) * normal[k];
            }
        }
    }
    return GMV_OK;
}

gmv_status GMV_CPU(gaussian_sample_backward)(gmv_backend *b, gmv_mat posterior, const gmv_noise *noise, int draws,
                                             gmv_mat d_sample, gmv_mat d_posterior)
{
    (void)b;
    int dim = d_sample.cols;
    GMV_CHECK(posterior.cols == 2 * dim && d_sample.rows == posterior.rows * draws);
    GMV_CHECK(d_posterior.rows == posterior.rows && d_posterior.cols == 2 * dim);
#pragma omp parallel for schedule(static)
    for (int i = 0; i < posterior.rows; i++) {
        const float *raw = posterior.at + (size_t)i * (size_t)posterior.ld + dim;
        float *d_mean = d_posterior.at + (size_t)i * (size_t)d_posterior.ld, *d_raw = d_mean + dim;
        for (int m = 0; m < draws; m++) {
            const float *d = d_sample.at + ((size_t)i * (size_t)draws + (size_t)m) * (size_t)d_sample.ld;
            for (int j = 0; j < dim; j += 4) {
                float normal[4] = {0.0f, 0.0f, 0.0f, 0.0f};
                if (noise != NULL) {
                    normals_of(noise, i, m, j / 4, normal);
                }
                for (int k = 0; k < 4 && j + k < dim; k++) {
                    float sd = sqrtf(gmv_variance(raw[j + k]));
                    d_mean[j + k] += d[j + k];
                    d_raw[j + k] += d[j + k] * normal[k] * 0.5f / sd * gmv_variance_slope(raw[j + k]);
                }
            }
        }
    }
    return GMV_OK;
}

gmv_status GMV_CPU(gaussian_kl)(gmv_backend *b, gmv_mat posterior, const int32_t *filled, gmv_mat terms,
                                const float *scale, gmv_mat d_posterior)
{
    (void)b;
    int dim = posterior.cols / 2, cells = gmv_cpu_filled(filled, posterior.rows);
    GMV_CHECK(terms.rows == posterior.rows && terms.cols == 1);
#pragma omp parallel for schedule(static)
    for (int i = 0; i < posterior.rows; i++) {
        if (i >= cells) {
            terms.at[(size_t)i * (size_t)terms.ld] = 0.0f;
            continue;
        }
        const float *mean = posterior.at + (size_t)i * (size_t)posterior.ld, *raw = mean + dim;
        float kl = 0.0f;
#pragma omp simd reduction(+ : kl)
        for (int j = 0; j < dim; j++) {
            kl += gmv_gaussian_kl(mean[j], raw[j]);
        }
        terms.at[(size_t)i * (size_t)terms.ld] = kl;
        if (d_posterior.at == NULL) {
            continue;
        }
        float *d_mean = d_posterior.at + (size_t)i * (size_t)d_posterior.ld, *d_raw = d_mean + dim;
        for (int j = 0; j < dim; j++) {
            d_mean[j] += *scale * mean[j];
            d_raw[j] += *scale * 0.5f * (1.0f - 1.0f / gmv_variance(raw[j])) * gmv_variance_slope(raw[j]);
        }
    }
    return GMV_OK;
}
