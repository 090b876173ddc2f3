/* Mathematical functions and intrinsics of device code. The fast ones are as exact as the C library's: what
 * depends on their errors must allow for both. */
#pragma once

#include <math.h>
#include <string.h>

namespace coh
{

template <typename To, typename From> To bits(From from)
{
    static_assert(sizeof(To) == sizeof(From), "a change of type keeps the size");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}

/* Float to integer saturates on the device and turns NaN to 0. */
template <typename To> To saturated(double value, double low, double high)
{
    if (value != value) {
        return 0;
    }
    return static_cast<To>(value < low ? low : value > high ? high : value);
}

constexpr double pi = 3.141592653589793238462643383279502884;

} // namespace coh

#define COH_UNARY(name, type, result)                                                                                  \
    inline type name(type x)                                                                                           \
    {                                                                                                                  \
        return (result);                                                                                               \
    }
#define COH_BINARY(name, type, result)                                                                                 \
    inline type name(type x, type y)                                                                                   \
    {                                                                                                                  \
        return (result);                                                                                               \
    }

COH_UNARY(rsqrtf, float, 1.0f / sqrtf(x))
COH_UNARY(rsqrt, double, 1.0 / sqrt(x))
COH_UNARY(sinpif, float, static_cast<float>(sin(coh::pi *remainder(static_cast<double>(x), 2.0))))
COH_UNARY(cospif, float, static_cast<float>(cos(coh::pi *remainder(static_cast<double>(x), 2.0))))
COH_UNARY(__expf, float, expf(x))
COH_UNARY(__exp10f, float, powf(10.0f, x))
COH_UNARY(__logf, float, logf(x))
COH_UNARY(__log2f, float, log2f(x))
COH_UNARY(__log10f, float, log10f(x))
COH_UNARY(__sinf, float, sinf(x))
COH_UNARY(__cosf, float, cosf(x))
COH_UNARY(__saturatef, float, x != x || x < 0.0f ? 0.0f : x > 1.0f ? 1.0f : x)
COH_UNARY(__frcp_rn, float, 1.0f / x)
COH_UNARY(__fsqrt_rn, float, sqrtf(x))
COH_UNARY(__frsqrt_rn, float, static_cast<float>(1.0 / sqrt(static_cast<double>(x))))
COH_BINARY(__powf, float, powf(x, y))
COH_BINARY(__fdividef, float, x / y)
COH_BINARY(__fdiv_rn, float, x / y)
COH_BINARY(__fadd_rn, float, x + y)
COH_BINARY(__fsub_rn, float, x - y)
COH_BINARY(__fmul_rn, float, x *y)
COH_BINARY(__dadd_rn, double, x + y)
COH_BINARY(__dmul_rn, double, x *y)
COH_BINARY(min, int, x < y ? x : y)
COH_BINARY(min, unsigned int, x < y ? x : y)
COH_BINARY(min, long, x < y ? x : y)
COH_BINARY(min, unsigned long, x < y ? x : y)
COH_BINARY(min, long long, x < y ? x : y)
COH_BINARY(min, unsigned long long, x < y ? x : y)
COH_BINARY(min, float, fminf(x, y))
COH_BINARY(min, double, fmin(x, y))
COH_BINARY(max, int, x > y ? x : y)
COH_BINARY(max, unsigned int, x > y ? x : y)
COH_BINARY(max, long, x > y ? x : y)
COH_BINARY(max, unsigned long, x > y ? x : y)
COH_BINARY(max, long long, x > y ? x : y)
COH_BINARY(max, unsigned long long, x > y ? x : y)
COH_BINARY(max, float, fmaxf(x, y))
COH_BINARY(max, double, fmax(x, y))

#undef COH_UNARY
#undef COH_BINARY

inline float __fmaf_rn(float x, float y, float z)
{
    return fmaf(x, y, z);
}

inline void sincospif(float x, float *sine, float *cosine)
{
    *sine = sinpif(x);
    *cosine = cospif(x);
}

inline void __sincosf(float x, float *sine, float *cosine)
{
    *sine = sinf(x);
    *cosine = cosf(x);
}

