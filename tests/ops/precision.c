/* Products in tf32 and bf16: rounded as the format says, and no worse. */
#include "harness.h"

enum { M = 67, N = 130, DEPTH = 300 };

typedef struct format {
    const char *name;
    gmv_precision precision;
    double least, most; /* error of a product of random matrices, relative to its norm */
} format;

/* tf32 keeps 10 bits of the mantissa, bf16 7; sums are fp32. */
static const format formats[] = {
    {"fp32", GMV_FP32, 0.0, 1e-6}, {"tf32", GMV_TF32, 1e-5, 1e-3}, {"bf16", GMV_BF16, 1e-4, 1e-2}};

/* Relative error of a [M, DEPTH] times b [DEPTH, N], transposed as asked for. */
static double product_error(gmv_trans ta, gmv_trans tb, const float *a, const float *b)
{
    gmv_mat ma = ta == GMV_T ? t_mat(DEPTH, M, a) : t_mat(M, DEPTH, a);
    gmv_mat mb = tb == GMV_T ? t_mat(N, DEPTH, b) : t_mat(DEPTH, N, b), c = t_mat(M, N, NULL);
    T_OP(gemm, ta, tb, 1.0f, ma, mb, 0.0f, c);
    float *got = t_get_mat(c);
    double error = 0.0, norm = 0.0;
    for (int i = 0; i < M; i++) {
        for (int j = 0; j < N; j++) {
            double sum = 0.0;
            for (int k = 0; k < DEPTH; k++) {
                sum += (double)(ta == GMV_T ? a[k * M + i] : a[i * DEPTH + k]) *
                       (double)(tb == GMV_T ? b[j * DEPTH + k] : b[k * N + j]);
            }
            error += (sum - (double)got[i * N + j]) * (sum - (double)got[i * N + j]);
            norm += sum * sum;
        }
    }
    return sqrt(error / norm);
}

static void products_are_rounded_as_their_format_says(void **state)
{
    (void)state;
    gmv_backend *own = t_backend;
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        gmv_backend *other = t_open_with(formats[f].precision);
        for (int trans = 0; other != NULL && trans < 4; trans++) {
            t_backend = other;
            double error = product_error(trans % 2 != 0 ? GMV_T : GMV_N, trans / 2 != 0 ? GMV_T : GMV_N,
                                         t_random(1, M * DEPTH, 1.0), t_random(2, N * DEPTH, 1.0));
            if (!(error >= formats[f].least && error <= formats[f].most)) {
                fail_msg("%s product: error %.3g, expected %.0e to %.0e", formats[f].name, error, formats[f].least,
                         formats[f].most);
            }
            t_release_blocks();
            t_backend = own;
        }
        gmv_backend_close(&other);
    }
}

/* Small whole numbers are exact in every format, and so are their sums. */
static void whole_numbers_stay_exact(void **state)
{
    (void)state;
    gmv_backend *own = t_backend;
    float *a = t_random(3, M * DEPTH, 100.0), *b = t_random(4, N * DEPTH, 100.0);
    for (int i = 0; i < M * DEPTH; i++) {
        a[i] = rintf(a[i]);
    }
    for (int i = 0; i < N * DEPTH; i++) {
        b[i] = rintf(b[i]);
    }
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        gmv_backend *other = t_open_with(formats[f].precision);
        if (other != NULL) {
            t_backend = other;
            assert_true(product_error(GMV_N, GMV_T, a, b) == 0.0);
            t_release_blocks();
            t_backend = own;
        }
        gmv_backend_close(&other);
    }
}

static const struct CMUnitTest tests[] = {
    T_TEST(products_are_rounded_as_their_format_says),
    T_TEST(whole_numbers_stay_exact),
};
T_MAIN_ON_BACKEND(tests)
