/* CUDA's vector types with their sizes and alignments, make_*, and dim3. */
#pragma once

#define COH_VECTOR2(type, name, align)                                                                                 \
    typedef struct __attribute__((aligned(align))) name {                                                              \
        type x, y;                                                                                                     \
    } name;                                                                                                            \
    static inline name make_##name(type x, type y)                                                                     \
    {                                                                                                                  \
        name v = {x, y};                                                                                               \
        return v;                                                                                                      \
    }
#define COH_VECTOR3(type, name)                                                                                        \
    typedef struct name {                                                                                              \
        type x, y, z;                                                                                                  \
    } name;                                                                                                            \
    static inline name make_##name(type x, type y, type z)                                                             \
    {                                                                                                                  \
        name v = {x, y, z};                                                                                            \
        return v;                                                                                                      \
    }
#define COH_VECTOR4(type, name, align)                                                                                 \
    typedef struct __attribute__((aligned(align))) name {                                                              \
        type x, y, z, w;                                                                                               \
    } name;                                                                                                            \
    static inline name make_##name(type x, type y, type z, type w)                                                     \
    {                                                                                                                  \
        name v = {x, y, z, w};                                                                                         \
        return v;                                                                                                      \
    }

COH_VECTOR2(signed char, char2, 2)
COH_VECTOR4(signed char, char4, 4)
COH_VECTOR2(unsigned char, uchar2, 2)
COH_VECTOR4(unsigned char, uchar4, 4)
COH_VECTOR2(short, short2, 4)
COH_VECTOR4(short, short4, 8)
COH_VECTOR2(unsigned short, ushort2, 4)
COH_VECTOR4(unsigned short, ushort4, 8)
COH_VECTOR2(int, int2, 8)
COH_VECTOR3(int, int3)
COH_VECTOR4(int, int4, 16)
COH_VECTOR2(unsigned int, uint2, 8)
COH_VECTOR3(unsigned int, uint3)
COH_VECTOR4(unsigned int, uint4, 16)
COH_VECTOR2(long long, longlong2, 16)
COH_VECTOR2(unsigned long long, ulonglong2, 16)
COH_VECTOR2(float, float2, 8)
COH_VECTOR3(float, float3)
COH_VECTOR4(float, float4, 16)
COH_VECTOR2(double, double2, 16)
COH_VECTOR3(double, double3)

#undef COH_VECTOR2
#undef COH_VECTOR3
#undef COH_VECTOR4

typedef struct dim3 {
    unsigned int x, y, z;
#if defined(__cplusplus)
    constexpr dim3(unsigned int x_ = 1, unsigned int y_ = 1, unsigned int z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
#endif
} dim3;
