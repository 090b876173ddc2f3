/* Sums over flat buffers, Adam, and the fixed-point sums of `reduction: exact`.
 *
 * All of them are bound by HBM. For P = 13 M floats at 4.2 TB/s: Adam moves 28 bytes an element, 87 microseconds; a
 * fixed-point sum 20, 62; its value 12, 37; a sum of squares 4, 12. */
#include "cuda.h"
#include "device.cuh"
#include "launch.cuh"
#include "quad.cuh"

#include "gmvae/math/optim.h"

#include <math.h>

enum { threads = 256, column_threads = 1024, most_blocks = 1024 };

/* A thread takes four elements in turn; few enough blocks that what each has to prepare does not count. */
static unsigned blocks_for(int64_t n)
{
    int64_t blocks = (n + 4 * threads - 1) / (4 * threads);
    return (unsigned)(blocks < most_blocks ? blocks : (int64_t)most_blocks);
}

static __device__ __forceinline__ int64_t first_of_thread(void)
{
    return 4 * ((int64_t)blockIdx.x * blockDim.x + threadIdx.x);
}

static __device__ __forceinline__ int64_t step_of_grid(void)
{
    return 4 * (int64_t)gridDim.x * blockDim.x;
}

static __device__ __forceinline__ int four_or_less(int64_t left)
{
    return left < 4 ? (int)left : 4;
}

/* One block a column: the matrices have few. */
static __global__ void add_column_sums_kernel(gmv_mat x, const float *scale, float *out)
{
    __shared__ double shared[warp_width];
    int c = (int)blockIdx.x;
    double sum = 0.0;
    for (int r = (int)threadIdx.x; r < x.rows; r += (int)blockDim.x) {
        sum += (double)x.at[(int64_t)r * x.ld + c];
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) {
        out[c] += (float)(sum * (scale != NULL ? (double)*scale : 1.0));
    }
}

gmv_status gmv_cuda_add_column_sums(gmv_backend *b, gmv_mat x, const float *scale, gmv_vec out)
{
    GMV_CHECK(out.n >= x.cols);
    if (x.rows == 0 || x.cols == 0) {
        return GMV_OK;
    }
    int needed = (x.rows + warp_width - 1) / warp_width * warp_width;
    GMV_LAUNCH(add_column_sums_kernel, (unsigned)x.cols, (unsigned)(needed < column_threads ? needed : column_threads),
               0, gmv_cuda_stream(b), x, scale, out.at);
    GMV_LAUNCHED();
    return GMV_OK;
}

static __global__ void square_pieces_kernel(gmv_vec x, bool aligned, double *partial)
{
    __shared__ double shared[warp_width];
    double sum = 0.0;
    for (int64_t i = first_of_thread(); i < x.n; i += step_of_grid()) {
        quad v = quad_load(x.at + i, 0, four_or_less(x.n - i), aligned);
        for (int k = 0; k < 4; k++) {
            sum += (double)v.at[k] * (double)v.at[k];
        }
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = sum;
    }
}

static __global__ void add_squares_kernel(const double *partial, int pieces, double *total)
{
    __shared__ double shared[warp_width];
    double sum = block_sum((int)threadIdx.x < pieces ? partial[threadIdx.x] : 0.0, shared);
    if (threadIdx.x == 0) {
        *total = sum;
    }
}

gmv_status gmv_cuda_sum_squares(gmv_backend *b, gmv_vec x, double *sum)
{
    void *partial;
    unsigned pieces = blocks_for(x.n);
    GMV_TRY(gmv_cuda_scratch(b, GMV_CUDA_SCRATCH, most_blocks * (int64_t)sizeof(double), &partial));
    if (pieces > 0) {
        GMV_LAUNCH(square_pieces_kernel, pieces, threads, 0, gmv_cuda_stream(b), x, quads_aligned_vec(x),
                   (double *)partial);
        GMV_LAUNCHED();
    }
    GMV_LAUNCH(add_squares_kernel, 1, most_blocks, 0, gmv_cuda_stream(b), (const double *)partial, (int)pieces, sum);
    GMV_LAUNCHED();
    return GMV_OK;
}

static __global__ void judge_kernel(const float *extra, gmv_outcome *outcome)
{
    int i = (int)threadIdx.x;
    bool good = isfinite(outcome->squares);
    if (i < GMV_GRAD_EXTRA) {
        outcome->extra[i] = extra[i];
        good = good && isfinite(extra[i]);
    }
    if (!__all_sync(all_lanes, good) && i == 0) {
        outcome->bad = 1;
    }
}

