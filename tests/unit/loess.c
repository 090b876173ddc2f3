/* Loess against printed values of netlib's dloess, and where it has no printed answer: few points, equal points. */
#include "harness.h"

#include "../../src/data/genes/loess.h"

enum { POINTS = 80, EVERY = 8 };

/* Ten of them equal at the start; the steps grow. */
static void make_points(double *x, double *y)
{
    for (int i = 0; i < POINTS; i++) {
        x[i] = floor(i * i / 40.0) / 8.0;
        y[i] = i * 7919 % 101 / 50.0 - 0.02 * x[i] * x[i];
    }
}

/* scikit-misc 0.5.3: loess(x, y, span=span, degree=2).outputs.fitted_values[::8] */
static const struct {
    double span, fit[POINTS / EVERY];
} printed[] = {
    {0.3,
     {0.7723465335648271, 0.855400238356677, 1.029206993919708, 1.0399361275011039, 0.9690879798747365,
      0.3558332858523095, -0.04331455939273751, -0.828730543605809, -2.1412420670435894, -4.337246556090056}},
    {0.75,
     {0.8892732880591498, 0.9014787141892122, 0.9425719268827581, 0.9480016093486028, 0.8415769688665887,
      0.49554808639783265, -0.058578147332120814, -0.8526411924642625, -2.2028775004666277, -4.268688048644962}},
};

static void as_dloess(void **state)
{
    (void)state;
    double x[POINTS], y[POINTS], fit[POINTS];
    make_points(x, y);
    for (size_t p = 0; p < sizeof printed / sizeof printed[0]; p++) {
        t_ok(gmv_loess(x, y, POINTS, printed[p].span, fit), "gmv_loess");
        for (int i = 0; i < POINTS; i += EVERY) {
            t_near("fitted value", fit[i], printed[p].fit[i / EVERY], T_TABLE, 1.0);
        }
    }
}

/* A quadratic is its own fit, whatever the weights. */
static void a_quadratic_stays(void **state)
{
    (void)state;
    double x[POINTS], y[POINTS], fit[POINTS];
    make_points(x, y);
    for (int n = 1; n <= POINTS; n += n < 12 ? 1 : 17) {
        for (int i = 0; i < n; i++) {
            y[i] = 3.0 - 2.0 * x[i] + 0.25 * x[i] * x[i];
        }
        t_ok(gmv_loess(x, y, n, 1.0, fit), "gmv_loess");
        for (int i = 0; n == POINTS && i < n; i++) {
            t_near("quadratic", fit[i], y[i], T_TABLE, 1.0 + fabs(y[i]));
        }
        for (int i = 0; i < n; i++) {
            assert_true(isfinite(fit[i]));
        }
    }
}

static void equal_points_give_their_mean(void **state)
{
    (void)state;
    double x[POINTS], y[POINTS], fit[POINTS];
    for (int n = 1; n < POINTS; n += 13) {
        double mean = 0.0;
        for (int i = 0; i < n; i++) {
            x[i] = 4.0;
            y[i] = i;
            mean += y[i] / n;
        }
        t_ok(gmv_loess(x, y, n, 0.3, fit), "gmv_loess");
        for (int i = 0; i < n; i++) {
            t_near("mean", fit[i], mean, T_TABLE, 1.0 + mean);
        }
    }
    t_ok(gmv_loess(x, y, 0, 0.3, fit), "gmv_loess");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T_TEST(as_dloess),
        T_TEST(a_quadratic_stays),
        T_TEST(equal_points_give_their_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
