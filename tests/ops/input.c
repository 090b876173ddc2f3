/* The sparse first layer and the one-hot covariates against dense products in double. */
#include "harness.h"
#include "ref/dataset.h"

typedef struct input_case {
    t_dataset data;
    int64_t *rows;
    int n, width, draws;
    gmv_input input;
    const float *weight, *d_out;    /* [G, H], [n, H] */
    const float *onehot, *d_onehot; /* [L, H], [n M, H] */
} input_case;

static void run(const void *context, t_outputs *out)
{
    const input_case *c = context;
    int genes = c->data.genes, levels = c->data.levels, rows = c->n * c->draws;
    gmv_batch batch = t_fetch(&c->data, 0, c->rows, c->n, c->input);
    gmv_mat weight = t_mat(genes, c->width, c->weight), d_out = t_mat(c->n, c->width, c->d_out);
    gmv_mat product = t_mat(c->n, c->width, NULL), d_weight = t_mat(genes, c->width, c->weight);
    T_OP(input_forward, &batch, c->input, weight, product);
    T_OP(input_backward, &batch, c->input, d_out, d_weight);
    gmv_mat onehot = t_mat(levels, c->width, c->onehot), d_rows = t_mat(rows, c->width, c->d_onehot);
    gmv_mat sum = t_mat(rows, c->width, c->d_onehot), d_onehot = t_mat(levels, c->width, c->onehot);
    T_OP(onehot_forward, &batch, c->draws, onehot, sum);
    T_OP(onehot_backward, &batch, c->draws, d_rows, d_onehot);
    t_keep_mat(out, product);
    t_keep_mat(out, d_weight);
    t_keep_mat(out, sum);
    t_keep_mat(out, d_onehot);
}

static input_case make(uint64_t seed, int n, int genes, int width, int draws, int covariates, gmv_input_kind kind)
{
    input_case c = {t_counts(seed, n + 5, genes, 0.2, covariates),
                    t_rows(seed, n, n + 5),
                    n,
                    width,
                    draws,
                    {kind, 0.14f, 2.38f},
                    NULL,
                    NULL,
                    NULL,
                    NULL};
    c.weight = t_random(seed + 1, (size_t)(genes * width), 0.3);
    c.d_out = t_random(seed + 2, (size_t)(n * width), 0.5);
    c.onehot = t_random(seed + 3, (size_t)(c.data.levels * width), 0.7);
    c.d_onehot = t_random(seed + 4, (size_t)(n * draws * width), 0.9);
    return c;
}

/* The product of the dense input with the weight, and the transposed one added to `weight`. */
static void check_input(const input_case *c, const t_outputs *out)
{
    size_t n = (size_t)c->n, genes = (size_t)c->data.genes, width = (size_t)c->width;
    double *x = ref_inputs(&c->data, c->rows, c->n, c->input);
    double *want = t_doubles(n * width), *size = t_doubles(n * width);
    double *d_want = t_widen(c->weight, genes * width), *d_size = t_doubles(genes * width);
    /* the constant part of a standardised input is summed apart from the counts: it counts twice */
    double constant = c->input.kind == GMV_INPUT_STANDARDIZE ? fabs(ref_input(0.0, c->input, 0.0)) : 0.0;
    for (size_t k = 0; k < genes * width; k++) {
        d_size[k] = fabs(d_want[k]);
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t g = 0; g < genes; g++) {
            double v = x[i * genes + g];
            for (size_t h = 0; h < width; h++) {
                double w = (double)c->weight[g * width + h], d = (double)c->d_out[i * width + h];
                want[i * width + h] += v * w;
                size[i * width + h] += (fabs(v) + 2.0 * constant) * fabs(w);
                d_want[g * width + h] += v * d;
                d_size[g * width + h] += (fabs(v) + 2.0 * constant) * fabs(d);
            }
        }
    }
    t_sums("input_forward", out->at[0], want, size, n * width, (double)genes);
    t_sums("input_backward", out->at[1], d_want, d_size, genes * width, (double)n);
}

