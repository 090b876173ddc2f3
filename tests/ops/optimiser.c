/* Sums, verdicts, Adam, the fixed-point sums of exact reduction, and reductions over one rank. */
#include "harness.h"

static const int64_t lengths[] = {0, 1, 31, 32, 33, 257, 1009, 65536, 65537, 200003};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

typedef struct sum_case {
    int rows, cols;
    float scale;
    const float *x, *start;
} sum_case;

static void run_sums(const void *context, t_outputs *out)
{
    const sum_case *c = context;
    gmv_mat x = t_mat(c->rows, c->cols, c->x);
    gmv_vec flat = t_vec((int64_t)c->rows * c->cols, c->x), sum = t_vec(c->cols, c->start);
    gmv_vec unscaled = t_vec(c->cols, c->start);
    double *square = t_bytes(sizeof *square, NULL);
    T_OP(sum_squares, flat, square);
    T_OP(add_column_sums, x, t_number(c->scale), sum);
    T_OP(add_column_sums, x, NULL, unscaled);
    t_keep_vec(out, gmv_vec_of((float *)(void *)square, 2));
    t_keep_vec(out, sum);
    t_keep_vec(out, unscaled);
}

static void sums_are_exact_to_rounding(void **state)
{
    (void)state;
    static const int shapes[][2] = {{0, 5}, {3, 0}, {1, 1}, {31, 5}, {33, 31}, {257, 7}, {1025, 61}, {70000, 2}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        size_t rows = (size_t)shapes[s][0], cols = (size_t)shapes[s][1];
        sum_case c = {shapes[s][0], shapes[s][1], 0.75f, t_random(s, rows * cols, 100.0), t_random(s + 9, cols, 1.0)};
        t_outputs out = t_repeatable(run_sums, &c);
        double *sum = t_widen(c.start, cols), *scaled = t_widen(c.start, cols), *size = t_doubles(cols);
        double square = 0.0, got_square;
        for (size_t i = 0; i < rows * cols; i++) {
            sum[i % cols] += (double)c.x[i];
            scaled[i % cols] += (double)c.scale * (double)c.x[i];
            size[i % cols] += fabs((double)c.x[i]);
            square += (double)c.x[i] * (double)c.x[i];
        }
        memcpy(&got_square, out.at[0], sizeof got_square);
        for (size_t j = 0; j < cols; j++) {
            size[j] += 1.0;
        }
        t_near("sum_squares", got_square, square, T_TABLE, 0.0); /* in double: the order is all that may differ */
        t_sums("add_column_sums", out.at[1], scaled, size, cols, (double)rows);
        t_sums("add_column_sums without a scale", out.at[2], sum, size, cols, (double)rows);
    }
}

/* ---- verdict ---- */

typedef struct verdict_case {
    gmv_outcome before;
    const float *extra;
} verdict_case;

static void run_judge(const void *context, t_outputs *out)
{
    const verdict_case *c = context;
    gmv_outcome *outcome = t_bytes(sizeof *outcome, &c->before);
    T_OP(judge, t_vec(GMV_GRAD_EXTRA, c->extra), outcome);
    t_keep_vec(out, gmv_vec_of((float *)(void *)outcome, sizeof *outcome / sizeof(float)));
}

static void a_step_that_is_not_finite_is_bad_for_good(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = -1; i < GMV_GRAD_EXTRA; i++) {
        for (int b = 0; b < 3; b++) {
            for (int was = 0; was < 2; was++) {
                float *extra = t_random(7, GMV_GRAD_EXTRA, 1e30);
                verdict_case c = {{.squares = 3.0, .bad = was}, extra};
                if (i >= 0) {
                    extra[i] = bad[b];
                }
                t_outputs out = t_repeatable(run_judge, &c);
                gmv_outcome got;
                memcpy(&got, out.at[0], sizeof got);
                assert_int_equal(got.bad, was != 0 || i >= 0);
                assert_true(got.squares == 3.0);
                t_same_bits("extra", got.extra, extra, sizeof got.extra);
                c.before.squares = (double)bad[b];
                out = t_repeatable(run_judge, &c);
                memcpy(&got, out.at[0], sizeof got);
                assert_int_equal(got.bad, 1);
            }
        }
    }
}

/* ---- Adam ---- */

static const double clip_limit = 2.0;

typedef struct adam_case {
    int64_t n, step;
    const float *value, *grad, *m, *v;
    double norm; /* of the whole gradient, of which `grad` may be a part */
    int32_t bad;
} adam_case;

