/* Sparse rows times a dense matrix: tiles of the rows are made dense in shared memory, slice after slice of the
 * indices, and multiplied on the tensor cores.
 *
 * By count, for 1,024 cells of 13,431 genes with 1,209 non-zeros and H = 300 (in 320 columns) on 132 multiprocessors:
 * 8.8 GFLOP, 22 us at the 400 TFLOP/s that these instructions should give; a slice of a tile takes 3,040 cycles of a
 * multiprocessor. In them its 41 kB of the dense matrix come from the L2 cache (1,730 cycles of its bandwidth; tiles of
 * 64 rows would take 3,460, and wait), shared memory moves 290 kB (2,240 cycles, and some 200 for conflicts), and a
 * scheduler issues 1,440 instructions: 580 multiply, 360 place 740 entries, 500 copy. Skipping slices without entries
 * would not pay: of 128 x 64 pairs of a cell and a gene 740 have one, and where one in a thousand has, one slice in
 * 3,600 is empty. */
#include "input_tiles.cuh"

#include "quad.cuh"
#include "tensor.cuh"

/* Sums are split until there are about `wanted_blocks`, which does not ask the device: bits depend on shapes alone. */
enum { wanted_blocks = 128, least_slices = 4, tile_rows = 128, tile_depth = 64, widest_tile = 320 };

/* What a block does: slices of `per` times blockIdx.z on, of all rows of a tile; its sums go that many matrices on. */
typedef struct tile_sums {
    int per;
    int64_t stride;
    const float *constant;
    bool add;
    gmv_mat out;
} tile_sums;

