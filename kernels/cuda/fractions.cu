/* Expected expression of cells, from what the decoder heads predict.
 *
 * A block has a cell, whose draws it takes in order; a thread has every 256th gene. Bound by memory: three times over the
 * predictors, the second and third time from the cache. */
#include "cuda.h"
#include "device.cuh"
#include "launch.cuh"

#include "gmvae/likelihoods.h"

enum { threads = 256, warps = threads / warp_width };

/* What the kernel needs, by value: arrays of the arguments would be host memory. */
typedef struct fraction_work {
    gmv_mat predictor[GMV_MAX_HEADS];
    const float *gene_param;
    const int32_t *set;     /* NULL: all genes count */
    const uint8_t *present; /* [sets, G] */
    int draws;
    float weight;
    gmv_mat out;
} fraction_work;

#define GMV_LIKELIHOOD(name, head_count, softmax, gene_params, names, description)                                     \
    struct name##_means {                                                                                              \
        static const int heads = head_count;                                                                           \
        static const bool gene_param = (gene_params) != 0;                                                             \
        static __device__ __forceinline__ float log_mean(const float *p)                                               \
        {                                                                                                              \
            return gmv_lik_##name##_log_mean(p);                                                                       \
        }                                                                                                              \
    };
#include "gmvae/likelihoods.def"
#undef GMV_LIKELIHOOD

/* Largest value of a block; every thread gets it. `shared` [warps] may be used again after it. */
static __device__ __forceinline__ float block_max(float value, float *shared)
{
    value = warp_max(value);
    if (threadIdx.x % warp_width == 0) {
        shared[threadIdx.x / warp_width] = value;
    }
    __syncthreads();
    float highest = shared[0];
    for (int w = 1; w < warps; w++) {
        highest = fmaxf(highest, shared[w]);
    }
    __syncthreads();
    return highest;
}

template <class L> static __device__ __forceinline__ float log_mean_at(const fraction_work &work, int64_t r, int g)
{
    float p[GMV_MAX_HEADS + 1] = {0.0f};
    for (int h = 0; h < L::heads; h++) {
        p[h] = work.predictor[h].at[r * work.predictor[h].ld + g];
    }
    p[L::heads] = L::gene_param ? work.gene_param[g] : 0.0f;
    return L::log_mean(p);
}

template <class L> static __global__ void head_fractions_kernel(fraction_work work)
{
    __shared__ float highest_of[warps];
    __shared__ double sum_of[warp_width];
    int64_t i = blockIdx.x;
    int genes = work.out.cols;
    const uint8_t *present = work.set != NULL ? work.present + (int64_t)work.set[i] * genes : NULL;
    float *out = work.out.at + i * work.out.ld;
    for (int64_t r = i * work.draws; r < (i + 1) * work.draws; r++) {
        float *value = work.predictor[0].at + r * work.predictor[0].ld;
        float top = -1e30f;
        double sum = 0.0;
        for (int g = (int)threadIdx.x; g < genes; g += threads) {
            value[g] = log_mean_at<L>(work, r, g);
            top = present == NULL || present[g] != 0 ? fmaxf(top, value[g]) : top;
        }
        top = block_max(top, highest_of);
        for (int g = (int)threadIdx.x; g < genes; g += threads) {
            sum += present == NULL || present[g] != 0 ? (double)gmv_expf(value[g] - top) : 0.0;
        }
        float scale = (float)((double)work.weight / block_sum(sum, sum_of));
        for (int g = (int)threadIdx.x; g < genes; g += threads) {
            out[g] += scale * gmv_expf(value[g] - top);
        }
    }
}

template <class L> static gmv_status launch(gmv_backend *b, const fraction_work &work)
{
    GMV_LAUNCH((head_fractions_kernel<L>), (unsigned)work.out.rows, threads, 0, gmv_cuda_stream(b), work);
    GMV_LAUNCHED();
    return GMV_OK;
}

static gmv_status launch_likelihood(gmv_backend *b, gmv_likelihood likelihood, const fraction_work &work)
{
    switch (likelihood) {
#define GMV_LIKELIHOOD(name, heads, softmax, gene_params, names, description)                                          \
    case GMV_LIKELIHOOD_##name:                                                                                        \
        return launch<name##_means>(b, work);
#include "gmvae/likelihoods.def"
#undef GMV_LIKELIHOOD
    case GMV_LIKELIHOODS:
        break;
    }
    return GMV_OK;
}

gmv_status gmv_cuda_head_fractions(gmv_backend *b, const gmv_fraction_args *args)
{
    gmv_likelihood_info info = gmv_likelihood_of(args->likelihood);
    fraction_work work = {};
    bool lacking = args->batch != NULL && args->batch->present != NULL;
    for (int h = 0; h < info.heads; h++) {
        GMV_CHECK(args->predictor[h].rows == args->out.rows * args->draws && args->predictor[h].cols == args->out.cols);
        work.predictor[h] = args->predictor[h];
    }
    GMV_CHECK(!info.gene_param || args->gene_param.n == args->out.cols);
    work.gene_param = args->gene_param.at;
    work.set = lacking ? args->batch->set : NULL;
    work.present = lacking ? args->batch->present : NULL;
    work.draws = args->draws;
    work.weight = args->weight;
    work.out = args->out;
    return args->out.rows == 0 || args->out.cols == 0 ? GMV_OK : launch_likelihood(b, args->likelihood, work);
}
