/* Tiles of products on the tensor cores: which lane has what, edges, and the order of copies and barriers. */
#include "support.h"

#include "tensor.cuh"

#include <cmath>

static float *on_device(const float *from, size_t n)
{
    return device(n, from);
}

/* Small whole numbers and halves: products and sums of them are exact. */
static float number(int i)
{
    return static_cast<float>((i * 37 + i / 7) % 23 - 11) * 0.5f;
}

template <int M, int N, int sets>
__global__ void product_kernel(tensor_rows a, tensor_rows b, int set_rows, float *to, int cols)
{
    using tile = tensor_tile<M, N, sets>;
    GMV_DYNAMIC_SHARED(bf16, shared);
    tile product;
    int first_row = static_cast<int>(blockIdx.y) * tile::rows, first_col = static_cast<int>(blockIdx.x) * tile::cols;
    tensor_rows left = {a.at + static_cast<int64_t>(first_row) * a.ld, a.rows - first_row, a.ld}, right[sets];
    for (int s = 0; s < sets; s++) {
        right[s] = {b.at + static_cast<int64_t>(s * set_rows + first_col) * b.ld, cols - first_col, b.ld};
    }
    product.run(left, right, shared);
    for (int s = 0; s < sets; s++) {
        for (int i = 0; i < M * N * 4; i++) {
            int m = i / (4 * N), n = i / 4 % N, q = i % 4;
            int row = first_row + tile::row_of(m, q), col = first_col + tile::col_of(n, q);
            if (row < a.rows && col < cols) {
                to[(static_cast<int64_t>(s) * a.rows + row) * cols + col] = product.sum[s][m][n][q];
            }
        }
    }
}

static bf16 *rounded(int rows, int cols, int ld, int salt)
{
    bf16 *made = static_cast<bf16 *>(malloc(static_cast<size_t>(rows) * static_cast<size_t>(ld) * sizeof *made));
    for (int i = 0; i < rows * ld; i++) {
        made[i] = __float2bfloat16(i % ld < cols ? number(i / ld * 131 + i % ld + salt) : 0.0f);
    }
    return made;
}

template <int M, int N, int sets> static void product(int rows, int cols, int depth)
{
    using tile = tensor_tile<M, N, sets>;
    int ld = (depth + 7) / 8 * 8;
    size_t n = static_cast<size_t>(sets) * static_cast<size_t>(rows) * static_cast<size_t>(cols);
    bf16 *a = rounded(rows, depth, ld, 1), *b = rounded(sets * cols, depth, ld, 5);
    bf16 *a_there = device(static_cast<size_t>(rows * ld), a),
         *b_there = device(static_cast<size_t>(sets * cols * ld), b);
    float *to = on_device(nullptr, n), *got = static_cast<float *>(malloc(n * sizeof *got));
    cudaStream_t stream = new_stream();
    dim3 grid(static_cast<unsigned>((cols + tile::cols - 1) / tile::cols),
              static_cast<unsigned>((rows + tile::rows - 1) / tile::rows));
    tensor_rows left = {a_there, rows, ld}, right = {b_there, sets * cols, ld};
    OK(cudaFuncSetAttribute(product_kernel<M, N, sets>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                            static_cast<int>(tile::bytes)));
    GMV_LAUNCH((product_kernel<M, N, sets>), grid, tile::threads, tile::bytes, stream, left, right, cols, to, cols);
    OK(cudaGetLastError());
    OK(cudaStreamSynchronize(stream));
    fetch(got, to, n);
    for (size_t i = 0; i < n; i++) {
        int s = static_cast<int>(i) / (rows * cols), r = static_cast<int>(i) / cols % rows,
            c = static_cast<int>(i) % cols;
        double want = 0.0;
        for (int k = 0; k < ld; k++) {
            want += static_cast<double>(__bfloat162float(a[r * ld + k])) *
                    static_cast<double>(__bfloat162float(b[(s * cols + c) * ld + k]));
        }
        if (static_cast<double>(got[i]) != want) {
            fail_msg("%d x %d x %d, %d sets: [%d][%d, %d] is %g, not %g", rows, cols, depth, sets, s, r, c,
                     static_cast<double>(got[i]), want);
        }
    }
    free(a);
    free(b);
    free(got);
}

static void products_of_all_shapes(void **)
{
    static const int shapes[][3] = {{1, 1, 1},    {31, 33, 7},  {64, 64, 16},  {65, 63, 17},   {64, 128, 64},
                                    {67, 65, 65}, {3, 130, 72}, {129, 127, 9}, {130, 140, 200}};
    for (const auto &s : shapes) {
        product<2, 2, 1>(s[0], s[1], s[2]);
        product<2, 2, 3>(s[0], s[1], s[2]);
        product<4, 4, 1>(s[0], s[1], s[2]);
    }
}

/* Matrices of 8 x 8 as they lie, and turned. */
__global__ void matrices_kernel(const bf16 *from, unsigned *to)
{
    __shared__ __align__(16) bf16 shown[16][16];
    int lane = static_cast<int>(threadIdx.x);
    for (int i = lane; i < 256; i += 32) {
        shown[i / 16][i % 16] = from[i];
    }
    __syncthreads();
    unsigned words[2][4];
    load_matrices<false>(words[0], &shown[lane % 16][lane / 16 * 8]);
    load_matrices<true>(words[1], &shown[lane % 16][lane / 16 * 8]);
    for (int i = 0; i < 8; i++) {
        to[i * 32 + lane] = words[i / 4][i % 4];
    }
}

static void matrices_as_they_lie_and_turned(void **)
{
    bf16 from[256];
    for (int i = 0; i < 256; i++) {
        from[i] = __float2bfloat16(static_cast<float>(i));
    }
    bf16 *there = device(256, from);
    unsigned *to = device<unsigned>(256), got[256];
    cudaStream_t stream = new_stream();
    GMV_LAUNCH(matrices_kernel, 1, 32, 0, stream, there, to);
    OK(cudaStreamSynchronize(stream));
    fetch(got, to, 256);
    for (int lane = 0; lane < 32; lane++) {
        for (int i = 0; i < 4; i++) {
            int top = i % 2 * 8, left = i / 2 * 8;
            for (int half = 0; half < 2; half++) {
                int major = lane / 4, minor = 2 * (lane % 4) + half;
                unsigned plain = got[i * 32 + lane] >> 16 * half & 0xFFFFu;
                unsigned turned = got[(4 + i) * 32 + lane] >> 16 * half & 0xFFFFu;
                assert_int_equal(plain, __bfloat16_as_ushort(from[(top + major) * 16 + left + minor]));
                assert_int_equal(turned, __bfloat16_as_ushort(from[(top + minor) * 16 + left + major]));
            }
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(products_of_all_shapes),
    cmocka_unit_test(matrices_as_they_lie_and_turned),
};

int main()
{
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
