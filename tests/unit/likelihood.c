/* Likelihoods: published values, the double reference against its own differences, and the float functions
 * of include/gmvae/math against the reference over the range that training visits, and far outside it. */
#include "harness.h"

#include "gmvae/likelihoods.h"
#include "ref/likelihood_ref.h"

/* ---- values computed with 50 digits (theta = r and mu = r e^l connect the two forms) ---- */

typedef struct oracle {
    double y, r, l, value, d_l, d_r;
} oracle;

static const oracle by_logit[] = {
    {0, 2.5, -1, -0.7831542188, -0.6723535534, -0.3132616875},
    {3, 2.5, -1, -2.8415676534, 1.5208221825, 0.5946748204},
    {17, 0.3, 2, -5.8811018578, 1.7622105510, 4.1971226347},
    {5000, 12, 4, -62.7674315728, 78.1468843300, 2.0586789442},
};

static const double by_mean[][4] = {
    {5, 4, 1e6, -1.8560219371789},
    {5, 4, 1e10, -1.8560199373826},
    {120000, 90000, 0.5, -13.137013153},
    {1, 1e-8, 1e-4, -18.420780748952},
};

enum { MOST = GMV_MAX_HEADS + 1 }; /* predictors */

static int predictors_of(gmv_likelihood which)
{
    gmv_likelihood_info likelihood = gmv_likelihood_of(which);
    return likelihood.heads + (likelihood.gene_param ? 1 : 0);
}

/* Value and gradient of the float functions, as the kernels put them together. most: 0 by the function for any count,
 * else by that for counts up to it. */
static float evaluate_by(int most, gmv_likelihood which, float y, const float *p, float *g)
{
    float value = NAN;
    switch (which) {
#define GMV_LIKELIHOOD(name, heads, softmax, gene_params, names, description)                                          \
    case GMV_LIKELIHOOD_##name:                                                                                        \
        value = gmv_lik_##name##_zero(p, g);                                                                           \
        if (y > 0.0f) {                                                                                                \
            value += most > 0 ? gmv_lik_##name##_few(y, most, p, g) : gmv_lik_##name##_count(y, p, g);                 \
        }                                                                                                              \
        break;
#include "gmvae/likelihoods.def"
#undef GMV_LIKELIHOOD
    case GMV_LIKELIHOODS:
        break;
    }
    return value;
}

static float evaluate(gmv_likelihood which, float y, const float *p, float *g)
{
    return evaluate_by(0, which, y, p, g);
}

/* The raw value whose link gives r. */
static double raw_of_r(double r)
{
    return log(expm1(r - 1e-3));
}

static void reference_gives_the_published_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof by_logit / sizeof *by_logit; i++) {
        const oracle *o = &by_logit[i];
        double p[2] = {raw_of_r(o->r), o->l}, g[2];
        t_near("nb_logit", ref_likelihood(GMV_LIKELIHOOD_nb_logit, o->y, p, g), o->value, T_TABLE, 1.0);
        t_near("d logit", g[1], o->d_l, T_TABLE, 1.0);
        t_near("d r", g[0], o->d_r * (double)ref_sigmoid((long double)p[0]), T_TABLE, 1.0);
        double q[2] = {log(o->r) + o->l, log(o->r)};
        t_near("nb of the same", ref_likelihood(GMV_LIKELIHOOD_nb, o->y, q, NULL), o->value, T_TABLE, 1.0);
    }
    t_near("nb_logit(0; 0.001, -5)", (double)ref_nb_logit(0.0L, 0.001L, -5.0L), -6.7153e-6, T_POINTWISE, 0.0);
    for (size_t i = 0; i < sizeof by_mean / sizeof *by_mean; i++) {
        const double *o = by_mean[i];
        double p[2] = {log(o[1]), log(o[2])};
        t_near("nb", ref_likelihood(GMV_LIKELIHOOD_nb, o[0], p, NULL), o[3], T_TABLE, 1.0);
    }
}

