/* Output layer of the beta network, the mixture's densities, the conditional prior and all gradients.
 *
 * Whole cells are taken in blocks whose raw component parameters stay in the L2 cache: one product makes them, one
 * kernel turns them into their own gradient in place, two products lead back. The kernel has a block for each cell,
 * because free nats gate the gradient by the mean over a cell's draws. Formulas: docs/math.md, "conditional prior".
 *
 * Bytes and operations of the kernel for each of the 2 K D numbers of a row: two reads and one write of 4 bytes, all
 * in L2 (12 / 5.5e12 = 2.2 ps on an H200); a mean and its variance take about 75 instructions for the density and 60
 * for the gradient (135 / 2 / 2.97e13 = 2.3 ps a number): bound by L2 and instructions alike, and about as long as the
 * three products, whose 3 x 2 H operations are 2.3 ps in bf16. */
#include "columns.cuh"
#include "cuda.h"
#include "device.cuh"
#include "launch.cuh"

#include "gmvae/math/latent_gaussian.h"

enum { block_threads = 256, block_warps = block_threads / warp_width };

static const int64_t raw_bytes = (int64_t)24 << 20;
static const float half_log_two_pi = 0.918938533f;

/* One block of cells. Arrays of its rows, row (i - first_cell) * M + m. */
typedef struct mixture_work {
    gmv_mixture_args args;
    int first_cell, cells;
    float *raw;         /* [rows, 2 K D] without bias, then its gradient */
    float *log_density; /* [rows, K] log p_k(x), then its coefficient in the gradient */
    float *share;       /* [rows, K] pi_k = p(z = k | x, w) */
    float *divergence;  /* [rows, K] KL(q || p_k), published objective only */
    float *d_posterior; /* [rows, 2 D] published objective only */
    double *sums;       /* [rows, sum_kinds] */
} mixture_work;

enum { sum_z, sum_x, sum_published, sum_kinds };

/* log p_k(x), and KL(q || p_k) when published: a warp for each draw and component. */
template <bool published> static __device__ void component_densities(const mixture_work &work, int cell)
{
    const gmv_mixture_args &args = work.args;
    int dim = args.x.cols, components = args.components, draws = args.draws;
    int lane = (int)threadIdx.x % warp_width, warp = (int)threadIdx.x / warp_width;
    const float *posterior = args.posterior.at + (int64_t)cell * args.posterior.ld;
    for (int pair = warp; pair < draws * components; pair += block_warps) {
        int m = pair / components, k = pair % components;
        int64_t row = (int64_t)(cell - work.first_cell) * draws + m, width = (int64_t)2 * components * dim;
        int64_t mean_at = (int64_t)k * dim, variance_at = ((int64_t)components + k) * dim;
        const float *raw = work.raw + row * width;
        const float *x = args.x.at + ((int64_t)cell * draws + m) * args.x.ld;
        float logs = 0.0f, squares = 0.0f, divergence = 0.0f;
        for (int d = lane; d < dim; d += warp_width) {
            float mean = raw[mean_at + d] + __ldg(args.bias.at + mean_at + d);
            float v = gmv_variance(raw[variance_at + d] + __ldg(args.bias.at + variance_at + d));
            logs += gmv_logf(v);
            squares += (x[d] - mean) * (x[d] - mean) / v;
            if (published) {
                float vq = gmv_variance(posterior[dim + d]), difference = posterior[d] - mean;
                divergence += (vq + difference * difference) / v - gmv_logf(vq);
            }
        }
        logs = warp_sum(logs);
        squares = warp_sum(squares);
        divergence = published ? warp_sum(divergence) : 0.0f;
        if (lane == 0) {
            work.log_density[row * components + k] = -0.5f * (logs + squares) - (float)dim * half_log_two_pi;
            if (published) {
                work.divergence[row * components + k] = 0.5f * (divergence + logs - (float)dim);
            }
        }
    }
}

/* log q(x | y) of one row, by a warp. */
static __device__ float posterior_density(const float *x, const float *posterior, int dim)
{
    float sum = 0.0f;
    for (int d = (int)threadIdx.x % warp_width; d < dim; d += warp_width) {
        float v = gmv_variance(posterior[dim + d]), difference = x[d] - posterior[d];
        sum += gmv_logf(v) + difference * difference / v;
    }
    return -0.5f * warp_sum(sum) - (float)dim * half_log_two_pi;
}

