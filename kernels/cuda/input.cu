/* First layer on sparse input, and the one-hot covariates.
 *
 * Both directions of the first layer are one sum, out[r, :] += sum over k of value[k] * row(index[k]), with the indices
 * of a row ascending: cells over the CSR with the rows of the weight, genes over the CSC with those of the gradient.
 * input_tiles.cu has the form for the tensor cores. Here a warp sums 128 columns of one row in registers, in the order
 * of the indices: its bits depend on nothing else. */
#include "columns.cuh"
#include "cuda.h"
#include "device.cuh"
#include "input_tiles.cuh"
#include "launch.cuh"
#include "quad.cuh"

enum {
    warp_columns = 4 * warp_width,
    window = 256, /* indices: 128 kB of rows, of which the warps of a block need less than half */
    most_warps = 16,
    step_entries = 4, /* rows under way at once */
    most_tile_genes = 20000
};

/* The entry of this lane among the 32 from `at` on. */
static __device__ __forceinline__ entry entry_of_lane(const sparse_rows &a, int32_t at, int32_t end)
{
    return entry_at(a, at + (int32_t)(threadIdx.x % warp_width), end);
}

/* Puts the entries of a warp where all its lanes read them: both words at once, for the price of one shuffle. */
static __device__ __forceinline__ void show_to_warp(entry *shown, entry e)
{
    __syncwarp();
    shown[threadIdx.x % warp_width] = e;
    __syncwarp();
}

/* sum += entries `from` .. `end - 1` of the warp; those that fill up the last step count nothing. `aligned`: columns
 * j .. j + 3 are there, and start on 16 bytes. */
template <bool aligned>
static __device__ __forceinline__ void add_entries(quad &sum, const entry *shown, int from, int end, gmv_mat dense,
                                                   int j)
{
    for (int k = from; k < end; k += step_entries) {
        quad row[step_entries];
        float value[step_entries];
        for (int u = 0; u < step_entries; u++) {
            entry e = shown[k + u < end ? k + u : end - 1];
            const float *at = dense.at + (int64_t)e.index * dense.ld;
            value[u] = k + u < end ? e.value : 0.0f;
            row[u] = aligned ? quad_load(at + j, 0, 4, true) : quad_load(at, j, dense.cols, false);
        }
        for (int u = 0; u < step_entries; u++) {
            for (int c = 0; c < 4; c++) {
                sum.at[c] += value[u] * row[u].at[c];
            }
        }
    }
}

/* A block sums one row of `a` per warp, all of them window after window of indices: dense rows of a window that several
 * need come from the L1 cache. Without it the L2 cache would be the bound: 1,209 * 1.2 kB = 1.5 MB a cell at H = 300,
 * 3.8 cells a microsecond at 5.5 TB/s. Where most are found in L1, it is L1 and shared memory: about 13 cycles
 * of a multiprocessor per non-zero, 15 cells a microsecond. */