/* 4 x 4 warps, each with 32 rows and 8 N columns. */
template <int N> struct sparse_tile {
    static_assert(N % 2 == 0, "columns are loaded by 16");
    static constexpr int threads = 512, rows = tile_rows, cols = 4 * 8 * N;
    /* eight rows of 16 bytes lie in all banks once */
    static constexpr int depth = tile_depth, pitch = depth + 8, dense_pitch = cols + 8;
    static constexpr int stages = 3, sparse_size = rows * pitch, dense_size = depth * dense_pitch;
    static constexpr size_t bytes = (2 * sparse_size + stages * dense_size) * sizeof(bf16);
    static constexpr int lanes = threads / rows; /* that own a row */
    static_assert(cols <= widest_tile, "partial sums have room for as many");

    /* What a lane has yet to place: every `lanes`-th entry of its row, two of them already here. */
    typedef struct cursor {
        int32_t at, end;
        entry now, next;
    } cursor;

    float sum[2][N][4];

    /* Where sum[i][j][q] of this thread lies in the tile. */
    static __device__ __forceinline__ int row_of(int i, int q)
    {
        return (int)threadIdx.x / warp_width / 4 * 32 + 16 * i + q / 2 * 8 + (int)threadIdx.x % warp_width / 4;
    }
    static __device__ __forceinline__ int col_of(int j, int q)
    {
        return (int)threadIdx.x / warp_width % 4 * 8 * N + 8 * j + 2 * ((int)threadIdx.x % 4) + q % 2;
    }

    /* A slice of the dense matrix on its way to a stage: zeros behind its last row and column. */
    static __device__ __forceinline__ void load(copy_queue &queue, bf16 *to, const tensor_rows &from, int first_k,
                                                int first_col)
    {
        static_assert(threads == 8 * depth, "eight threads for each row");
        int k = (int)threadIdx.x / 8, col = (int)threadIdx.x % 8 * 8;
        const bf16 *row = from.at + (int64_t)(first_k + k) * from.ld + first_col;
        to += k * dense_pitch;
#pragma unroll
        for (int n = 0; n < cols / 64; n++, col += 64) {
            bool there = first_k + k < from.rows && first_col + col < from.ld;
            copy_16(queue, to + col, there ? row + col : from.at, there ? 16 : 0);
        }
        end_group(queue);
    }

    /* This lane's entries of row r from index `first` on. */
    static __device__ __forceinline__ cursor find(const sparse_rows &a, int r, int first)
    {
        cursor mine = {0, 0, {0, 0.0f}, {0, 0.0f}};
        if (r < a.rows) {
            mine.at = a.start[r] + (int32_t)(threadIdx.x % lanes);
            mine.end = a.start[r + 1];
        }
        int left = mine.at < mine.end && first > 0 ? (mine.end - mine.at + lanes - 1) / lanes : 0;
        while (left > 0) { /* of the next `left`, those below `first` come before the others */
            int half = left / 2;
            bool below = a.index[mine.at + half * lanes] < first;
            mine.at += below ? (half + 1) * lanes : 0;
            left = below ? left - half - 1 : half;
        }
        mine.now = entry_at(a, mine.at, mine.end);
        mine.next = entry_at(a, mine.at + lanes, mine.end);
        return mine;
    }

    /* A slice of the sparse rows with its zeros. Only the lanes that own a row touch it. */
    static __device__ __forceinline__ void place(bf16 *to, cursor &mine, const sparse_rows &a, int first_k)
    {
        bf16 *row = to + (int)threadIdx.x / lanes * pitch;
#pragma unroll
        for (int k = 0; k < depth; k += lanes * 8) {
            *reinterpret_cast<uint4 *>(row + k + (int)threadIdx.x % lanes * 8) = make_uint4(0, 0, 0, 0);
        }
        __syncwarp();
        while (mine.now.index < first_k + depth) {
            row[mine.now.index - first_k] = __float2bfloat16(mine.now.value);
            mine.now = mine.next;
            mine.at += lanes;
            mine.next = entry_at(a, mine.at + lanes, mine.end);
        }
    }

    /* Adds what a slice gives. */
    __device__ __forceinline__ void multiply(const bf16 *sparse, const bf16 *dense)
    {
        int lane = (int)threadIdx.x % warp_width, warp = (int)threadIdx.x / warp_width;
        const bf16 *from_left = sparse + (warp / 4 * 32 + lane % 16) * pitch + lane / 16 * 8;
        const bf16 *from_right = dense + lane % 16 * dense_pitch + warp % 4 * 8 * N + lane / 16 * 8;
#pragma unroll 1
        for (int k = 0; k < depth; k += 16) {
            unsigned left[2][4];
            load_matrices<false>(left[0], from_left + k);
            load_matrices<false>(left[1], from_left + 16 * pitch + k);
#pragma unroll
            for (int j = 0; j < N; j += 2) {
                unsigned right[4]; /* both halves of the depth of columns 0 .. 7, of 8 .. 15 */
                load_matrices<true>(right, from_right + k * dense_pitch + 8 * j);
                for (int i = 0; i < 2; i++) {
                    multiply_add(sum[i][j], left[i], right[0], right[1]);
                    multiply_add(sum[i][j + 1], left[i], right[2], right[3]);
                }
            }
        }
    }

    /* All of slices `first` .. `first` + n - 1. Half of the warps make the next slice of the sparse rows before they
     * multiply, half of them after it, so that the tensor cores always have something to do. */
    __device__ __forceinline__ void run(const sparse_rows &a, const tensor_rows &dense, int first, int n, int first_row,
                                        int first_col, int end_col, bf16 *at)
    {
        int warp = (int)threadIdx.x / warp_width;
        bool busy = first_row + warp / 4 * 32 < a.rows && first_col + warp % 4 * 8 * N < end_col;
        bf16 *stage = at + 2 * sparse_size;
        copy_queue queue;
#pragma unroll
        for (int i = 0; i < 2 * N * 4; i++) {
            sum[i / (4 * N)][i / 4 % N][i % 4] = 0.0f;
        }
        for (int c = 0; c < stages - 1; c++) {
            if (c < n) {
                load(queue, stage + c * dense_size, dense, (first + c) * depth, first_col);
            } else {
                end_group(queue);
            }
        }
        cursor mine = find(a, first_row + (int)threadIdx.x / lanes, first * depth);
        place(at, mine, a, first * depth);
        for (int c = 0; c < n; c++) {
            wait_groups<stages - 2>(queue);
            __syncthreads();
            int next = c + stages - 1;
            if (next < n) {
                load(queue, stage + next % stages * dense_size, dense, (first + next) * depth, first_col);
            } else {
                end_group(queue);
            }
#pragma unroll 1
            for (int turn = 0; turn < 2; turn++) {
                if (turn == warp / 4 % 2) {
                    place(at + (c + 1) % 2 * sparse_size, mine, a, (first + c + 1) * depth);
                } else if (busy) {
                    multiply(at + c % 2 * sparse_size, stage + c % stages * dense_size);
                }
            }
        }
    }

    /* Columns col and col + 1 of a row of n; `pairs`: they lie on 8 bytes. */
    static __device__ __forceinline__ float2 pair_at(const float *row, int col, int n, bool pairs)
    {
        if (pairs && col + 1 < n) {
            return *reinterpret_cast<const float2 *>(row + col);
        }
        return make_float2(col < n ? row[col] : 0.0f, col + 1 < n ? row[col + 1] : 0.0f);
    }
    static __device__ __forceinline__ void store_pair(float *row, int col, int n, bool pairs, float2 value)
    {
        if (pairs && col + 1 < n) {
            *reinterpret_cast<float2 *>(row + col) = value;
            return;
        }
        if (col < n) {
            row[col] = value.x;
        }
        if (col + 1 < n) {
            row[col + 1] = value.y;
        }
    }

    /* Half a row of a warp at a time: what it is added to is read together, not each pair behind the last one. */
    __device__ __forceinline__ void store(const tile_sums &to, int first_row, int first_col)
    {
        float *out = to.out.at + blockIdx.z * to.stride;
        bool pairs = reinterpret_cast<uintptr_t>(out) % 8 == 0 && to.out.ld % 2 == 0;
        int n = to.out.cols;
#pragma unroll
        for (int half = 0; half < 4; half++) {
            int i = half / 2, q = half % 2 * 2, r = first_row + row_of(i, q);
            float *row = out + (int64_t)r * to.out.ld;
            float2 was[N];
#pragma unroll
            for (int j = 0; j < N && r < to.out.rows; j++) {
                int col = first_col + col_of(j, 0);
                was[j] = to.add ? pair_at(row, col, n, pairs) : make_float2(0.0f, 0.0f);
                float2 more = to.constant != NULL ? pair_at(to.constant, col, n, false) : make_float2(0.0f, 0.0f);
                sum[i][j][q] += more.x;
                sum[i][j][q + 1] += more.y;
            }
#pragma unroll
            for (int j = 0; j < N && r < to.out.rows; j++) {
                float2 all = {was[j].x + sum[i][j][q], was[j].y + sum[i][j][q + 1]};
                store_pair(row, first_col + col_of(j, 0), n, pairs, all);
            }
        }
    }
};