static void float_functions_give_the_published_values(void **state)
{
    (void)state;
    float g[2];
    for (size_t i = 0; i < sizeof by_logit / sizeof *by_logit; i++) {
        const oracle *o = &by_logit[i];
        float p[2] = {(float)raw_of_r(o->r), (float)o->l};
        double link = (double)ref_sigmoid((long double)p[0]);
        t_near("nb_logit", (double)evaluate(GMV_LIKELIHOOD_nb_logit, (float)o->y, p, g), o->value, T_POINTWISE, 0.0);
        t_near("d logit", (double)g[1], o->d_l, T_POINTWISE, 0.0);
        t_near("d r", (double)g[0], o->d_r * link, T_POINTWISE, 0.0);
    }
    for (size_t i = 0; i < sizeof by_mean / sizeof *by_mean; i++) {
        const double *o = by_mean[i];
        float p[2] = {(float)log(o[1]), (float)log(o[2])};
        t_near("nb", (double)evaluate(GMV_LIKELIHOOD_nb, (float)o[0], p, g), o[3], T_POINTWISE, 0.0);
    }
    /* r = 1e-3 is the smallest that the link gives: raw far below zero */
    float p[2] = {-100.0f, -5.0f};
    t_near("nb_logit(0; 0.001, -5)", (double)evaluate(GMV_LIKELIHOOD_nb_logit, 0.0f, p, g), -6.7153e-6, T_POINTWISE,
           0.0);
}

typedef struct point {
    gmv_likelihood which;
    double y, p[MOST];
} point;

static double value_at(void *context)
{
    point *at = context;
    return ref_likelihood(at->which, at->y, at->p, NULL);
}

static const double counts[] = {0, 1, 2, 3, 7, 15, 16, 17, 18, 40, 254, 255, 256, 1000, 5003, 120000};
enum { COUNTS = sizeof counts / sizeof *counts, SMALL = 12 };

static void reference_gradient_is_its_derivative(void **state)
{
    (void)state;
    for (int which = 0; which < GMV_LIKELIHOODS; which++) {
        for (int i = 0; i < 1000; i++) {
            point at = {(gmv_likelihood)which, counts[i % (COUNTS - 3)], {0}};
            int predictors = predictors_of(at.which);
            for (int k = 0; k < predictors; k++) {
                at.p[k] = 12.0 * t_unit((uint64_t)k + 1, (uint64_t)i) - 6.0;
            }
            double g[MOST] = {0};
            double value = ref_likelihood(at.which, at.y, at.p, g);
            double *want = t_differences(value_at, &at, at.p, (size_t)predictors, 1e-4);
            for (int k = 0; k < predictors; k++) {
                t_near("reference gradient", g[k], want[k], T_DIFFERENCE, fabs(value));
            }
        }
    }
}

/* The worst point of many, as error over what the tolerance allows: [0] value, then the gradient. */
typedef struct worst {
    double ratio[1 + MOST], got[1 + MOST], want[1 + MOST], at[1 + MOST][1 + MOST];
} worst;

static void note(worst *w, int k, double got, double want, double scale, const double *at)
{
    double ratio = fabs(got - want) / (T_POINTWISE * fmax(scale, fabs(want)) + T_TINY);
    if (!(ratio <= w->ratio[k])) {
        w->ratio[k] = ratio;
        w->got[k] = got;
        w->want[k] = want;
        memcpy(w->at[k], at, sizeof w->at[k]);
    }
}

static void within(const char *name, const worst *w)
{
    int failed = 0;
    static const char *const what[1 + MOST] = {"value", "d 0", "d 1", "d 2", "d 3"};
    for (int k = 0; k <= MOST; k++) {
        if (w->ratio[k] == 0.0) { /* no such predictor */
            continue;
        }
        print_message("%s %s: worst at %g of (%.9g, %.9g, %.9g, %.9g): %.9g, reference %.9g, %.2g of what is allowed\n",
                      name, what[k], w->at[k][0], w->at[k][1], w->at[k][2], w->at[k][3], w->at[k][4], w->got[k],
                      w->want[k], w->ratio[k]);
        failed += !(w->ratio[k] <= 1.0);
    }
    assert_int_equal(failed, 0);
}

