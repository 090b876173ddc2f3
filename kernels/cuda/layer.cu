/* Bias, GELU, LayerNorm and dropout of a trunk layer in one pass over its rows, forward and backward.
 *
 * A block takes a piece of rows, one after the other; a thread has four columns of a row in registers, which is also a
 * block of random numbers: masks are made where they are used. Wider rows than a block has columns go through memory
 * (`narrow` false), where a thread reads back only what it wrote itself.
 *
 * Bytes of an element: 8 forward, 12 backward; at H = 300 and 4.2 TB/s HBM does 1,750 and 1,170 rows a microsecond. Of
 * operations (erf, exp, Philox) it has about 70 and 100, for which the ceilings are 1,300 and 900. */
#include "cuda.h"
#include "device.cuh"
#include "launch.cuh"
#include "quad.cuh"

#include "gmvae/math/act.h"
#include "gmvae/rng.h"

enum { most_threads = 512, most_pieces = 1024, least_piece = 2, sum_columns = 32, sum_rows = 32 };
static const float norm_epsilon = 1e-5f;

typedef struct layer_args {
    gmv_mat pre, stats;
    gmv_mat d_out; /* backward only */
    gmv_mat out;   /* backward: d_pre, perhaps d_out itself */
    gmv_layer layer;
    gmv_noise noise;
    float rate;
    int rows_of_piece;
    bool aligned;
    float *partial; /* backward: column sums [pieces, 3, padded width] */
} layer_args;

/* Columns of a row of partial sums: rows start on 16 bytes. */
static __host__ __device__ __forceinline__ int padded(int cols)
{
    return (cols + 3) / 4 * 4;
}

/* values *= 0 or 1 / (1 - rate): element j is kept when its uniform number is at least `rate`. */
static __device__ __forceinline__ void apply_dropout(const layer_args &a, int r, int j, quad &values)
{
    if (a.rate <= 0.0f) {
        return;
    }
    int cell = r / a.noise.draws;
    uint32_t draw = a.noise.first_draw + (uint32_t)(r % a.noise.draws);
    float keep = 1.0f / (1.0f - a.rate);
    gmv_philox block = gmv_random_block(a.noise.seed, a.noise.stream, a.noise.step->epoch, a.noise.cell_id[cell], draw,
                                        (uint32_t)(j / 4));
    for (int k = 0; k < 4; k++) {
        values.at[k] *= gmv_uniform(block.word[k]) >= a.rate ? keep : 0.0f;
    }
}

/* GELU of columns j .. j + 3; 0 behind the end of the row. */
static __device__ __forceinline__ quad activation_of(const layer_args &a, int r, int j, quad &slope)
{
    quad x = quad_load(a.pre.at + (int64_t)r * a.pre.ld, j, a.pre.cols, a.aligned);
    quad bias = quad_load(a.layer.bias.at, j, a.pre.cols, a.aligned);
    for (int k = 0; k < 4; k++) {
        x.at[k] = gmv_geluf(x.at[k] + bias.at[k], &slope.at[k]);
    }
    return x;
}

static __device__ __forceinline__ float square_distance(quad y, float mean, int j, int n)
{
    float sum = 0.0f;
    for (int k = 0; k < 4; k++) {
        float d = j + k < n ? y.at[k] - mean : 0.0f;
        sum += d * d;
    }
    return sum;
}

/* (y - mean) / sd * weight + shift, and dropout. */
static __device__ __forceinline__ quad normalised(const layer_args &a, quad y, float mean, float inverse_sd, int r,
                                                  int j)
{
    quad weight = quad_load(a.layer.norm_weight.at, j, a.pre.cols, a.aligned);
    quad shift = quad_load(a.layer.norm_bias.at, j, a.pre.cols, a.aligned);
    for (int k = 0; k < 4; k++) {
        y.at[k] = (y.at[k] - mean) * inverse_sd * weight.at[k] + shift.at[k];
    }
    apply_dropout(a, r, j, y);
    return y;
}

template <bool narrow> static __global__ void layer_forward_kernel(layer_args a)
{
    __shared__ float shared[warp_width];
    int n = a.pre.cols, step = 4 * (int)blockDim.x, first = 4 * (int)threadIdx.x;
    int begin = (int)blockIdx.x * a.rows_of_piece;
    int end = begin + a.rows_of_piece < a.pre.rows ? begin + a.rows_of_piece : a.pre.rows;
    float count = n > 0 ? (float)n : 1.0f;
    for (int r = begin; r < end; r++) {
        float *out = a.out.at + (int64_t)r * a.out.ld;
        quad y = {{0.0f, 0.0f, 0.0f, 0.0f}}, slope;
        float sum = 0.0f, square = 0.0f;
        for (int j = first; j < n; j += step) {
            y = activation_of(a, r, j, slope);
            sum += quad_sum(y);
            if (!narrow) {
                quad_store(out, j, n, a.aligned, y);
            }
        }
        float mean = block_sum(sum, shared) / count;
        for (int j = first; j < n; j += step) {
            y = narrow ? y : quad_load(out, j, n, a.aligned);
            square += square_distance(y, mean, j, n);
        }
        float inverse_sd = 1.0f / sqrtf(block_sum(square, shared) / count + norm_epsilon);
        for (int j = first; j < n; j += step) {
            y = narrow ? y : quad_load(out, j, n, a.aligned);
            quad_store(out, j, n, a.aligned, normalised(a, y, mean, inverse_sd, r, j));
        }
        if (threadIdx.x == 0) {
            a.stats.at[(int64_t)r * a.stats.ld] = mean;
            a.stats.at[(int64_t)r * a.stats.ld + 1] = inverse_sd;
        }
    }
}

