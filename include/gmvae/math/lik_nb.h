/* Negative binomial NB(y; mean mu, dispersion theta), docs/math.md, section 3.
 *
 *   log p(y) = lgamma(y+theta) - lgamma(theta) - lgamma(y+1) + theta log(theta/(theta+mu)) + y log(mu/(theta+mu))
 *
 * A zero needs no gamma function. A positive count adds, in difference form (nothing large cancels),
 *   sum_{j<y} log( (theta+j) mu / ((theta+mu) (j+1)) )
 * term by term up to GMV_NB_SUM_MAX, by Stirling differences in double above.
 */
#pragma once

#include "gmvae/draw.h"
#include "gmvae/hd.h"
#include "gmvae/math/special.h"

/* Counts up to here are summed term by term: 98 % of the non-zeros of single-cell data. */
enum { GMV_NB_SUM_MAX = 16 };

/* Whether share and a product with it are well within the normal floats. Where not, share is so small that logit, the
 * logarithm of share / (1 - share), is its logarithm. */
GMV_HD bool gmv_nb_normal(float share, float product)
{
    return share > 1e-30f && product > 1e-30f;
}

/* Factors j and j + 1 of the sum above, as far as j < y, by one logarithm; their slope in r is added to *slope. Without
 * branches, so that loops over many counts vectorise. */
GMV_HD float gmv_nb_pair(float y, float j, float r, float share, float logit, float *slope)
{
    float first = r + j, second = first + 1.0f;
    bool both = j + 1.0f < y;
    *slope += gmv_reciprocalf(first) + (both ? gmv_reciprocalf(second) : 0.0f);
    float rising = both ? first * second * (1.0f / ((j + 1.0f) * (j + 2.0f))) : first * (1.0f / (j + 1.0f));
    float factor = rising * share * (both ? share : 1.0f);
    bool normal = gmv_nb_normal(share, factor);
    return gmv_logf(normal ? factor : rising) + (normal ? 0.0f : (both ? logit + logit : logit));
}

/* log p(y) - log p(0) of NB(r, odds) with share = mu / (r + mu) = sigmoid(logit), for y >= 1.
 * @param[out] d_r         sum_{j<y} 1 / (r + j), the derivative of the gamma part in r */
GMV_HD float gmv_nb_count_part(float y, float r, float share, float logit, float *d_r)
{
    if (y <= (float)GMV_NB_SUM_MAX) {
        float value = 0.0f;
        *d_r = 0.0f;
        for (float j = 0.0f; j < y; j += 2.0f) {
            value += gmv_nb_pair(y, j, r, share, logit, d_r);
        }
        return value;
    }
    double value, slope;
    gmv_log_rising_large((double)r, (double)y, &value, &slope);
    *d_r = (float)slope;
    return (float)(value - (double)y * (double)gmv_logisticf(-logit).softplus);
}

/* The same for y = 1. */
GMV_HD float gmv_nb_one_part(float r, float share, float logit, float *d_r)
{
    float factor = r * share;
    bool normal = gmv_nb_normal(share, factor);
    *d_r = gmv_reciprocalf(r);
    return gmv_logf(normal ? factor : r) + (normal ? 0.0f : logit);
}

/* The same for 1 <= y <= most, most 1 or 4: neither loops nor branches. */
GMV_HD float gmv_nb_few_part(float y, int most, float r, float share, float logit, float *d_r)
{
    if (most == 1) {
        return gmv_nb_one_part(r, share, logit, d_r);
    }
    float slope = 0.0f, more = 0.0f;
    float value = gmv_nb_pair(y, 0.0f, r, share, logit, &slope);
    float beyond = gmv_nb_pair(y, 2.0f, r, share, logit, &more);
    *d_r = slope + (y > 2.0f ? more : 0.0f);
    return value + (y > 2.0f ? beyond : 0.0f);
}

/* Raw dispersion is kept within +-30 (theta 1e-13 .. 1e13); the gradient is 0 beyond. */
GMV_HD float gmv_nb_kept(float raw)
{
    return raw < -30.0f ? -30.0f : (raw > 30.0f ? 30.0f : raw);
}

/* What zeros and counts both need. Means are kept below e^50: with theta <= e^30, log(1 + mu/theta) is log mu - raw
 * there and the share 1, to float; `beyond` is what the logarithm has more. */
