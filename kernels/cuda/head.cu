/* Decoder heads and likelihood: value and gradient in one pass over chunks of genes.
 *
 * In bf16 logits never leave the chip: tiles are products of rounded operands on the tensor cores, the likelihood takes
 * them from there, and what is written are gradients in bf16, 2 bytes an entry, the operands of the two products that
 * follow. In fp32 and tf32 a product by cuBLAS comes before and its logits, 4 bytes, become their gradients in place.
 *
 * Rows (whole cells) are taken in blocks and genes in chunks, so that those arrays of one chunk stay in the L2 cache
 * until the last product has read them. Blocks have about twice as many rows as chunks have genes: d_hidden is read
 * and written once for each chunk, weights and their gradient once for each block, and that is where their sum is least.
 *
 * A likelihood with softmax needs more of a row before its gradient: the normaliser, then E = the sum of the gradient in
 * log mean. There one chunk has all genes. In bf16 the product is made twice, for the normaliser and for a pass that
 * keeps gradient and softmax (4 bytes); a last one joins them, gradient - E softmax. In memory the logits are read
 * three times. A block that fits the cache has few rows where genes are many: each block reads the weights once more,
 * and with less than a few hundred rows that costs more than leaving the cache does. */
#include "head_softmax.cuh"

/* Of one chunk, in bytes: what should stay in L2, what may be kept where that would leave too few rows, and how few. */
static const int64_t cached_bytes = (int64_t)24 << 20, softmax_bytes = (int64_t)32 << 20,
                     kept_bytes = (int64_t)256 << 20;
enum { least_chunk = 1024, least_rows = 256, small_threads = 128 };

/* How a call is divided, and its arrays. `chunk` is what all chunks of a block share. */
typedef struct head_work {
    const gmv_head_args *args;
    int heads, columns; /* columns = heads + 1 with a per-gene parameter */
    bool normalised, gradients, on_chip;
    gmv_cuda_rounded hidden, weight[GMV_MAX_HEADS]; /* on chip: operands, rounded once */
    int block_cells, chunk_genes, slots;            /* slots: gene tiles of a chunk */
    head_chunk chunk;
    int32_t *starts;
    float *shift, *log_norm, *total_e;
    float2 *norm_parts;   /* on chip [normaliser tiles, rows] */
    float *chain_columns; /* on chip [chain tiles, ld] */
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
        bool is_cell = block.first_cell + cell < filled_of(block.filled, terms.rows);
        terms.at[(int64_t)(block.first_cell + cell) * terms.ld] = is_cell ? (float)(-sum / block.draws) : 0.0f;
    }
}

/* Where the sums over rows belong, at the chunk's first gene. */
typedef struct column_targets {
    float *at[GMV_MAX_HEADS + 1];
} column_targets;

/* Adds the tiles' sums over rows, row tiles in order: 32 genes of one output by 8 threads each. 4 bytes for each
 * 64 rows and gene: a few microseconds, most of it latency. */
