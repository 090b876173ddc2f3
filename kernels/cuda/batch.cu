/* Gathering the rows of a batch from the packed shard: CSR with encoder input, and its transpose.
 *
 * The transpose is a counting sort. Cells are taken in parts of 32, so that those of a part which count a gene are
 * the bits of one word. Set with atomicOr, in any order, they give the same word, and the place of a non-zero among
 * those of its part is the number of lower bits: cells ascend within a gene by construction, and no thread waits for
 * another. The table of these words takes G / 4 bytes a cell, a fraction of what the batch itself takes. */
#include "cuda.h"
#include "device.cuh"
#include "launch.cuh"

#include "gmvae/packed.h"

enum { part_cells = 32, row_threads = 256, gene_threads = 128, scan_threads = 1024 };
static const int64_t most_clear_blocks = 1024;

/* One gene in one part of the cells. */
typedef struct part_gene {
    alignas(8) uint32_t cells; /* bit i: cell i of the part counts the gene */
    int32_t start;             /* place of the first of them in the transpose */
} part_gene;

/* Sum of the values of the threads before this one. `shared` [32] may be used again after it. */
static __device__ int32_t sum_before(int32_t value, int32_t *shared)
{
    int lane = (int)threadIdx.x % warp_width, warp = (int)threadIdx.x / warp_width;
    int32_t sum = value;
    for (int offset = 1; offset < warp_width; offset *= 2) {
        int32_t other = __shfl_up_sync(all_lanes, sum, offset);
        sum += lane >= offset ? other : 0;
    }
    if (lane == warp_width - 1) {
        shared[warp] = sum;
    }
    __syncthreads();
    int32_t before = sum - value;
    for (int w = 0; w < warp; w++) {
        before += shared[w];
    }
    __syncthreads();
    return before;
}

/* Block 0 makes indptr from the lengths of the rows, each thread a stretch of them; the others clear the table.
 * Bound by the latency of three dependent loads and, for the table, by writing G / 4 bytes a cell. */
static __global__ void start_rows_kernel(gmv_packed shard, const int64_t *rows, const int64_t *first,
                                         const int32_t *filled, int n, int32_t *indptr, part_gene *table,
                                         int64_t entries)
{
    if (blockIdx.x > 0) {
        const part_gene none = {0, 0};
        int64_t at = (int64_t)(blockIdx.x - 1) * blockDim.x + threadIdx.x;
        for (; at < entries; at += (int64_t)(gridDim.x - 1) * blockDim.x) {
            table[at] = none;
        }
        return;
    }
    __shared__ int32_t shared[warp_width];
    int stretch = (n + (int)blockDim.x - 1) / (int)blockDim.x;
    int begin = (int)threadIdx.x * stretch, end = begin + stretch < n ? begin + stretch : n;
    const int64_t *mine = rows + *first;
    int cells = filled_of(filled, n);
    int32_t sum = 0;
    for (int i = begin; i < end; i++) {
        int32_t length = i < cells ? (int32_t)(shard.indptr[mine[i] + 1] - shard.indptr[mine[i]]) : 0;
        indptr[i + 1] = length;
        sum += length;
    }
    int32_t at = sum_before(sum, shared);
    for (int i = begin; i < end; i++) {
        at += indptr[i + 1];
        indptr[i + 1] = at;
    }
    if (threadIdx.x == 0) {
        indptr[0] = 0;
    }
}

/* A row that fills the batch up. */
static __device__ void leave_empty(const gmv_packed &shard, const gmv_batch &batch, int i)
{
    for (int c = (int)threadIdx.x; c < batch.covariates; c += (int)blockDim.x) {
        batch.level[(int64_t)i * batch.covariates + c] = 0;
    }
    if (threadIdx.x == 0) {
        batch.library[i] = 0.0f;
        batch.cell_id[i] = 0;
    }
    if (threadIdx.x == 0 && shard.set != NULL) {
        batch.set[i] = 0;
    }
}