typedef struct gmv_nb_means {
    float kept, theta, share, rest; /* mu / (theta + mu), theta / (theta + mu) */
    float beyond;                   /* max(0, log mu - 50) */
} gmv_nb_means;

GMV_HD gmv_nb_means gmv_nb_means_of(const float *p)
{
    gmv_nb_means m;
    float capped = p[0] > 50.0f ? 50.0f : p[0];
    m.kept = gmv_nb_kept(p[1]);
    m.theta = gmv_expf(m.kept);
    m.beyond = p[0] - capped;
    float mu = gmv_expf(capped), inverse = gmv_reciprocalf(m.theta + mu);
    m.share = mu * inverse;
    m.rest = m.theta * inverse;
    return m;
}

/* Logarithm of the mean. */
GMV_HD float gmv_lik_nb_log_mean(const float *p)
{
    return p[0];
}

/* A draw of y: Gamma(theta) with mean mu, then Poisson. */
GMV_HD float gmv_lik_nb_draw(const float *p, gmv_uniforms *u)
{
    double kept = (double)gmv_nb_kept(p[1]);
    return (float)gmv_draw_negative_binomial(exp(kept), (double)p[0] - kept, u);
}

/* Predictors: p[0] = log mu, p[1] = raw theta, theta = exp(raw). g: gradient of log p in p. */
GMV_HD float gmv_lik_nb_zero(const float *p, float *g)
{
    gmv_nb_means m = gmv_nb_means_of(p);
    float excess = gmv_log_excess_bothf(m.share, m.rest) + m.beyond;
    g[0] = -m.theta * m.share;
    g[1] = m.kept == p[1] ? -m.theta * excess : 0.0f;
    return -m.theta * (m.share + excess);
}

/* Term j of the gradient in raw theta, theta (mu - j) / ((theta + j)(theta + mu)). */
GMV_HD float gmv_nb_lowered(float j, gmv_nb_means m)
{
    return (m.theta * m.share - j * m.rest) * gmv_reciprocalf(m.theta + j);
}

/* log p(y) - log p(0) for y >= 1; adds its gradient to g. */
GMV_HD float gmv_lik_nb_count(float y, const float *p, float *g)
{
    gmv_nb_means m = gmv_nb_means_of(p);
    float d_theta, value, lowered = 0.0f;
    if (y <= (float)GMV_NB_SUM_MAX) {
        value = gmv_nb_count_part(y, m.theta, m.share, p[0] - m.kept, &d_theta);
        for (float j = 0.0f; j < y; j += 1.0f) {
            lowered += gmv_nb_lowered(j, m);
        }
    } else {
        /* y times the rounding of a float logit would be felt */
        double log_mu = (double)p[0], kept = (double)m.kept;
        double rising, slope, odds = exp(kept - log_mu), wide_theta = exp(kept);
        gmv_log_rising_large(wide_theta, (double)y, &rising, &slope);
        double log_share = odds < 1e300 ? -log1p(odds) : log_mu - kept;
        value = (float)(rising + (double)y * log_share);
        lowered = (float)(wide_theta * slope - (double)y * (odds < 1e300 ? odds / (1.0 + odds) : 1.0));
    }
    g[0] += y * m.rest;
    g[1] += m.kept == p[1] ? lowered : 0.0f;
    return value;
}

/* The same for 1 <= y <= most, most 1 or 4, without branches. */
GMV_HD float gmv_lik_nb_few(float y, int most, const float *p, float *g)
{
    gmv_nb_means m = gmv_nb_means_of(p);
    float d_theta, lowered = m.share;
    float value = gmv_nb_few_part(y, most, m.theta, m.share, p[0] - m.kept, &d_theta);
    if (most > 1) {
        lowered += y > 1.0f ? gmv_nb_lowered(1.0f, m) : 0.0f;
        lowered += y > 2.0f ? gmv_nb_lowered(2.0f, m) : 0.0f;
        lowered += y > 3.0f ? gmv_nb_lowered(3.0f, m) : 0.0f;
    }
    g[0] += y * m.rest;
    g[1] += m.kept == p[1] ? lowered : 0.0f;
    return value;
}
