/* Two passes: pieces of fixed size are summed by blocks of 32 columns by 8 rows, then the pieces in order. */
#include "columns.cuh"
#include "launch.cuh"

enum { wide = 32, high = 8, piece_rows = 256, most_pieces = 512 };

static __global__ void sum_pieces_kernel(gmv_mat x, int rows_of_piece, float *partial)
{
    __shared__ float sum[high][wide];
    int j = (int)(blockIdx.x * wide + threadIdx.x), first = (int)blockIdx.y * rows_of_piece;
    int end = first + rows_of_piece < x.rows ? first + rows_of_piece : x.rows;
    float mine = 0.0f;
    for (int r = first + (int)threadIdx.y; j < x.cols && r < end; r += high) {
        mine += x.at[(int64_t)r * x.ld + j];
    }
    sum[threadIdx.y][threadIdx.x] = mine;
    __syncthreads();
    if (threadIdx.y == 0 && j < x.cols) {
        for (int k = 1; k < high; k++) {
            mine += sum[k][threadIdx.x];
        }
        partial[(int64_t)blockIdx.y * x.cols + j] = mine;
    }
}

static __global__ void add_pieces_kernel(const float *partial, int pieces, int cols, const float *scale, float factor,
                                         float *to)
{
    int j = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (j >= cols) {
        return;
    }
    double sum = 0.0;
    for (int p = 0; p < pieces; p++) {
        sum += (double)partial[(int64_t)p * cols + j];
    }
    to[j] += (float)(sum * (double)factor * (scale != NULL ? (double)*scale : 1.0));
}

gmv_status gmv_cuda_add_columns(gmv_backend *b, gmv_mat x, const float *scale, float factor, float *to)
{
    if (x.cols == 0 || x.rows == 0) {
        return GMV_OK;
    }
    int per = piece_rows;
    while ((x.rows + per - 1) / per > most_pieces) {
        per *= 2;
    }
    int pieces = (x.rows + per - 1) / per;
    void *partial;
    GMV_TRY(gmv_cuda_scratch(b, GMV_CUDA_SUMS, (int64_t)pieces * x.cols * (int64_t)sizeof(float), &partial));
    dim3 grid((unsigned)((x.cols + wide - 1) / wide), (unsigned)pieces), block(wide, high);
    GMV_LAUNCH(sum_pieces_kernel, grid, block, 0, gmv_cuda_stream(b), x, per, (float *)partial);
    GMV_LAUNCHED();
    GMV_LAUNCH(add_pieces_kernel, (unsigned)((x.cols + 127) / 128), 128, 0, gmv_cuda_stream(b), (const float *)partial,
               pieces, x.cols, scale, factor, to);
    GMV_LAUNCHED();
    return GMV_OK;
}
