/* Expected expression of cells, from what the decoder heads predict: a row at a time, by one thread. */
#include "cpu.h"

#include "gmvae/likelihoods.h"

enum { tile_genes = 256 };

typedef float log_mean_function(const float *p);

/* Logarithms of the means of row r, in place of the predictors of head 0. */
static inline __attribute__((always_inline)) void log_means(log_mean_function *log_mean, int heads, bool gene_param,
                                                            const gmv_fraction_args *args, int r)
{
    float *row[GMV_MAX_HEADS] = {NULL};
    for (int h = 0; h < heads; h++) {
        row[h] = args->predictor[h].at + (size_t)r * (size_t)args->predictor[h].ld;
    }
    for (int g = 0; g < args->out.cols; g++) {
        float p[GMV_MAX_HEADS + 1] = {0.0f};
        for (int h = 0; h < heads; h++) {
            p[h] = row[h][g];
        }
        p[heads] = gene_param ? args->gene_param.at[g] : 0.0f;
        row[0][g] = log_mean(p);
    }
}

/* A function for each likelihood, so that all of it is known to the compiler. */
#define GMV_LIKELIHOOD(name, heads, softmax, gene_params, names, description)                                          \
    static void name##_log_means(const gmv_fraction_args *args, int r)                                                 \
    {                                                                                                                  \
        log_means(gmv_lik_##name##_log_mean, heads, (gene_params) != 0, args, r);                                      \
    }
#include "gmvae/likelihoods.def"
#undef GMV_LIKELIHOOD

static void take_log_means(const gmv_fraction_args *args, int r)
{
    switch (args->likelihood) {
#define GMV_LIKELIHOOD(name, heads, softmax, gene_params, names, description)                                          \
    case GMV_LIKELIHOOD_##name:                                                                                        \
        name##_log_means(args, r);                                                                                     \
        break;
#include "gmvae/likelihoods.def"
#undef GMV_LIKELIHOOD
    case GMV_LIKELIHOODS:
        break;
    }
}

/* Which genes cell i has; NULL: all of them. */
static const uint8_t *present_of(const gmv_batch *batch, int i)
{
    bool all = batch == NULL || batch->present == NULL;
    return all ? NULL : batch->present + (size_t)batch->set[i] * (size_t)batch->genes;
}

/* Largest of the logarithms of the genes that are there, and the sum of their exponentials relative to it. */
static double sum_means(const float *GMV_RESTRICT value, const uint8_t *GMV_RESTRICT present, int genes, float *top)
{
    float highest = -1e30f;
    double sum = 0.0;
#pragma omp simd reduction(max : highest)
    for (int g = 0; g < genes; g++) {
        float mine = present == NULL || present[g] != 0 ? value[g] : -1e30f;
        highest = mine > highest ? mine : highest;
    }
    for (int first = 0; first < genes; first += tile_genes) {
        int end = genes - first < tile_genes ? genes : first + tile_genes;
        float total = 0.0f;
#pragma omp simd reduction(+ : total)
        for (int g = first; g < end; g++) {
            total += present == NULL || present[g] != 0 ? gmv_expf(value[g] - highest) : 0.0f;
        }
        sum += (double)total;
    }
    *top = highest;
    return sum;
}

gmv_status GMV_CPU(head_fractions)(gmv_backend *b, const gmv_fraction_args *args)
{
    (void)b;
    gmv_likelihood_info info = gmv_likelihood_of(args->likelihood);
    int genes = args->out.cols, draws = args->draws;
    for (int h = 0; h < info.heads; h++) {
        GMV_CHECK(args->predictor[h].rows == args->out.rows * draws && args->predictor[h].cols == genes);
    }
    GMV_CHECK(!info.gene_param || args->gene_param.n == genes);
#pragma omp parallel for schedule(static)
    for (int i = 0; i < args->out.rows; i++) {
        float *GMV_RESTRICT out = args->out.at + (size_t)i * (size_t)args->out.ld;
        for (int r = i * draws; r < (i + 1) * draws; r++) {
            const float *GMV_RESTRICT value = args->predictor[0].at + (size_t)r * (size_t)args->predictor[0].ld;
            float top;
            take_log_means(args, r);
            float scale = (float)((double)args->weight / sum_means(value, present_of(args->batch, i), genes, &top));
#pragma omp simd
            for (int g = 0; g < genes; g++) {
                out[g] += scale * gmv_expf(value[g] - top);
            }
        }
    }
    return GMV_OK;
}