/* What the backward pass needs of columns j .. j + 3. */
typedef struct row_part {
    quad hat, slope; /* normalised activation, slope of GELU */
    quad d;          /* gradient before dropout, 0 behind the end of the row */
} row_part;

static __device__ __forceinline__ row_part part_of(const layer_args &a, int r, int j, float mean, float inverse_sd)
{
    row_part part;
    part.hat = activation_of(a, r, j, part.slope);
    part.d = quad_load(a.d_out.at + (int64_t)r * a.d_out.ld, j, a.pre.cols, a.aligned);
    apply_dropout(a, r, j, part.d);
    for (int k = 0; k < 4; k++) {
        part.hat.at[k] = (part.hat.at[k] - mean) * inverse_sd;
    }
    return part;
}

/* Column sums of a piece of rows: in registers, or in their place among the partial sums. */
typedef struct column_sums {
    quad bias, weight, shift;
} column_sums;

static __device__ __forceinline__ column_sums sums_load(const float *partial, int j, int width)
{
    column_sums s = {quad_load(partial, j, width, true), quad_load(partial + width, j, width, true),
                     quad_load(partial + 2 * (int64_t)width, j, width, true)};
    return s;
}

static __device__ __forceinline__ void sums_store(float *partial, int j, int width, const column_sums &s)
{
    quad_store(partial, j, width, true, s.bias);
    quad_store(partial + width, j, width, true, s.weight);
    quad_store(partial + 2 * (int64_t)width, j, width, true, s.shift);
}

static __device__ __forceinline__ column_sums no_sums(void)
{
    column_sums s = {{{0.0f, 0.0f, 0.0f, 0.0f}}, {{0.0f, 0.0f, 0.0f, 0.0f}}, {{0.0f, 0.0f, 0.0f, 0.0f}}};
    return s;
}

/* d = gradient of pre, from the row's means of d weight and of d weight hat; adds to the sums. */
static __device__ __forceinline__ quad gradient_of(const layer_args &a, const row_part &part, int j, float inverse_sd,
                                                   float mean_d, float mean_dot, column_sums &sums)
{
    quad weight = quad_load(a.layer.norm_weight.at, j, a.pre.cols, a.aligned), d;
    for (int k = 0; k < 4; k++) {
        float inner = part.d.at[k] * weight.at[k] - mean_d - part.hat.at[k] * mean_dot;
        d.at[k] = inverse_sd * inner * part.slope.at[k];
        sums.bias.at[k] += d.at[k];
        sums.weight.at[k] += part.d.at[k] * part.hat.at[k];
        sums.shift.at[k] += part.d.at[k];
    }
    return d;
}

template <bool narrow> static __global__ void layer_backward_kernel(layer_args a)
{
    __shared__ float shared[warp_width];
    int n = a.pre.cols, width = padded(n), step = 4 * (int)blockDim.x, first = 4 * (int)threadIdx.x;
    int begin = (int)blockIdx.x * a.rows_of_piece;
    int end = begin + a.rows_of_piece < a.pre.rows ? begin + a.rows_of_piece : a.pre.rows;
    float *partial = a.partial + (int64_t)blockIdx.x * 3 * width;
    column_sums sums = no_sums();
    for (int j = first; !narrow && j < n; j += step) {
        sums_store(partial, j, width, sums);
    }
    for (int r = begin; r < end; r++) {
        float mean = a.stats.at[(int64_t)r * a.stats.ld], inverse_sd = a.stats.at[(int64_t)r * a.stats.ld + 1];
        row_part part = {};
        float sum = 0.0f, dot = 0.0f;
        for (int j = first; j < n; j += step) {
            part = part_of(a, r, j, mean, inverse_sd);
            quad weight = quad_load(a.layer.norm_weight.at, j, n, a.aligned);
            for (int k = 0; k < 4; k++) {
                sum += part.d.at[k] * weight.at[k];
                dot += part.d.at[k] * weight.at[k] * part.hat.at[k];
            }
        }
        sum = block_sum(sum, shared) / (float)n;
        dot = block_sum(dot, shared) / (float)n;
        for (int j = first; j < n; j += step) {
            if (!narrow) {
                part = part_of(a, r, j, mean, inverse_sd);
                sums = sums_load(partial, j, width);
            }
            quad d = gradient_of(a, part, j, inverse_sd, sum, dot, sums);
            quad_store(a.out.at + (int64_t)r * a.out.ld, j, n, a.aligned, d);
            if (!narrow) {
                sums_store(partial, j, width, sums);
            }
        }
    }
    if (narrow && first < n) {
        sums_store(partial, first, width, sums);
    }
}