/* ---- changes of type ---- */

#define COH_BITS(name, from, to)                                                                                       \
    inline to name(from value)                                                                                         \
    {                                                                                                                  \
        return coh::bits<to>(value);                                                                                   \
    }
COH_BITS(__float_as_int, float, int)
COH_BITS(__float_as_uint, float, unsigned int)
COH_BITS(__int_as_float, int, float)
COH_BITS(__uint_as_float, unsigned int, float)
COH_BITS(__double_as_longlong, double, long long)
COH_BITS(__longlong_as_double, long long, double)
#undef COH_BITS

#define COH_ROUND(name, from, to, function, low, high)                                                                 \
    inline to name(from value)                                                                                         \
    {                                                                                                                  \
        return coh::saturated<to>(function(static_cast<double>(value)), low, high);                                    \
    }
COH_ROUND(__float2int_rn, float, int, rint, -2147483648.0, 2147483647.0)
COH_ROUND(__float2int_rz, float, int, trunc, -2147483648.0, 2147483647.0)
COH_ROUND(__float2int_rd, float, int, floor, -2147483648.0, 2147483647.0)
COH_ROUND(__float2int_ru, float, int, ceil, -2147483648.0, 2147483647.0)
COH_ROUND(__float2uint_rn, float, unsigned int, rint, 0.0, 4294967295.0)
COH_ROUND(__float2uint_rz, float, unsigned int, trunc, 0.0, 4294967295.0)
#undef COH_ROUND

/* Saturates on the device; 2^63 itself is no double below it. */
inline long long __double2ll_rn(double value)
{
    return value >= 9223372036854775808.0 ? 9223372036854775807LL
                                          : coh::saturated<long long>(rint(value), -9223372036854775808.0, value);
}

inline long long __float2ll_rn(float value)
{
    return __double2ll_rn(static_cast<double>(value));
}

inline double __ll2double_rn(long long value)
{
    return static_cast<double>(value);
}

inline float __ll2float_rn(long long value)
{
    return static_cast<float>(value);
}

inline float __int2float_rn(int value)
{
    return static_cast<float>(value);
}

inline float __uint2float_rn(unsigned int value)
{
    return static_cast<float>(value);
}

inline float __double2float_rn(double value)
{
    return static_cast<float>(value);
}

/* ---- bits ---- */

inline int __popc(unsigned int value)
{
    return __builtin_popcount(value);
}

inline int __popcll(unsigned long long value)
{
    return __builtin_popcountll(value);
}

inline int __clz(int value)
{
    return value == 0 ? 32 : __builtin_clz(static_cast<unsigned int>(value));
}

inline int __clzll(long long value)
{
    return value == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(value));
}

inline int __ffs(int value)
{
    return __builtin_ffs(value);
}

inline int __ffsll(long long value)
{
    return __builtin_ffsll(value);
}

inline unsigned int __brev(unsigned int value)
{
    unsigned int reversed = 0;
    for (int bit = 0; bit < 32; bit++) {
        reversed |= (value >> bit & 1u) << (31 - bit);
    }
    return reversed;
}

inline unsigned int __umulhi(unsigned int x, unsigned int y)
{
    return static_cast<unsigned int>(static_cast<unsigned long long>(x) * y >> 32);
}

inline int __mulhi(int x, int y)
{
    return static_cast<int>(static_cast<long long>(x) * y >> 32);
}

inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y)
{
    __extension__ typedef unsigned __int128 wide;
    return static_cast<unsigned long long>(static_cast<wide>(x) * y >> 64);
}

inline unsigned int __funnelshift_l(unsigned int low, unsigned int high, unsigned int shift)
{
    unsigned long long both = static_cast<unsigned long long>(high) << 32 | low;
    return static_cast<unsigned int>(both << (shift & 31u) >> 32);
}

inline unsigned int __funnelshift_r(unsigned int low, unsigned int high, unsigned int shift)
{
    unsigned long long both = static_cast<unsigned long long>(high) << 32 | low;
    return static_cast<unsigned int>(both >> (shift & 31u));
}
