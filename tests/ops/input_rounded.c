/* The sparse first layer in bf16. Products of rounded numbers are exact in fp32, so that sums agree with sums in double
 * of rounded numbers as closely as fp32 sums do. */
#include "harness.h"
#include "ref/dataset.h"

/* Who rounds: the test, before; the operation, and the reference as it; nobody, for there are too many genes. */
typedef enum rounding { ROUNDED_BEFORE, ROUNDED_INSIDE, NOT_ROUNDED } rounding;

typedef struct rounded_case {
    t_dataset data;
    int64_t *rows;
    int n, width;
    gmv_input input;
    rounding how;
    const float *weight, *d_out; /* [G, H], [n, H] */
} rounded_case;

/* To nearest, ties to even. */
static float bf16_of(float x)
{
    uint32_t word;
    memcpy(&word, &x, sizeof word);
    word = (word + 0x7FFFu + (word >> 16 & 1u)) & 0xFFFF0000u;
    memcpy(&x, &word, sizeof x);
    return x;
}

static float *round_all(float *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        values[i] = bf16_of(values[i]);
    }
    return values;
}

/* Keeps the non-zeros of the input in the order of cells, and both products. */
static void run(const void *context, t_outputs *out)
{
    const rounded_case *c = context;
    int genes = c->data.genes, nonzeros = t_nonzeros(&c->data, c->rows, c->n);
    int64_t bytes = (int64_t)nonzeros * (int64_t)sizeof(float);
    gmv_batch batch = t_fetch(&c->data, 0, c->rows, c->n, c->input);
    float *x[2] = {t_host_floats((size_t)nonzeros), t_host_floats((size_t)nonzeros)};
    t_read(batch.x, x[0], bytes);
    t_read(batch.col_x, x[1], bytes);
    if (c->how == ROUNDED_BEFORE) {
        t_ok(t_backend->op->upload(t_backend, batch.x, round_all(x[0], (size_t)nonzeros), bytes), "upload");
        t_ok(t_backend->op->upload(t_backend, batch.col_x, round_all(x[1], (size_t)nonzeros), bytes), "upload");
    }
    gmv_mat weight = t_mat(genes, c->width, c->weight), d_out = t_mat(c->n, c->width, c->d_out);
    gmv_mat product = t_mat(c->n, c->width, NULL), d_weight = t_mat(genes, c->width, c->weight);
    T_OP(input_forward, &batch, c->input, weight, product);
    T_OP(input_backward, &batch, c->input, d_out, d_weight);
    t_keep(out, x[0], (size_t)nonzeros);
    t_keep_mat(out, product);
    t_keep_mat(out, d_weight);
}

static rounded_case make(uint64_t seed, int n, int genes, int width, double density, gmv_input_kind kind, rounding how)
{
    rounded_case c = {t_counts(seed, n + 5, genes, density, 0),
                      t_rows(seed, n, n + 5),
                      n,
                      width,
                      {kind, 0.14f, 2.38f},
                      how,
                      NULL,
                      NULL};
    size_t of_weight = (size_t)genes * (size_t)width, of_d_out = (size_t)n * (size_t)width;
    float *weight = t_random(seed + 1, of_weight, 0.3), *d_out = t_random(seed + 2, of_d_out, 0.5);
    c.weight = how == ROUNDED_BEFORE ? round_all(weight, of_weight) : weight;
    c.d_out = how == ROUNDED_BEFORE ? round_all(d_out, of_d_out) : d_out;
    return c;
}

static double factor(const rounded_case *c, float x)
{
    return (double)(c->how == ROUNDED_INSIDE ? bf16_of(x) : x);
}

static void check(const rounded_case *c, const t_outputs *out)
{
    size_t n = (size_t)c->n, genes = (size_t)c->data.genes, width = (size_t)c->width, entry = 0;
    double *want = t_doubles(n * width), *size = t_doubles(n * width);
    double *d_want = t_widen(c->weight, genes * width), *d_size = t_doubles(genes * width);
    /* the constant part of a standardised input is a product of its own, in fp32 */
    double zero = c->input.kind == GMV_INPUT_STANDARDIZE ? ref_input(0.0, c->input, 0.0) : 0.0;
    for (size_t k = 0; k < genes * width; k++) {
        d_size[k] = fabs(d_want[k]);
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t g = 0; g < genes; g++) {
            bool there = c->data.count[(size_t)c->rows[i] * genes + g] > 0.0;
            double v = there ? factor(c, out->at[0][entry++]) : 0.0;
            for (size_t h = 0; h < width && (there || zero != 0.0); h++) {
                float w = c->weight[g * width + h], d = c->d_out[i * width + h];
                want[i * width + h] += v * factor(c, w) + zero * (double)w;
                size[i * width + h] += (fabs(v) + fabs(zero)) * (double)fabsf(w);
                d_want[g * width + h] += v * factor(c, d) + zero * (double)d;
                d_size[g * width + h] += (fabs(v) + fabs(zero)) * (double)fabsf(d);
            }
        }
    }
    t_sums("input_forward", out->at[1], want, size, n * width, (double)genes);
    t_sums("input_backward", out->at[2], d_want, d_size, genes * width, (double)n);
}

