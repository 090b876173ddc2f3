/* gaussian_sample, its gradient, and gaussian_kl. */
#include "harness.h"
#include "ref/noise_ref.h"

typedef struct latent_case {
    int cells, draws, dim, with_noise, with_gradient;
    gmv_noise noise;                           /* in host memory */
    const float *posterior, *d_sample, *start; /* [B, 2D], [R, D], [B, 2D] */
    float scale;
    int filled; /* rows that are cells for gaussian_kl; 0: all */
} latent_case;

enum { COLUMN = 1, COLUMNS = 5 };

static void run(const void *context, t_outputs *out)
{
    const latent_case *c = context;
    int rows = c->cells * c->draws;
    gmv_noise noise = t_noise(&c->noise, c->cells);
    const gmv_noise *given = c->with_noise ? &noise : NULL;
    gmv_mat posterior = t_mat(c->cells, 2 * c->dim, c->posterior), sample = t_mat(rows, c->dim, NULL);
    gmv_mat d_sample = t_mat(rows, c->dim, c->d_sample), none = {NULL, c->cells, 2 * c->dim, 2 * c->dim};
    gmv_mat d_from_sample = t_mat(c->cells, 2 * c->dim, c->start), d_from_kl = t_mat(c->cells, 2 * c->dim, c->start);
    gmv_mat terms = t_mat(c->cells, COLUMNS, t_random(1, (size_t)c->cells * COLUMNS, 1.0));
    T_OP(gaussian_sample, posterior, given, c->draws, sample);
    T_OP(gaussian_sample_backward, posterior, given, c->draws, d_sample, d_from_sample);
    T_OP(gaussian_kl, posterior, c->filled > 0 ? t_filled(c->filled) : NULL, gmv_mat_columns(terms, COLUMN, 1),
         t_number(c->scale), c->with_gradient ? d_from_kl : none);
    t_keep_mat(out, sample);
    t_keep_mat(out, d_from_sample);
    t_keep_mat(out, terms);
    t_keep_mat(out, d_from_kl);
}

static void check(const latent_case *c)
{
    t_outputs out = t_repeatable(run, c);
    size_t dim = (size_t)c->dim, rows = (size_t)(c->cells * c->draws), n = (size_t)c->cells * 2 * dim;
    double *sample = t_doubles(rows * dim), *d_sample = t_widen(c->start, n), *d_kl = t_widen(c->start, n);
    double *size = t_doubles(n), *kl = t_doubles((size_t)c->cells), *kl_size = t_doubles((size_t)c->cells);
    for (size_t i = 0; i < (size_t)c->cells; i++) {
        for (size_t j = 0; j < dim; j++) {
            size_t at = i * 2 * dim + j;
            double mean = (double)c->posterior[at], e = exp((double)c->posterior[at + dim]), v = e + 1e-4;
            size[at] = fabs(d_sample[at]);
            size[at + dim] = fabs(d_sample[at + dim]);
            for (size_t m = 0; m < (size_t)c->draws; m++) {
                size_t r = i * (size_t)c->draws + m;
                double normal = c->with_noise ? ref_normal(&c->noise, c->noise.cell_id[i], (int)m, (int)j) : 0.0;
                double d = (double)c->d_sample[r * dim + j];
                sample[r * dim + j] = mean + sqrt(v) * normal;
                d_sample[at] += d;
                d_sample[at + dim] += d * normal * 0.5 * e / sqrt(v);
                size[at] += fabs(d);
                /* 4: an angle next to an axis leaves a small normal the error of a large one */
                size[at + dim] += fabs(d) * 4.0 * 0.5 * e / sqrt(v);
            }
            kl[i] += 0.5 * (v + mean * mean - 1.0 - log(v));
            kl_size[i] += 0.5 * (v + mean * mean + 1.0 + fabs(log(v)));
            d_kl[at] += c->with_gradient ? (double)c->scale * mean : 0.0;
            d_kl[at + dim] += c->with_gradient ? (double)c->scale * 0.5 * (1.0 - 1.0 / v) * e : 0.0;
        }
    }
    t_pointwise("gaussian_sample", out.at[0], sample, rows * dim);
    t_sums("gaussian_sample_backward", out.at[1], d_sample, size, n, (double)c->draws);
    const float *terms = t_random(1, (size_t)c->cells * COLUMNS, 1.0);
    for (size_t i = 0; i < (size_t)c->cells * COLUMNS; i++) {
        if (i % COLUMNS == COLUMN) {
            t_sums("gaussian_kl", out.at[2] + i, kl + i / COLUMNS, kl_size + i / COLUMNS, 1, (double)dim);
        } else {
            t_same_bits("other columns of terms", out.at[2] + i, terms + i, sizeof(float));
        }
    }
    t_pointwise("gradient of gaussian_kl", out.at[3], d_kl, n);
}

