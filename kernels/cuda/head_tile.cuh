/* The likelihood over one tile of genes by one block of threads: included by head.cu alone.
 *
 * A tile goes through three phases, and only the first and the last know where logits come from and gradients go:
 * (1) logits + bias are laid into shared memory, read from memory or, on chip, as the product that they are; (2) entries
 * with a count are settled: their value and gradient, zero part included, take the place of their logits, and a bit
 * says so, as do those of genes that a cell lacks, with zeros for results; (3) all other entries, the zeros, are worked through row by row without a gamma function, sums are taken
 * over everything, gradients written: over the logits, or, on chip, as bf16. */
#pragma once

#include "tensor.cuh"

#include "gmvae/likelihoods.h"

enum {
    tile_rows = 64,
    tile_genes = 64,
    tile_stride = tile_genes + 1, /* the draws of a cell have their entries in different banks */
    tile_plane = tile_rows * tile_stride,
    tile_threads = 256,
    tile_warps = tile_threads / warp_width,
    lane_genes = tile_genes / warp_width, /* a lane has genes lane, lane + 32, ... */
    few_most = 4,
    some_most = 16
};

/* What a pass needs of the likelihood; the compiler drops the rest of the work. */
enum wanted : unsigned {
    want_value = 1,          /* log p, summed over genes */
    want_first_gradient = 2, /* sum over genes of the gradient in predictor 0 */
    want_gradient = 4,       /* gradients of the loss in all predictors; without want_value through the softmax */
    want_split = 7           /* all of it in one pass, and the softmax that the gradient in predictor 0 still lacks */
};

/* A likelihood's functions and shape, one struct for each row of the table. */
#define GMV_LIKELIHOOD(name, head_count, softmax, gene_params, names, description)                                     \
    struct name##_likelihood {                                                                                         \
        static constexpr int heads = head_count;                                                                       \
        static constexpr bool normalises = (softmax) != 0, gene_param = (gene_params) != 0;                            \
        static __device__ __forceinline__ float zero(const float *p, float *g)                                         \
        {                                                                                                              \
            return gmv_lik_##name##_zero(p, g);                                                                        \
        }                                                                                                              \
        static __device__ __forceinline__ float count(float y, const float *p, float *g)                               \
        {                                                                                                              \
            return gmv_lik_##name##_count(y, p, g);                                                                    \
        }                                                                                                              \
        static __device__ __forceinline__ float few(float y, int most, const float *p, float *g)                       \
        {                                                                                                              \
            return gmv_lik_##name##_few(y, most, p, g);                                                                \
        }                                                                                                              \
    };
#include "gmvae/likelihoods.def"
#undef GMV_LIKELIHOOD

/* What becomes of an entry: gradients of heads, of the gene's parameter, then the value, as far as wanted. */
template <typename L, unsigned want> struct tile_outputs {
    static constexpr bool value = (want & want_value) != 0, all = (want & want_gradient) != 0;
    static constexpr bool first = (want & want_first_gradient) != 0, chained = want == want_gradient;
    static constexpr bool split = want == want_split;
    static constexpr int heads = all ? L::heads : (first ? 1 : 0), gene = all && L::gene_param ? 1 : 0;
    static constexpr int value_at = heads + gene, softmax_at = value_at + (value ? 1 : 0);
    static constexpr int count = softmax_at + (split ? 1 : 0);
    static constexpr int columns = all ? heads + gene : 0; /* outputs that are summed over rows */
    static constexpr int planes = count > L::heads ? count : L::heads;
    static constexpr size_t of_planes = (size_t)planes * tile_plane * sizeof(float);
    using product = tensor_tile<2, 2, L::heads>; /* of the logits; its operands lie where the planes come to lie */
    static constexpr size_t bytes(bool on_chip)
    {
        return on_chip && product::bytes > of_planes ? product::bytes : of_planes;
    }
};