/* By a warp; all of its lanes know it. */
static __device__ float log_sum_exp(const float *value, int n)
{
    float top = -INFINITY, sum = 0.0f;
    for (int k = (int)threadIdx.x % warp_width; k < n; k += warp_width) {
        top = fmaxf(top, __ldg(value + k));
    }
    top = warp_max(top);
    for (int k = (int)threadIdx.x % warp_width; k < n; k += warp_width) {
        sum += gmv_expf(__ldg(value + k) - top);
    }
    return top + gmv_logf(warp_sum(sum));
}

/* Shares, and the parts of the terms, of every draw: a warp for each. */
template <bool published> static __device__ void draw_shares(const mixture_work &work, int cell)
{
    const gmv_mixture_args &args = work.args;
    int components = args.components, draws = args.draws;
    int lane = (int)threadIdx.x % warp_width, warp = (int)threadIdx.x / warp_width;
    const float *logit = args.log_weight.at;
    float log_weights = logit != NULL ? log_sum_exp(logit, components) : gmv_logf((float)components);
    for (int m = warp; m < draws; m += block_warps) {
        int64_t row = (int64_t)(cell - work.first_cell) * draws + m;
        const float *log_density = work.log_density + row * components;
        float *share = work.share + row * components;
        float top = -INFINITY, sum = 0.0f, z = 0.0f, c = 0.0f;
        for (int k = lane; k < components; k += warp_width) {
            share[k] = log_density[k] + (logit != NULL ? __ldg(logit + k) : 0.0f);
            top = fmaxf(top, share[k]);
        }
        top = warp_max(top);
        for (int k = lane; k < components; k += warp_width) {
            share[k] = gmv_expf(share[k] - top);
            sum += share[k];
        }
        sum = warp_sum(sum);
        float log_mean = top + gmv_logf(sum) - log_weights;
        for (int k = lane; k < components; k += warp_width) {
            share[k] /= sum;
            z += share[k] * (log_density[k] - log_mean); /* log(pi_k / weight_k), finite also where pi_k is 0 */
            c += published ? share[k] * work.divergence[row * components + k] : 0.0f;
        }
        z = warp_sum(z);
        c = published ? warp_sum(c) : 0.0f;
        float log_q = posterior_density(args.x.at + ((int64_t)cell * draws + m) * args.x.ld,
                                        args.posterior.at + (int64_t)cell * args.posterior.ld, args.x.cols);
        if (lane == 0) {
            double *sums = work.sums + row * sum_kinds;
            sums[sum_z] = (double)z;
            sums[sum_x] = (double)(log_q - log_mean) - (double)z;
            sums[sum_published] = (double)c;
        }
    }
}

/* Writes the terms of a cell; 1 when the gradient of KL_Z flows (above its free nats). By one thread. */
static __device__ float cell_terms(const mixture_work &work, int cell)
{
    const gmv_mixture_args &args = work.args;
    const double *sums = work.sums + (int64_t)(cell - work.first_cell) * args.draws * sum_kinds;
    double kl_z = 0.0, kl_x = 0.0, published = 0.0, limit = (double)args.free_nats;
    for (int m = 0; m < args.draws; m++) {
        kl_z += sums[m * sum_kinds + sum_z];
        kl_x += sums[m * sum_kinds + sum_x];
        published += sums[m * sum_kinds + sum_published];
    }
    kl_z /= args.draws;
    kl_x /= args.draws;
    published /= args.draws;
    double gated = kl_z > limit ? kl_z : limit;
    float *terms = args.terms.at + (int64_t)cell * args.terms.ld;
    terms[GMV_MIXTURE_KL_Z] = (float)kl_z;
    terms[GMV_MIXTURE_KL_X] = (float)kl_x;
    if (args.objective == GMV_OBJECTIVE_MARGINAL) {
        terms[GMV_MIXTURE_PRIOR] = (float)(kl_z + kl_x);
        return 1.0f;
    }
    terms[GMV_MIXTURE_PRIOR] = (float)((args.objective == GMV_OBJECTIVE_PUBLISHED ? published : kl_x) + gated);
    return args.free_nats <= 0.0f || kl_z > limit ? 1.0f : 0.0f;
}

static __device__ void mean_shares(const mixture_work &work, int cell)
{
    int components = work.args.components, draws = work.args.draws;
    const float *share = work.share + (int64_t)(cell - work.first_cell) * draws * components;
    float *probability = work.args.probability.at + (int64_t)cell * work.args.probability.ld;
    for (int k = (int)threadIdx.x; k < components; k += block_threads) {
        float sum = 0.0f;
        for (int m = 0; m < draws; m++) {
            sum += share[(int64_t)m * components + k];
        }
        probability[k] = sum / (float)draws;
    }
}