gmv_status gmv_cuda_judge(gmv_backend *b, gmv_vec extra, gmv_outcome *outcome)
{
    GMV_CHECK(extra.n == GMV_GRAD_EXTRA);
    GMV_LAUNCH(judge_kernel, 1, warp_width, 0, gmv_cuda_stream(b), (const float *)extra.at, outcome);
    GMV_LAUNCHED();
    return GMV_OK;
}

static __global__ void adam_kernel(gmv_adam_args a, bool aligned)
{
    if (a.outcome->bad != 0) {
        return;
    }
    float rate = a.step->adam_rate, inverse_root = a.step->adam_inverse_root;
    float scale = gmv_clip_scale(a.outcome->squares, a.clip_norm);
    for (int64_t i = first_of_thread(); i < a.value.n; i += step_of_grid()) {
        int left = four_or_less(a.value.n - i);
        quad g = quad_load(a.grad.at + i, 0, left, aligned), value = quad_load(a.value.at + i, 0, left, aligned);
        quad m = quad_load(a.m.at + i, 0, left, aligned), v = quad_load(a.v.at + i, 0, left, aligned);
        for (int k = 0; k < 4; k++) {
            float clipped = g.at[k] * scale;
            m.at[k] = a.beta1 * m.at[k] + (1.0f - a.beta1) * clipped;
            v.at[k] = a.beta2 * v.at[k] + (1.0f - a.beta2) * clipped * clipped;
            value.at[k] -= rate * m.at[k] / (sqrtf(v.at[k]) * inverse_root + a.epsilon);
        }
        quad_store(a.m.at + i, 0, left, aligned, m);
        quad_store(a.v.at + i, 0, left, aligned, v);
        quad_store(a.value.at + i, 0, left, aligned, value);
    }
}

gmv_status gmv_cuda_adam(gmv_backend *b, const gmv_adam_args *args)
{
    bool aligned = quads_aligned_vec(args->value) && quads_aligned_vec(args->grad) && quads_aligned_vec(args->m) &&
                   quads_aligned_vec(args->v);
    if (args->value.n == 0) {
        return GMV_OK;
    }
    GMV_LAUNCH(adam_kernel, blocks_for(args->value.n), threads, 0, gmv_cuda_stream(b), *args, aligned);
    GMV_LAUNCHED();
    return GMV_OK;
}

/* Threads that find a value which does not fit all write the same word. */
static __global__ void fixed_add_kernel(gmv_vec x, double limit, int64_t *total, int64_t *overflow)
{
    const double scale = (double)((int64_t)1 << GMV_FIXED_BITS);
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    for (; i < x.n; i += (int64_t)gridDim.x * blockDim.x) {
        double scaled = (double)x.at[i] * scale;
        if (fabs(scaled) < limit) {
            total[i] += (int64_t)rint(scaled);
        } else { /* NaN too */
            *overflow = 1;
        }
    }
}

gmv_status gmv_cuda_fixed_add(gmv_backend *b, gmv_vec x, int64_t addends, int64_t *total, int64_t *overflow)
{
    GMV_CHECK(addends > 0);
    if (x.n == 0) {
        return GMV_OK;
    }
    GMV_LAUNCH(fixed_add_kernel, blocks_for(x.n), threads, 0, gmv_cuda_stream(b), x, ldexp(1.0, 62) / (double)addends,
               total, overflow);
    GMV_LAUNCHED();
    return GMV_OK;
}

static __global__ void fixed_value_kernel(const int64_t *total, const int64_t *overflow, gmv_vec x)
{
    bool good = *overflow == 0;
    const double scale = 1.0 / (double)((int64_t)1 << GMV_FIXED_BITS);
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    for (; i < x.n; i += (int64_t)gridDim.x * blockDim.x) {
        x.at[i] = good ? (float)((double)total[i] * scale) : NAN;
    }
}

gmv_status gmv_cuda_fixed_value(gmv_backend *b, const int64_t *total, const int64_t *overflow, gmv_vec x)
{
    if (x.n == 0) {
        return GMV_OK;
    }
    GMV_LAUNCH(fixed_value_kernel, blocks_for(x.n), threads, 0, gmv_cuda_stream(b), total, overflow, x);
    GMV_LAUNCHED();
    return GMV_OK;
}