template <bool aligned>
static __global__ void __launch_bounds__(most_warps *warp_width)
    gather_rows_kernel(sparse_rows a, gmv_mat dense, const float *constant, bool add, gmv_mat out)
{
    __shared__ entry all_shown[most_warps][warp_width];
    int r = (int)(blockIdx.x * (blockDim.x / warp_width) + threadIdx.x / warp_width);
    int j = (int)(blockIdx.y * warp_columns + 4 * (threadIdx.x % warp_width)), used = 0;
    int from = !aligned || j < out.cols ? j : 0; /* lanes without a column read one that is there */
    int32_t at = r < a.rows ? a.start[r] : 0, end = r < a.rows ? a.start[r + 1] : 0;
    quad sum = {{0.0f, 0.0f, 0.0f, 0.0f}};
    entry e = entry_of_lane(a, at, end), next = entry_of_lane(a, at + warp_width, end);
    entry *shown = all_shown[threadIdx.x / warp_width];
    show_to_warp(shown, e);
    for (int limit = window; limit - window < a.indices; limit += window) {
        for (;;) {
            int below = __popc(__ballot_sync(all_lanes, e.index < limit));
            add_entries<aligned>(sum, shown, used, below, dense, from);
            used = below;
            if (below < warp_width) {
                break;
            }
            used = 0;
            at += warp_width;
            e = next;
            next = entry_of_lane(a, at + warp_width, end);
            show_to_warp(shown, e);
        }
        __syncthreads();
    }
    if (r < a.rows) {
        float *to = out.at + (int64_t)r * out.ld;
        quad was = {{0.0f, 0.0f, 0.0f, 0.0f}}, more = was;
        if (add) {
            was = quad_load(to, j, out.cols, aligned);
        }
        if (constant != NULL) {
            more = quad_load(constant, j, out.cols, false);
        }
        for (int c = 0; c < 4; c++) {
            sum.at[c] = was.at[c] + (sum.at[c] + more.at[c]);
        }
        quad_store(to, j, out.cols, aligned, sum);
    }
}

/* `warps`: rows of a block. */
static gmv_status gather_rows(gmv_backend *b, sparse_rows a, int warps, gmv_mat dense, const float *constant, bool add,
                              gmv_mat out)
{
    if (a.rows == 0 || out.cols == 0) {
        return GMV_OK;
    }
    dim3 grid((unsigned)((a.rows + warps - 1) / warps), (unsigned)((out.cols + warp_columns - 1) / warp_columns));
    if (quads_aligned(dense) && quads_aligned(out) && out.cols % 4 == 0) {
        GMV_LAUNCH((gather_rows_kernel<true>), grid, (unsigned)(warps * warp_width), 0, gmv_cuda_stream(b), a, dense,
                   constant, add, out);
    } else {
        GMV_LAUNCH((gather_rows_kernel<false>), grid, (unsigned)(warps * warp_width), 0, gmv_cuda_stream(b), a, dense,
                   constant, add, out);
    }
    GMV_LAUNCHED();
    return GMV_OK;
}

/* *constant = what the zeros of a standardised input add to every row: a multiple of the column sums of `x`. NULL where
 * zeros are 0. Reads x once. */
static gmv_status part_of_zeros(gmv_backend *b, gmv_input input, gmv_mat x, const float **constant)
{
    float zero = input.kind == GMV_INPUT_STANDARDIZE ? -input.mean / input.std : 0.0f;
    *constant = NULL;
    if (zero == 0.0f || x.cols == 0) {
        return GMV_OK;
    }
    void *sums;
    size_t bytes = (size_t)x.cols * sizeof(float);
    GMV_TRY(gmv_cuda_scratch(b, GMV_CUDA_SCRATCH, (int64_t)bytes, &sums));
    GMV_CUDA(cudaMemsetAsync(sums, 0, bytes, gmv_cuda_stream(b)));
    GMV_TRY(gmv_cuda_add_columns(b, x, NULL, zero, (float *)sums));
    *constant = (const float *)sums;
    return GMV_OK;
}

/* The two operations of the first layer. Sums move H floats for every non-zero, out of the caches. In bf16 a product
 * with dense tiles, made from the CSR in shared memory for the tensor cores, is faster up to `most_tile_genes`: 2 G H
 * operations a cell, at 13,431 genes 8 MFLOP or 0.02 us, and 0.04 with all around them, against 0.1 us. Its work grows
 * with all genes, that of sums with the genes that a cell has: with 1,200 of them the two meet somewhere between 30,000
 * and 60,000. `warps`: of a block of sums. */
static gmv_status multiply_rows(gmv_backend *b, const gmv_batch *batch, sparse_rows a, int warps, gmv_mat dense,
                                const float *constant, bool add, gmv_mat out)
{
    if (gmv_cuda_state_of(b)->precision == GMV_BF16 && batch->genes <= most_tile_genes) {
        return gmv_cuda_sparse_tiles(b, a, dense, constant, add, out);
    }
    return gather_rows(b, a, warps, dense, constant, add, out);
}

