/* Elementary and special functions against libm in double and long double: the errors that
 * include/gmvae/math states are the limits, and what was measured is printed. */
#include "harness.h"

#include "gmvae/math/act.h"
#include "gmvae/math/special.h"

enum { GRID = 2000000 };

/* Largest error seen, and where. */
typedef struct worst {
    double error, at;
} worst;

static void note(worst *w, double error, double at)
{
    if (!(error <= w->error)) {
        w->error = error;
        w->at = at;
    }
}

static void within(const char *what, worst w, double stated)
{
    print_message("%s: largest error %.4g at %.9g, stated %.4g\n", what, w.error, w.at, stated);
    if (!(w.error <= stated)) {
        fail_msg("%s: error %.4g at %.9g is above the stated %.4g", what, w.error, w.at, stated);
    }
}

/* Distance in units of the last place of the float next to the true value. */
static double ulps(float got, double want)
{
    float near = fabsf((float)want);
    double unit = (double)(nextafterf(near, INFINITY) - near);
    return fabs((double)got - want) / unit;
}

static double relative(float got, double want)
{
    return fabs((double)got - want) / fabs(want);
}

/* Point i of n on [low, high], evenly. */
static float even(double low, double high, int i, int n)
{
    return (float)(low + (high - low) * (double)i / (double)(n - 1));
}

/* Point i of n on [low, high], evenly in the logarithm. */
static float geometric(double low, double high, int i, int n)
{
    return (float)exp(log(low) + log(high / low) * (double)i / (double)(n - 1));
}

static void exp_is_accurate(void **state)
{
    (void)state;
    worst w = {0};
    int n = t_thin(GRID);
    for (int i = 0; i < n; i++) {
        float x = even(-87.3, 88.7, i, n);
        note(&w, ulps(gmv_expf(x), exp((double)x)), (double)x);
        x = geometric(1e-30, 1.0, i, n);
        note(&w, ulps(gmv_expf(x), exp((double)x)), (double)x);
        note(&w, ulps(gmv_expf(-x), exp(-(double)x)), (double)-x);
    }
    within("gmv_expf, ulp", w, T_EXP_ULP);
}

static void exp_at_its_edges(void **state)
{
    (void)state;
    assert_true(gmv_expf(0.0f) == 1.0f);
    assert_true(gmv_expf(-0.0f) == 1.0f);
    assert_true(gmv_expf(FLT_TRUE_MIN) == 1.0f);
    assert_true(gmv_expf(-88.0f) == 0.0f);
    assert_true(gmv_expf(-FLT_MAX) == 0.0f);
    assert_true(gmv_expf(-INFINITY) == 0.0f);
    assert_true(isinf(gmv_expf(89.0f)));
    assert_true(isinf(gmv_expf(FLT_MAX)));
    assert_true(isinf(gmv_expf(INFINITY)));
    assert_true(isnan(gmv_expf(NAN)));
    /* results stay normal numbers right up to the cut */
    assert_true(gmv_expf(-87.3f) >= FLT_MIN);
}

static void exp_never_decreases(void **state)
{
    (void)state;
    float before = 0.0f;
    int n = t_thin(GRID);
    for (int i = 0; i < n; i++) {
        float y = gmv_expf(even(-89.0, 89.0, i, n));
        assert_true(y >= before);
        before = y;
    }
}

static void log_is_accurate(void **state)
{
    (void)state;
    worst far = {0}, near = {0};
    int n = t_thin(GRID);
    for (int i = 0; i < n; i++) {
        float x = geometric((double)FLT_MIN, (double)FLT_MAX, i, n);
        if (x < 0.7f || x > 1.43f) {
            note(&far, ulps(gmv_logf(x), log((double)x)), (double)x);
        }
        x = even(0.5, 2.0, i, n);
        if (x < 0.7f || x > 1.43f) {
            note(&far, ulps(gmv_logf(x), log((double)x)), (double)x);
        } else {
            note(&near, fabs((double)gmv_logf(x) - log((double)x)), (double)x);
        }
        x = 1.0f + (float)(i - n / 2) * FLT_EPSILON / 2.0f; /* every float beside 1 */
        note(&near, fabs((double)gmv_logf(x) - log((double)x)), (double)x);
    }
    within("gmv_logf away from 1, ulp", far, T_LOG_ULP);
    within("gmv_logf beside 1, absolute", near, T_LOG_NEAR_ONE);
}

