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

/* log of one factor (r + j) share / (j + 1); in two parts where the product would leave the normal floats. */
GMV_HD float gmv_nb_log_factor(float rising, float j, float share, float log_share)
{
    float factor = rising * share / (j + 1.0f);
    return factor > 1e-30f ? gmv_logf(factor) : gmv_logf(rising / (j + 1.0f)) + log_share;
}

/* log p(y) - log p(0) of NB(r, odds) with share = mu / (r + mu) = sigmoid(logit), for y >= 1.
 * @param[in]  log_share   log(share)
 * @param[out] d_r         sum_{j<y} 1 / (r + j), the derivative of the gamma part in r */
GMV_HD float gmv_nb_count_part(float y, float r, float share, float log_share, float *d_r)
{
    if (y <= (float)GMV_NB_SUM_MAX) {
        float value = 0.0f, slope = 0.0f;
        for (int j = 0; j < (int)y; j++) {
            float rising = r + (float)j;
            value += gmv_nb_log_factor(rising, (float)j, share, log_share);
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

/* Term j of the sum above when j < y, else 0; its slope in r is added to *slope. */
GMV_HD float gmv_nb_term(float y, float j, float r, float share, float log_share, float *slope)
{
    float on = j < y ? 1.0f : 0.0f;
    *slope += on / (r + j);
    return on * gmv_nb_log_factor(r + j, j, share, log_share);
}

/* The same for 1 <= y <= most, most 1 or 4: neither loops nor branches, so that loops over many counts vectorise. */
GMV_HD float gmv_nb_few_part(float y, int most, float r, float share, float log_share, float *d_r)
{
    *d_r = 0.0f;
    float value = gmv_nb_term(y, 0.0f, r, share, log_share, d_r);
    if (most > 1) {
        value += gmv_nb_term(y, 1.0f, r, share, log_share, d_r);
        value += gmv_nb_term(y, 2.0f, r, share, log_share, d_r);
        value += gmv_nb_term(y, 3.0f, r, share, log_share, d_r);
    }
    return value;
}

/* Raw dispersion is kept within +-30 (theta 1e-13 .. 1e13); the gradient is 0 beyond. */
GMV_HD float gmv_nb_kept(float raw)
{
    return raw < -30.0f ? -30.0f : (raw > 30.0f ? 30.0f : raw);
}

/* Predictors: p[0] = log mu, p[1] = raw theta, theta = exp(raw). g: gradient of log p in p. */
GMV_HD float gmv_lik_nb_zero(const float *p, float *g)
{
    float log_mu = p[0], raw = p[1], kept = gmv_nb_kept(raw);
    float mu = gmv_expf(log_mu), theta = gmv_expf(kept);
    float t = mu / theta;
    g[0] = t < 1e30f ? -mu / (1.0f + t) : -theta;
    g[1] = kept == raw ? -theta * gmv_log1p_excessf(t) : 0.0f;
    return -theta * gmv_log1pf(t);
}

/* Term j of the gradient in raw theta, theta (mu - j) / ((theta + j)(theta + mu)), with no part that overflows. */
GMV_HD float gmv_nb_lowered(float j, float theta, float share, float inverse_sum)
{
    return (share - j * inverse_sum) / (1.0f + j / theta);
}

/* log p(y) - log p(0) for y >= 1; adds its gradient to g. */
GMV_HD float gmv_lik_nb_count(float y, const float *p, float *g)
{
    float log_mu = p[0], raw = p[1], kept = gmv_nb_kept(raw);
    float mu = gmv_expf(log_mu), theta = gmv_expf(kept), logit = log_mu - kept;
    float d_theta, value, lowered = 0.0f;
    if (y <= (float)GMV_NB_SUM_MAX) {
        float share = gmv_sigmoidf(logit);
        value = gmv_nb_count_part(y, theta, share, -gmv_softplusf(-logit), &d_theta);
        for (int j = 0; j < (int)y; j++) {
            lowered += gmv_nb_lowered((float)j, theta, share, 1.0f / (theta + mu));
        }
    } else {
        /* y times the rounding of a float logit would be felt */
        double rising, slope, odds = exp((double)kept - (double)log_mu), wide_theta = exp((double)kept);
        gmv_log_rising_large(wide_theta, (double)y, &rising, &slope);
        double log_share = odds < 1e300 ? -log1p(odds) : (double)log_mu - (double)kept;
        value = (float)(rising + (double)y * log_share);
        lowered = (float)(wide_theta * slope - (double)y * (odds < 1e300 ? odds / (1.0 + odds) : 1.0));
    }
    g[0] += y * gmv_sigmoidf(-logit);
    g[1] += kept == raw ? lowered : 0.0f;
    return value;
}

/* The same for 1 <= y <= most, most 1 or 4, without branches. */
GMV_HD float gmv_lik_nb_few(float y, int most, const float *p, float *g)
{
    float log_mu = p[0], raw = p[1], kept = gmv_nb_kept(raw);
    float mu = gmv_expf(log_mu), theta = gmv_expf(kept), logit = log_mu - kept;
    float share = gmv_sigmoidf(logit), inverse_sum = 1.0f / (theta + mu), d_theta;
    float value = gmv_nb_few_part(y, most, theta, share, -gmv_softplusf(-logit), &d_theta);
    float lowered = share;
    if (most > 1) {
        lowered += y > 1.0f ? gmv_nb_lowered(1.0f, theta, share, inverse_sum) : 0.0f;
        lowered += y > 2.0f ? gmv_nb_lowered(2.0f, theta, share, inverse_sum) : 0.0f;
        lowered += y > 3.0f ? gmv_nb_lowered(3.0f, theta, share, inverse_sum) : 0.0f;
    }
    g[0] += y * gmv_sigmoidf(-logit);
    g[1] += kept == raw ? lowered : 0.0f;
    return value;
}