gmv_status gmv_cuda_input_forward(gmv_backend *b, const gmv_batch *batch, gmv_input input, gmv_mat weight, gmv_mat out)
{
    GMV_CHECK(weight.rows == batch->genes && out.rows == batch->cells && out.cols == weight.cols);
    const float *constant;
    GMV_TRY(part_of_zeros(b, input, weight, &constant));
    sparse_rows cells = {batch->cells, batch->indptr, batch->gene, batch->x, batch->genes};
    /* more cells in a block share more; fewer make enough blocks for every multiprocessor */
    int warps = batch->cells >= 2048 ? most_warps : (batch->cells >= 512 ? 8 : 4);
    return multiply_rows(b, batch, cells, warps, weight, constant, false, out);
}

gmv_status gmv_cuda_input_backward(gmv_backend *b, const gmv_batch *batch, gmv_input input, gmv_mat d_out,
                                   gmv_mat d_weight)
{
    GMV_CHECK(d_weight.rows == batch->genes && d_out.rows == batch->cells && d_out.cols == d_weight.cols);
    const float *constant;
    GMV_TRY(part_of_zeros(b, input, d_out, &constant));
    sparse_rows genes = {batch->genes, batch->colptr, batch->cell, batch->col_x, batch->cells};
    /* a block lasts as long as its commonest gene */
    return multiply_rows(b, batch, genes, 8, d_out, constant, true, d_weight);
}

/* ---- one-hot covariates: sums of few rows of the weight, and of many rows for few levels ---- */

enum { onehot_threads = 128, most_pieces = 64, least_piece = 64, most_shared = 48 << 10 };
static const int64_t most_partials = (int64_t)1 << 24;

/* Moves 2 H floats a row; the weight's rows stay in the caches. H = 300: 2.4 kB, 1,700 rows a microsecond. */
static __global__ void onehot_forward_kernel(const int32_t *level, int covariates, int draws, gmv_mat weight,
                                             gmv_mat out)
{
    int j = (int)(blockIdx.y * blockDim.x + threadIdx.x), r = (int)(blockIdx.x * blockDim.y + threadIdx.y);
    if (r >= out.rows || j >= out.cols) {
        return;
    }
    const int32_t *mine = level + (int64_t)(r / draws) * covariates;
    float *to = &out.at[(int64_t)r * out.ld + j];
    float sum = *to;
    for (int c = 0; c < covariates; c++) {
        sum += weight.at[(int64_t)mine[c] * weight.ld + j];
    }
    *to = sum;
}

gmv_status gmv_cuda_onehot_forward(gmv_backend *b, const gmv_batch *batch, int draws, gmv_mat weight, gmv_mat out)
{
    GMV_CHECK(out.rows == batch->cells * draws && out.cols == weight.cols);
    if (out.rows == 0 || out.cols == 0 || batch->covariates == 0) {
        return GMV_OK;
    }
    dim3 block(64, 4), grid((unsigned)((out.rows + 3) / 4), (unsigned)((out.cols + 63) / 64));
    GMV_LAUNCH(onehot_forward_kernel, grid, block, 0, gmv_cuda_stream(b), (const int32_t *)batch->level,
               batch->covariates, draws, weight, out);
    GMV_LAUNCHED();
    return GMV_OK;
}

/* partial[piece, level, j] = sum over the rows of a piece. A thread owns a column and adds to the sums of all
 * levels, in shared memory when they fit there. Reads H floats a row, but what bounds it is the chain of additions:
 * about 60 cycles a row and key, pieces side by side; 2 microseconds for pieces of 64 rows. */
