/* Elementary and special functions in float, shared by CPU and CUDA.
 *
 * On the CPU exp, log and sincos are branch-free polynomials, so that the compiler vectorises the loops
 * that call them and every machine computes the same bits; on a GPU they are the device's own.
 * Errors quoted are measured by tests/unit/special.c against double precision.
 */
#pragma once

#include "gmvae/hd.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

GMV_HD float gmv_float_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

GMV_HD uint32_t gmv_bits_of_float(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* exp(x). Domain: all floats; below -87.3 it is 0, above 88.7 it is infinity. Error <= 1.1 ulp.
 * Method: x = n log 2 + r, |r| <= log(2)/2, a degree-6 polynomial for exp(r), exponent n added as bits. */
GMV_HD float gmv_expf(float x)
{
#if defined(__CUDA_ARCH__)
    return expf(x);
#else
    float clamped = x < -87.3f ? -87.3f : (x > 88.8f ? 88.8f : x);
    float shifted = clamped * 1.44269504f + 12582912.0f; /* rounds to nearest in the low mantissa bits */
    int32_t n = (int32_t)(gmv_bits_of_float(shifted) - 0x4B400000u);
    float whole = shifted - 12582912.0f;
    float r = clamped - whole * 0.693359375f;
    r = r + whole * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    /* two factors of 2^(n/2) reach 2^128 (infinity) and the smallest normal numbers without overflow between */
    int32_t first = n >> 1;
    float low = gmv_float_of_bits((uint32_t)(first + 127) << 23);
    float high = gmv_float_of_bits((uint32_t)(n - first + 127) << 23);
    float y = p * low * high;
    y = x < -87.3f ? 0.0f : y;
    return x != x ? x : y;
#endif
}

/* log(x). Domain: x > 0 normal; 0 gives -infinity, negative NaN. Error <= 1 ulp away from 1, absolute 4e-8 near 1.
 * Method: x = 2^e m, m in [sqrt(1/2), sqrt(2)), log m = s - s^2/2 + s^3 P(s) with s = m - 1 (Cephes' coefficients). */
GMV_HD float gmv_logf(float x)
{
#if defined(__CUDA_ARCH__)
    return logf(x);
#else
    uint32_t bits = gmv_bits_of_float(x);
    int32_t e = (int32_t)(bits - 0x3F3504F3u) >> 23; /* so that m is in [sqrt(1/2), sqrt(2)) */
    float m = gmv_float_of_bits(bits - ((uint32_t)e << 23));
    float k = (float)e;
    float s = m - 1.0f;
    float z = s * s;
    float p = 7.0376836292e-2f;
    p = p * s - 1.1514610310e-1f;
    p = p * s + 1.1676998740e-1f;
    p = p * s - 1.2420140846e-1f;
    p = p * s + 1.4249322787e-1f;
    p = p * s - 1.6668057665e-1f;
    p = p * s + 2.0000714765e-1f;
    p = p * s - 2.4999993993e-1f;
    p = p * s + 3.3333331174e-1f;
    float y = p * s * z;
    y = y - 2.12194440e-4f * k;
    y = y - 0.5f * z;
    y = s + y;
    y = y + 0.693359375f * k;
    y = x > 0.0f ? y : (x == 0.0f ? -INFINITY : NAN);
    return x > 3.40282346e38f ? x : y;
#endif
}

/* log(1 + x), x > -1. Relative error <= 3e-7 over the whole domain.
 * Method (Kahan): u = 1 + x rounded; log(u) * x / (u - 1) cancels the rounding of u. */
GMV_HD float gmv_log1pf(float x)
{
#if defined(__CUDA_ARCH__)
    return log1pf(x);
#else
    float u = 1.0f + x;
    float d = u - 1.0f;
    float y = gmv_logf(u) * (x / (d == 0.0f ? 1.0f : d));
    return d == 0.0f ? x : (x > 1e10f ? gmv_logf(x) : y);
#endif
}

/* 1 / x. On a GPU the device's approximation, subnormals taken as 0. Domain: 1e-37 <= |x| <= 1e37. Error <= 1 ulp. */
GMV_HD float gmv_reciprocalf(float x)
{
#if defined(__CUDA_ARCH__)
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return 1.0f / x;
#endif
}

/* -log(1 - u) - u = u^2/2 + u^3/3 + ..., 0 <= u <= 0.58. Relative error <= 3e-7.
 * Method: u^2 Q(u), Q the polynomial of degree 9 with Q(0) = 1/2 whose largest relative error is least: 5.6e-8. */
GMV_HD float gmv_log_excessf(float u)
{
    float q = 3.043407679f;
    q = q * u - 5.570662975f;
    q = q * u + 4.929690361f;
    q = q * u - 2.138805389f;
    q = q * u + 0.7694359422f;
    q = q * u + 0.06471864879f;
    q = q * u + 0.2092151493f;
    q = q * u + 0.2495969385f;
    q = q * u + 0.3333393335f;
    q = q * u + 0.5f;
    return q * (u * u);
}

/* The same for 0 <= u <= 1, given rest = 1 - u too: a normal number, with a small relative error of its own.
 * Relative error <= 1e-6 with u and rest to 1 ulp. Method: as above for rest > 0.42, the rest as -log(rest) - u, which
 * loses little by then: rest = 2^-k m, m in (0.42, 0.84], and -log(rest) = k log 2 + v + gmv_log_excessf(v) with
 * v = 1 - m, so that k = 0, v = u gives the other case. On a GPU the device's log2, as accurate below 1/2. */
GMV_HD float gmv_log_excess_bothf(float u, float rest)
{
    bool near = rest > 0.42f;
#if defined(__CUDA_ARCH__)
    float log2_rest;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(log2_rest) : "f"(rest));
    return near ? gmv_log_excessf(u) : -0.693147181f * log2_rest - u;
#else
    uint32_t bits = gmv_bits_of_float(rest);
    int32_t k = near ? 0 : (int32_t)(0x3F570A3Du - bits) >> 23;
    float m = gmv_float_of_bits(bits + ((uint32_t)k << 23));
    float v = near ? u : 1.0f - m;
    return ((float)k * 0.693147181f - u) + v + gmv_log_excessf(v);
#endif
}

