/* Negative binomial NB(y; mean mu, dispersion theta), docs/math.md; models-and-peers 1.11.
 *
 *   log p(y) = lgamma(y+theta) - lgamma(theta) - lgamma(y+1) + theta log(theta/(theta+mu)) + y log(mu/(theta+mu))
 *
 * A zero needs no gamma function. A positive count adds, in difference form (nothing large cancels),
 *   sum_{j<y} log( (theta+j) mu / ((theta+mu) (j+1)) )
 * term by term up to GMV_NB_SUM_MAX, by Stirling differences in double above.
 */
#pragma once

#include "gmvae/hd.h"
#include "gmvae/math/special.h"

/* Counts up to here are summed term by term: 98 % of the non-zeros of single-cell data. */
enum { GMV_NB_SUM_MAX = 16 };

/* log p(y) - log p(0) of NB(r, odds) with share = mu / (theta + mu) = sigmoid(logit), for y >= 1.
 * @param[in]  log_share   log(share)
 * @param[out] d_r         sum_{j<y} 1 / (r + j), the derivative of the gamma part in r */
GMV_HD float gmv_nb_count_part(float y, float r, float share, float log_share, float *d_r)
{
    if (y <= (float)GMV_NB_SUM_MAX) {
        float value = 0.0f, slope = 0.0f;
        for (int j = 0; j < (int)y; j++) {
            float rising = r + (float)j;
            float factor = rising * share / ((float)j + 1.0f);
            /* a share below the smallest normal float would make the product 0 */
            value += factor > 1e-30f ? gmv_logf(factor) : gmv_logf(rising / ((float)j + 1.0f)) + log_share;
            slope += 1.0f / rising;
        }
        *d_r = slope;
        return value;
    }
    double value, slope;
    gmv_log_rising_large((double)r, (double)y, &value, &slope);
    *d_r = (float)slope;
    return (float)(value + (double)y * (double)log_share);
}

/* Raw dispersion is kept within +-30 (theta 1e-13 .. 1e13); the gradient is 0 beyond. */
GMV_HD float gmv_nb_theta(float raw)
{
    return gmv_expf(raw < -30.0f ? -30.0f : (raw > 30.0f ? 30.0f : raw));
}

/* Predictors: p[0] = log mu, p[1] = raw theta, theta = exp(raw). g: gradient of log p in p. */
GMV_HD float gmv_lik_nb_zero(const float *p, float *g)
{
    float mu = gmv_expf(p[0]), theta = gmv_nb_theta(p[1]);
    float t = mu / theta;
    bool inside = p[1] > -30.0f && p[1] < 30.0f;
    float log_ratio = gmv_log1pf(t);
    g[0] = -mu / (1.0f + t);
    g[1] = inside ? -theta * gmv_log1p_excessf(t) : 0.0f;
    return -theta * log_ratio;
}

/* log p(y) - log p(0) for y >= 1; adds its gradient to g. */
GMV_HD float gmv_lik_nb_count(float y, const float *p, float *g)
{
    float mu = gmv_expf(p[0]), theta = gmv_nb_theta(p[1]);
    float s = p[0] - (p[1] < -30.0f ? -30.0f : (p[1] > 30.0f ? 30.0f : p[1]));
    float share = gmv_sigmoidf(s), log_share = -gmv_softplusf(-s);
    float d_theta;
    float value = gmv_nb_count_part(y, theta, share, log_share, &d_theta);
    bool inside = p[1] > -30.0f && p[1] < 30.0f;
    g[0] += y / (1.0f + mu / theta);
    if (inside && y <= (float)GMV_NB_SUM_MAX) {
        /* sum_j theta/(theta+j) - y theta/(theta+mu), without its cancellation */
        float sum = 0.0f;
        for (int j = 0; j < (int)y; j++) {
            sum += (mu - (float)j) / (theta + (float)j);
        }
        g[1] += sum * (1.0f - share);
    } else if (inside) {
        g[1] += theta * d_theta - y * (1.0f - share);
    }
    return value;
}