/* One block a cell. A non-zero is 3 bytes read, 8 written, and an atomic on a word that the L2 cache holds. For
 * 1,209 of them, 13 kB, HBM would do 300 cells a microsecond; the L2 cache does about 130 of their atomics. */
static __global__ void fetch_rows_kernel(gmv_packed shard, const int64_t *rows, const int64_t *first,
                                         const int32_t *filled, gmv_input input, gmv_batch batch, part_gene *table)
{
    __shared__ float shared_norm[warp_width];
    __shared__ unsigned long long shared_library[warp_width];
    int i = (int)blockIdx.x;
    if (i >= filled_of(filled, (int)gridDim.x)) {
        leave_empty(shard, batch, i);
        return;
    }
    int64_t row = rows[*first + i], from = shard.indptr[row];
    int32_t begin = batch.indptr[i], n = batch.indptr[i + 1] - begin;
    part_gene *part = table + (int64_t)(i / part_cells) * batch.genes;
    uint32_t bit = 1u << (i % part_cells);
    float norm = 0.0f;
    unsigned long long library = 0; /* counts are whole: any order gives the same sum */
    for (int32_t k = (int32_t)threadIdx.x; k < n; k += (int32_t)blockDim.x) {
        float count = (float)gmv_packed_count(&shard, from + k), x = gmv_input_value(count, input);
        int32_t gene = shard.gene16 != NULL ? (int32_t)shard.gene16[from + k] : (int32_t)shard.gene32[from + k];
        batch.gene[begin + k] = gene;
        batch.x[begin + k] = x;
        atomicOr(&part[gene].cells, bit);
        norm += x * x;
        library += (unsigned)count;
    }
    library = block_sum(library, shared_library);
    if (input.kind == GMV_INPUT_UNIT_SPHERE) {
        norm = block_sum(norm, shared_norm);
        float scale = norm > 0.0f ? 1.0f / sqrtf(norm) : 1.0f;
        for (int32_t k = (int32_t)threadIdx.x; k < n; k += (int32_t)blockDim.x) {
            batch.x[begin + k] *= scale;
        }
    }
    for (int c = (int)threadIdx.x; c < shard.covariates; c += (int)blockDim.x) {
        batch.level[(int64_t)i * shard.covariates + c] = shard.level[row * shard.covariates + c];
    }
    if (threadIdx.x == 0 && shard.set != NULL) {
        batch.set[i] = shard.set[row];
    }
    if (threadIdx.x == 0) {
        batch.library[i] = (float)library;
        batch.cell_id[i] = gmv_packed_cell(&shard, row);
    }
}

/* Non-zeros of each gene, left in colptr[g], and of each block of genes. Reads the table: G / 4 bytes a cell. */
static __global__ void count_genes_kernel(const part_gene *table, int parts, int genes, int32_t *colptr,
                                          int32_t *of_block)
{
    __shared__ int32_t shared[warp_width];
    int g = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    int32_t count = 0;
    for (int p = 0; g < genes && p < parts; p++) {
        count += __popc(table[(int64_t)p * genes + g].cells);
    }
    if (g < genes) {
        colptr[g] = count;
    }
    count = block_sum(count, shared);
    if (threadIdx.x == 0) {
        of_block[blockIdx.x] = count;
    }
}

/* Where each gene starts, and each part of it. Reads and writes the table: G / 2 bytes a cell. */
static __global__ void start_genes_kernel(part_gene *table, int parts, int genes, const int32_t *of_block,
                                          int32_t *colptr)
{
    __shared__ int32_t shared[warp_width];
    int g = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    int32_t before = 0;
    for (int k = (int)threadIdx.x; k < (int)blockIdx.x; k += (int)blockDim.x) {
        before += of_block[k];
    }
    before = block_sum(before, shared);
    int32_t count = g < genes ? colptr[g] : 0;
    int32_t at = before + sum_before(count, shared);
    if (g == 0 && genes == 0) {
        colptr[0] = 0;
    }
    if (g >= genes) {
        return;
    }
    colptr[g] = at;
    for (int p = 0; p < parts; p++) {
        part_gene *entry = &table[(int64_t)p * genes + g];
        entry->start = at;
        at += __popc(entry->cells);
    }
    if (g == genes - 1) {
        colptr[genes] = at;
    }
}