/* Replaces log p_k by d(prior) / d(log p_k) in every draw: a warp for each. With T_k = d(prior) / d(pi_k): published
 * T_k = KL_k + gate log pi_k; mc T_k = (gate - 1) log pi_k, up to a constant that the softmax removes; the derivative
 * is pi_k (T_k - mean T), and -pi_k for mc. */
static __device__ void density_coefficients(const mixture_work &work, int cell, float gate)
{
    int components = work.args.components, draws = work.args.draws;
    int lane = (int)threadIdx.x % warp_width, warp = (int)threadIdx.x / warp_width;
    bool published = work.args.objective == GMV_OBJECTIVE_PUBLISHED;
    bool marginal = work.args.objective == GMV_OBJECTIVE_MARGINAL;
    for (int m = warp; m < draws; m += block_warps) {
        int64_t at = ((int64_t)(cell - work.first_cell) * draws + m) * components;
        float *coefficient = work.log_density + at;
        const float *share = work.share + at;
        float top = -INFINITY, mean = 0.0f;
        for (int k = lane; k < components; k += warp_width) {
            top = fmaxf(top, coefficient[k]);
        }
        top = warp_max(top);
        for (int k = lane; k < components; k += warp_width) {
            float relative = coefficient[k] - top;
            float t = published ? work.divergence[at + k] + gate * relative : (gate - 1.0f) * relative;
            coefficient[k] = t;
            mean += share[k] * t;
        }
        mean = warp_sum(mean);
        for (int k = lane; k < components; k += warp_width) {
            coefficient[k] = marginal ? -share[k] : share[k] * (coefficient[k] - mean) - (published ? 0.0f : share[k]);
        }
    }
}

/* Replaces the raw parameters by their gradient and adds to d_x: a thread for each draw and dimension, all components
 * in order. */
template <bool published> static __device__ void component_gradients(const mixture_work &work, int cell)
{
    const gmv_mixture_args &args = work.args;
    int dim = args.x.cols, components = args.components, draws = args.draws;
    const float *posterior = args.posterior.at + (int64_t)cell * args.posterior.ld;
    float factor = *args.scale / (float)draws;
    for (int item = (int)threadIdx.x; item < draws * dim; item += block_threads) {
        int m = item / dim, d = item % dim;
        int64_t row = (int64_t)(cell - work.first_cell) * draws + m, variances = (int64_t)components * dim;
        float *raw = work.raw + row * 2 * variances;
        float x = args.x.at[((int64_t)cell * draws + m) * args.x.ld + d];
        float mean_q = published ? posterior[d] : 0.0f, vq = published ? gmv_variance(posterior[dim + d]) : 1.0f;
        float inverse_q = 1.0f / vq, d_x = 0.0f, d_mean_q = 0.0f, d_vq = 0.0f;
        for (int k = 0; k < components; k++) {
            int64_t at = (int64_t)k * dim + d;
            float mean = raw[at] + __ldg(args.bias.at + at);
            float raw_variance = raw[variances + at] + __ldg(args.bias.at + variances + at);
            float inverse = 1.0f / gmv_variance(raw_variance);
            float a = factor * work.log_density[row * components + k];
            float from_x = (x - mean) * inverse;
            float d_mean = a * from_x, d_v = 0.5f * a * (from_x * from_x - inverse);
            d_x += a * from_x;
            if (published) {
                float c = factor * work.share[row * components + k], from_q = (mean - mean_q) * inverse;
                d_mean += c * from_q;
                d_v += 0.5f * c * (inverse - vq * inverse * inverse - from_q * from_q);
                d_mean_q += c * from_q;
                d_vq += 0.5f * c * (inverse - inverse_q);
            }
            raw[at] = d_mean;
            raw[variances + at] = d_v * gmv_variance_slope(raw_variance);
        }
        args.d_x.at[((int64_t)cell * draws + m) * args.d_x.ld + d] -= d_x;
        if (published) {
            work.d_posterior[row * 2 * dim + d] = -d_mean_q;
            work.d_posterior[row * 2 * dim + dim + d] = d_vq * gmv_variance_slope(posterior[dim + d]);
        }
    }
}

