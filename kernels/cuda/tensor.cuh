/* Products of bf16 matrices with fp32 sums on the tensor cores, by one block of threads: operands go through shared
 * memory in slices of their depth, sums stay in registers.
 *
 * What only a device can run is three functions of a few lines of PTX (sm_80 and later). In a build for the host their
 * twins do what the PTX manual says, lane by lane, so that everything built on them is tested there. */
#pragma once

#include "cuda.h"
#include "device.cuh"
#include "launch.cuh"

#include <cuda_bf16.h>

typedef __nv_bfloat16 bf16;

/* ---- for devices, with twins for the host ---- */

#if defined(GMV_CUDA_ON_HOST)

enum { twin_warps = 16, twin_copies = 64 };

static inline float twin_half(unsigned word, int odd)
{
    return __bfloat162float(__ushort_as_bfloat16((unsigned short)(odd != 0 ? word >> 16 : word & 0xFFFFu)));
}

/* to[i] of lane l: elements 2 (l % 4) and the next of row l / 4 of matrix i, whose rows lanes 8 i .. 8 i + 7 name. */
template <bool transposed> static __device__ void load_matrices(unsigned (&to)[4], const bf16 *row)
{
    __shared__ const bf16 *rows[twin_warps][warp_width];
    int lane = (int)threadIdx.x % warp_width, warp = (int)threadIdx.x / warp_width;
    rows[warp][lane] = row;
    __syncwarp();
    for (int i = 0; i < 4; i++) {
        const bf16 *const *matrix = &rows[warp][8 * i];
        int major = lane / 4, minor = 2 * (lane % 4);
        bf16 low = transposed ? matrix[minor][major] : matrix[major][minor];
        bf16 high = transposed ? matrix[minor + 1][major] : matrix[major][minor + 1];
        to[i] = (unsigned)__bfloat16_as_ushort(low) | (unsigned)__bfloat16_as_ushort(high) << 16;
    }
    __syncwarp();
}

/* sum += a b of the warp, a [16, 16], b [16, 8]. Lane l has of a rows l / 4 and 8 + l / 4, columns 2 (l % 4), the
 * next, and those 8 on; of b the same of its columns; of the sum rows l / 4 and 8 + l / 4, columns 2 (l % 4) and the
 * next. */
static __device__ void multiply_add(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1)
{
    __shared__ unsigned shown[twin_warps][warp_width][6];
    int lane = (int)threadIdx.x % warp_width;
    unsigned(*all)[6] = shown[threadIdx.x / warp_width];
    for (int i = 0; i < 4; i++) {
        all[lane][i] = a[i];
    }
    all[lane][4] = b0;
    all[lane][5] = b1;
    __syncwarp();
    for (int q = 0; q < 4; q++) {
        int row = lane / 4 + q / 2 * 8, col = 2 * (lane % 4) + q % 2;
        for (int k = 0; k < 16; k++) {
            float left = twin_half(all[row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2], k % 2);
            sum[q] += left * twin_half(all[col * 4 + k % 8 / 2][4 + k / 8], k % 2);
        }
    }
    __syncwarp();
}

/* Copies that a thread has under way. The twin makes each as late as it may be. */
typedef struct copy_queue {
    void *to[twin_copies];
    const void *from[twin_copies];
    int bytes[twin_copies], group[twin_copies];
    int n = 0, groups = 0;
} copy_queue;

/* 16 bytes to shared memory: `bytes` (0 or 16) from memory, the others 0. */
static __device__ inline void copy_16(copy_queue &queue, void *to, const void *from, int bytes)
{
    int i = queue.n++;
    queue.to[i] = to;
    queue.from[i] = from;
    queue.bytes[i] = bytes;
    queue.group[i] = queue.groups;
}

static __device__ inline void end_group(copy_queue &queue)
{
    queue.groups++;
}

/* Until all but the last `left` groups of this thread's copies are there. */
template <int left> static __device__ inline void wait_groups(copy_queue &queue)
{
    int kept = 0;
    for (int i = 0; i < queue.n; i++) {
        if (queue.group[i] < queue.groups - left) {
            memset(queue.to[i], 0, 16);
            memcpy(queue.to[i], queue.from[i], (size_t)queue.bytes[i]);
        } else {
            queue.to[kept] = queue.to[i];
            queue.from[kept] = queue.from[i];
            queue.bytes[kept] = queue.bytes[i];
            queue.group[kept++] = queue.group[i];
        }
    }
    queue.n = kept;
}

#else

template <bool transposed> static __device__ __forceinline__ void load_matrices(unsigned (&to)[4], const bf16 *row)
{
    unsigned at = (unsigned)__cvta_generic_to_shared(row);
    if constexpr (transposed) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(at)
                     : "memory");
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(at)
                     : "memory");
    }
}

static __device__ __forceinline__ void multiply_add(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

typedef struct copy_queue {
} copy_queue; /* the device keeps it */

static __device__ __forceinline__ void copy_16(copy_queue &, void *to, const void *from, int bytes)
{
    unsigned at = (unsigned)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
}

static __device__ __forceinline__ void end_group(copy_queue &)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int left> static __device__ __forceinline__ void wait_groups(copy_queue &)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
}