/* Calls `test` on the backend in bf16, where there is one. */
static void in_bf16(void (*test)(void))
{
    gmv_backend *own = t_backend, *other = t_open_with(GMV_BF16);
    if (other != NULL) {
        t_backend = other;
        test();
        t_release_blocks();
        t_backend = own;
    }
    gmv_backend_close(&other);
}

static void check_case(rounded_case c)
{
    t_outputs out = t_repeatable(run, &c);
    check(&c, &out);
}

static void all_shapes(void)
{
    static const int shapes[][3] = {{0, 5, 3},      {1, 1, 1},      {2, 31, 8},    {31, 64, 31},   {32, 65, 300},
                                    {33, 63, 301},  {63, 97, 128},  {64, 128, 3},  {65, 129, 130}, {127, 131, 8},
                                    {128, 257, 31}, {129, 255, 1},  {255, 256, 3}, {256, 33, 31},  {257, 400, 64},
                                    {61, 1009, 33}, {67, 129, 330}, {5, 130, 640}, {3, 0, 7}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        if (t_few() && shapes[s][0] >= 127) { /* borders of tiles: values, which others look at */
            continue;
        }
        for (int kind = GMV_INPUT_LOG1P; kind <= GMV_INPUT_STANDARDIZE; kind++) {
            if (t_few() && (s + (size_t)kind) % 2 != 0) {
                continue;
            }
            check_case(
                make(50 + s, shapes[s][0], shapes[s][1], shapes[s][2], 0.2, (gmv_input_kind)kind, ROUNDED_BEFORE));
        }
    }
}

/* Cells with all genes and with none, genes in all cells and in none; a batch without non-zeros. */
static void uneven_rows(void)
{
    for (int empty = 0; empty < 2; empty++) {
        rounded_case c = make(80, 141, 300, 24, empty != 0 ? 0.0 : 0.1, GMV_INPUT_STANDARDIZE, ROUNDED_BEFORE);
        for (int i = 0; empty == 0 && i < c.data.rows; i++) {
            for (int g = 0; g < 300; g++) {
                double *y = &c.data.count[i * 300 + g];
                bool none = i % 7 == 1 || g % 60 == 2 || (g >= 64 && g < 128);
                *y = none ? 0.0 : (i % 7 == 0 || g % 60 == 1 ? 1.0 + (i + g) % 5 : *y);
            }
        }
        check_case(c);
    }
    rounded_case one = make(81, 1, 70, 5, 1.0, GMV_INPUT_LOG1P, ROUNDED_BEFORE);
    one.rows[0] = 3; /* an empty one */
    check_case(one);
}

/* Rounded to nearest where tiles are multiplied, up to 20,000 genes, and not at all where rows are summed. */
static void values_are_rounded(void)
{
    check_case(make(90, 70, 150, 20, 0.3, GMV_INPUT_LOG1P, ROUNDED_INSIDE));
    check_case(make(91, 70, 150, 20, 0.3, GMV_INPUT_STANDARDIZE, ROUNDED_INSIDE));
    if (!t_few()) { /* where one way ends is a value, which others look at */
        check_case(make(92, 3, 20000, 3, 0.05, GMV_INPUT_LOG1P, ROUNDED_INSIDE));
        check_case(make(92, 3, 20001, 3, 0.05, GMV_INPUT_LOG1P, NOT_ROUNDED));
    }
}

static void other_cells(void)
{
    rounded_case c = make(95, 145, 200, 19, 0.2, GMV_INPUT_LOG1P, ROUNDED_INSIDE), permuted = c;
    int64_t *rows = t_alloc(145, sizeof *rows), *order = t_rows(9, 145, 145);
    for (int i = 0; i < 145; i++) {
        rows[i] = c.rows[order[i]];
    }
    permuted.rows = rows;
    t_outputs before = t_repeatable(run, &c), after = t_repeatable(run, &permuted);
    for (int i = 0; i < 145; i++) {
        t_same_bits("row of the product", after.at[1] + i * 19, before.at[1] + order[i] * 19, 19 * sizeof(float));
    }
}

static void products_agree_with_dense_ones(void **state)
{
    (void)state;
    in_bf16(all_shapes);
}

static void full_and_empty_rows(void **state)
{
    (void)state;
    in_bf16(uneven_rows);
}

static void values_are_rounded_up_to_a_number_of_genes(void **state)
{
    (void)state;
    in_bf16(values_are_rounded);
}

static void permuted_cells_permute_the_outputs(void **state)
{
    (void)state;
    in_bf16(other_cells);
}

static const struct CMUnitTest tests[] = {
    T_TEST(products_agree_with_dense_ones),
    T_TEST(full_and_empty_rows),
    T_TEST(values_are_rounded_up_to_a_number_of_genes),
    T_TEST(permuted_cells_permute_the_outputs),
};
T_MAIN_ON_BACKEND(tests)
