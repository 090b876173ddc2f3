/* bfloat16: storage and conversions, which round to nearest even; arithmetic is done in float. */
#pragma once

#include "coh/vector_types.h"

#if defined(__cplusplus)
#include "coh/math.h"

struct __nv_bfloat16 {
    unsigned short bits;

    __nv_bfloat16() = default;

    __nv_bfloat16(float value)
    {
        unsigned int word = coh::bits<unsigned int>(value);
        unsigned int rounded = word + 0x7fffu + (word >> 16 & 1u);
        bits = static_cast<unsigned short>(value != value ? 0x7fffu : rounded >> 16);
    }

    operator float() const
    {
        return coh::bits<float>(static_cast<unsigned int>(bits) << 16);
    }
};

struct __attribute__((aligned(4))) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

inline __nv_bfloat16 __float2bfloat16(float value)
{
    return __nv_bfloat16(value);
}

inline __nv_bfloat16 __float2bfloat16_rn(float value)
{
    return __nv_bfloat16(value);
}

inline float __bfloat162float(__nv_bfloat16 value)
{
    return value;
}

inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y)
{
    return {__nv_bfloat16(x), __nv_bfloat16(y)};
}

inline __nv_bfloat162 __float22bfloat162_rn(float2 value)
{
    return __floats2bfloat162_rn(value.x, value.y);
}

inline float2 __bfloat1622float2(__nv_bfloat162 value)
{
    return make_float2(value.x, value.y);
}

inline float __low2float(__nv_bfloat162 value)
{
    return value.x;
}

inline float __high2float(__nv_bfloat162 value)
{
    return value.y;
}

inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 value)
{
    return value.bits;
}

inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits)
{
    __nv_bfloat16 value;
    value.bits = bits;
    return value;
}
#else
typedef struct __nv_bfloat16 {
    unsigned short bits;
} __nv_bfloat16;
#endif