template <int N>
static __global__ void __launch_bounds__(sparse_tile<N>::threads)
    sparse_tile_kernel(sparse_rows a, tensor_rows dense, tile_sums to)
{
    using tile = sparse_tile<N>;
    GMV_DYNAMIC_SHARED(bf16, shared);
    tile product;
    int slices = (a.indices + tile::depth - 1) / tile::depth, first = (int)blockIdx.z * to.per;
    int n = slices - first < to.per ? slices - first : to.per;
    int first_row = (int)blockIdx.x * tile::rows, first_col = (int)blockIdx.y * tile::cols;
    product.run(a, dense, first, n, first_row, first_col, to.out.cols, shared);
    product.store(to, first_row, first_col);
}

/* Eight columns a thread. 24 MB for the weight of 13,431 genes, 6 us; 2 us for the gradient of 1,024 cells. */
static __global__ void round_rows_kernel(gmv_mat from, bool aligned, bf16 *to, int ld)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int j = (int)(i % (ld / 8)) * 8;
    int64_t r = i / (ld / 8);
    if (r >= from.rows) {
        return;
    }
    const float *row = from.at + r * from.ld;
    quad low = quad_load(row, j, from.cols, aligned), high = quad_load(row, j + 4, from.cols, aligned);
    alignas(16) bf16 rounded[8];
    for (int c = 0; c < 4; c++) {
        rounded[c] = __float2bfloat16(low.at[c]);
        rounded[4 + c] = __float2bfloat16(high.at[c]);
    }
    *reinterpret_cast<uint4 *>(to + r * ld + j) = *reinterpret_cast<const uint4 *>(rounded);
}

/* The sums of all pieces in their order. Reads at most 21 MB, from the L2 cache: 5 us. */
static __global__ void add_pieces_kernel(tile_sums from, int pieces, const float *constant, bool add, gmv_mat out,
                                         bool aligned)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int quads = (out.cols + 3) / 4, j = (int)(i % quads) * 4;
    int64_t r = i / quads;
    if (r >= out.rows) {
        return;
    }
    float *to = out.at + r * out.ld;
    quad sum = {{0.0f, 0.0f, 0.0f, 0.0f}}, was = sum, more = sum;
#pragma unroll 4
    for (int p = 0; p < pieces; p++) {
        quad part = quad_load(from.out.at + p * from.stride + r * from.out.ld, j, out.cols, true);
        for (int c = 0; c < 4; c++) {
            sum.at[c] += part.at[c];
        }
    }
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

