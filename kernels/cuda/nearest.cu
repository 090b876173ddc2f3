/* Exact nearest points.
 *
 * A warp has `together` points and keeps the nearest of each in registers: lane l has places l, l + 32, ... of the sorted
 * list. A block reads tiles of all points into shared memory, some dimensions at a time; a lane sums the distances of its two
 * points of a tile to those of its warp. For N = 100,000 points of 20 dimensions: 3 N^2 D operations, 6e11, are
 * 20 ms at half the rate of an H200, and a list takes about k ln(N / k) new points, each some forty instructions. */
#include "cuda.h"
#include "device.cuh"
#include "launch.cuh"

enum {
    warps = 8,
    together = 4,
    of_block = warps * together,
    points_of_lane = 2,
    tile_points = points_of_lane * warp_width,
    tile_dims = 32
};

/* What the kernel needs, by value. */
typedef struct nearest_work {
    gmv_mat among, of;
    int own, k;
    int32_t *index;
    float *squared;
} nearest_work;

/* Some dimensions of the points of a tile and of a block; a column more keeps lanes in different banks. */
typedef struct nearest_tile {
    float point[tile_points][tile_dims + 1];
    float of[of_block][tile_dims];
} nearest_tile;

/* The nearest so far of one point, spread over a warp. */
template <int slots> struct nearest_list {
    float squared[slots];
    int index[slots];
};

/* The value that a lane's place has in the place before; `first` for the first of all. */
template <typename T, int slots>
static __device__ __forceinline__ T value_before(const T (&value)[slots], int slot, int lane)
{
    T before = __shfl_up_sync(all_lanes, value[slot], 1);
    T last = __shfl_sync(all_lanes, value[slot > 0 ? slot - 1 : 0], warp_width - 1);
    return lane > 0 ? before : last;
}

/* Puts a point behind those that are as near or nearer; what comes behind moves on, the last drops out. */
template <int slots>
static __device__ __forceinline__ void insert(nearest_list<slots> &list, float squared, int index, int lane)
{
    int place = 0;
#pragma unroll
    for (int s = 0; s < slots; s++) {
        place += __popc(__ballot_sync(all_lanes, list.squared[s] <= squared));
    }
#pragma unroll
    for (int s = slots - 1; s >= 0; s--) {
        float squared_before = value_before(list.squared, s, lane);
        int index_before = value_before(list.index, s, lane), mine = s * warp_width + lane;
        list.squared[s] = mine < place ? list.squared[s] : mine == place ? squared : squared_before;
        list.index[s] = mine < place ? list.index[s] : mine == place ? index : index_before;
    }
}

/* Offers the distances of a warp's lanes to points [first, first + 32), those behind the last as infinite. */
template <int slots>
static __device__ __forceinline__ void offer(nearest_list<slots> &list, float squared, int first, int k, int lane)
{
    float worst = __shfl_sync(all_lanes, list.squared[slots - 1], (k - 1) % warp_width);
    unsigned nearer = __ballot_sync(all_lanes, squared < worst);
    while (nearer != 0) {
        int from = __ffs((int)nearer) - 1;
        insert(list, __shfl_sync(all_lanes, squared, from), first + from, lane);
        worst = __shfl_sync(all_lanes, list.squared[slots - 1], (k - 1) % warp_width);
        nearer &= nearer - 1;
        nearer &= __ballot_sync(all_lanes, squared < worst);
    }
}

/* Rows [first, first + rows) and dimensions [dim, dim + tile_dims) of a matrix, zeros where there are none. */
static __device__ __forceinline__ float element_of(gmv_mat m, int row, int dim)
{
    return row < m.rows && dim < m.cols ? m.at[(int64_t)row * m.ld + dim] : 0.0f;
}

static __device__ __forceinline__ void read_tile(const nearest_work &work, int first, int dim, nearest_tile *tile)
{
    int column = (int)threadIdx.x % tile_dims;
    for (int row = (int)threadIdx.x / tile_dims; row < tile_points; row += warps * warp_width / tile_dims) {
        tile->point[row][column] = element_of(work.among, first + row, dim + column);
    }
    for (int row = (int)threadIdx.x / tile_dims; row < of_block; row += warps * warp_width / tile_dims) {
        tile->of[row][column] = element_of(work.of, (int)blockIdx.x * of_block + row, dim + column);
    }
}

