/* Diagonal Gaussian posterior. Networks give raw variances; variance = exp(raw) + 1e-4 (as scVI). */
#pragma once

#include "gmvae/hd.h"
#include "gmvae/math/special.h"

/* Raw values are capped at 30 (variance 1e13) so that no finite network output gives an infinite loss; the
 * slope is 0 beyond. */
GMV_HD float gmv_variance(float raw)
{
    return gmv_expf(raw < 30.0f ? raw : 30.0f) + 1e-4f;
}

/* d variance / d raw. */
GMV_HD float gmv_variance_slope(float raw)
{
    return raw < 30.0f ? gmv_expf(raw) : 0.0f;
}

/* KL( N(mean, variance) || N(0, 1) ) of one dimension. Gradient: mean; (1 - 1/variance) / 2 in the variance. */
GMV_HD float gmv_gaussian_kl(float mean, float raw)
{
    float v = gmv_variance(raw);
    return 0.5f * (v + mean * mean - 1.0f - gmv_logf(v));
}