/* Adds to d_posterior, draws in order. */
template <bool published> static __device__ void posterior_gradient(const mixture_work &work, int cell)
{
    const gmv_mixture_args &args = work.args;
    int dim = args.x.cols, draws = args.draws;
    float *d_posterior = args.d_posterior.at + (int64_t)cell * args.d_posterior.ld;
    if constexpr (published) {
        const float *of_draws = work.d_posterior + (int64_t)(cell - work.first_cell) * draws * 2 * dim;
        for (int d = (int)threadIdx.x; d < 2 * dim; d += block_threads) {
            float sum = 0.0f;
            for (int m = 0; m < draws; m++) {
                sum += of_draws[(int64_t)m * 2 * dim + d];
            }
            d_posterior[d] += sum;
        }
    } else {
        /* log q(x): what passes through x cancels against the mean's own part, since x = mean + sd * noise; what is
         * left is the entropy, the same for every draw */
        for (int d = (int)threadIdx.x; d < dim; d += block_threads) {
            float raw = args.posterior.at[(int64_t)cell * args.posterior.ld + dim + d];
            d_posterior[dim + d] -= 0.5f * *args.scale / gmv_variance(raw) * gmv_variance_slope(raw);
        }
    }
}

/* A row that fills the batch up: no terms, no probabilities, no gradient of its raw parameters. */
template <bool gradients> static __device__ void leave_empty(const mixture_work &work, int cell)
{
    const gmv_mixture_args &args = work.args;
    int64_t raws = gradients ? (int64_t)args.draws * args.weight.rows : 0;
    float *raw = work.raw + (cell - work.first_cell) * raws;
    for (int64_t i = threadIdx.x; i < raws; i += block_threads) {
        raw[i] = 0.0f;
    }
    for (int k = (int)threadIdx.x; args.probability.at != NULL && k < args.components; k += block_threads) {
        args.probability.at[(int64_t)cell * args.probability.ld + k] = 0.0f;
    }
    if (threadIdx.x < GMV_MIXTURE_TERMS) {
        args.terms.at[(int64_t)cell * args.terms.ld + threadIdx.x] = 0.0f;
    }
}

template <bool published, bool gradients>
static __global__ void __launch_bounds__(block_threads) mixture_cell_kernel(mixture_work work)
{
    __shared__ float gate;
    int cell = work.first_cell + (int)blockIdx.x;
    if (cell >= filled_of(work.args.filled, work.args.posterior.rows)) {
        leave_empty<gradients>(work, cell);
        return;
    }
    component_densities<published>(work, cell);
    __syncthreads();
    draw_shares<published>(work, cell);
    __syncthreads();
    if (threadIdx.x == 0) {
        gate = cell_terms(work, cell);
    }
    if (work.args.probability.at != NULL) {
        mean_shares(work, cell);
    }
    if constexpr (gradients) {
        __syncthreads();
        density_coefficients(work, cell, gate);
        __syncthreads();
        component_gradients<published>(work, cell);
        __syncthreads();
        posterior_gradient<published>(work, cell);
    }
}

static gmv_status run_cells(gmv_backend *b, const mixture_work &work)
{
    bool published = work.args.objective == GMV_OBJECTIVE_PUBLISHED, gradients = work.args.d_bias.at != NULL;
    unsigned cells = (unsigned)work.cells;
    cudaStream_t stream = gmv_cuda_stream(b);
    if (published && gradients) {
        GMV_LAUNCH((mixture_cell_kernel<true, true>), cells, block_threads, 0, stream, work);
    } else if (published) {
        GMV_LAUNCH((mixture_cell_kernel<true, false>), cells, block_threads, 0, stream, work);
    } else if (gradients) {
        GMV_LAUNCH((mixture_cell_kernel<false, true>), cells, block_threads, 0, stream, work);
    } else {
        GMV_LAUNCH((mixture_cell_kernel<false, false>), cells, block_threads, 0, stream, work);
    }
    GMV_LAUNCHED();
    return GMV_OK;
}

static gmv_status run_block(gmv_backend *b, const mixture_work &work)
{
    const gmv_mixture_args &args = work.args;
    int first = work.first_cell * args.draws, rows = work.cells * args.draws;
    gmv_mat raw = gmv_mat_of(work.raw, rows, args.weight.rows), hidden = gmv_mat_rows(args.hidden, first, rows);
    GMV_TRY(gmv_cuda_product(b, GMV_N, GMV_T, 1.0f, hidden, args.weight, 0.0f, raw));
    GMV_TRY(run_cells(b, work));
    if (args.d_bias.at == NULL) {
        return GMV_OK;
    }
    gmv_mat d_hidden = gmv_mat_rows(args.d_hidden, first, rows);
    GMV_TRY(gmv_cuda_product(b, GMV_N, GMV_N, 1.0f, raw, args.weight, 0.0f, d_hidden));
    GMV_TRY(gmv_cuda_product(b, GMV_T, GMV_N, 1.0f, raw, hidden, 1.0f, args.d_weight));
    return gmv_cuda_add_columns(b, raw, NULL, 1.0f, args.d_bias.at);
}