/* One point of the float functions against the reference. log p(y) is log p(0), which every entry of a tile gets, and
 * what the count adds: a float cannot be better than the rounding of the two. The gradient is a difference of terms of the
 * size of the count and of the mean: that is its scale. */
static void compare_at(worst *w, gmv_likelihood which, double y, const float *p)
{
    int predictors = predictors_of(which);
    float g[MOST] = {0};
    double wide[MOST] = {0}, want[MOST] = {0}, zero[MOST] = {0}, at[1 + MOST] = {y};
    for (int k = 0; k < predictors; k++) {
        wide[k] = at[1 + k] = (double)p[k];
    }
    double value = ref_likelihood(which, y, wide, want);
    double value_of_zero = ref_likelihood(which, 0.0, wide, zero);
    double scale = fmax(1.0, fabs(value_of_zero) * T_PART / T_POINTWISE);
    static const int most[] = {0, 4, 1};
    for (int f = 0; f < (y == 1.0 ? 3 : (y > 0.0 && y <= 4.0 ? 2 : 1)); f++) {
        note(w, 0, (double)evaluate_by(most[f], which, (float)y, p, g), value, scale, at);
        for (int k = 0; k < predictors; k++) {
            double terms = fmin(y, (double)GMV_NB_SUM_MAX) * T_PART / T_POINTWISE; /* of size up to 1 each, in float */
            note(w, k + 1, (double)g[k], want[k], fabs(zero[k]) + fabs(want[k] - zero[k]) + terms, at);
        }
    }
}

static void compare(worst *w, gmv_likelihood which, double y, float p0, float p1)
{
    compare_at(w, which, y, (const float[]){p0, p1});
}

/* Every row of the table, over counts and predictors of ordinary size. */
static void all_agree_with_the_reference(void **state)
{
    (void)state;
    for (int which = 0; which < GMV_LIKELIHOODS; which++) {
        worst w;
        memset(&w, 0, sizeof w);
        for (int i = 0; i < t_thin(2000) * SMALL; i++) {
            float p[MOST];
            for (int k = 0; k < MOST; k++) {
                p[k] = (float)(10.0 * t_unit((uint64_t)k + 20, (uint64_t)i) - 5.0);
            }
            compare_at(&w, (gmv_likelihood)which, counts[i % SMALL], p);
        }
        within(gmv_likelihood_of((gmv_likelihood)which).name, &w);
    }
}

/* Means from 1e-9 to 1e6 and dispersions from 1e-4 to 1e7. */
static void nb_agrees_with_the_reference(void **state)
{
    (void)state;
    worst w;
    memset(&w, 0, sizeof w);
    int n = t_thin(2000);
    for (int i = 0; i < n; i++) {
        for (int c = 0; c < COUNTS; c++) {
            double y = counts[c];
            uint64_t at = (uint64_t)(i * COUNTS + c);
            compare(&w, GMV_LIKELIHOOD_nb, y, (float)(-20.0 + 34.0 * t_unit(3, at)),
                    (float)(-9.0 + 25.0 * t_unit(4, at)));
            /* means near the count, where the terms cancel most */
            double near = y > 0.0 ? log(y) : -1.0;
            compare(&w, GMV_LIKELIHOOD_nb, y, (float)(near + 0.5 * t_unit(5, at) - 0.25),
                    (float)(-9.0 + 25.0 * t_unit(6, at)));
        }
    }
    within("nb", &w);
}

static void nb_logit_agrees_with_the_reference(void **state)
{
    (void)state;
    worst w;
    memset(&w, 0, sizeof w);
    int n = t_thin(2000);
    for (int i = 0; i < n; i++) {
        for (int c = 0; c < COUNTS; c++) {
            double y = counts[c];
            uint64_t at = (uint64_t)(i * COUNTS + c);
            double raw = -12.0 + 32.0 * t_unit(7, at);
            compare(&w, GMV_LIKELIHOOD_nb_logit, y, (float)raw, (float)(-16.0 + 32.0 * t_unit(8, at)));
            double r = (double)ref_softplus((long double)raw) + 1e-3;
            double logit = y > 0.0 ? log(y / r) : -1.0;
            compare(&w, GMV_LIKELIHOOD_nb_logit, y, (float)raw, (float)(logit + 0.5 * t_unit(9, at) - 0.25));
        }
    }
    within("nb_logit", &w);
}

