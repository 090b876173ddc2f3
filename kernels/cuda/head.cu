/* Decoder heads and likelihood: value and gradient in one pass over chunks of genes.
 *
 * Rows (whole cells) are taken in blocks and genes in chunks, so that the logits of one chunk stay in the L2 cache
 * from the product that makes them, through the kernel that puts their gradient in their place, to the two products
 * that take it back. Blocks have about twice as many rows as chunks have genes: d_hidden is read and written once for
 * each chunk, weights and their gradient once for each block, and that is where their sum is least.
 *
 * A likelihood with softmax needs three passes over the logits of a row: the normaliser; the value and E = sum of the
 * gradient in log mean (because d log mean_g / d logit_h = [g = h] - softmax_h); the gradient. There one chunk has all
 * genes, and the logits are kept, one product, rather than made anew twice: on an H200, an entry, two more products
 * cost 2 x 600 operations (18 ps in fp32, 3 ps in TF32, 1.5 ps in bf16), keeping it 28 bytes of memory instead of 36
 * of L2, 6.5 ps either way. What is kept is bounded by blocks of rows. */
#include "head_tile.cuh"

/* Logits of a chunk, in bytes, where they should stay in L2 and where they are kept for three passes. */
static const int64_t cached_bytes = (int64_t)24 << 20, kept_bytes = (int64_t)256 << 20;
enum { least_chunk = 1024, row_threads = 256, small_threads = 128 };

/* How a call is divided, and its arrays. `chunk` is what all chunks of a block share. */
typedef struct head_work {
    const gmv_head_args *args;
    int heads, columns; /* columns = heads + 1 with a per-gene parameter */
    bool normalised, gradients;
    int block_cells, chunk_genes, slots; /* slots: gene tiles of a chunk */
    head_chunk chunk;
    int32_t *starts;
    float *shift, *log_norm, *total_e;
} head_work;

/* ---- kernels around the tiles ---- */

/* starts[g, t]: first entry of gene g of cells from first_cell + t * tile_cells on; t = groups: from the block's end
 * on. A warp for each gene; 8 bytes an entry and a boundary, bound by L2: about 8 us for 1,024 cells and 10 draws. */
static __global__ void entry_starts_kernel(const int32_t *colptr, const int32_t *cell, int genes, head_chunk block,
                                           int32_t *starts)
{
    int gene = (int)((blockIdx.x * blockDim.x + threadIdx.x) / warp_width), lane = (int)threadIdx.x % warp_width;
    if (gene >= genes) {
        return;
    }
    int groups = block.groups, end = colptr[gene + 1], passed = 0;
    int32_t *to = starts + (int64_t)gene * (groups + 1);
    for (int base = colptr[gene]; base <= end; base += warp_width) {
        int at = base + lane, reached = groups + 1; /* boundaries at or before this entry */
        if (at < end) {
            int from_first = cell[at] - block.first_cell;
            reached = from_first < 0 ? 0 : (from_first < block.cells ? from_first / block.tile_cells + 1 : groups + 1);
        }
        int before = __shfl_up_sync(all_lanes, reached, 1);
        for (int t = lane > 0 ? before : passed; t < reached; t++) {
            to[t] = at;
        }
        passed = __shfl_sync(all_lanes, reached, warp_width - 1);
    }
}

/* Normaliser of a row and the shift to log means: a block for each row. 4 bytes and 1.3 exponentials an entry
 * (0.9 ps, 0.3 ps): bound by memory. */