/* Adds the dimensions of a tile to the squared distances of a lane. */
static __device__ __forceinline__ void add_dimensions(const nearest_tile *tile, int warp, int lane,
                                                      float (&sum)[together][points_of_lane])
{
    for (int d = 0; d < tile_dims; d++) {
        float point[points_of_lane];
#pragma unroll
        for (int p = 0; p < points_of_lane; p++) {
            point[p] = tile->point[p * warp_width + lane][d];
        }
#pragma unroll
        for (int q = 0; q < together; q++) {
            float of = tile->of[warp * together + q][d];
#pragma unroll
            for (int p = 0; p < points_of_lane; p++) {
                float difference = of - point[p];
                sum[q][p] = fmaf(difference, difference, sum[q][p]);
            }
        }
    }
}

template <int slots>
static __device__ __forceinline__ void write_list(const nearest_work &work, const nearest_list<slots> &list, int row,
                                                  int lane)
{
#pragma unroll
    for (int s = 0; s < slots; s++) {
        int place = s * warp_width + lane;
        if (row < work.of.rows && place < work.k) {
            work.index[(int64_t)row * work.k + place] = list.index[s];
            work.squared[(int64_t)row * work.k + place] = list.squared[s];
        }
    }
}

template <int slots> static __global__ void nearest_kernel(nearest_work work)
{
    __shared__ nearest_tile tile;
    int lane = (int)threadIdx.x % warp_width, warp = (int)threadIdx.x / warp_width;
    int row = (int)blockIdx.x * of_block + warp * together;
    nearest_list<slots> list[together];
#pragma unroll
    for (int q = 0; q < together; q++) {
#pragma unroll
        for (int s = 0; s < slots; s++) {
            list[q].squared[s] = INFINITY;
            list[q].index[s] = 0;
        }
    }
    for (int first = 0; first < work.among.rows; first += tile_points) {
        float sum[together][points_of_lane] = {};
        for (int dim = 0; dim < work.among.cols; dim += tile_dims) {
            __syncthreads();
            read_tile(work, first, dim, &tile);
            __syncthreads();
            add_dimensions(&tile, warp, lane, sum);
        }
#pragma unroll
        for (int q = 0; q < together; q++) {
#pragma unroll
            for (int p = 0; p < points_of_lane; p++) {
                int point = first + p * warp_width + lane;
                bool counts = point < work.among.rows && !(work.own >= 0 && point == work.own + row + q);
                offer(list[q], counts ? sum[q][p] : INFINITY, first + p * warp_width, work.k, lane);
            }
        }
    }
#pragma unroll
    for (int q = 0; q < together; q++) {
        write_list(work, list[q], row + q, lane);
    }
}

template <int slots> static gmv_status launch(gmv_backend *b, const nearest_work &work)
{
    unsigned blocks = (unsigned)((work.of.rows + of_block - 1) / of_block);
    GMV_LAUNCH((nearest_kernel<slots>), blocks, warps * warp_width, 0, gmv_cuda_stream(b), work);
    GMV_LAUNCHED();
    return GMV_OK;
}

gmv_status gmv_cuda_nearest(gmv_backend *b, const gmv_nearest_args *args)
{
    int rows = args->of.rows, others = args->among.rows - (args->own >= 0 ? 1 : 0);
    nearest_work work = {args->among, args->of, args->own, args->k, args->index, args->squared};
    GMV_CHECK(args->of.cols == args->among.cols && args->k >= 0 && args->k <= GMV_MOST_NEAREST);
    GMV_CHECK(rows == 0 || (args->k <= others && (args->own < 0 || args->own + rows <= args->among.rows)));
    if (rows == 0 || args->k == 0) {
        return GMV_OK;
    }
    switch ((args->k - 1) / warp_width) { /* registers for no more places than there are */
    case 0:
        return launch<1>(b, work);
    case 1:
        return launch<2>(b, work);
    case 2:
        return launch<3>(b, work);
    default:
        return launch<GMV_MOST_NEAREST / warp_width>(b, work);
    }
}