/* A block of rows (whole cells) and a chunk of genes of it. Arrays over genes start at the chunk's first gene. */
typedef struct head_chunk {
    int draws, first_cell, cells, rows;  /* rows = cells * draws */
    int tile_cells, pieces, piece_draws; /* a tile has tile_cells cells, or piece_draws of the draws of one */
    int groups;                          /* of tile_cells cells */
    int genes;
    int ld;                                      /* between rows of logits and gradients */
    float *logits;                               /* [heads, rows, ld] without bias, then gradients; or, on chip: */
    tensor_rows hidden, weight[GMV_MAX_HEADS];   /* [rows, H], [genes, H] */
    bf16 *rounded;                               /* [heads, rows, ld] out gradients; behind them a split's softmax */
    const float *bias[GMV_MAX_HEADS], *gene_raw; /* [genes] */
    const int32_t *starts; /* [genes, groups + 1] where a gene's entries of a group start in the batch's CSC arrays */
    const int32_t *cell;   /* [Z] CSC */
    const float *count;    /* [Z] CSC */
    const float *shift;    /* [rows] log mean = logit + shift; NULL: 0 */
    const float *log_norm; /* [rows] log of the softmax's normaliser */
    const float *total_e;  /* [rows] sum over genes of the gradient in log mean */
    const float *scale;
    const int32_t *filled;  /* cells of the batch; NULL: all its rows are some */
    const int32_t *set;     /* [cells of the batch] set of genes of each; NULL: every cell has all */
    const uint8_t *present; /* [sets, all genes], at the chunk's first: 0 where a set lacks a gene */
    int64_t all_genes;
    double *ll, *e; /* [gene tiles of a chunk, rows] added to */
    float *columns; /* out [row tiles, columns, ld] sums of gradients over the rows of a tile */
} head_chunk;

/* What the cell of a row has of the chunk's genes; NULL: all of them. */
static __device__ __forceinline__ const uint8_t *present_of(const head_chunk &chunk, int row)
{
    return chunk.set == NULL ? NULL : chunk.present + chunk.set[chunk.first_cell + row / chunk.draws] * chunk.all_genes;
}

/* Where a tile lies. */
typedef struct tile_place {
    int group, first_cell, draws; /* first_cell within the batch; draws of each cell that are in the tile */
    int first_row, rows;          /* within the block of rows */
    int filled;                   /* the first of these rows that are of cells; the others get gradients of 0 */
    int first_gene, genes;        /* within the chunk */
} tile_place;

/* Entries with counts, sorted by size of the count so that the threads of a warp take the same way. */
enum { list_steps = 2, list_room = list_steps * tile_threads, list_kinds = 4, list_parts = list_steps * tile_warps };
typedef struct tile_shared {
    tile_place place;                        /* here, not in registers, of which the counts need all */
    unsigned settled[tile_rows][lane_genes]; /* bit gene % 32 of word gene / 32: results are in the planes */
    int begin[tile_genes];                   /* first entry of each gene in the CSC arrays */
    int offset[tile_genes + 1];              /* entries of the genes before */
    int before[list_kinds * list_parts];     /* entries of smaller kinds, or of the same kind and earlier threads */
    float count[list_room];
    short cell[list_room], gene[list_room];
} tile_shared;

static __device__ __forceinline__ tile_place place_of(const head_chunk &chunk)
{
    tile_place tile;
    int piece = (int)blockIdx.y % chunk.pieces, first_draw = piece * chunk.piece_draws;
    tile.group = (int)blockIdx.y / chunk.pieces;
    int cell = tile.group * chunk.tile_cells, cells = min(chunk.tile_cells, chunk.cells - cell);
    tile.first_cell = chunk.first_cell + cell;
    tile.draws = max(min(chunk.piece_draws, chunk.draws - first_draw), 0);
    tile.first_row = cell * chunk.draws + first_draw;
    tile.rows = cells * tile.draws;
    tile.filled = min(max(filled_of(chunk.filled, tile.first_cell + cells) - tile.first_cell, 0), cells) * tile.draws;
    tile.first_gene = (int)blockIdx.x * tile_genes;
    tile.genes = min((int)tile_genes, chunk.genes - tile.first_gene);
    return tile;
}

/* What the entries of a row share. */
typedef struct row_facts {
    float shift, log_norm, e, factor;
} row_facts;

template <typename L, unsigned want>
static __device__ __forceinline__ row_facts facts_of(const head_chunk &chunk, int row, float factor)
{
    row_facts facts = {chunk.shift != NULL ? __ldg(chunk.shift + row) : 0.0f, 0.0f, 0.0f, factor};
    if constexpr (tile_outputs<L, want>::chained || tile_outputs<L, want>::split) {
        facts.log_norm = __ldg(chunk.log_norm + row);
    }
    if constexpr (tile_outputs<L, want>::chained) {
        facts.e = __ldg(chunk.total_e + row);
    }
    return facts;
}