static __global__ void column_sums_kernel(const float *columns, int64_t ld, int genes, int row_tiles,
                                          const __grid_constant__ column_targets to)
{
    enum { high = small_threads * 2 / warp_width };
    __shared__ double sum[high][warp_width];
    int lane = (int)threadIdx.x % warp_width, y = (int)threadIdx.x / warp_width, k = (int)blockIdx.y;
    int gene = (int)blockIdx.x * warp_width + lane;
    double mine = 0.0;
    for (int t = y; gene < genes && t < row_tiles; t += high) {
        mine += (double)columns[((int64_t)t * gridDim.y + k) * ld + gene];
    }
    sum[y][lane] = mine;
    __syncthreads();
    if (y == 0 && gene < genes) {
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

template <typename L, unsigned want, bool on_chip> static gmv_status run_tiles(gmv_backend *b, const head_chunk &chunk)
{
    const size_t bytes = tile_outputs<L, want>::bytes(on_chip);
    dim3 grid(blocks_of(chunk.genes, tile_genes), row_tiles_of(chunk));
    GMV_CUDA(cudaFuncSetAttribute(likelihood_tile_kernel<L, want, on_chip>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  (int)bytes));
    GMV_LAUNCH((likelihood_tile_kernel<L, want, on_chip>), grid, tile_threads, bytes, gmv_cuda_stream(b), chunk);
    GMV_LAUNCHED();
    return GMV_OK;
}

/* columns[row tiles, outputs, ld] added to the gradients of outputs 0 .. */
static gmv_status add_columns(gmv_backend *b, head_chunk chunk, const float *columns, unsigned row_tiles, int outputs,
                              column_targets to)
{
    dim3 grid(blocks_of(chunk.genes, warp_width), (unsigned)outputs);
    GMV_LAUNCH(column_sums_kernel, grid, small_threads * 2, 0, gmv_cuda_stream(b), columns, (int64_t)chunk.ld,
               (int)chunk.genes, (int)row_tiles, to);
    GMV_LAUNCHED();
    return GMV_OK;
}

static gmv_status run_total_e(gmv_backend *b, const head_work &work, const head_chunk &chunk)
{
    GMV_LAUNCH(total_e_kernel, blocks_of(chunk.rows, rows_wide), rows_wide * rows_high, 0, gmv_cuda_stream(b),
               (const double *)chunk.e, work.slots, chunk.rows, work.total_e);
    GMV_LAUNCHED();
    return GMV_OK;
}

/* Through the softmax, logits in memory. */
template <typename L>
static gmv_status run_softmax_passes(gmv_backend *b, const head_work &work, const head_chunk &chunk)
{
    auto normalise = chunk.set != NULL ? normaliser_kernel<true> : normaliser_kernel<false>;
    GMV_LAUNCH(normalise, (unsigned)chunk.rows, row_threads, 0, gmv_cuda_stream(b), chunk,
               (const float *)work.args->batch->library, work.shift, work.log_norm);
    GMV_LAUNCHED();
    if (!work.gradients) {
        return run_tiles<L, want_value, false>(b, chunk);
    }
    GMV_TRY((run_tiles<L, want_value | want_first_gradient, false>(b, chunk)));
    GMV_TRY(run_total_e(b, work, chunk));
    return run_tiles<L, want_gradient, false>(b, chunk);
}

/* Through the softmax, logits on chip. */
template <typename L>
static gmv_status run_softmax_on_chip(gmv_backend *b, const head_work &work, const head_chunk &chunk)
{
    dim3 grid(blocks_of(chunk.genes, normaliser_tile::cols), blocks_of(chunk.rows, normaliser_tile::rows));
    auto normalise = chunk.set != NULL ? normaliser_tile_kernel<true> : normaliser_tile_kernel<false>;
    GMV_CUDA(cudaFuncSetAttribute(normalise, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)normaliser_tile::bytes));
    GMV_LAUNCH(normalise, grid, normaliser_tile::threads, normaliser_tile::bytes, gmv_cuda_stream(b), chunk,
               work.norm_parts);
    GMV_LAUNCHED();
    GMV_LAUNCH(join_parts_kernel, blocks_of(chunk.rows, rows_wide), rows_wide * rows_high, 0, gmv_cuda_stream(b), chunk,
               (const float2 *)work.norm_parts, (int)grid.x, (const float *)work.args->batch->library, work.shift,
               work.log_norm);
    GMV_LAUNCHED();
    if (!work.gradients) {
        return run_tiles<L, want_value, true>(b, chunk);
    }
    GMV_TRY((run_tiles<L, want_split, true>(b, chunk)));
    GMV_TRY(run_total_e(b, work, chunk));
    dim3 chain(blocks_of(chunk.ld, chain_genes), blocks_of(chunk.rows, chain_rows));
    GMV_LAUNCH(chain_kernel, chain, row_threads, 0, gmv_cuda_stream(b), chunk, work.heads, work.chain_columns);
    GMV_LAUNCHED();
    column_targets to = {{work.args->d_bias[0].at}};
    return add_columns(b, chunk, work.chain_columns, chain.y, 1, to);
}

/* The passes over the logits of one chunk; gradients end up in the place of the logits or, on chip, in `rounded`. */
template <typename L> static gmv_status run_passes(gmv_backend *b, const head_work &work, const head_chunk &chunk)
{
    if constexpr (L::normalises) {
        if (work.normalised) {
            return work.on_chip ? run_softmax_on_chip<L>(b, work, chunk) : run_softmax_passes<L>(b, work, chunk);
        }
    }
    if (work.on_chip) {
        return work.gradients ? run_tiles<L, want_value | want_gradient, true>(b, chunk)
                              : run_tiles<L, want_value, true>(b, chunk);
    }
    return work.gradients ? run_tiles<L, want_value | want_gradient, false>(b, chunk)
                          : run_tiles<L, want_value, false>(b, chunk);
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

/* Rows first .. first + rows of a rounded matrix. */
static gmv_cuda_rounded rounded_rows(gmv_cuda_rounded m, int first, int rows)
{
    m.at = (bf16 *)m.at + (int64_t)first * m.ld;
    m.rows = rows;
    return m;
}

/* The gradient of head h in the chunk's logits into d_hidden and d_weight. */
static gmv_status multiply_back(gmv_backend *b, const head_work &work, const head_chunk &chunk, int h, int first)
{
    const gmv_head_args *args = work.args;
    int first_row = chunk.first_cell * chunk.draws;
    float beta = first + h == 0 ? 0.0f : 1.0f;
    int64_t plane = (int64_t)h * chunk.rows * chunk.ld;
    gmv_mat d_hidden = gmv_mat_rows(args->d_hidden, first_row, chunk.rows);
    gmv_mat d_weight = gmv_mat_rows(args->d_weight[h], first, chunk.genes);
    if (work.on_chip) {
        gmv_cuda_rounded grad = {chunk.rounded + plane, chunk.rows, chunk.genes, chunk.ld};
        gmv_cuda_rounded weight = rounded_rows(work.weight[h], first, chunk.genes);
        gmv_cuda_rounded hidden = rounded_rows(work.hidden, first_row, chunk.rows);
        GMV_TRY(gmv_cuda_product_of_rounded(b, GMV_N, GMV_N, grad, weight, 1.0f, beta, d_hidden));
        return gmv_cuda_product_of_rounded(b, GMV_T, GMV_N, grad, hidden, 1.0f, 1.0f, d_weight);
    }
    gmv_mat grad = {chunk.logits + plane, chunk.rows, chunk.genes, chunk.ld};
    gmv_mat weight = gmv_mat_rows(args->weight[h], first, chunk.genes);
    GMV_TRY(gmv_cuda_product(b, GMV_N, GMV_N, 1.0f, grad, weight, beta, d_hidden));
    return gmv_cuda_product(b, GMV_T, GMV_N, 1.0f, grad, gmv_mat_rows(args->hidden, first_row, chunk.rows), 1.0f,
                            d_weight);
}

/* Gradients of the chunk's logits back into weights, biases, the gene parameter and hidden rows. */
static gmv_status flow_back(gmv_backend *b, const head_work &work, const head_chunk &chunk, int first)
{
    column_targets to = {};
    for (int h = 0; h < work.heads; h++) {
        GMV_TRY(multiply_back(b, work, chunk, h, first));
        to.at[h] = work.args->d_bias[h].at + first;
    }
    if (work.columns > work.heads) {
        to.at[work.heads] = work.args->d_gene_param.at + first;
    }
    return add_columns(b, chunk, chunk.columns, row_tiles_of(chunk), work.columns, to);
}

/* Where the chunk's logits come from: products to memory, or the operands of products on chip. */
static gmv_status provide_logits(gmv_backend *b, const head_work &work, head_chunk *chunk, int first)
{
    const gmv_head_args *args = work.args;
    int first_row = chunk->first_cell * chunk->draws;
    for (int h = 0; h < work.heads; h++) {
        chunk->bias[h] = args->bias[h].at + first;
        if (work.on_chip) {
            gmv_cuda_rounded weight = rounded_rows(work.weight[h], first, chunk->genes);
            gmv_cuda_rounded hidden = rounded_rows(work.hidden, first_row, chunk->rows);
            chunk->weight[h] = {(const bf16 *)weight.at, weight.rows, weight.ld};
            chunk->hidden = {(const bf16 *)hidden.at, hidden.rows, hidden.ld};
            continue;
        }
        gmv_mat logits = {chunk->logits + (int64_t)h * chunk->rows * chunk->ld, chunk->rows, chunk->genes, chunk->ld};
        GMV_TRY(gmv_cuda_product(b, GMV_N, GMV_T, 1.0f, gmv_mat_rows(args->hidden, first_row, chunk->rows),
                                 gmv_mat_rows(args->weight[h], first, chunk->genes), 0.0f, logits));
    }
    return GMV_OK;
}

static gmv_status run_chunk(gmv_backend *b, const head_work &work, int first)
{
    const gmv_head_args *args = work.args;
    head_chunk chunk = work.chunk;
    int left = args->batch->genes - first;
    chunk.genes = left < work.chunk_genes ? left : work.chunk_genes;
    GMV_TRY(provide_logits(b, work, &chunk, first));
    chunk.gene_raw = args->gene_param.at != NULL ? args->gene_param.at + first : NULL;
    chunk.present = args->batch->present != NULL ? args->batch->present + first : NULL;
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

/* Bytes of the large arrays for each entry: logits, or on chip the gradients and the softmax of a split. */
static int64_t entry_bytes(const head_work *work)
{
    if (work->on_chip) {
        return work->gradients ? (work->heads + (work->normalised ? 1 : 0)) * (int64_t)sizeof(bf16) : 0;
    }
    return work->heads * (int64_t)sizeof(float);
}

static void divide(head_work *work)
{
    int draws = work->args->draws, genes = work->args->batch->genes, cells = work->args->batch->cells;
    int64_t one = entry_bytes(work) > 0 ? entry_bytes(work) : 1; /* nothing kept: some bound all the same */
    int64_t padded = even_piece(genes > 0 ? genes : 1, INT32_MAX, tile_genes);
    head_chunk *chunk = &work->chunk;
    int64_t rows = cached_bytes / (one * least_chunk);
    if (work->normalised) {
        rows = softmax_bytes / (one * padded);
        rows = rows < least_rows ? kept_bytes / (one * padded) : rows;
    }
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

/* Room for a rounded copy. */
static gmv_cuda_rounded take_rounded(char *base, int64_t *used, gmv_mat of)
{
    gmv_cuda_rounded m = {NULL, of.rows, of.cols, gmv_cuda_padded(of.cols)};
    m.at = take(base, used, (int64_t)m.rows * m.ld * (int64_t)sizeof(bf16));
    return m;
}

/* Lays the arrays of the largest block out at `base` (NULL: only counts) and returns the bytes they take. */
static int64_t arrange(head_work *work, char *base)
{
    head_chunk *chunk = &work->chunk;
    int64_t used = 0, one = (int64_t)sizeof(float), rows = (int64_t)work->block_cells * chunk->draws;
    int64_t groups = (work->block_cells + chunk->tile_cells - 1) / chunk->tile_cells, of_rows = rows * one;
    int64_t sums = work->slots * rows * (int64_t)sizeof(double), of_gene = (groups + 1) * (int64_t)sizeof(int32_t);
    int64_t columns = work->gradients ? groups * chunk->pieces * work->columns * chunk->ld * one : 0;
    bool softmax = work->on_chip && work->normalised;
    void *large = take(base, &used, entry_bytes(work) * rows * chunk->ld);
    chunk->logits = (float *)large;
    chunk->rounded = (bf16 *)large;
    chunk->ll = (double *)take(base, &used, sums);
    chunk->e = (double *)take(base, &used, work->normalised ? sums : 0);
    chunk->columns = (float *)take(base, &used, columns);
    work->starts = (int32_t *)take(base, &used, work->args->batch->genes * of_gene);
    work->shift = (float *)take(base, &used, of_rows);
    work->log_norm = (float *)take(base, &used, of_rows);
    work->total_e = (float *)take(base, &used, of_rows);
    work->norm_parts = (float2 *)take(base, &used, softmax ? work->slots * rows * (int64_t)sizeof(float2) : 0);
    work->chain_columns = (float *)take(base, &used, softmax ? (rows / chain_rows + 1) * chunk->ld * one : 0);
    for (int h = 0; work->on_chip && h < work->heads; h++) {
        work->weight[h] = take_rounded(base, &used, work->args->weight[h]);
        work->hidden = h == 0 ? take_rounded(base, &used, work->args->hidden) : work->hidden;
    }
    chunk->shift = work->normalised ? work->shift : NULL;
    chunk->log_norm = work->log_norm;
    chunk->total_e = work->total_e;
    return used;
}

/* On chip: the operands of all products of the call. */
static gmv_status round_operands(gmv_backend *b, const head_work &work)
{
    GMV_TRY(gmv_cuda_round(b, work.args->hidden, work.hidden));
    for (int h = 0; h < work.heads; h++) {
        GMV_TRY(gmv_cuda_round(b, work.args->weight[h], work.weight[h]));
    }
    return GMV_OK;
}

static gmv_status check_shapes(const gmv_head_args *args, int heads, bool gene_param)
{
    const gmv_batch *batch = args->batch;
    GMV_CHECK(args->draws >= 1 && args->hidden.rows == batch->cells * args->draws);
    GMV_CHECK(args->terms.rows == batch->cells && args->terms.cols == 1);
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
    work.on_chip = gmv_cuda_state_of(b)->precision == GMV_BF16;
    work.chunk.cell = batch->cell;
    work.chunk.count = batch->col_count;
    work.chunk.scale = args->scale;
    work.chunk.filled = args->filled;
    work.chunk.set = batch->present != NULL ? batch->set : NULL;
    work.chunk.all_genes = batch->genes;
    divide(&work);
    void *scratch;
    GMV_TRY(gmv_cuda_scratch(b, GMV_CUDA_SCRATCH, arrange(&work, NULL), &scratch));
    arrange(&work, (char *)scratch);
    if (work.on_chip) {
        GMV_TRY(round_operands(b, work));
    }
    for (int first = 0; first < batch->cells; first += work.block_cells) {
        int left = batch->cells - first;
        GMV_TRY(run_block(b, &work, first, left < work.block_cells ? left : work.block_cells));
    }
    return GMV_OK;
}
