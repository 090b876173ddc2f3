/* Draws of counts from uniform numbers, in double. */
#pragma once

#include "gmvae/rng.h"

#include <math.h>

/* Uniform numbers in (0, 1), one after the other, of 32 bits each: those of a cell and draw of a stream. */
typedef struct gmv_uniforms {
    uint64_t seed;
    uint32_t stream, epoch;
    int64_t cell;
    uint32_t draw, first; /* first: blocks that are left to others before these */
    uint32_t used;
    gmv_philox block;
} gmv_uniforms;

GMV_HD double gmv_uniforms_next(gmv_uniforms *u)
{
    if (u->used % 4 == 0) {
        u->block = gmv_random_block(u->seed, u->stream, u->epoch, u->cell, u->draw, u->first + u->used / 4);
    }
    return ((double)u->block.word[u->used++ % 4] + 0.5) * 0x1p-32;
}

GMV_HD double gmv_log_factorial(double n)
{
    /* clang-format off */
    const double first[] = {0.0, 0.0, 0.6931471805599453, 1.791759469228055, 3.178053830347946,
                            4.787491742782046, 6.579251212010101, 8.525161361065415};
    /* clang-format on */
    if (n < 8.0) {
        return first[(int)n];
    }
    double x = n + 1.0, y = 1.0 / (x * x); /* Stirling, error below 1e-12 */
    return (x - 0.5) * log(x) - x + 0.9189385332046727 + (1.0 / 12 - y * (1.0 / 360 - y * (1.0 / 1260 - y / 1680))) / x;
}

/* Poisson: products of uniforms for small means, else transformed rejection (PTRS, Hoermann 1993). */
GMV_HD double gmv_draw_poisson(double mean, gmv_uniforms *u)
{
    if (mean < 10.0) {
        double limit = exp(-mean), product = gmv_uniforms_next(u), n = 0.0;
        for (; product > limit; n += 1.0) {
            product *= gmv_uniforms_next(u);
        }
        return n;
    }
    double root = sqrt(mean), b = 0.931 + 2.53 * root, a = -0.059 + 0.02483 * b;
    double inverse_alpha = 1.1239 + 1.1328 / (b - 3.4), v_r = 0.9277 - 3.6224 / (b - 2.0), log_mean = log(mean);
    for (;;) {
        double v = gmv_uniforms_next(u), w = gmv_uniforms_next(u) - 0.5, near = 0.5 - fabs(w);
        double k = floor((2.0 * a / near + b) * w + mean + 0.43);
        if (near >= 0.07 && w != 0.0 && k >= 0.0 && v <= v_r) {
            return k;
        }
        if (k < 0.0 || (near < 0.013 && v > near)) {
            continue;
        }
        if (log(v * inverse_alpha / (a / (near * near) + b)) <= k * log_mean - mean - gmv_log_factorial(k)) {
            return k;
        }
    }
}

/* Logarithm of a Gamma(shape, 1) number: Marsaglia and Tsang 2000; of a shape below 1 with a power of a uniform, in
 * logarithms, as it may be too small for a double. */
GMV_HD double gmv_draw_log_gamma(double shape, gmv_uniforms *u)
{
    double boost = shape < 1.0 ? log(gmv_uniforms_next(u)) / shape : 0.0;
    double d = (shape < 1.0 ? shape + 1.0 : shape) - 1.0 / 3.0, c = 1.0 / sqrt(9.0 * d);
    for (;;) {
        double radius = sqrt(-2.0 * log(gmv_uniforms_next(u)));
        double x = radius * cos(6.283185307179586 * gmv_uniforms_next(u)), v = 1.0 + c * x;
        v = v * v * v;
        if (v > 0.0 && log(gmv_uniforms_next(u)) < 0.5 * x * x + d - d * v + d * log(v)) {
            return log(d * v) + boost;
        }
    }
}

/* Negative binomial: Poisson with a mean of exp(log_scale) * Gamma(shape, 1). Counts end at 2^24 - 1, as those of files do. */
GMV_HD double gmv_draw_negative_binomial(double shape, double log_scale, gmv_uniforms *u)
{
    const double most = 16777215.0;
    double log_mean = gmv_draw_log_gamma(shape, u) + log_scale;
    double count = log_mean < 17.0 ? gmv_draw_poisson(exp(log_mean), u) : most;
    return count < most ? count : most;
}