/* Value and gradient of one entry with count y (`counted`; else 0), from its logits with bias. */
template <typename L, unsigned want, bool counted>
static __device__ __forceinline__ void evaluate(float y, const float *logit, float gene_raw, row_facts facts,
                                                float *out)
{
    using outputs = tile_outputs<L, want>;
    float p[GMV_MAX_HEADS + 1], g[GMV_MAX_HEADS + 1];
    for (int h = 0; h < L::heads; h++) {
        p[h] = logit[h];
    }
    p[0] += facts.shift;
    p[L::heads] = gene_raw;
    float value = L::zero(p, g);
    if constexpr (counted) {
        if (y <= 1.0f) {
            value += L::few(y, 1, p, g);
        } else if (y <= (float)few_most) {
            value += L::few(y, few_most, p, g);
        } else {
            value += L::count(y, p, g);
        }
    }
    if constexpr (outputs::chained) {
        g[0] -= facts.e * gmv_expf(logit[0] - facts.log_norm);
    }
    for (int k = 0; k < outputs::heads + outputs::gene; k++) {
        out[k] = outputs::all ? facts.factor * g[k] : g[k];
    }
    if constexpr (outputs::value) {
        out[outputs::value_at] = value;
    }
    if constexpr (outputs::split) {
        out[outputs::softmax_at] = gmv_expf(logit[0] - facts.log_norm);
    }
}

/* Phase 1. Eight rows of each warp, 128 contiguous bytes a load, all loads of a row under way together. */
template <typename L>
static __device__ void stage_logits(const head_chunk &chunk, const tile_place &tile, float *planes)
{
    int lane = (int)threadIdx.x % warp_width, warp = (int)threadIdx.x / warp_width;
    for (int h = 0; h < L::heads; h++) {
        float bias[lane_genes];
        for (int j = 0; j < lane_genes; j++) {
            int gene = lane + j * warp_width;
            bias[j] = gene < tile.genes ? __ldg(chunk.bias[h] + tile.first_gene + gene) : 0.0f;
        }
        const float *from = chunk.logits + ((int64_t)h * chunk.rows + tile.first_row) * chunk.ld + tile.first_gene;
        for (int r = warp; r < tile.rows; r += tile_warps) {
            for (int j = 0; j < lane_genes; j++) {
                int gene = lane + j * warp_width;
                if (gene < tile.genes) {
                    planes[h * tile_plane + r * tile_stride + gene] = from[(int64_t)r * chunk.ld + gene] + bias[j];
                }
            }
        }
    }
}

/* Phase 1 on chip. All threads must call; planes may still be read for the product when a thread returns. */
template <typename L>
static __device__ __forceinline__ void multiply_logits(const head_chunk &chunk, const tile_place &tile, float *planes)
{
    using product = tensor_tile<2, 2, L::heads>;
    static_assert(product::rows == tile_rows && product::cols == tile_genes && product::threads == tile_threads, "");
    product logits;
    tensor_rows hidden = {chunk.hidden.at + (int64_t)tile.first_row * chunk.hidden.ld, tile.rows, chunk.hidden.ld};
    tensor_rows weight[L::heads];
    for (int h = 0; h < L::heads; h++) {
        int ld = chunk.weight[h].ld;
        weight[h] = {chunk.weight[h].at + (int64_t)tile.first_gene * ld, tile.genes, ld};
    }
    logits.run(hidden, weight, reinterpret_cast<bf16 *>(planes));
    __syncthreads();
    for (int h = 0; h < L::heads; h++) {
        for (int j = 0; j < 2; j++) {
            for (int q = 0; q < 2; q++) {
                int gene = product::col_of(j, q);
                float bias = gene < tile.genes ? __ldg(chunk.bias[h] + tile.first_gene + gene) : 0.0f;
                for (int i = 0; i < 2; i++) {
                    float *to = planes + h * tile_plane + gene;
                    to[product::row_of(i, q) * tile_stride] = logits.sum[h][i][j][q] + bias;
                    to[product::row_of(i, q + 2) * tile_stride] = logits.sum[h][i][j][q + 2] + bias;
                }
            }
        }
    }
}

/* Exclusive sums over a warp; *total gets the sum of all. */
static __device__ __forceinline__ int sums_before(int value, int *total)
{
    int lane = (int)threadIdx.x % warp_width, sum = value;
    for (int offset = 1; offset < warp_width; offset *= 2) {
        int other = __shfl_up_sync(all_lanes, sum, offset);
        sum += lane >= offset ? other : 0;
    }
    *total = __shfl_sync(all_lanes, sum, warp_width - 1);
    return sum - value;
}

