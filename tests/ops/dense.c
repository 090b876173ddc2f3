/* gemm, add_bias, bias_backward. */
#include "harness.h"

typedef struct gemm_case {
    gmv_trans ta, tb;
    int m, n, k;
    float alpha, beta;
    const float *a, *b, *c; /* packed, as stored */
} gemm_case;

static void run_gemm(const void *context, t_outputs *out)
{
    const gemm_case *g = context;
    gmv_mat a = g->ta == GMV_N ? t_mat(g->m, g->k, g->a) : t_mat(g->k, g->m, g->a);
    gmv_mat b = g->tb == GMV_N ? t_mat(g->k, g->n, g->b) : t_mat(g->n, g->k, g->b);
    /* beta 0 means: what is there is not read, not even NaN */
    gmv_mat c = t_mat(g->m, g->n, g->beta == 0.0f ? NULL : g->c);
    T_OP(gemm, g->ta, g->tb, g->alpha, a, b, g->beta, c);
    t_keep_mat(out, c);
}

static void check_gemm(const gemm_case *g)
{
    t_outputs out = t_repeatable(run_gemm, g);
    size_t m = (size_t)g->m, n = (size_t)g->n, k = (size_t)g->k;
    double *want = t_doubles(m * n), *size = t_doubles(m * n);
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            double sum = 0.0, magnitude = 0.0;
            for (size_t l = 0; l < k; l++) {
                double a = (double)g->a[g->ta == GMV_N ? i * k + l : l * m + i];
                double b = (double)g->b[g->tb == GMV_N ? l * n + j : j * k + l];
                sum += a * b;
                magnitude += fabs(a * b);
            }
            double c = (double)g->beta * (double)g->c[i * n + j];
            want[i * n + j] = (double)g->alpha * sum + c;
            size[i * n + j] = fabs((double)g->alpha) * magnitude + fabs(c);
        }
    }
    t_sums("gemm", out.at[0], want, size, m * n, (double)k);
}

static void gemm_agrees_with_the_sums(void **state)
{
    (void)state;
    static const int shapes[][3] = {{0, 3, 4},     {3, 0, 4},      {3, 4, 0},     {1, 1, 1},
                                    {1, 257, 3},   {31, 32, 33},   {33, 1, 97},   {61, 67, 71},
                                    {257, 255, 5}, {256, 31, 256}, {600, 33, 129}};
    static const float factors[][2] = {{1.0f, 0.0f}, {1.0f, 1.0f}, {-0.5f, 0.25f}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        for (int v = 0; v < 12; v++) {
            int m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
            gemm_case g = {v % 2 ? GMV_T : GMV_N,
                           v / 2 % 2 ? GMV_T : GMV_N,
                           m,
                           n,
                           k,
                           factors[v / 4][0],
                           factors[v / 4][1],
                           t_random(s, (size_t)(m * k), 1.0),
                           t_random(s + 50, (size_t)(k * n), 1.0),
                           t_random(s + 90, (size_t)(m * n), 1.0)};
            check_gemm(&g);
        }
    }
}

typedef struct bias_case {
    int rows, cols;
    const float *x, *bias;
} bias_case;

static void run_bias(const void *context, t_outputs *out)
{
    const bias_case *c = context;
    gmv_mat x = t_mat(c->rows, c->cols, c->x), d = t_mat(c->rows, c->cols, c->x);
    gmv_vec bias = t_vec(c->cols, c->bias), d_bias = t_vec(c->cols, c->bias);
    T_OP(add_bias, x, bias);
    T_OP(bias_backward, d, d_bias);
    t_keep_mat(out, x);
    t_keep_vec(out, d_bias);
}

static void biases_are_added_and_summed(void **state)
{
    (void)state;
    static const int shapes[][2] = {{0, 3}, {3, 0}, {1, 1}, {33, 31}, {63, 257}, {65, 1}, {1000, 61}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        size_t rows = (size_t)shapes[s][0], cols = (size_t)shapes[s][1];
        bias_case c = {shapes[s][0], shapes[s][1], t_random(s, rows * cols, 1.0), t_random(s + 9, cols, 1.0)};
        t_outputs out = t_repeatable(run_bias, &c);
        double *sum = t_widen(c.bias, cols), *size = t_doubles(cols);
        for (size_t j = 0; j < cols; j++) {
            size[j] = fabs(sum[j]);
        }
        for (size_t i = 0; i < rows * cols; i++) {
            float want = c.x[i] + c.bias[i % cols];
            t_same_bits("add_bias", out.at[0] + i, &want, sizeof want);
            sum[i % cols] += (double)c.x[i];
            size[i % cols] += fabs((double)c.x[i]);
        }
        t_sums("bias_backward", out.at[1], sum, size, cols, (double)rows);
    }
}

static const struct CMUnitTest tests[] = {
    T_TEST(gemm_agrees_with_the_sums),
    T_TEST(biases_are_added_and_summed),
};
T_MAIN_ON_BACKEND(tests)
