/* Whether the batches of a cell's neighbours are as frequent as those of all cells: Pearson's chi-square test. */
#include "gmvae/mem.h"
#include "gmvae/metrics.h"

#include <math.h>
#include <string.h>

enum { most_terms = 10000 };
static const double small = 1e-15, tiny = 1e-300;

/* The regularised incomplete gamma functions: P(a, x) by its series, Q(a, x) by Lentz's continued fraction. */
static double lower_by_series(double a, double x)
{
    double term = 1.0 / a, sum = term;
    for (int n = 1; n < most_terms && term > small * sum; n++) {
        term *= x / (a + n);
        sum += term;
    }
    return sum * exp(a * log(x) - x - lgamma(a));
}

static double upper_by_fraction(double a, double x)
{
    double b = x + 1.0 - a, c = 1.0 / tiny, d = 1.0 / b, value = d;
    for (int n = 1; n < most_terms; n++) {
        double factor = -n * (n - a);
        b += 2.0;
        d = factor * d + b;
        c = b + factor / c;
        d = 1.0 / (fabs(d) < tiny ? tiny : d);
        c = fabs(c) < tiny ? tiny : c;
        value *= d * c;
        if (fabs(d * c - 1.0) < small) {
            break;
        }
    }
    return value * exp(a * log(x) - x - lgamma(a));
}

double gmv_chi_square_tail(double statistic, int freedom)
{
    double a = 0.5 * freedom, x = 0.5 * statistic;
    if (x <= 0.0) {
        return 1.0;
    }
    return x < a + 1.0 ? 1.0 - lower_by_series(a, x) : upper_by_fraction(a, x);
}

gmv_status gmv_kbet(const gmv_neighbours *neighbours, int k, const int32_t *level, int levels, double *accepted)
{
    static const double significance = 0.05;
    double *expected = NULL;
    int32_t *count = NULL;
    int64_t n = neighbours->n, passed = 0;
    gmv_status status;
    GMV_GO(GMV_NEW(expected, levels, "expected batches"));
    GMV_GO(GMV_NEW(count, levels, "batches of neighbours"));
    for (int64_t i = 0; i < n; i++) {
        expected[level[i]] += (double)k / (double)n;
    }
    for (int64_t i = 0; i < n; i++) {
        double statistic = 0.0;
        memset(count, 0, (size_t)levels * sizeof *count);
        count[level[i]]++;
        for (int j = 0; j < k - 1; j++) {
            count[level[neighbours->index[i * neighbours->k + j]]]++;
        }
        for (int l = 0; l < levels; l++) {
            statistic += (count[l] - expected[l]) * (count[l] - expected[l]) / expected[l];
        }
        passed += gmv_chi_square_tail(statistic, levels - 1) >= significance ? 1 : 0;
    }
    *accepted = (double)passed / (double)n;
done:
    GMV_FREE(expected);
    GMV_FREE(count);
    return status;
}