/* Where the tile's entries with counts are. By one warp. */
static __device__ void find_entries(const head_chunk &chunk, const tile_place &tile, tile_shared *shared)
{
    int lane = (int)threadIdx.x % warp_width, n[lane_genes], mine = 0, total;
    for (int j = 0; j < lane_genes; j++) {
        int gene = lane * lane_genes + j;
        n[j] = 0;
        if (gene < tile.genes) {
            const int32_t *at = chunk.starts + (int64_t)(tile.first_gene + gene) * (chunk.groups + 1) + tile.group;
            shared->begin[gene] = at[0];
            n[j] = at[1] - at[0];
        }
        mine += n[j];
    }
    int before = sums_before(mine, &total);
    for (int j = 0; j < lane_genes; j++) {
        shared->offset[lane * lane_genes + j] = before;
        before += n[j];
    }
    if (lane == 0) {
        shared->offset[tile_genes] = total;
    }
}

/* Gene of the e-th entry of the tile. */
static __device__ __forceinline__ int gene_of_entry(const tile_shared *shared, int e)
{
    int low = 0, high = tile_genes;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (shared->offset[middle] <= e) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Lists the tile's entries [first, first + list_room), sorted by kind, otherwise in order. */
static __device__ void list_entries(const head_chunk &chunk, const tile_place &tile, int first, tile_shared *shared)
{
    int lane = (int)threadIdx.x % warp_width, warp = (int)threadIdx.x / warp_width, total;
    int kind[list_steps], rank[list_steps], gene[list_steps], cell[list_steps];
    float count[list_steps];
    for (int s = 0; s < list_steps; s++) {
        int e = first + s * tile_threads + (int)threadIdx.x;
        kind[s] = list_kinds;
        if (e < shared->offset[tile_genes]) {
            gene[s] = gene_of_entry(shared, e);
            int at = shared->begin[gene[s]] + e - shared->offset[gene[s]];
            count[s] = __ldg(chunk.count + at);
            cell[s] = __ldg(chunk.cell + at) - tile.first_cell;
            kind[s] = (count[s] > 1.0f) + (count[s] > (float)few_most) + (count[s] > (float)some_most);
        }
        for (int k = 0; k < list_kinds; k++) {
            unsigned same = __ballot_sync(all_lanes, kind[s] == k);
            if (kind[s] == k) {
                rank[s] = __popc(same & ((1u << lane) - 1u));
            }
            if (lane == 0) {
                shared->before[k * list_parts + s * tile_warps + warp] = __popc(same);
            }
        }
    }
    __syncthreads();
    if (warp == 0) {
        static_assert(list_kinds * list_parts == 2 * warp_width, "two numbers for each lane");
        int even = shared->before[2 * lane], odd = shared->before[2 * lane + 1];
        int before = sums_before(even + odd, &total);
        shared->before[2 * lane] = before;
        shared->before[2 * lane + 1] = before + even;
    }
    __syncthreads();
    for (int s = 0; s < list_steps; s++) {
        if (kind[s] < list_kinds) {
            int to = shared->before[kind[s] * list_parts + s * tile_warps + warp] + rank[s];
            shared->count[to] = count[s];
            shared->cell[to] = (short)cell[s];
            shared->gene[to] = (short)gene[s];
        }
    }
    __syncthreads();
}

/* Phase 2: a thread for each listed entry and draw. */
template <typename L, unsigned want>
static __device__ void settle_counts(const head_chunk &chunk, const tile_place &tile, float factor, float *planes,
                                     tile_shared *shared)
{
    using outputs = tile_outputs<L, want>;
    int total = shared->offset[tile_genes];
    for (int first = 0; first < total; first += list_room) {
        list_entries(chunk, tile, first, shared);
        int n = min(total - first, (int)list_room) * tile.draws;
        for (int i = (int)threadIdx.x; i < n; i += tile_threads) {
            int entry = i / tile.draws, gene = shared->gene[entry];
            int row = shared->cell[entry] * tile.draws + i % tile.draws, at = row * tile_stride + gene;
            float logit[L::heads], out[outputs::count];
            for (int h = 0; h < L::heads; h++) {
                logit[h] = planes[h * tile_plane + at];
            }
            float gene_raw = L::gene_param ? __ldg(chunk.gene_raw + tile.first_gene + gene) : 0.0f;
            row_facts facts = facts_of<L, want>(chunk, tile.first_row + row, factor);
            evaluate<L, want, true>(shared->count[entry], logit, gene_raw, facts, out);
            for (int k = 0; k < outputs::count; k++) {
                planes[k * tile_plane + at] = out[k];
            }
            atomicOr(&shared->settled[row][gene / warp_width], 1u << gene % warp_width);
        }
    }
}

/* Genes that a cell lacks are settled with zeros, whatever was wanted: a warp for each row. They have no counts. */
template <typename L, unsigned want>
static __device__ void settle_absent(const head_chunk &chunk, const tile_place &tile, float *planes,
                                     tile_shared *shared)
{
    int lane = (int)threadIdx.x % warp_width;
    for (int r = (int)threadIdx.x / warp_width; r < tile.rows; r += tile_warps) {
        const uint8_t *present = present_of(chunk, tile.first_row + r) + tile.first_gene;
        for (int j = 0; j < lane_genes; j++) {
            int gene = lane + j * warp_width;
            bool absent = gene < tile.genes && present[gene] == 0;
            for (int k = 0; absent && k < tile_outputs<L, want>::count; k++) {
                planes[k * tile_plane + r * tile_stride + gene] = 0.0f;
            }
            unsigned of_row = __ballot_sync(all_lanes, absent);
            if (lane == 0 && of_row != 0u) {
                atomicOr(&shared->settled[r][j], of_row);
            }
        }
    }
}

/* Adds the sums of one row's tile to the tile's place. */
template <typename L, unsigned want>
static __device__ __forceinline__ void add_row_sums(const head_chunk &chunk, int row, float value, float first)
{
    int64_t at = (int64_t)blockIdx.x * chunk.rows + row;
    if constexpr (tile_outputs<L, want>::value) {
        value = warp_sum(value);
        if (threadIdx.x % warp_width == 0) {
            chunk.ll[at] += (double)value;
        }
    }
    if constexpr (tile_outputs<L, want>::first) {
        first = warp_sum(first);
        if (threadIdx.x % warp_width == 0) {
            chunk.e[at] += (double)first;
        }
    }
}

/* Gradients of one entry to memory; on chip with the softmax, and zeros behind the last gene, which products read. */
template <typename L, unsigned want, bool on_chip>
static __device__ __forceinline__ void write_gradients(const head_chunk &chunk, int64_t at, bool there,
                                                       const float *out)
{
    using outputs = tile_outputs<L, want>;
    int64_t plane = (int64_t)chunk.rows * chunk.ld;
    for (int h = 0; outputs::all && h < outputs::heads; h++) {
        if constexpr (on_chip) {
            chunk.rounded[h * plane + at] = __float2bfloat16(there ? out[h] : 0.0f);
        } else if (there) {
            chunk.logits[h * plane + at] = out[h];
        }
    }
    if constexpr (outputs::split) {
        chunk.rounded[outputs::heads * plane + at] = __float2bfloat16(there ? out[outputs::softmax_at] : 0.0f);
    }
}

/* Phase 3: zeros, sums over rows and columns, gradients to memory. column_sum: of this warp's rows. */
template <typename L, unsigned want, bool on_chip>
static __device__ void finish_rows(const head_chunk &chunk, const tile_place &tile, float factor, const float *planes,
                                   const tile_shared *shared, float (*column_sum)[lane_genes])
{
    using outputs = tile_outputs<L, want>;
    int lane = (int)threadIdx.x % warp_width, warp = (int)threadIdx.x / warp_width;
    float gene_raw[lane_genes];
    for (int j = 0; j < lane_genes; j++) {
        int gene = lane + j * warp_width;
        gene_raw[j] = L::gene_param && gene < tile.genes ? __ldg(chunk.gene_raw + tile.first_gene + gene) : 0.0f;
    }
    for (int r = warp; r < tile.rows; r += tile_warps) {
        int row = tile.first_row + r;
        row_facts facts = facts_of<L, want>(chunk, row, r < tile.filled ? factor : 0.0f);
        float value = 0.0f, first = 0.0f;
        int64_t to = (int64_t)row * chunk.ld + tile.first_gene;
        for (int j = 0; j < lane_genes; j++) {
            int gene = lane + j * warp_width;
            float in[outputs::planes], out[outputs::count];
            if (gene >= tile.genes) {
                write_gradients<L, want, on_chip>(chunk, to + gene, false, out);
                continue;
            }
            for (int k = 0; k < outputs::planes; k++) {
                in[k] = planes[k * tile_plane + r * tile_stride + gene];
            }
            if ((shared->settled[r][j] >> lane & 1u) != 0u) {
                for (int k = 0; k < outputs::count; k++) {
                    out[k] = in[k];
                }
            } else {
                evaluate<L, want, false>(0.0f, in, gene_raw[j], facts, out);
            }
            for (int k = 0; k < outputs::columns; k++) {
                column_sum[k][j] += out[k];
            }
            write_gradients<L, want, on_chip>(chunk, to + gene, true, out);
            if constexpr (outputs::value) {
                value += out[outputs::value_at];
            }
            if constexpr (outputs::first) {
                first += out[0];
            }
        }
        add_row_sums<L, want>(chunk, row, value, first);
    }
}

/* Writes the sums over the tile's rows, warps in order; the planes are free for it. */
template <typename L, unsigned want>
static __device__ void write_columns(const head_chunk &chunk, const tile_place &tile,
                                     const float (*column_sum)[lane_genes], float *planes)
{
    constexpr int columns = tile_outputs<L, want>::columns;
    int lane = (int)threadIdx.x % warp_width, warp = (int)threadIdx.x / warp_width;
    __syncthreads();
    for (int k = 0; k < columns; k++) {
        for (int j = 0; j < lane_genes; j++) {
            planes[(warp * columns + k) * tile_genes + lane + j * warp_width] = column_sum[k][j];
        }
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < columns * tile_genes; i += tile_threads) {
        int k = i / tile_genes, gene = i % tile_genes;
        float sum = 0.0f;
        for (int w = 0; w < tile_warps; w++) {
            sum += planes[(w * columns + k) * tile_genes + gene];
        }
        if (gene < tile.genes) {
            chunk.columns[((int64_t)blockIdx.y * columns + k) * chunk.ld + tile.first_gene + gene] = sum;
        }
    }
}

/* For each entry, from memory: 4 bytes of logits through L2, and 4 of gradients (for two heads 16 / 5.5e12 = 2.9 ps on
 * an H200, for one 1.5 ps). On chip: H * 2 bytes of operands for each 64 entries and head, twice (3.4 ps for one head),
 * 2 bytes of gradients, 600 operations on the tensor cores (1.5 ps at mma.sync's 400 TFLOP/s).
 * Instructions for each entry: 51 for a zero of nb with gradients, 60 of nb_logit, 10 for a softmax, and about 30 around
 * them; a non-zero (9 %) costs 40 more when it is 1, 110 up to 4. With 132 x 4 x 32 a cycle and 1.755 GHz that is 3.5 ps:
 * what the operands from L2 take, so that nothing waits for long with three blocks on a multiprocessor. */
template <typename L, unsigned want, bool on_chip>
static __global__ void __launch_bounds__(tile_threads, 3) likelihood_tile_kernel(head_chunk chunk)
{
    using outputs = tile_outputs<L, want>;
    GMV_DYNAMIC_SHARED(float, planes);
    __shared__ tile_shared shared;
    float factor = outputs::all ? -*chunk.scale / (float)chunk.draws : 1.0f;
    if (threadIdx.x < tile_rows * lane_genes) {
        (&shared.settled[0][0])[threadIdx.x] = 0u;
    }
    if (threadIdx.x == 0) {
        shared.place = place_of(chunk);
    }
    __syncthreads();
    const tile_place &tile = shared.place;
    if (threadIdx.x / warp_width == 0) {
        find_entries(chunk, tile, &shared);
    }
    if constexpr (on_chip) {
        multiply_logits<L>(chunk, tile, planes);
    } else {
        stage_logits<L>(chunk, tile, planes);
    }
    __syncthreads();
    if (chunk.set != NULL) {
        settle_absent<L, want>(chunk, tile, planes, &shared);
    }
    settle_counts<L, want>(chunk, tile, factor, planes, &shared);
    __syncthreads();
    float column_sum[outputs::columns > 0 ? outputs::columns : 1][lane_genes] = {};
    finish_rows<L, want, on_chip>(chunk, tile, factor, planes, &shared, column_sum);
    if constexpr (outputs::columns > 0) {
        write_columns<L, want>(chunk, tile, column_sum, planes);
    }
}