static float log_mean_by(gmv_likelihood which, const float *p)
{
    switch (which) {
#define GMV_LIKELIHOOD(name, heads, softmax, gene_params, names, description)                                          \
    case GMV_LIKELIHOOD_##name:                                                                                        \
        return gmv_lik_##name##_log_mean(p);
#include "gmvae/likelihoods.def"
#undef GMV_LIKELIHOOD
    case GMV_LIKELIHOODS:
        break;
    }
    return NAN;
}

/* The mean of every row of the table is sum y p(y), of the reference's p. */
static void means_are_those_of_the_reference(void **state)
{
    (void)state;
    for (int which = 0; which < GMV_LIKELIHOODS; which++) {
        for (int i = 0; i < t_thin(200); i++) {
            float p[MOST];
            double wide[MOST], mean = 0.0, mass = 0.0;
            for (int k = 0; k < MOST; k++) {
                p[k] = (float)(3.0 * t_unit((uint64_t)k + 40, (uint64_t)i) - 1.5);
                wide[k] = (double)p[k];
            }
            for (int y = 0; y < 4000 && mass < 1.0 - 1e-12; y++) {
                double share = exp(ref_likelihood((gmv_likelihood)which, y, wide, NULL));
                mass += share;
                mean += share * y;
            }
            t_near(gmv_likelihood_of((gmv_likelihood)which).name, (double)log_mean_by((gmv_likelihood)which, p),
                   log(mean), T_POINTWISE, 1.0);
        }
    }
}

static float draw_by(gmv_likelihood which, const float *p, gmv_uniforms *u)
{
    switch (which) {
#define GMV_LIKELIHOOD(name, heads, softmax, gene_params, names, description)                                          \
    case GMV_LIKELIHOOD_##name:                                                                                        \
        return gmv_lik_##name##_draw(p, u);
#include "gmvae/likelihoods.def"
#undef GMV_LIKELIHOOD
    case GMV_LIKELIHOODS:
        break;
    }
    return NAN;
}

/* Mean, square and share of zeros of draws of every row of the table, against sums over the reference's p. */
static void draws_have_the_distribution(void **state)
{
    (void)state;
    enum { points = 24, FIGURES = 3 };
    const int n = t_thin(20000);
    for (int which = 0; which < GMV_LIKELIHOODS; which++) {
        for (int i = 0; i < points; i++) {
            float p[MOST];
            double wide[MOST], want[FIGURES] = {0}, square[FIGURES] = {0}, got[FIGURES] = {0}, mass = 0.0;
            for (int k = 0; k < MOST; k++) {
                p[k] = (float)(5.0 * t_unit((uint64_t)k + 60, (uint64_t)i) - 2.5);
                wide[k] = (double)p[k];
            }
            for (int y = 0; y < 6000 && mass < 1.0 - 1e-13; y++) {
                double share = exp(ref_likelihood((gmv_likelihood)which, y, wide, NULL));
                double figure[FIGURES] = {y, (double)y * y, y == 0};
                mass += share;
                for (int f = 0; f < FIGURES; f++) {
                    want[f] += share * figure[f];
                    square[f] += share * figure[f] * figure[f];
                }
            }
            for (int d = 0; d < n; d++) {
                gmv_uniforms u = {.seed = 5, .stream = GMV_STREAM_INIT, .cell = d, .draw = (uint32_t)i};
                double y = (double)draw_by((gmv_likelihood)which, p, &u), figure[FIGURES] = {y, y * y, y == 0.0};
                for (int f = 0; f < FIGURES; f++) {
                    got[f] += figure[f] / n;
                }
            }
            for (int f = 0; f < FIGURES; f++) {
                double error = T_SIGMAS * sqrt(fmax(square[f] - want[f] * want[f], 0.0) / n) + T_TABLE;
                t_near(gmv_likelihood_of((gmv_likelihood)which).name, (got[f] - want[f]) / error, 0.0, 1.0, 1.0);
            }
        }
    }
}

