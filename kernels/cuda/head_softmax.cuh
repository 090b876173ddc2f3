/* What the softmax over genes adds to the likelihood: included by head.cu alone. Its normaliser comes before the tiles;
 * behind them the gradient in predictor 0 flows through it, d log mean_g / d logit_h = [g = h] - softmax_h. */
#pragma once

#include "head_tile.cuh"

enum { row_threads = 256, chain_rows = 64, chain_genes = 128, chain_wide = 8 };

/* Keeps the normaliser of a row and its shift to log means. */
static __device__ __forceinline__ void keep_norm(const head_chunk &chunk, const float *library, int row, double norm,
                                                 float *shift, float *log_norm)
{
    float counts = library[chunk.first_cell + row / chunk.draws];
    log_norm[row] = (float)norm;
    /* a cell without counts has mean 0 everywhere and no loss */
    shift[row] = counts > 0.0f ? (float)(log((double)counts) - norm) : -1e4f;
}

/* Normaliser of a row of logits in memory: a block for each row. 4 bytes and 1.3 exponentials an entry (0.9 ps,
 * 0.3 ps): bound by memory. */
template <bool masked>
static __global__ void __launch_bounds__(row_threads)
    normaliser_kernel(head_chunk chunk, const float *library, float *shift, float *log_norm)
{
    enum { at_once = 4 };
    __shared__ float tops[row_threads / warp_width];
    __shared__ double sums[warp_width];
    int row = (int)blockIdx.x;
    const float *logit = chunk.logits + (int64_t)row * chunk.ld;
    const uint8_t *present = masked ? present_of(chunk, row) : NULL;
    float top = -1e30f, sum = 0.0f;
    for (int64_t base = threadIdx.x; base < chunk.genes; base += at_once * row_threads) {
        float value[at_once], highest = top;
        for (int j = 0; j < at_once; j++) {
            int64_t g = base + j * row_threads;
            bool there = g < chunk.genes && (!masked || present[g] != 0);
            value[j] = there ? logit[g] + __ldg(chunk.bias[0] + g) : -INFINITY;
            highest = fmaxf(highest, value[j]);
        }
        sum *= gmv_expf(top - highest);
        for (int j = 0; j < at_once; j++) {
            sum += gmv_expf(value[j] - highest);
        }
        top = highest;
    }
    float most = warp_max(top);
    if (threadIdx.x % warp_width == 0) {
        tops[threadIdx.x / warp_width] = most;
    }
    __syncthreads();
    for (int w = 0; w < row_threads / warp_width; w++) {
        most = fmaxf(most, tops[w]);
    }
    double total = block_sum((double)sum * (double)gmv_expf(top - most), sums);
    if (threadIdx.x == 0) {
        keep_norm(chunk, library, row, (double)most + log(total), shift, log_norm);
    }
}

/* A part of a normaliser: x the largest logit, y the sum of exp(logit - x). */
static __device__ __forceinline__ float2 joined(float2 a, float2 b)
{
    float top = fmaxf(a.x, b.x);
    return make_float2(top, a.y * gmv_expf(a.x - top) + b.y * gmv_expf(b.x - top));
}

/* parts[gene tile, row], on chip: logits go no further than the registers. 600 operations an entry (1.5 ps at the
 * 400 TFLOP/s of mma.sync) hide its exponential; operands 128 + 128 rows for 128 x 128 entries, 1.8 ps of L2. */
typedef tensor_tile<4, 4, 1> normaliser_tile;
enum { across = 4 };

/* Gives the logits of genes that their row's cell lacks no part in the sum. */
static __device__ __forceinline__ void mask_tile(const head_chunk &chunk, int first_row, int first_gene,
                                                 normaliser_tile &logits)
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int row = first_row + normaliser_tile::row_of(i, 2 * half);
            const uint8_t *present = present_of(chunk, min(row, chunk.rows - 1));
#pragma unroll
            for (int j = 0; j < 2 * across; j++) {
                int gene = first_gene + normaliser_tile::col_of(j / 2, j % 2);
                if (gene < chunk.genes && __ldg(present + gene) == 0) {
                    logits.sum[0][i][j / 2][2 * half + j % 2] = -INFINITY;
                }
            }
        }
    }
}

template <bool masked>
static __global__ void __launch_bounds__(normaliser_tile::threads, 2)
    normaliser_tile_kernel(head_chunk chunk, float2 *parts)
{
    GMV_DYNAMIC_SHARED(bf16, shared);
    __shared__ float2 shown[across][normaliser_tile::rows];
    int first_row = (int)blockIdx.y * normaliser_tile::rows, first_gene = (int)blockIdx.x * normaliser_tile::cols;
    int ld = chunk.hidden.ld;
    tensor_rows hidden = {chunk.hidden.at + (int64_t)first_row * ld, chunk.rows - first_row, ld};
    tensor_rows weight[1] = {{chunk.weight[0].at + (int64_t)first_gene * ld, chunk.genes - first_gene, ld}};
    normaliser_tile logits;
    logits.run(hidden, weight, shared);
    if constexpr (masked) {
        mask_tile(chunk, first_row, first_gene, logits);
    }
    float bias[across][2];
    for (int j = 0; j < across; j++) {
        for (int q = 0; q < 2; q++) {
            int gene = first_gene + normaliser_tile::col_of(j, q);
            bias[j][q] = gene < chunk.genes ? __ldg(chunk.bias[0] + gene) : -INFINITY;
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float2 part = {-1e30f, 0.0f};
            for (int j = 0; j < 2 * across; j++) {
                part.x = fmaxf(part.x, logits.sum[0][i][j / 2][2 * half + j % 2] + bias[j / 2][j % 2]);
            }
            for (int j = 0; j < 2 * across; j++) {
                part.y += gmv_expf(logits.sum[0][i][j / 2][2 * half + j % 2] + bias[j / 2][j % 2] - part.x);
            }
            for (int lanes = 1; lanes < 4; lanes *= 2) { /* four lanes share a row */
                float2 other = {__shfl_xor_sync(all_lanes, part.x, lanes), __shfl_xor_sync(all_lanes, part.y, lanes)};
                part = joined(part, other);
            }
            if (threadIdx.x % 4 == 0) {
                shown[threadIdx.x / warp_width % across][normaliser_tile::row_of(i, 2 * half)] = part;
            }
        }
    }
    __syncthreads();
    int row = (int)threadIdx.x;
    if (row < normaliser_tile::rows && first_row + row < chunk.rows) {
        float2 part = shown[0][row];
        for (int w = 1; w < across; w++) {
            part = joined(part, shown[w][row]);
        }
        parts[(int64_t)blockIdx.x * chunk.rows + first_row + row] = part;
    }
}