/* The logistic function and its integral, from one exponential and one reciprocal. Domain: all floats. */
typedef struct gmv_logistic {
    float share, rest; /* 1 / (1 + exp(-x)), 1 / (1 + exp(x)); relative error <= 4e-7 */
    float softplus;    /* log(1 + exp(x)); relative error <= 4e-7 */
} gmv_logistic;

/* Method: with e = exp(-|x|), 1 / (1 + e) and u = e / (1 + e) <= 1/2 are the two, and log(1 + e) = -log(1 - u). */
GMV_HD gmv_logistic gmv_logisticf(float x)
{
    float e = gmv_expf(x < 0.0f ? x : -x);
    float large = gmv_reciprocalf(1.0f + e), small = e * large;
    gmv_logistic y;
    y.share = x < 0.0f ? small : large;
    y.rest = x < 0.0f ? large : small;
    y.softplus = (x < 0.0f ? 0.0f : x) + (small + gmv_log_excessf(small));
    return y;
}

/* sin and cos of 2 pi u, u in [0, 1). Absolute error <= 2e-7.
 * Method: reduce to an eighth of a turn, Taylor polynomials in the reduced angle, swap and sign by octant. */
GMV_HD void gmv_sincos_turn(float u, float *sine, float *cosine)
{
#if defined(__CUDA_ARCH__)
    sincospif(2.0f * u, sine, cosine);
#else
    float quadrant = floorf(u * 4.0f + 0.5f);
    float a = (u - quadrant * 0.25f) * 6.28318530718f; /* [-pi/4, pi/4] */
    float z = a * a;
    float s = a + a * z * (-1.6666654611e-1f + z * (8.3321608736e-3f + z * -1.9515295891e-4f));
    float c =
        1.0f - 0.5f * z + z * z * (4.166664568298827e-2f + z * (-1.388731625493765e-3f + z * 2.443315711809948e-5f));
    int32_t q = (int32_t)quadrant & 3;
    float first = (q & 1) != 0 ? c : s;
    float second = (q & 1) != 0 ? s : c;
    *sine = (q & 2) != 0 ? -first : first;
    *cosine = (q == 1 || q == 2) ? -second : second;
#endif
}

/* log Gamma(a + n) - log Gamma(a) - log Gamma(n + 1) and its derivative in a, for n >= 1, a > 0, in double.
 * For large counts, where a float sum of n terms would be slow and a float difference wrong.
 * Method: both arguments raised above 10 by the recurrence, then the difference of Stirling series with
 * log1p for the quotient, so that nothing large cancels (DLMF 5.11.1, 5.11.2). Error: see the test. */
GMV_HD void gmv_log_rising_large(double a, double n, double *value, double *derivative)
{
    double shift_log = 0.0, shift_sum = 0.0, product = 1.0;
    double x = a;
    /* Gamma(a+n)/Gamma(a): raise both until x >= 10; each step costs a factor (x + n) / x */
    for (int i = 0; i < 10 && x < 10.0; i++) {
        product *= x / (x + n);
        shift_sum += n / (x * (x + n)); /* 1/x - 1/(x+n) */
        x += 1.0;
    }
    shift_log = log(product);
    double y = x + n;
    double ratio = log1p(n / x);
    double x2 = 1.0 / (x * x), y2 = 1.0 / (y * y);
    double stirling_x = (1.0 / 12.0 - x2 * (1.0 / 360.0 - x2 * (1.0 / 1260.0 - x2 / 1680.0))) / x;
    double stirling_y = (1.0 / 12.0 - y2 * (1.0 / 360.0 - y2 * (1.0 / 1260.0 - y2 / 1680.0))) / y;
    /* log Gamma(y) - log Gamma(x) = (x - 1/2) log(y/x) + n log y - n + S(y) - S(x) */
    double rising = (x - 0.5) * ratio + (stirling_y - stirling_x) + shift_log;
    /* log Gamma(n+1) = (n + 1/2) log n - n + log(2 pi)/2 + S(n); n log y - n log n = n log1p(x/n) */
    double n2 = 1.0 / (n * n);
    double stirling_n = (1.0 / 12.0 - n2 * (1.0 / 360.0 - n2 * (1.0 / 1260.0 - n2 / 1680.0))) / n;
    *value = rising + n * log1p(x / n) - 0.5 * log(n) - 0.91893853320467274178 - stirling_n;
    /* psi(y) - psi(x), psi(x) = log x - 1/(2x) - 1/(12 x^2) + 1/(120 x^4) - 1/(252 x^6) */
    double psi_x = -0.5 / x - x2 * (1.0 / 12.0 - x2 * (1.0 / 120.0 - x2 / 252.0));
    double psi_y = -0.5 / y - y2 * (1.0 / 12.0 - y2 * (1.0 / 120.0 - y2 / 252.0));
    *derivative = ratio + (psi_y - psi_x) + shift_sum;
}