/* The tensors' gradients += sums of the pieces, by blocks of 32 columns and 32 rows: each row adds every 32nd piece,
 * then the rows are added in order. Reads 12 H bytes a piece from the L2 cache: 4 MB at most for H = 300. */
static __global__ void layer_sums_kernel(const float *partial, int pieces, int n, gmv_layer d_layer)
{
    __shared__ float shared[sum_rows][sum_columns];
    int width = padded(n), column = (int)(blockIdx.x * sum_columns + threadIdx.x);
    float sum = 0.0f;
    for (int p = (int)threadIdx.y; column < 3 * width && p < pieces; p += sum_rows) {
        sum += partial[(int64_t)p * 3 * width + column];
    }
    shared[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    int tensor = column / width, j = column % width;
    if (threadIdx.y > 0 || tensor > 2 || j >= n) {
        return;
    }
    for (int row = 1; row < sum_rows; row++) {
        sum += shared[row][threadIdx.x];
    }
    float *to = tensor == 0 ? d_layer.bias.at : (tensor == 1 ? d_layer.norm_weight.at : d_layer.norm_bias.at);
    to[j] += sum;
}

/* Fills in what both directions share. @return blocks of the grid */
static int arrange(layer_args *a, const gmv_layer *layer, float rate, const gmv_noise *noise, int *threads)
{
    int per = (a->pre.rows + most_pieces - 1) / most_pieces, needed = (a->pre.cols + 3) / 4;
    a->layer = *layer;
    a->rate = rate;
    if (noise != NULL) {
        a->noise = *noise;
    }
    a->rows_of_piece = per < least_piece ? least_piece : per;
    a->aligned = quads_aligned(a->pre) && quads_aligned(a->out) && quads_aligned_vec(layer->bias) &&
                 quads_aligned_vec(layer->norm_weight) && quads_aligned_vec(layer->norm_bias) &&
                 (a->d_out.at == NULL || quads_aligned(a->d_out));
    needed = needed < 1 ? 1 : (needed > most_threads ? most_threads : needed);
    *threads = (needed + warp_width - 1) / warp_width * warp_width;
    return (a->pre.rows + a->rows_of_piece - 1) / a->rows_of_piece;
}

gmv_status gmv_cuda_layer_forward(gmv_backend *b, gmv_mat pre, const gmv_layer *layer, float rate,
                                  const gmv_noise *noise, gmv_mat stats, gmv_mat out)
{
    int n = pre.cols, threads;
    GMV_CHECK(layer->bias.n == n && layer->norm_weight.n == n && layer->norm_bias.n == n);
    GMV_CHECK(out.rows == pre.rows && out.cols == n && stats.rows == pre.rows && stats.cols == 2);
    if (pre.rows == 0) {
        return GMV_OK;
    }
    layer_args a = {};
    a.pre = pre;
    a.stats = stats;
    a.out = out;
    int blocks = arrange(&a, layer, rate, noise, &threads);
    if (n <= 4 * threads) {
        GMV_LAUNCH((layer_forward_kernel<true>), (unsigned)blocks, (unsigned)threads, 0, gmv_cuda_stream(b), a);
    } else {
        GMV_LAUNCH((layer_forward_kernel<false>), (unsigned)blocks, (unsigned)threads, 0, gmv_cuda_stream(b), a);
    }
    GMV_LAUNCHED();
    return GMV_OK;
}

gmv_status gmv_cuda_layer_backward(gmv_backend *b, gmv_mat pre, const gmv_layer *layer, float rate,
                                   const gmv_noise *noise, gmv_mat stats, gmv_mat d_out, gmv_mat d_pre,
                                   const gmv_layer *d_layer)
{
    int n = pre.cols, threads;
    GMV_CHECK(d_out.rows == pre.rows && d_out.cols == n && d_pre.rows == pre.rows && d_pre.cols == n);
    if (pre.rows == 0 || n == 0) {
        return GMV_OK;
    }
    layer_args a = {};
    a.pre = pre;
    a.stats = stats;
    a.d_out = d_out;
    a.out = d_pre;
    int pieces = arrange(&a, layer, rate, noise, &threads);
    GMV_TRY(gmv_cuda_scratch(b, GMV_CUDA_SUMS, (int64_t)pieces * 3 * padded(n) * (int64_t)sizeof(float),
                             (void **)&a.partial));
    if (n <= 4 * threads) {
        GMV_LAUNCH((layer_backward_kernel<true>), (unsigned)pieces, (unsigned)threads, 0, gmv_cuda_stream(b), a);
    } else {
        GMV_LAUNCH((layer_backward_kernel<false>), (unsigned)pieces, (unsigned)threads, 0, gmv_cuda_stream(b), a);
    }
    GMV_LAUNCHED();
    dim3 block(sum_columns, sum_rows);
    GMV_LAUNCH(layer_sums_kernel, (unsigned)((3 * padded(n) + sum_columns - 1) / sum_columns), block, 0,
               gmv_cuda_stream(b), (const float *)a.partial, pieces, n, *d_layer);
    GMV_LAUNCHED();
    return GMV_OK;
}