static void log_at_its_edges(void **state)
{
    (void)state;
    assert_true(gmv_logf(1.0f) == 0.0f);
    assert_true(gmv_logf(0.0f) == -INFINITY);
    assert_true(gmv_logf(-0.0f) == -INFINITY);
    assert_true(isnan(gmv_logf(-1.0f)));
    assert_true(isnan(gmv_logf(-INFINITY)));
    assert_true(isnan(gmv_logf(NAN)));
    assert_true(gmv_logf(INFINITY) == INFINITY);
    t_near("log of the smallest normal float", (double)gmv_logf(FLT_MIN), log((double)FLT_MIN), T_POINTWISE, 0.0);
    t_near("log of the largest float", (double)gmv_logf(FLT_MAX), log((double)FLT_MAX), T_POINTWISE, 0.0);
}

static void log1p_is_accurate(void **state)
{
    (void)state;
    worst w = {0};
    int n = t_thin(GRID);
    for (int i = 0; i < n; i++) {
        float x = geometric(1e-36, (double)FLT_MAX, i, n);
        note(&w, relative(gmv_log1pf(x), log1p((double)x)), (double)x);
        x = -geometric(1e-36, 1.0 - 1e-7, i, n);
        note(&w, relative(gmv_log1pf(x), log1p((double)x)), (double)x);
        x = even(-0.999, 10.0, i, n);
        if (x != 0.0f) {
            note(&w, relative(gmv_log1pf(x), log1p((double)x)), (double)x);
        }
    }
    within("gmv_log1pf, relative", w, T_LOG1P);
    assert_true(gmv_log1pf(0.0f) == 0.0f);
    assert_true(gmv_log1pf(FLT_TRUE_MIN) == FLT_TRUE_MIN);
    assert_true(gmv_log1pf(-1.0f) == -INFINITY);
    assert_true(gmv_log1pf(INFINITY) == INFINITY);
    assert_true(isnan(gmv_log1pf(NAN)));
    assert_true(isnan(gmv_log1pf(-2.0f)));
}

static void reciprocal_is_accurate(void **state)
{
    (void)state;
    worst w = {0};
    int n = t_thin(GRID);
    for (int i = 0; i < n; i++) {
        float x = geometric(1e-37, 1e37, i, n);
        note(&w, ulps(gmv_reciprocalf(x), 1.0 / (double)x), (double)x);
        note(&w, ulps(gmv_reciprocalf(-x), -1.0 / (double)x), (double)-x);
    }
    within("gmv_reciprocalf, ulp", w, T_RECIPROCAL_ULP);
}

static void logistic_is_accurate(void **state)
{
    (void)state;
    worst soft = {0}, share = {0}, rest = {0};
    int n = t_thin(GRID);
    for (int i = 0; i < n; i++) {
        float x = even(-87.0, 200.0, i, n);
        gmv_logistic y = gmv_logisticf(x);
        note(&soft, relative(y.softplus, x > 40.0f ? (double)x : log1p(exp((double)x))), (double)x);
        note(&share, relative(y.share, 1.0 / (1.0 + exp(-(double)x))), (double)x);
        y = gmv_logisticf(-x);
        note(&rest, relative(y.rest, 1.0 / (1.0 + exp(-(double)x))), (double)-x);
    }
    within("gmv_logisticf, softplus, relative", soft, T_LOGISTIC);
    within("gmv_logisticf, share, relative", share, T_LOGISTIC);
    within("gmv_logisticf, rest, relative", rest, T_LOGISTIC);
    assert_true(gmv_logisticf(-1000.0f).softplus == 0.0f);
    assert_true(gmv_logisticf(-INFINITY).softplus == 0.0f);
    assert_true(gmv_logisticf(1e30f).softplus == 1e30f);
    assert_true(gmv_logisticf(INFINITY).softplus == INFINITY);
    assert_true(isnan(gmv_logisticf(NAN).softplus));
    assert_true(gmv_logisticf(-INFINITY).share == 0.0f && gmv_logisticf(-INFINITY).rest == 1.0f);
    assert_true(gmv_logisticf(INFINITY).share == 1.0f && gmv_logisticf(INFINITY).rest == 0.0f);
    assert_true(gmv_logisticf(0.0f).share == 0.5f && gmv_logisticf(0.0f).rest == 0.5f);
    assert_true(isnan(gmv_logisticf(NAN).share) && isnan(gmv_logisticf(NAN).rest));
}

