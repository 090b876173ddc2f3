/* Negative binomial of two heads: a count of successes of probability sigmoid(l) before r failures.
 *
 *   r = softplus(head) + 1e-3
 *   log p(y) = lgamma(y+r) - lgamma(r) - lgamma(y+1) + r log sigma(-l) + y log sigma(l)
 *
 * Predictors: p[0] = raw r, p[1] = l. Heads: decoder.r, decoder.logit.
 */
#pragma once

#include "gmvae/hd.h"
#include "gmvae/math/lik_nb.h"

/* Logarithm of the mean, r exp(l). */
GMV_HD float gmv_lik_nb_logit_log_mean(const float *p)
{
    return gmv_logf(gmv_logisticf(p[0]).softplus + 1e-3f) + p[1];
}

/* A draw of y: Gamma(r) times exp(l), then Poisson. */
GMV_HD float gmv_lik_nb_logit_draw(const float *p, gmv_uniforms *u)
{
    return (float)gmv_draw_negative_binomial((double)(gmv_logisticf(p[0]).softplus + 1e-3f), (double)p[1], u);
}

GMV_HD float gmv_lik_nb_logit_zero(const float *p, float *g)
{
    gmv_logistic link = gmv_logisticf(p[0]), odds = gmv_logisticf(p[1]);
    float r = link.softplus + 1e-3f;
    g[0] = -odds.softplus * link.share; /* softplus(l) = -log sigma(-l) */
    g[1] = -r * odds.share;
    return -r * odds.softplus;
}

GMV_HD float gmv_lik_nb_logit_count(float y, const float *p, float *g)
{
    gmv_logistic link = gmv_logisticf(p[0]), odds = gmv_logisticf(p[1]);
    float d_r, value = gmv_nb_count_part(y, link.softplus + 1e-3f, odds.share, p[1], &d_r);
    g[0] += d_r * link.share;
    g[1] += y * odds.rest;
    return value;
}

GMV_HD float gmv_lik_nb_logit_few(float y, int most, const float *p, float *g)
{
    gmv_logistic link = gmv_logisticf(p[0]), odds = gmv_logisticf(p[1]);
    float d_r, value = gmv_nb_few_part(y, most, link.softplus + 1e-3f, odds.share, p[1], &d_r);
    g[0] += d_r * link.share;
    g[1] += y * odds.rest;
    return value;
}