static latent_case make(uint64_t seed, int cells, int draws, int dim, int variant)
{
    size_t n = (size_t)(cells * 2 * dim);
    latent_case c = {cells,
                     draws,
                     dim,
                     variant % 2,
                     variant / 2 % 2,
                     {0x1234567890ABCDEFu + seed, GMV_STREAM_LATENT_W, t_epoch(12), 3, t_cell_ids(cells), draws},
                     t_random(seed, n, 2.5),
                     t_random(seed + 1, (size_t)(cells * draws * dim), 1.0),
                     t_random(seed + 2, n, 0.5),
                     0.25f,
                     0};
    return c;
}

static void values_and_gradients(void **state)
{
    (void)state;
    static const int shapes[][3] = {{0, 1, 3},   {1, 1, 1},  {1, 3, 2},    {31, 1, 5},
                                    {32, 2, 33}, {33, 3, 4}, {257, 1, 80}, {61, 10, 61}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        for (int variant = 0; variant < 4; variant++) {
            latent_case c = make(300 + s, shapes[s][0], shapes[s][1], shapes[s][2], variant);
            check(&c);
        }
    }
}

/* Variances from the floor of 1e-4 to e^20, and a posterior that is the prior. */
static void variances_of_every_size(void **state)
{
    (void)state;
    latent_case c = make(400, 4, 2, 25, 3);
    float *posterior = t_host_floats(4 * 50);
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 25; j++) {
            posterior[i * 50 + j] = i == 0 ? 0.0f : (float)(j - 12);
            posterior[i * 50 + 25 + j] = i == 0 ? (float)log(1.0 - 1e-4) : (float)(i == 1 ? -5 * j : j - 5);
        }
    }
    c.posterior = posterior;
    check(&c);
}

/* Draw m of a call is draw first_draw + m of the cell: two calls of one draw are one call of two. */
static void draws_are_numbered_from_the_first(void **state)
{
    (void)state;
    latent_case both = make(500, 9, 2, 7, 1), second = both;
    second.draws = 1;
    second.noise.draws = 1;
    second.noise.first_draw++;
    t_outputs two = t_repeatable(run, &both), one = t_repeatable(run, &second);
    for (int i = 0; i < 9; i++) {
        t_same_bits("second draw", one.at[0] + i * 7, two.at[0] + (2 * i + 1) * 7, 7 * sizeof(float));
    }
}

/* Rows that fill a batch up have a term of 0 and no gradient; the others are as without them. */
static void rows_behind_the_cells(void **state)
{
    (void)state;
    for (int filled = 1; filled <= 33; filled += 16) {
        latent_case c = make(600, 33, 1, 35, 3), all = c;
        size_t width = 2 * 35;
        c.filled = filled;
        t_outputs got = t_repeatable(run, &c), whole = t_repeatable(run, &all);
        for (int i = 0; i < 33; i++) {
            size_t at = (size_t)i * width;
            bool is_cell = i < filled;
            assert_true(got.at[2][i * COLUMNS + COLUMN] == (is_cell ? whole.at[2][i * COLUMNS + COLUMN] : 0.0f));
            t_same_bits("gradient", got.at[3] + at, (is_cell ? whole.at[3] : c.start) + at, width * sizeof(float));
        }
    }
}

static const struct CMUnitTest tests[] = {
    T_TEST(values_and_gradients),
    T_TEST(variances_of_every_size),
    T_TEST(draws_are_numbered_from_the_first),
    T_TEST(rows_behind_the_cells),
};
T_MAIN_ON_BACKEND(tests)