/* -log(1 - u) - u in long double from t = u / (1 - u); by its series where even that cancels. */
static double excess(double u, double t)
{
    if (u < 1e-4) {
        return u * u * (0.5 + u * (1.0 / 3.0 + u * (0.25 + u / 5.0)));
    }
    return (double)(log1pl((long double)t) - (long double)t / (1.0L + (long double)t));
}

static void log_excess_is_accurate(void **state)
{
    (void)state;
    worst w = {0}, both = {0};
    int n = t_thin(GRID);
    for (int i = 0; i < n; i++) {
        float u = i % 2 == 0 ? even(0.0, 0.58, i, n) : geometric(1e-18, 0.58, i, n);
        if (u > 0.0f) {
            note(&w, relative(gmv_log_excessf(u), excess((double)u, (double)u / (1.0 - (double)u))), (double)u);
        }
        double t = i % 2 == 0 ? (double)geometric(1e-18, 1e37, i, n) : (double)even(0.5, 2.0, i, n);
        float share = (float)(t / (1.0 + t)), rest = (float)(1.0 / (1.0 + t));
        note(&both, relative(gmv_log_excess_bothf(share, rest), excess(t / (1.0 + t), t)), t);
        /* and one unit of the last place wrong */
        share = nextafterf(share, i % 4 < 2 ? 0.0f : 1.0f);
        rest = nextafterf(rest, i % 8 < 4 ? 0.0f : 2.0f);
        note(&both, relative(gmv_log_excess_bothf(share, rest), excess(t / (1.0 + t), t)), t);
    }
    within("gmv_log_excessf, relative", w, T_LOG_EXCESS);
    within("gmv_log_excess_bothf, relative", both, T_LOG_EXCESS_BOTH);
    assert_true(gmv_log_excessf(0.0f) == 0.0f);
    assert_true(gmv_log_excess_bothf(0.0f, 1.0f) == 0.0f);
    assert_true(isnan(gmv_log_excess_bothf(NAN, NAN)));
}

static void sincos_is_accurate(void **state)
{
    (void)state;
    static const double turn = 6.283185307179586476925286766559;
    worst w = {0};
    int n = t_thin(GRID);
    for (int i = 0; i < n; i++) {
        float u = i % 2 == 0 ? even(0.0, 1.0 - 6e-8, i, n) : gmv_uniform((uint32_t)t_mix((uint64_t)i));
        float sine, cosine;
        gmv_sincos_turn(u, &sine, &cosine);
        note(&w, fabs((double)sine - sin(turn * (double)u)), (double)u);
        note(&w, fabs((double)cosine - cos(turn * (double)u)), (double)u);
    }
    within("gmv_sincos_turn, absolute", w, T_SINCOS);
    static const float quarter[][3] = {
        {0.0f, 0.0f, 1.0f}, {0.25f, 1.0f, 0.0f}, {0.5f, 0.0f, -1.0f}, {0.75f, -1.0f, 0.0f}};
    for (int i = 0; i < 4; i++) {
        float sine, cosine;
        gmv_sincos_turn(quarter[i][0], &sine, &cosine);
        assert_true(sine == quarter[i][1] && cosine == quarter[i][2]);
    }
}

/* psi(a + n) - psi(a): the sum, or for large n the asymptotic series in long double. */
static long double psi_rise(long double a, long double n)
{
    long double sum = 0.0L;
    if (n <= 1e5L) {
        for (long j = (long)n - 1; j >= 0; j--) {
            sum += 1.0L / (a + (long double)j);
        }
        return sum;
    }
    long double low = a, high = a + n;
    for (int i = 0; i < 40; i++) {
        sum += n / (low * high);
        low += 1.0L;
        high += 1.0L;
    }
    long double lr = 1.0L / (low * low), hr = 1.0L / (high * high);
    long double tail_low = -0.5L / low - lr * (1.0L / 12.0L - lr * (1.0L / 120.0L - lr / 252.0L));
    long double tail_high = -0.5L / high - hr * (1.0L / 12.0L - hr * (1.0L / 120.0L - hr / 252.0L));
    return sum + log1pl(n / low) + tail_high - tail_low;
}