static __global__ void __launch_bounds__(row_threads)
    normaliser_kernel(head_chunk chunk, const float *library, float *shift, float *log_norm)
{
    enum { at_once = 4 };
    __shared__ float tops[row_threads / warp_width];
    __shared__ double sums[warp_width];
    int row = (int)blockIdx.x;
    const float *logit = chunk.logits + (int64_t)row * chunk.ld;
    float top = -1e30f, sum = 0.0f;
    for (int64_t base = threadIdx.x; base < chunk.genes; base += at_once * row_threads) {
        float value[at_once], highest = top;
        for (int j = 0; j < at_once; j++) {
            int64_t g = base + j * row_threads;
            value[j] = g < chunk.genes ? logit[g] + __ldg(chunk.bias[0] + g) : -INFINITY;
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
        double norm = (double)most + log(total);
        float counts = library[chunk.first_cell + row / chunk.draws];
        log_norm[row] = (float)norm;
        /* a cell without counts has mean 0 everywhere and no loss */
        shift[row] = counts > 0.0f ? (float)(log((double)counts) - norm) : -1e4f;
    }
}

/* E of every row, from its parts in order. */
static __global__ void total_e_kernel(const double *e, int slots, int rows, float *total_e)
{
    int row = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (row < rows) {
        double sum = 0.0;
        for (int s = 0; s < slots; s++) {
            sum += e[(int64_t)s * rows + row];
        }
        total_e[row] = (float)sum;
    }
}

/* The reconstruction term: a warp for each cell. */
static __global__ void terms_kernel(head_chunk block, int slots, gmv_mat terms)
{
    int cell = (int)((blockIdx.x * blockDim.x + threadIdx.x) / warp_width);
    if (cell >= block.cells) {
        return;
    }
    double sum = 0.0;
    for (int64_t i = threadIdx.x % warp_width; i < (int64_t)slots * block.draws; i += warp_width) {
        sum += block.ll[i / block.draws * block.rows + (int64_t)cell * block.draws + i % block.draws];
    }
    sum = warp_sum(sum);
    if (threadIdx.x % warp_width == 0) {
        terms.at[(int64_t)(block.first_cell + cell) * terms.ld + GMV_TERM_RECONSTRUCTION] = (float)(-sum / block.draws);
    }
}

/* Where the sums over rows belong, at the chunk's first gene. */
typedef struct column_targets {
    float *at[GMV_MAX_HEADS + 1];
} column_targets;

/* Adds the tiles' sums over rows, row tiles in order: 32 genes of one output by 8 threads each. 4 bytes for each
 * 32 rows and gene: a few microseconds, most of it latency. */
static __global__ void column_sums_kernel(head_chunk chunk, int row_tiles, column_targets to)
{
    enum { high = small_threads * 2 / warp_width };
    __shared__ double sum[high][warp_width];
    int lane = (int)threadIdx.x % warp_width, y = (int)threadIdx.x / warp_width, k = (int)blockIdx.y;
    int gene = (int)blockIdx.x * warp_width + lane;
    double mine = 0.0;
    for (int t = y; gene < chunk.genes && t < row_tiles; t += high) {
        mine += (double)chunk.columns[((int64_t)t * gridDim.y + k) * chunk.ld + gene];
    }
    sum[y][lane] = mine;
    __syncthreads();
    if (y == 0 && gene < chunk.genes) {
        for (int other = 1; other < high; other++) {
            mine += sum[other][lane];
        }
        to.at[k][gene] += (float)mine;
    }
}

/* ---- launches ---- */

static unsigned blocks_of(int64_t n, int each)
{
    return (unsigned)((n + each - 1) / each);
}

static unsigned row_tiles_of(const head_chunk &chunk)
{
    return (unsigned)chunk.groups * (unsigned)chunk.pieces;
}

template <typename L, unsigned want> static gmv_status run_tiles(gmv_backend *b, const head_chunk &chunk)
{
    const size_t bytes = tile_outputs<L, want>::bytes;
    dim3 grid(blocks_of(chunk.genes, tile_genes), row_tiles_of(chunk));
    GMV_CUDA(
        cudaFuncSetAttribute(likelihood_tile_kernel<L, want>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    GMV_LAUNCH((likelihood_tile_kernel<L, want>), grid, tile_threads, bytes, gmv_cuda_stream(b), chunk);
    GMV_LAUNCHED();
    return GMV_OK;
}

/* The passes over the logits of one chunk; with gradients, they end up in the place of the logits. */
template <typename L> static gmv_status run_passes(gmv_backend *b, const head_work &work, const head_chunk &chunk)
{
    if constexpr (L::normalises) {
        if (work.normalised) {
            GMV_LAUNCH(normaliser_kernel, (unsigned)chunk.rows, row_threads, 0, gmv_cuda_stream(b), chunk,
                       (const float *)work.args->batch->library, work.shift, work.log_norm);
            GMV_LAUNCHED();
            if (!work.gradients) {
                return run_tiles<L, want_value>(b, chunk);
            }
            GMV_TRY((run_tiles<L, want_value | want_first_gradient>(b, chunk)));
            GMV_LAUNCH(total_e_kernel, blocks_of(chunk.rows, small_threads), small_threads, 0, gmv_cuda_stream(b),
                       (const double *)chunk.e, work.slots, chunk.rows, work.total_e);
            GMV_LAUNCHED();
            return run_tiles<L, want_gradient>(b, chunk);
        }
    }
    return work.gradients ? run_tiles<L, want_value | want_gradient>(b, chunk) : run_tiles<L, want_value>(b, chunk);
}

static gmv_status run_likelihood(gmv_backend *b, const head_work &work, const head_chunk &chunk)
{
    switch (work.args->likelihood) {
#define GMV_LIKELIHOOD(name, heads, softmax, gene_params, names, description)                                          \
    case GMV_LIKELIHOOD_##name:                                                                                        \
        return run_passes<name##_likelihood>(b, work, chunk);
#include "gmvae/likelihoods.def"
#undef GMV_LIKELIHOOD
    case GMV_LIKELIHOODS:
        break;
    }
    return GMV_OK;
}

/* Gradients of the chunk's logits back into weights, biases, the gene parameter and hidden rows. */
static gmv_status flow_back(gmv_backend *b, const head_work &work, const head_chunk &chunk, int first)
{
    const gmv_head_args *args = work.args;
    int first_row = chunk.first_cell * chunk.draws;
    gmv_mat hidden = gmv_mat_rows(args->hidden, first_row, chunk.rows);
    gmv_mat d_hidden = gmv_mat_rows(args->d_hidden, first_row, chunk.rows);
    column_targets to = {};
    for (int h = 0; h < work.heads; h++) {
        gmv_mat grad = {chunk.logits + (int64_t)h * chunk.rows * chunk.ld, chunk.rows, chunk.genes, chunk.ld};
        gmv_mat weight = gmv_mat_rows(args->weight[h], first, chunk.genes);
        GMV_TRY(gmv_cuda_product(b, GMV_N, GMV_N, 1.0f, grad, weight, first + h == 0 ? 0.0f : 1.0f, d_hidden));
        GMV_TRY(gmv_cuda_product(b, GMV_T, GMV_N, 1.0f, grad, hidden, 1.0f,
                                 gmv_mat_rows(args->d_weight[h], first, chunk.genes)));
        to.at[h] = args->d_bias[h].at + first;
    }
    if (work.columns > work.heads) {
        to.at[work.heads] = args->d_gene_param.at + first;
    }
    dim3 grid(blocks_of(chunk.genes, warp_width), (unsigned)work.columns);
    GMV_LAUNCH(column_sums_kernel, grid, small_threads * 2, 0, gmv_cuda_stream(b), chunk, (int)row_tiles_of(chunk), to);
    GMV_LAUNCHED();
    return GMV_OK;
}

static gmv_status run_chunk(gmv_backend *b, const head_work &work, int first)
{
    const gmv_head_args *args = work.args;
    head_chunk chunk = work.chunk;
    int left = args->batch->genes - first;
    chunk.genes = left < work.chunk_genes ? left : work.chunk_genes;
    gmv_mat hidden = gmv_mat_rows(args->hidden, chunk.first_cell * chunk.draws, chunk.rows);
    for (int h = 0; h < work.heads; h++) {
        gmv_mat logits = {chunk.logits + (int64_t)h * chunk.rows * chunk.ld, chunk.rows, chunk.genes, chunk.ld};
        chunk.bias[h] = args->bias[h].at + first;
        GMV_TRY(gmv_cuda_product(b, GMV_N, GMV_T, 1.0f, hidden, gmv_mat_rows(args->weight[h], first, chunk.genes), 0.0f,
                                 logits));
    }
    chunk.gene_raw = args->gene_param.at != NULL ? args->gene_param.at + first : NULL;
    chunk.starts = work.starts + (int64_t)first * (chunk.groups + 1);
    GMV_TRY(run_likelihood(b, work, chunk));
    return work.gradients ? flow_back(b, work, chunk, first) : GMV_OK;
}

static gmv_status run_block(gmv_backend *b, head_work *work, int first_cell, int cells)
{
    const gmv_head_args *args = work->args;
    const gmv_batch *batch = args->batch;
    head_chunk *chunk = &work->chunk;
    chunk->first_cell = first_cell;
    chunk->cells = cells;
    chunk->rows = cells * chunk->draws;
    chunk->groups = (cells + chunk->tile_cells - 1) / chunk->tile_cells;
    int64_t sums = (int64_t)work->slots * chunk->rows * (int64_t)sizeof(double);
    GMV_TRY(gmv_cuda_clear(b, chunk->ll, sums));
    GMV_TRY(gmv_cuda_clear(b, chunk->e, work->normalised ? sums : 0));
    if (batch->genes == 0 && work->gradients) {
        int first_row = first_cell * chunk->draws; /* k = 0: clears the rows of d_hidden */
        GMV_TRY(gmv_cuda_product(b, GMV_N, GMV_N, 1.0f, gmv_mat_of(args->hidden.at, chunk->rows, 0), args->weight[0],
                                 0.0f, gmv_mat_rows(args->d_hidden, first_row, chunk->rows)));
    } else if (batch->genes > 0) {
        GMV_LAUNCH(entry_starts_kernel, blocks_of((int64_t)batch->genes * warp_width, row_threads), row_threads, 0,
                   gmv_cuda_stream(b), (const int32_t *)batch->colptr, (const int32_t *)batch->cell, (int)batch->genes,
                   *chunk, work->starts);
        GMV_LAUNCHED();
    }
    for (int first = 0; first < batch->genes; first += work->chunk_genes) {
        GMV_TRY(run_chunk(b, *work, first));
    }
    GMV_LAUNCH(terms_kernel, blocks_of((int64_t)cells * warp_width, small_threads), small_threads, 0,
               gmv_cuda_stream(b), *chunk, work->slots, args->terms);
    GMV_LAUNCHED();
    return GMV_OK;
}

/* ---- division of the work ---- */

/* n in the smallest number of pieces of at most `most`, equal but for rounding up to a multiple of `step`. */
static int even_piece(int64_t n, int64_t most, int step)
{
    int64_t pieces = (n + most - 1) / most, piece = pieces > 0 ? (n + pieces - 1) / pieces : 0;
    return (int)((piece + step - 1) / step * step);
}

static void divide(head_work *work)
{
    int draws = work->args->draws, genes = work->args->batch->genes, cells = work->args->batch->cells;
    int64_t one = work->heads * (int64_t)sizeof(float),
            padded = even_piece(genes > 0 ? genes : 1, INT32_MAX, tile_genes);
    head_chunk *chunk = &work->chunk;
    int64_t rows = work->normalised ? kept_bytes / (one * padded) : cached_bytes / (one * least_chunk);
    int64_t most_cells = rows / draws > 0 ? rows / draws : 1;
    work->block_cells = even_piece(cells, most_cells, 1);
    rows = (int64_t)work->block_cells * draws;
    int64_t most_genes = rows > 0 ? cached_bytes / (one * rows) / tile_genes * tile_genes : padded;
    most_genes = most_genes < tile_genes ? (int64_t)tile_genes : most_genes;
    work->chunk_genes = work->normalised ? (int)padded : even_piece(genes > 0 ? genes : 1, most_genes, tile_genes);
    work->slots = work->chunk_genes / tile_genes;
    chunk->draws = draws;
    chunk->ld = work->chunk_genes;
    chunk->tile_cells = draws <= tile_rows ? tile_rows / draws : 1;
    chunk->pieces = (draws + tile_rows - 1) / tile_rows;
    chunk->piece_draws = (draws + chunk->pieces - 1) / chunk->pieces;
}

/* A cursor through scratch memory in steps of 256 bytes. */
static void *take(char *base, int64_t *used, int64_t bytes)
{
    void *at = base == NULL ? NULL : base + *used;
    *used += (bytes + 255) / 256 * 256;
    return at;
}

/* Lays the arrays of the largest block out at `base` (NULL: only counts) and returns the bytes they take. */
static int64_t arrange(head_work *work, char *base)
{
    head_chunk *chunk = &work->chunk;
    int64_t used = 0, one = (int64_t)sizeof(float), rows = (int64_t)work->block_cells * chunk->draws;
    int64_t groups = (work->block_cells + chunk->tile_cells - 1) / chunk->tile_cells, of_rows = rows * one;
    int64_t sums = work->slots * rows * (int64_t)sizeof(double), of_gene = (groups + 1) * (int64_t)sizeof(int32_t);
    int64_t columns = work->gradients ? groups * chunk->pieces * work->columns * chunk->ld * one : 0;
    chunk->logits = (float *)take(base, &used, work->heads * of_rows * chunk->ld);
    chunk->ll = (double *)take(base, &used, sums);
    chunk->e = (double *)take(base, &used, work->normalised ? sums : 0);
    chunk->columns = (float *)take(base, &used, columns);
    work->starts = (int32_t *)take(base, &used, work->args->batch->genes * of_gene);
    work->shift = (float *)take(base, &used, of_rows);
    work->log_norm = (float *)take(base, &used, of_rows);
    work->total_e = (float *)take(base, &used, of_rows);
    chunk->shift = work->normalised ? work->shift : NULL;
    chunk->log_norm = work->log_norm;
    chunk->total_e = work->total_e;
    return used;
}

static gmv_status check_shapes(const gmv_head_args *args, int heads, bool gene_param)
{
    const gmv_batch *batch = args->batch;
    GMV_CHECK(args->draws >= 1 && args->hidden.rows == batch->cells * args->draws);
    GMV_CHECK(args->terms.rows == batch->cells && args->terms.cols > GMV_TERM_RECONSTRUCTION);
    GMV_CHECK(!gene_param || args->gene_param.n == batch->genes);
    for (int h = 0; h < heads; h++) {
        GMV_CHECK(args->weight[h].rows == batch->genes && args->weight[h].cols == args->hidden.cols);
        GMV_CHECK(args->bias[h].n == batch->genes);
    }
    return GMV_OK;
}

gmv_status gmv_cuda_head_likelihood(gmv_backend *b, const gmv_head_args *args)
{
    gmv_likelihood_info info = gmv_likelihood_of(args->likelihood);
    const gmv_batch *batch = args->batch;
    GMV_TRY(check_shapes(args, info.heads, info.gene_param));
    head_work work = {};
    work.args = args;
    work.heads = info.heads;
    work.columns = info.heads + (info.gene_param ? 1 : 0);
    work.normalised = info.softmax && args->observed_library;
    work.gradients = args->d_hidden.at != NULL;
    work.chunk.cell = batch->cell;
    work.chunk.count = batch->col_count;
    work.chunk.scale = args->scale;
    divide(&work);
    void *scratch;
    GMV_TRY(gmv_cuda_scratch(b, GMV_CUDA_SCRATCH, arrange(&work, NULL), &scratch));
    arrange(&work, (char *)scratch);
    for (int first = 0; first < batch->cells; first += work.block_cells) {
        int left = batch->cells - first;
        GMV_TRY(run_block(b, &work, first, left < work.block_cells ? left : work.block_cells));
    }
    return GMV_OK;
}