static void run_adam(const void *context, t_outputs *out)
{
    const adam_case *c = context;
    double beta1 = (double)0.9f, beta2 = (double)0.999f, t = (double)c->step;
    gmv_step step = {.adam_rate = (float)((double)1e-3f / (1.0 - pow(beta1, t))),
                     .adam_inverse_root = (float)(1.0 / sqrt(1.0 - pow(beta2, t)))};
    gmv_outcome outcome = {.squares = c->norm * c->norm, .bad = c->bad};
    gmv_adam_args a = {.value = t_vec(c->n, c->value),
                       .grad = t_vec(c->n, c->grad),
                       .m = t_vec(c->n, c->m),
                       .v = t_vec(c->n, c->v),
                       .beta1 = 0.9f,
                       .beta2 = 0.999f,
                       .epsilon = 1e-8f,
                       .clip_norm = clip_limit,
                       .step = t_bytes(sizeof step, &step),
                       .outcome = t_bytes(sizeof outcome, &outcome)};
    T_OP(adam, &a);
    t_keep_vec(out, a.value);
    t_keep_vec(out, a.m);
    t_keep_vec(out, a.v);
    t_keep_vec(out, a.grad);
}

/* torch.optim.Adam: bias-corrected moments, epsilon added outside the root; gradients clipped before. */
static void adam_takes_pytorchs_step(void **state)
{
    (void)state;
    static const int64_t steps[] = {1, 2, 10, 100000};
    static const double norms[] = {0.5, 2.0, 4.0, 1e6}; /* below, at and above the limit */
    for (int i = 0; i < LENGTHS * 4; i++) {
        size_t n = (size_t)lengths[i / 4];
        adam_case c = {lengths[i / 4], steps[i % 4], t_random(1, n, 1.0), t_random(2, n, 0.1),
                       NULL,           NULL,         norms[i % 4],        0};
        c.m = i % 4 == 0 ? t_host_floats(n) : t_random(3, n, 0.1);
        float *v = i % 4 == 0 ? t_host_floats(n) : t_random(4, n, 0.01);
        double *step = t_doubles(n), *m_want = t_doubles(n), *v_want = t_doubles(n);
        float *moved = t_host_floats(n);
        for (size_t k = 0; k < n; k++) {
            v[k] = fabsf(v[k]);
        }
        c.v = v;
        t_outputs out = t_repeatable(run_adam, &c);
        /* the decays are the floats that the arguments hold */
        double beta1 = (double)0.9f, beta2 = (double)0.999f, clip = c.norm > clip_limit ? clip_limit / c.norm : 1.0;
        for (size_t k = 0; k < n; k++) {
            double g = clip * (double)c.grad[k];
            m_want[k] = beta1 * (double)c.m[k] + (1.0 - beta1) * g;
            v_want[k] = beta2 * (double)c.v[k] + (1.0 - beta2) * g * g;
            double m_hat = m_want[k] / (1.0 - pow(beta1, (double)c.step));
            double v_hat = v_want[k] / (1.0 - pow(beta2, (double)c.step));
            step[k] = (double)c.value[k] - (double)1e-3f * m_hat / (sqrt(v_hat) + (double)1e-8f);
            moved[k] = out.at[0][k];
        }
        t_pointwise("first moment", out.at[1], m_want, n);
        t_pointwise("second moment", out.at[2], v_want, n);
        t_pointwise("value", moved, step, n);
        t_same_bits("gradient", out.at[3], c.grad, n * sizeof(float));
    }
}

/* The size of a step, apart from the value it is added to. */
static void adam_from_zero_moves_by_the_rate(void **state)
{
    (void)state;
    float *zero = t_host_floats(1000);
    adam_case c = {1000, 1, zero, t_random(5, 1000, 1e-3), zero, zero, 1.0, 0};
    t_outputs out = t_repeatable(run_adam, &c);
    double *want = t_doubles(1000);
    for (int i = 0; i < 1000; i++) {
        double g = (double)c.grad[i];
        want[i] = -(double)1e-3f * g / (fabs(g) + 1e-8);
    }
    t_pointwise("first step", out.at[0], want, 1000);
}

static void adam_does_nothing_after_a_bad_step(void **state)
{
    (void)state;
    float *grad = t_random(5, 257, 1.0);
    grad[7] = NAN;
    adam_case c = {257, 3, t_random(1, 257, 1.0), grad, t_random(3, 257, 1.0), t_random(4, 257, 1.0), (double)NAN, 1};
    t_outputs out = t_repeatable(run_adam, &c);
    const float *was[] = {c.value, c.m, c.v, c.grad};
    for (int i = 0; i < 4; i++) {
        t_same_bits("after a bad step", out.at[i], was[i], 257 * sizeof(float));
    }
}

/* ---- fixed point ---- */

typedef struct fixed_case {
    int64_t n, addends;
    int parts;
    const float *const *x; /* [parts] */
    const int *order;      /* in which the parts are added */
} fixed_case;

static void run_fixed(const void *context, t_outputs *out)
{
    const fixed_case *c = context;
    int64_t *total = t_bytes(c->n * 8, t_alloc((size_t)c->n, 8)), *overflow = t_bytes(8, t_alloc(1, 8));
    for (int p = 0; p < c->parts; p++) {
        gmv_vec x = t_vec(c->n, c->x[c->order[p]]);
        T_OP(fixed_add, x, c->addends, total, overflow);
    }
    gmv_vec value = t_vec(c->n, NULL);
    T_OP(fixed_value, total, overflow, value);
    t_keep_vec(out, value);
    t_keep_vec(out, gmv_vec_of((float *)(void *)total, 2 * c->n));
    t_keep_vec(out, gmv_vec_of((float *)(void *)overflow, 2));
}