static void check_onehot(const input_case *c, const t_outputs *out)
{
    size_t rows = (size_t)(c->n * c->draws), width = (size_t)c->width, levels = (size_t)c->data.levels;
    double *want = t_widen(c->d_onehot, rows * width), *size = t_doubles(rows * width);
    double *d_want = t_widen(c->onehot, levels * width), *d_size = t_doubles(levels * width);
    for (size_t r = 0; r < rows; r++) {
        int64_t row = c->rows[r / (size_t)c->draws];
        for (int k = 0; k < c->data.covariates; k++) {
            size_t level = (size_t)c->data.level[row * c->data.covariates + k];
            for (size_t h = 0; h < width; h++) {
                want[r * width + h] += (double)c->onehot[level * width + h];
                d_want[level * width + h] += (double)c->d_onehot[r * width + h];
                size[r * width + h] += 1.0;
                d_size[level * width + h] += 1.0;
            }
        }
    }
    t_sums("onehot_forward", out->at[2], want, size, rows * width, (double)c->data.covariates);
    t_sums("onehot_backward", out->at[3], d_want, d_size, levels * width, (double)rows);
}

static void products_agree_with_dense_ones(void **state)
{
    (void)state;
    static const int shapes[][3] = {{0, 5, 3},     {1, 1, 1},    {2, 31, 32},    {33, 97, 31},
                                    {61, 257, 17}, {64, 193, 8}, {65, 1009, 33}, {257, 400, 64}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        for (int kind = GMV_INPUT_LOG1P; kind <= GMV_INPUT_NONE; kind++) {
            if (t_few() && !t_case(s, kind - GMV_INPUT_LOG1P, GMV_INPUT_NONE - GMV_INPUT_LOG1P + 1, s == 3)) {
                continue; /* the inputs differ in values alone, which others look at */
            }
            input_case c = make(20 + s, shapes[s][0], shapes[s][1], shapes[s][2], 1 + (int)s % 3, (int)(s + 1) % 3,
                                (gmv_input_kind)kind);
            t_outputs out = t_repeatable(run, &c);
            check_input(&c, &out);
            check_onehot(&c, &out);
        }
    }
}

/* More levels than a kernel may hold sums for at once, and most rows of one level. */
static void many_levels(void **state)
{
    (void)state;
    for (int one = 0; one < 2; one++) {
        input_case c = make(40, 150, 31, 33, 3, 9, GMV_INPUT_LOG1P);
        for (int i = 0; one != 0 && i < c.data.rows * 9; i++) {
            c.data.level[i] = i % 9 != 4 || i % 50 == 0 ? c.data.level[i] : c.data.level[4];
        }
        t_outputs out = t_repeatable(run, &c);
        check_onehot(&c, &out);
    }
}

static void permuted_cells_permute_the_outputs(void **state)
{
    (void)state;
    input_case c = make(30, 45, 61, 19, 2, 2, GMV_INPUT_LOG1P);
    t_outputs before = t_repeatable(run, &c);
    int64_t *rows = t_alloc(45, sizeof *rows);
    int64_t *order = t_rows(9, 45, 45);
    float *d_rows = t_host_floats(45 * 2 * 19);
    for (int i = 0; i < 45; i++) {
        rows[i] = c.rows[order[i]];
        memcpy(d_rows + i * 2 * 19, c.d_onehot + order[i] * 2 * 19, 2 * 19 * sizeof(float));
    }
    input_case permuted = c;
    permuted.rows = rows;
    permuted.d_onehot = d_rows;
    t_outputs after = t_repeatable(run, &permuted);
    for (int i = 0; i < 45; i++) {
        t_same_bits("row of the product", after.at[0] + i * 19, before.at[0] + order[i] * 19, 19 * sizeof(float));
        t_same_bits("row of the one-hot sum", after.at[2] + i * 38, before.at[2] + order[i] * 38, 38 * sizeof(float));
    }
}

static const struct CMUnitTest tests[] = {
    T_TEST(products_agree_with_dense_ones),
    T_TEST(many_levels),
    T_TEST(permuted_cells_permute_the_outputs),
};
T_MAIN_ON_BACKEND(tests)