template <int N>
static gmv_status run_tiles(gmv_backend *b, const sparse_rows &a, const tensor_rows &dense, int pieces,
                            const tile_sums &to)
{
    using tile = sparse_tile<N>;
    dim3 grid((unsigned)((a.rows + tile::rows - 1) / tile::rows),
              (unsigned)((to.out.cols + tile::cols - 1) / tile::cols), (unsigned)pieces);
    GMV_CUDA(
        cudaFuncSetAttribute(sparse_tile_kernel<N>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)tile::bytes));
    GMV_LAUNCH((sparse_tile_kernel<N>), grid, tile::threads, tile::bytes, gmv_cuda_stream(b), a, dense, to);
    GMV_LAUNCHED();
    return GMV_OK;
}

/* The narrowest tiles that take all columns in as few as possible. How wide they are changes no bits. */
static gmv_status run_widths(gmv_backend *b, const sparse_rows &a, const tensor_rows &dense, int pieces,
                             const tile_sums &to)
{
    int room, cols = to.out.cols, tiles = (cols + widest_tile - 1) / widest_tile, width = (cols + tiles - 1) / tiles;
    GMV_CUDA(cudaDeviceGetAttribute(&room, cudaDevAttrMaxSharedMemoryPerBlockOptin, gmv_cuda_state_of(b)->device));
    if (width <= sparse_tile<4>::cols || room < (int)sparse_tile<10>::bytes) {
        return run_tiles<4>(b, a, dense, pieces, to);
    }
    if (width <= sparse_tile<8>::cols) {
        return run_tiles<8>(b, a, dense, pieces, to);
    }
    return run_tiles<10>(b, a, dense, pieces, to);
}

static gmv_status round_rows(gmv_backend *b, gmv_mat from, tensor_rows *rounded)
{
    int ld = (from.cols + 7) / 8 * 8;
    int64_t eights = (int64_t)from.rows * (ld / 8);
    void *to;
    GMV_TRY(gmv_cuda_scratch(b, GMV_CUDA_OPERANDS, eights * 16, &to));
    *rounded = {(const bf16 *)to, from.rows, ld};
    if (eights > 0) {
        GMV_LAUNCH(round_rows_kernel, (unsigned)((eights + 255) / 256), 256, 0, gmv_cuda_stream(b), from,
                   quads_aligned(from), (bf16 *)to, ld);
        GMV_LAUNCHED();
    }
    return GMV_OK;
}

gmv_status gmv_cuda_sparse_tiles(gmv_backend *b, sparse_rows a, gmv_mat dense, const float *constant, bool add,
                                 gmv_mat out)
{
    if (a.rows == 0 || out.cols == 0) {
        return GMV_OK;
    }
    tensor_rows rounded;
    GMV_TRY(round_rows(b, dense, &rounded));
    int slices = (a.indices + tile_depth - 1) / tile_depth;
    int64_t tiles = (int64_t)((a.rows + tile_rows - 1) / tile_rows) * ((out.cols + widest_tile - 1) / widest_tile);
    int pieces = tiles < wanted_blocks ? (int)(wanted_blocks / tiles) : 1;
    int per = (slices + pieces - 1) / pieces;
    per = per < least_slices ? least_slices : per;
    pieces = slices > per ? (slices + per - 1) / per : 1;
    if (pieces == 1) {
        return run_widths(b, a, rounded, 1, {per, 0, constant, add, out});
    }
    void *partial; /* as much for any shape that is split: no later one makes it grow */
    const int64_t room = (int64_t)wanted_blocks * tile_rows * widest_tile * (int64_t)sizeof(float);
    GMV_TRY(gmv_cuda_scratch(b, GMV_CUDA_SUMS, room, &partial));
    gmv_mat first = {(float *)partial, out.rows, out.cols, rounded.ld};
    tile_sums parts = {per, (int64_t)out.rows * rounded.ld, NULL, false, first};
    GMV_TRY(run_widths(b, a, rounded, pieces, parts));
    int64_t quads = (int64_t)out.rows * ((out.cols + 3) / 4);
    GMV_LAUNCH(add_pieces_kernel, (unsigned)((quads + 127) / 128), 128, 0, gmv_cuda_stream(b), parts, pieces, constant,
               add, out, quads_aligned(out));
    GMV_LAUNCHED();
    return GMV_OK;
}