/* log of prod_{j<n} (a + j) / (j + 1), sixteen factors to a logarithm: they neither cancel nor overflow. */
static long double log_rise(long double a, long n)
{
    long double sum = 0.0L;
    for (long j = 0; j < n;) {
        long double product = 1.0L;
        for (long end = j + 16 < n ? j + 16 : n; j < end; j++) {
            product *= (a + (long double)j) / (long double)(j + 1);
        }
        sum += logl(product);
    }
    return sum;
}

static void log_rising_is_accurate(void **state)
{
    (void)state;
    static const double counts[] = {17, 23, 31, 100, 255, 1000, 5003, 120000, 16777215};
    worst value = {0}, slope = {0};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        int n = counts[c] > 1e6 ? 5 : t_thin(400) + 1;
        for (int i = 0; i < n; i++) {
            double a = (double)geometric(1e-13, 1e13, i, n), v, d;
            gmv_log_rising_large(a, counts[c], &v, &d);
            long double want = log_rise((long double)a, (long)counts[c]);
            long double d_want = psi_rise((long double)a, (long double)counts[c]);
            double scale = 1.0 + fabs((double)want);
            note(&value, fabs((double)((long double)v - want)) / scale, a);
            note(&slope, fabs((double)((long double)d / d_want - 1.0L)), a);
        }
    }
    within("gmv_log_rising_large, error / (1 + |value|)", value, T_LOG_RISING);
    within("gmv_log_rising_large, slope, relative", slope, T_LOG_RISING);
}

static void erf_and_gelu_are_accurate(void **state)
{
    (void)state;
    worst w = {0}, small = {0}, slope_error = {0}, gelu = {0};
    int n = t_thin(GRID);
    for (int i = 0; i < n; i++) {
        float x = even(-8.0, 8.0, i, n);
        note(&w, fabs((double)gmv_erff(x) - erf((double)x)), (double)x);
        float slope, y = gmv_geluf(x, &slope);
        double cdf = 0.5 * erfc(-(double)x * 0.70710678118654752440);
        double density = exp(-0.5 * (double)x * (double)x) * 0.39894228040143267794;
        note(&gelu, fabs((double)y - (double)x * cdf) / fmax(1.0, fabs((double)x)), (double)x);
        note(&slope_error, fabs((double)slope - cdf - (double)x * density), (double)x);
        x = geometric(1e-30, 0.999, i, n);
        note(&small, relative(gmv_erff(x), erf((double)x)), (double)x);
    }
    within("gmv_erff, absolute", w, T_ERF);
    within("gmv_erff below 1, relative", small, T_ERF_SMALL);
    within("gmv_geluf, absolute over max(1, |x|)", gelu, T_ERF);
    within("gmv_geluf, slope, absolute", slope_error, T_POINTWISE);
    float slope;
    assert_true(gmv_geluf(0.0f, &slope) == 0.0f && slope == 0.5f);
    assert_true(gmv_geluf(1e10f, &slope) == 1e10f && slope == 1.0f);
    assert_true(gmv_geluf(-1e10f, &slope) == 0.0f && slope == 0.0f);
    assert_true(isnan(gmv_geluf(NAN, &slope)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T_TEST(exp_is_accurate),        T_TEST(exp_at_its_edges),       T_TEST(exp_never_decreases),
        T_TEST(log_is_accurate),        T_TEST(log_at_its_edges),       T_TEST(log1p_is_accurate),
        T_TEST(reciprocal_is_accurate), T_TEST(logistic_is_accurate),   T_TEST(log_excess_is_accurate),
        T_TEST(sincos_is_accurate),     T_TEST(log_rising_is_accurate), T_TEST(erf_and_gelu_are_accurate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
