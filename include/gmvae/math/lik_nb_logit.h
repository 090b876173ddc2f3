/* Negative binomial of the seeds: a count of successes of probability sigmoid(l) before r failures.
 *
 *   r = softplus(head) + 1e-3
 *   log p(y) = lgamma(y+r) - lgamma(r) - lgamma(y+1) + r log sigma(-l) + y log sigma(l)
 *
 * Predictors: p[0] = raw r, p[1] = l. Heads: decoder.r, decoder.logit.
 */
#pragma once

#include "gmvae/hd.h"
#include "gmvae/math/lik_nb.h"

GMV_HD float gmv_lik_nb_logit_zero(const float *p, float *g)
{
    float r = gmv_softplusf(p[0]) + 1e-3f;
    float minus_log_fail = gmv_softplusf(p[1]); /* -log sigma(-l) */
    g[0] = -minus_log_fail * gmv_sigmoidf(p[0]);
    g[1] = -r * gmv_sigmoidf(p[1]);
    return -r * minus_log_fail;
}

GMV_HD float gmv_lik_nb_logit_count(float y, const float *p, float *g)
{
    float r = gmv_softplusf(p[0]) + 1e-3f;
    float d_r;
    float value = gmv_nb_count_part(y, r, gmv_sigmoidf(p[1]), -gmv_softplusf(-p[1]), &d_r);
    g[0] += d_r * gmv_sigmoidf(p[0]);
    g[1] += y * gmv_sigmoidf(-p[1]);
    return value;
}

GMV_HD float gmv_lik_nb_logit_few(float y, int most, const float *p, float *g)
{
    float r = gmv_softplusf(p[0]) + 1e-3f;
    float d_r;
    float value = gmv_nb_few_part(y, most, r, gmv_sigmoidf(p[1]), -gmv_softplusf(-p[1]), &d_r);
    g[0] += d_r * gmv_sigmoidf(p[0]);
    g[1] += y * gmv_sigmoidf(-p[1]);
    return value;
}