static __global__ void onehot_pieces_kernel(const int32_t *level, int covariates, int draws, gmv_mat d_out, int levels,
                                            int rows_of_piece, bool in_shared, float *partial)
{
    GMV_DYNAMIC_SHARED(float, shared);
    enum { ahead = 4 };
    int j = (int)(blockIdx.y * blockDim.x + threadIdx.x);
    int first = (int)blockIdx.x * rows_of_piece;
    int end = first + rows_of_piece < d_out.rows ? first + rows_of_piece : d_out.rows;
    if (j >= d_out.cols) {
        return;
    }
    float *mine = partial + (int64_t)blockIdx.x * levels * d_out.cols + j;
    float *sum = in_shared ? shared + threadIdx.x : mine;
    int64_t stride = in_shared ? (int64_t)blockDim.x : (int64_t)d_out.cols;
    for (int l = 0; l < levels; l++) {
        sum[l * stride] = 0.0f;
    }
    for (int r = first; r < end; r += ahead) {
        float d[ahead];
        for (int u = 0; u < ahead; u++) {
            d[u] = r + u < end ? d_out.at[(int64_t)(r + u) * d_out.ld + j] : 0.0f;
        }
        for (int u = 0; u < ahead && r + u < end; u++) {
            const int32_t *of_cell = level + (int64_t)((r + u) / draws) * covariates;
            for (int c = 0; c < covariates; c++) {
                sum[of_cell[c] * stride] += d[u];
            }
        }
    }
    for (int l = 0; in_shared && l < levels; l++) {
        mine[(int64_t)l * d_out.cols] = sum[l * stride];
    }
}

/* d_weight[level, j] += the partial sums in the order of the pieces. Reads them once, from the L2 cache. */
static __global__ void onehot_add_kernel(const float *partial, int pieces, gmv_mat d_weight)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, n = (int64_t)d_weight.rows * d_weight.cols;
    if (i >= n) {
        return;
    }
    float sum = 0.0f;
    for (int p = 0; p < pieces; p++) {
        sum += partial[p * n + i];
    }
    d_weight.at[i / d_weight.cols * d_weight.ld + i % d_weight.cols] += sum;
}

gmv_status gmv_cuda_onehot_backward(gmv_backend *b, const gmv_batch *batch, int draws, gmv_mat d_out, gmv_mat d_weight)
{
    GMV_CHECK(d_out.rows == batch->cells * draws && d_out.cols == d_weight.cols);
    int levels = d_weight.rows, rows = d_out.rows, cols = d_out.cols;
    if (rows == 0 || cols == 0 || levels == 0 || batch->covariates == 0) {
        return GMV_OK;
    }
    int per = (rows + most_pieces - 1) / most_pieces;
    per = per < least_piece ? least_piece : per;
    while (per < rows && (int64_t)((rows + per - 1) / per) * levels * cols > most_partials) {
        per *= 2;
    }
    int pieces = (rows + per - 1) / per;
    int64_t sums = (int64_t)levels * cols, shared = (int64_t)levels * onehot_threads * (int64_t)sizeof(float);
    void *partial;
    GMV_TRY(gmv_cuda_scratch(b, GMV_CUDA_SUMS, pieces * sums * (int64_t)sizeof(float), &partial));
    bool in_shared = shared <= most_shared;
    dim3 grid((unsigned)pieces, (unsigned)((cols + onehot_threads - 1) / onehot_threads));
    GMV_LAUNCH(onehot_pieces_kernel, grid, onehot_threads, in_shared ? (size_t)shared : 0, gmv_cuda_stream(b),
               (const int32_t *)batch->level, batch->covariates, draws, d_out, levels, per, in_shared,
               (float *)partial);
    GMV_LAUNCHED();
    GMV_LAUNCH(onehot_add_kernel, (unsigned)((sums + 127) / 128), 128, 0, gmv_cuda_stream(b), (const float *)partial,
               pieces, d_weight);
    GMV_LAUNCHED();
    return GMV_OK;
}