/* Sums over tiles of what each row has there: 32 rows by 8 threads, each with every 8th tile, joined in order. */
enum { rows_wide = 32, rows_high = 8 };

static __global__ void __launch_bounds__(rows_wide *rows_high)
    join_parts_kernel(head_chunk chunk, const float2 *parts, int tiles, const float *library, float *shift,
                      float *log_norm)
{
    __shared__ float tops[rows_high][rows_wide];
    __shared__ double sums[rows_high][rows_wide];
    int lane = (int)threadIdx.x % rows_wide, y = (int)threadIdx.x / rows_wide;
    int row = (int)blockIdx.x * rows_wide + lane;
    float top = -1e30f;
    for (int t = y; row < chunk.rows && t < tiles; t += rows_high) {
        top = fmaxf(top, parts[(int64_t)t * chunk.rows + row].x);
    }
    tops[y][lane] = top;
    __syncthreads();
    for (int other = 0; other < rows_high; other++) {
        top = fmaxf(top, tops[other][lane]);
    }
    double sum = 0.0;
    for (int t = y; row < chunk.rows && t < tiles; t += rows_high) {
        float2 part = parts[(int64_t)t * chunk.rows + row];
        sum += (double)part.y * (double)gmv_expf(part.x - top);
    }
    sums[y][lane] = sum;
    __syncthreads();
    if (y == 0 && row < chunk.rows) {
        for (int other = 1; other < rows_high; other++) {
            sum += sums[other][lane];
        }
        keep_norm(chunk, library, row, (double)top + log(sum), shift, log_norm);
    }
}

/* E of every row: the sum over genes of its gradient in log mean. */
static __global__ void __launch_bounds__(rows_wide *rows_high)
    total_e_kernel(const double *e, int slots, int rows, float *total_e)
{
    __shared__ double sums[rows_high][rows_wide];
    int lane = (int)threadIdx.x % rows_wide, y = (int)threadIdx.x / rows_wide;
    int row = (int)blockIdx.x * rows_wide + lane;
    double sum = 0.0;
    for (int s = y; row < rows && s < slots; s += rows_high) {
        sum += e[(int64_t)s * rows + row];
    }
    sums[y][lane] = sum;
    __syncthreads();
    if (y == 0 && row < rows) {
        for (int other = 1; other < rows_high; other++) {
            sum += sums[other][lane];
        }
        total_e[row] = (float)sum;
    }
}

/* Eight neighbouring genes. */
typedef struct alignas(16) eight {
    __nv_bfloat162 at[chain_wide / 2];
} eight;

/* Behind a split: gradient -= E softmax, in place, and columns[row tile, gene] = the sum of what that adds. 6 bytes an
 * entry, most of them in L2: 1.1 ps. */
static __global__ void __launch_bounds__(row_threads) chain_kernel(head_chunk chunk, int heads, float *columns)
{
    enum { across = chain_genes / chain_wide, high = row_threads / across };
    __shared__ float shown[high][chain_genes];
    int column = (int)threadIdx.x % across * chain_wide, y = (int)threadIdx.x / across;
    int gene = (int)blockIdx.x * chain_genes + column, first_row = (int)blockIdx.y * chain_rows;
    float sum[chain_wide] = {};
    for (int row = first_row + y; row < min(first_row + chain_rows, chunk.rows) && gene < chunk.ld; row += high) {
        int64_t at = (int64_t)row * chunk.ld + gene;
        eight *place = reinterpret_cast<eight *>(chunk.rounded + at), gradient = *place;
        eight softmax = *reinterpret_cast<eight *>(chunk.rounded + (int64_t)heads * chunk.rows * chunk.ld + at);
        float e = __ldg(chunk.total_e + row);
        for (int k = 0; k < chain_wide / 2; k++) {
            float2 was = __bfloat1622float2(gradient.at[k]), share = __bfloat1622float2(softmax.at[k]);
            gradient.at[k] = __floats2bfloat162_rn(was.x - e * share.x, was.y - e * share.y);
            sum[2 * k] -= e * share.x;
            sum[2 * k + 1] -= e * share.y;
        }
        *place = gradient;
    }
    for (int k = 0; k < chain_wide; k++) {
        shown[y][column + k] = sum[k];
    }
    __syncthreads();
    int mine = (int)threadIdx.x;
    if (mine < chain_genes && (int)blockIdx.x * chain_genes + mine < chunk.ld) {
        float total = 0.0f;
        for (int r = 0; r < high; r++) {
            total += shown[r][mine];
        }
        columns[(int64_t)blockIdx.y * chunk.ld + (int64_t)blockIdx.x * chain_genes + mine] = total;
    }
}