/* Of the marginal objective: adds the weights' share of the cells; that of the posterior is taken off by columns. */
static __global__ void weight_logits_kernel(gmv_mixture_args args)
{
    float log_weights = log_sum_exp(args.log_weight.at, args.components);
    for (int k = (int)threadIdx.x; k < args.components; k += warp_width) {
        float all = gmv_expf(args.log_weight.at[k] - log_weights) * (float)filled_of(args.filled, args.posterior.rows);
        args.d_log_weight.at[k] += *args.scale * all;
    }
}

static gmv_status weight_logit_gradient(gmv_backend *b, const gmv_mixture_args *args)
{
    GMV_LAUNCH(weight_logits_kernel, 1, warp_width, 0, gmv_cuda_stream(b), *args);
    GMV_LAUNCHED();
    return gmv_cuda_add_columns(b, args->probability, args->scale, -1.0f, args->d_log_weight.at);
}

/* A cursor through scratch memory in steps of 256 bytes. */
static void *take(char *base, int64_t *used, int64_t bytes)
{
    void *at = base == NULL ? NULL : base + *used;
    *used += (bytes + 255) / 256 * 256;
    return at;
}

/* Lays the block's arrays out at `base` (NULL: only counts) and returns the bytes they take. */
static int64_t arrange(mixture_work *work, int64_t rows, char *base)
{
    int64_t used = 0, one = (int64_t)sizeof(float), of_components = rows * work->args.components * one;
    bool published = work->args.objective == GMV_OBJECTIVE_PUBLISHED;
    work->raw = (float *)take(base, &used, rows * work->args.weight.rows * one);
    work->log_density = (float *)take(base, &used, of_components);
    work->share = (float *)take(base, &used, of_components);
    work->divergence = (float *)take(base, &used, published ? of_components : 0);
    work->d_posterior = (float *)take(base, &used, published ? rows * work->args.posterior.cols * one : 0);
    work->sums = (double *)take(base, &used, rows * sum_kinds * (int64_t)sizeof(double));
    return used;
}

static gmv_status check_shapes(const gmv_mixture_args *args)
{
    int dim = args->x.cols, draws = args->draws, cells = args->posterior.rows;
    GMV_CHECK(args->components >= 1 && draws >= 1 && draws <= INT32_MAX / args->components);
    GMV_CHECK(dim == 0 || draws <= INT32_MAX / dim);
    int width = 2 * args->components * dim;
    GMV_CHECK(args->weight.rows == width && args->bias.n == width && args->weight.cols == args->hidden.cols);
    GMV_CHECK(args->x.rows == cells * draws && args->hidden.rows == cells * draws);
    GMV_CHECK(args->posterior.cols == 2 * dim && args->terms.rows == cells && args->terms.cols == GMV_MIXTURE_TERMS);
    GMV_CHECK(args->log_weight.at == NULL || args->objective == GMV_OBJECTIVE_MARGINAL);
    GMV_CHECK(args->d_log_weight.at == NULL || args->probability.at != NULL);
    return GMV_OK;
}

gmv_status gmv_cuda_mixture(gmv_backend *b, const gmv_mixture_args *args)
{
    GMV_TRY(check_shapes(args));
    int cells = args->posterior.rows, draws = args->draws;
    int64_t of_cell = (int64_t)draws * (args->weight.rows > 0 ? args->weight.rows : 1) * (int64_t)sizeof(float);
    int64_t most = raw_bytes / of_cell < 1 ? 1 : raw_bytes / of_cell;
    int blocks = (int)((cells + most - 1) / most), block = blocks > 0 ? (cells + blocks - 1) / blocks : 0;
    mixture_work work = {};
    work.args = *args;
    void *scratch;
    GMV_TRY(gmv_cuda_scratch(b, GMV_CUDA_SCRATCH, arrange(&work, (int64_t)block * draws, NULL), &scratch));
    arrange(&work, (int64_t)block * draws, (char *)scratch);
    for (int first = 0; first < cells; first += block) {
        work.first_cell = first;
        work.cells = cells - first < block ? cells - first : block;
        GMV_TRY(run_block(b, work));
    }
    return args->d_log_weight.at != NULL ? weight_logit_gradient(b, args) : GMV_OK;
}