static int64_t overflow_of(const t_outputs *out)
{
    int64_t flag;
    memcpy(&flag, out->at[2], sizeof flag);
    return flag;
}

static void fixed_sums_do_not_depend_on_the_order(void **state)
{
    (void)state;
    static const int orders[][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {2, 0, 3, 1}};
    for (int l = 0; l < LENGTHS; l++) {
        size_t n = (size_t)lengths[l];
        const float *x[4];
        for (int p = 0; p < 4; p++) {
            x[p] = t_random((uint64_t)p, n, p == 0 ? 1e5 : 1e-6);
        }
        t_outputs first = {0};
        for (int o = 0; o < 3; o++) {
            fixed_case c = {lengths[l], 8, 4, x, orders[o]};
            t_outputs out = t_repeatable(run_fixed, &c);
            first = o == 0 ? out : first;
            t_same_bits("total in another order", out.at[1], first.at[1], n * 8);
            assert_true(overflow_of(&out) == 0);
        }
        for (size_t i = 0; i < n; i++) {
            int64_t want = 0, got;
            for (int p = 0; p < 4; p++) {
                want += (int64_t)llrint(ldexp((double)x[p][i], GMV_FIXED_BITS));
            }
            memcpy(&got, first.at[1] + 2 * i, sizeof got);
            assert_true(got == want);
            assert_true(first.at[0][i] == (float)ldexp((double)want, -GMV_FIXED_BITS));
        }
    }
}

static void fixed_sums_notice_what_does_not_fit(void **state)
{
    (void)state;
    static const int order[] = {0};
    static const float bad[] = {NAN, INFINITY, -INFINITY, 1e30f, -1e30f, 8388608.0f, FLT_MAX};
    for (int b = 0; b < 7; b++) {
        float *values = t_random(1, 3001, 1.0);
        values[b * 500] = bad[b];
        const float *x[] = {values};
        fixed_case c = {3001, 8, 1, x, order};
        t_outputs out = t_repeatable(run_fixed, &c);
        assert_true(overflow_of(&out) == 1);
        for (int i = 0; i < 3001; i++) {
            assert_true(isnan(out.at[0][i]));
        }
    }
}

/* The limit goes with the number of addends: what is accepted can be added that often without overflow. */
static void fixed_limit_goes_with_the_addends(void **state)
{
    (void)state;
    static const int order[64] = {0};
    static const int64_t addends[] = {1, 2, 8, 64};
    for (int i = 0; i < 4; i++) {
        /* the range of the sum is 2^63 / 2^GMV_FIXED_BITS: a quarter of it is always accepted, twice it never */
        float part = (float)ldexp(1.0, 61 - GMV_FIXED_BITS) / (float)addends[i], low = -part, high = 8.0f * part;
        const float *accepted[] = {&part}, *negative[] = {&low}, *refused[] = {&high};
        fixed_case c = {1, addends[i], (int)addends[i], accepted, order};
        t_outputs out = t_repeatable(run_fixed, &c);
        assert_true(overflow_of(&out) == 0);
        assert_true(out.at[0][0] == part * (float)addends[i]);
        c.x = negative;
        out = t_repeatable(run_fixed, &c);
        assert_true(overflow_of(&out) == 0 && out.at[0][0] == low * (float)addends[i]);
        c.x = refused;
        c.parts = 1;
        out = t_repeatable(run_fixed, &c);
        assert_true(overflow_of(&out) == 1);
    }
}

/* The flag stays up when later additions are fine. */
static void overflow_is_remembered(void **state)
{
    (void)state;
    static const int order[] = {0, 1};
    float *values = t_random(1, 100, 1.0);
    values[99] = NAN;
    const float *x[] = {values, t_random(2, 100, 1.0)};
    fixed_case c = {100, 8, 2, x, order};
    t_outputs out = t_repeatable(run_fixed, &c);
    assert_true(overflow_of(&out) == 1);
}

static const struct CMUnitTest tests[] = {
    T_TEST(sums_are_exact_to_rounding),
    T_TEST(a_step_that_is_not_finite_is_bad_for_good),
    T_TEST(adam_takes_pytorchs_step),
    T_TEST(adam_from_zero_moves_by_the_rate),
    T_TEST(adam_does_nothing_after_a_bad_step),
    T_TEST(fixed_sums_do_not_depend_on_the_order),
    T_TEST(fixed_sums_notice_what_does_not_fit),
    T_TEST(fixed_limit_goes_with_the_addends),
    T_TEST(overflow_is_remembered),
};
T_MAIN_ON_BACKEND(tests)