/* One block a cell. A non-zero is 17 bytes read and 12 written, each word of these into a sector of 32 bytes that other
 * cells fill up. That is about five sectors for the L2 cache, which moves 170,000 a microsecond: 28 cells of 1,209. */
static __global__ void place_kernel(gmv_packed shard, const int64_t *rows, const int64_t *first, const int32_t *filled,
                                    gmv_batch batch, const part_gene *table)
{
    int i = (int)blockIdx.x;
    if (i >= filled_of(filled, (int)gridDim.x)) {
        return;
    }
    int64_t from = shard.indptr[rows[*first + i]];
    int32_t begin = batch.indptr[i], n = batch.indptr[i + 1] - begin;
    const part_gene *part = table + (int64_t)(i / part_cells) * batch.genes;
    uint32_t lower = (1u << (i % part_cells)) - 1u;
    for (int32_t k = (int32_t)threadIdx.x; k < n; k += (int32_t)blockDim.x) {
        part_gene entry = part[batch.gene[begin + k]];
        int32_t to = entry.start + __popc(entry.cells & lower);
        batch.cell[to] = i;
        batch.col_x[to] = batch.x[begin + k];
        batch.col_count[to] = (float)gmv_packed_count(&shard, from + k);
    }
}

gmv_status gmv_cuda_batch_fetch(gmv_backend *b, const gmv_packed *shard, const int64_t *rows, const int64_t *first,
                                const int32_t *filled, int n, gmv_input input, gmv_batch *batch)
{
    batch->cells = n;
    batch->genes = shard->genes;
    batch->covariates = shard->covariates;
    batch->present = shard->present;
    int genes = shard->genes, parts = (n + part_cells - 1) / part_cells;
    int blocks = genes > 0 ? (genes + gene_threads - 1) / gene_threads : 1;
    int64_t entries = (int64_t)parts * genes, clear = (entries + scan_threads - 1) / scan_threads;
    void *scratch;
    GMV_TRY(gmv_cuda_scratch(b, GMV_CUDA_FETCH,
                             entries * (int64_t)sizeof(part_gene) + blocks * (int64_t)sizeof(int32_t), &scratch));
    part_gene *table = (part_gene *)scratch;
    int32_t *of_block = (int32_t *)(table + entries);
    cudaStream_t stream = gmv_cuda_stream(b);
    GMV_LAUNCH(start_rows_kernel, (unsigned)(1 + (clear < most_clear_blocks ? clear : most_clear_blocks)), scan_threads,
               0, stream, *shard, rows, first, filled, n, batch->indptr, table, entries);
    GMV_LAUNCHED();
    if (n > 0) {
        GMV_LAUNCH(fetch_rows_kernel, (unsigned)n, row_threads, 0, stream, *shard, rows, first, filled, input, *batch,
                   table);
        GMV_LAUNCHED();
    }
    GMV_LAUNCH(count_genes_kernel, (unsigned)blocks, gene_threads, 0, stream, (const part_gene *)table, parts, genes,
               batch->colptr, of_block);
    GMV_LAUNCHED();
    GMV_LAUNCH(start_genes_kernel, (unsigned)blocks, gene_threads, 0, stream, table, parts, genes,
               (const int32_t *)of_block, batch->colptr);
    GMV_LAUNCHED();
    if (n > 0) {
        GMV_LAUNCH(place_kernel, (unsigned)n, row_threads, 0, stream, *shard, rows, first, filled, *batch,
                   (const part_gene *)table);
        GMV_LAUNCHED();
    }
    return GMV_OK;
}