/* Predictors that a diverging run may reach: results stay finite, or become the infinity they should be. */
static void extreme_predictors_give_no_nan(void **state)
{
    (void)state;
    static const float far[] = {-1e4f, -104.0f, -88.0f, -50.0f, -30.0f, 0.0f, 30.0f, 50.0f, 80.0f};
    enum { FAR = sizeof far / sizeof *far };
    for (int which = 0; which < GMV_LIKELIHOODS; which++) {
        int predictors = predictors_of((gmv_likelihood)which), points = COUNTS;
        for (int k = 0; k < predictors; k++) {
            points *= FAR;
        }
        for (int i = 0; i < points; i++) {
            float p[MOST] = {0}, g[MOST] = {0};
            for (int k = 0, at = i / COUNTS; k < predictors; k++, at /= FAR) {
                p[k] = far[at % FAR];
            }
            float value = evaluate((gmv_likelihood)which, (float)counts[i % COUNTS], p, g);
            if (isnan(value) || isnan(g[0]) || isnan(g[1]) || isnan(g[2]) || isnan(g[3])) {
                fail_msg("likelihood %d of %g at (%g, %g, %g, %g): value %g, gradient (%g, %g, %g, %g)", which,
                         counts[i % COUNTS], (double)p[0], (double)p[1], (double)p[2], (double)p[3], (double)value,
                         (double)g[0], (double)g[1], (double)g[2], (double)g[3]);
            }
        }
    }
}

/* Means beyond the range of float: a zero still has its value and gradient, and an infinite mean is told. */
static void zeros_of_huge_means(void **state)
{
    (void)state;
    worst w;
    memset(&w, 0, sizeof w);
    float g[2];
    /* valgrind computes long double, and so the reference, in the range of double */
    volatile long double large = 1e300L;
    float most = isinf((double)(large * large / large)) ? 700.0f : 1e4f;
    for (float raw = -30.0f; raw <= 30.0f; raw += 7.5f) {
        for (float log_mu = 32.0f; log_mu < most; log_mu *= 1.1f) {
            compare(&w, GMV_LIKELIHOOD_nb, 0.0, log_mu, raw);
        }
        float p[2] = {INFINITY, raw};
        assert_true(evaluate(GMV_LIKELIHOOD_nb, 0.0f, p, g) == -INFINITY);
    }
    within("nb of 0", &w);
}

/* Means and dispersions so small that the factors of a count leave the normal floats. */
static void counts_of_tiny_means(void **state)
{
    (void)state;
    worst nb, logit;
    memset(&nb, 0, sizeof nb);
    memset(&logit, 0, sizeof logit);
    for (int y = 1; y <= GMV_NB_SUM_MAX + 1; y++) {
        for (float low = -20.0f; low > -400.0f; low *= 1.1f) {
            for (float raw = -30.0f; raw <= 30.0f; raw += 7.5f) {
                compare(&nb, GMV_LIKELIHOOD_nb, y, low, raw);
                compare(&logit, GMV_LIKELIHOOD_nb_logit, y, raw, low);
            }
        }
    }
    within("nb of tiny means", &nb);
    within("nb_logit of tiny odds", &logit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T_TEST(reference_gives_the_published_values),
        T_TEST(float_functions_give_the_published_values),
        T_TEST(reference_gradient_is_its_derivative),
        T_TEST(nb_agrees_with_the_reference),
        T_TEST(all_agree_with_the_reference),
        T_TEST(nb_logit_agrees_with_the_reference),
        T_TEST(means_are_those_of_the_reference),
        T_TEST(draws_have_the_distribution),
        T_TEST(extreme_predictors_give_no_nan),
        T_TEST(zeros_of_huge_means),
        T_TEST(counts_of_tiny_means),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