#endif

/* ---- a tile of a product ---- */

/* Rows of a rounded matrix: `ld` elements each, a multiple of 8, zeros behind the last column; on 16 bytes. */
typedef struct tensor_rows {
    const bf16 *at;
    int rows, ld;
} tensor_rows;

/* sum[s][row, col] = sum over k of a[row, k] b[s][col, k], `sets` of b for one a, by 2 x 4 warps, each with 16 M rows
 * and 8 N columns. */
template <int M, int N, int sets> struct tensor_tile {
    static_assert(N % 2 == 0, "columns are loaded by 16");
    static constexpr int threads = 256, rows = 2 * 16 * M, cols = 4 * 8 * N;
    static constexpr int depth = 64, pitch = depth + 8; /* eight rows of 16 bytes lie in all banks once */
    static constexpr int stages = sets == 1 ? 3 : 2, stage_rows = rows + sets * cols;
    static constexpr size_t bytes = (size_t)stages * stage_rows * pitch * sizeof(bf16);

    float sum[sets][M][N][4];

    /* Where sum[][i][j][q] of this thread lies in the tile. */
    static __device__ __forceinline__ int row_of(int i, int q)
    {
        return (int)threadIdx.x / warp_width / 4 * 16 * M + 16 * i + q / 2 * 8 + (int)threadIdx.x % warp_width / 4;
    }
    static __device__ __forceinline__ int col_of(int j, int q)
    {
        return (int)threadIdx.x / warp_width % 4 * 8 * N + 8 * j + 2 * ((int)threadIdx.x % 4) + q % 2;
    }

    /* A slice of n rows on its way to a stage: eight threads for each row. */
    static __device__ __forceinline__ void load_rows(copy_queue &queue, bf16 *to, tensor_rows from, int n, int first_k)
    {
        int piece = (int)threadIdx.x % 8 * 8, k = first_k + piece;
        for (int r = (int)threadIdx.x / 8; r < n; r += threads / 8) {
            bool there = r < from.rows && k < from.ld;
            copy_16(queue, to + r * pitch + piece, there ? from.at + (int64_t)r * from.ld + k : from.at,
                    there ? 16 : 0);
        }
    }

    static __device__ __forceinline__ void load(copy_queue &queue, bf16 *stage, const tensor_rows &a,
                                                const tensor_rows (&b)[sets], int first_k)
    {
        load_rows(queue, stage, a, rows, first_k);
        for (int s = 0; s < sets; s++) {
            load_rows(queue, stage + (rows + s * cols) * pitch, b[s], cols, first_k);
        }
        end_group(queue);
    }

    /* Adds what 16 elements of depth give. */
    __device__ __forceinline__ void step(const bf16 *stage, int k)
    {
        int lane = (int)threadIdx.x % warp_width, warp = (int)threadIdx.x / warp_width;
        unsigned left[M][4];
        for (int i = 0; i < M; i++) {
            int row = warp / 4 * 16 * M + 16 * i + lane % 16;
            load_matrices<false>(left[i], stage + row * pitch + k + lane / 16 * 8);
        }
        for (int s = 0; s < sets; s++) {
            for (int j = 0; j < N; j += 2) {
                unsigned right[4]; /* both halves of the depth of columns 0 .. 7, of 8 .. 15 */
                int col = warp % 4 * 8 * N + 8 * j + lane / 16 * 8 + lane % 8;
                load_matrices<false>(right, stage + (rows + s * cols + col) * pitch + k + lane / 8 % 2 * 8);
                for (int i = 0; i < M; i++) {
                    multiply_add(sum[s][i][j], left[i], right[0], right[1]);
                    multiply_add(sum[s][i][j + 1], left[i], right[2], right[3]);
                }
            }
        }
    }

    /* All of it. a and b begin at the tile's first row and column. Shared memory `at` [bytes] is free again when all
     * threads have passed a barrier. */
    __device__ __forceinline__ void run(const tensor_rows &a, const tensor_rows (&b)[sets], bf16 *at)
    {
        copy_queue queue;
        int slices = (a.ld + depth - 1) / depth;
        for (int s = 0; s < sets; s++) {
            for (int i = 0; i < M * N * 4; i++) {
                sum[s][i / (4 * N)][i / 4 % N][i % 4] = 0.0f;
            }
        }
        for (int c = 0; c < stages - 1; c++) {
            if (c < slices) {
                load(queue, at + c * stage_rows * pitch, a, b, c * depth);
            } else {
                end_group(queue);
            }
        }
        for (int c = 0; c < slices; c++) {
            wait_groups<stages - 2>(queue);
            __syncthreads();
            int next = c + stages - 1;
            if (next < slices) {
                load(queue, at + next % stages * stage_rows * pitch, a, b, next * depth);
            } else {
                end_group(queue);
            }
            const bf16 *stage = at + c % stages * stage_rows * pitch;
            for (int k = 0; k < depth && c * depth + k < a.ld; k += 16) {
                step(stage, k);
            }
        }
    }
};
