/* Activation functions with their derivatives. */
#pragma once

#include "gmvae/hd.h"
#include "gmvae/math/special.h"

/* erf(x), absolute error <= 2e-7; relative error <= 4e-7 for |x| < 1.
 * Method: an odd series on |x| < 1 (Taylor to x^19), beyond it 1 - t P(t) exp(-x^2) with t = 1 / (1 + x/2)
 * (Numerical Recipes' Chebyshev fit of erfc, relative error 1.2e-7); branch-free. */
GMV_HD float gmv_erff(float x)
{
#if defined(__CUDA_ARCH__)
    return erff(x);
#else
    float a = x < 0.0f ? -x : x;
    float z = a * a;
    float s = 1.0f / 6894720.0f;
    s = 1.0f / 685440.0f - z * s;
    s = 1.0f / 75600.0f - z * s;
    s = 1.0f / 9360.0f - z * s;
    s = 1.0f / 1320.0f - z * s;
    s = 1.0f / 216.0f - z * s;
    s = 1.0f / 42.0f - z * s;
    s = 1.0f / 10.0f - z * s;
    s = 1.0f / 3.0f - z * s;
    s = 1.0f - z * s;
    s = s * a * 1.12837917f;
    float t = 1.0f / (1.0f + 0.5f * a);
    float p = 0.17087277f;
    p = p * t - 0.82215223f;
    p = p * t + 1.48851587f;
    p = p * t - 1.13520398f;
    p = p * t + 0.27886807f;
    p = p * t - 0.18628806f;
    p = p * t + 0.09678418f;
    p = p * t + 0.37409196f;
    p = p * t + 1.00002368f;
    p = p * t - 1.26551223f;
    float far = 1.0f - t * gmv_expf(p - z);
    float y = a < 1.0f ? s : far;
    return x < 0.0f ? -y : y;
#endif
}

/* GELU(x) = x Phi(x), exact form; *slope = Phi(x) + x phi(x). */
GMV_HD float gmv_geluf(float x, float *slope)
{
    float cdf = 0.5f + 0.5f * gmv_erff(x * 0.70710678f);
    *slope = cdf + x * 0.39894228f * gmv_expf(-0.5f * x * x);
    return x * cdf;
}
