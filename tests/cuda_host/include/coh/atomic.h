/* Atomic functions: relaxed, as the device's are, so that they order nothing else for a race detector. */
#pragma once

#include <string.h>

namespace coh
{

template <int bytes> struct word;
template <> struct word<4> {
    using type = unsigned int;
};
template <> struct word<8> {
    using type = unsigned long long;
};

/* Replaces *at by update(*at). @return the old value */
template <typename T, typename Update> T atomic(T *at, Update update)
{
    using bits = typename word<sizeof(T)>::type;
    bits *cell = reinterpret_cast<bits *>(at);
    bits before = __atomic_load_n(cell, __ATOMIC_RELAXED), after;
    T old;
    do {
        memcpy(&old, &before, sizeof old);
        T changed = update(old);
        memcpy(&after, &changed, sizeof after);
    } while (!__atomic_compare_exchange_n(cell, &before, after, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return old;
}

} // namespace coh

#define COH_ATOMIC(name, type, result)                                                                                 \
    inline type name(type *at, type value)                                                                             \
    {                                                                                                                  \
        return coh::atomic(at, [value](type old) { return static_cast<type>(result); });                               \
    }
#define COH_ATOMIC_INTEGERS(name, result)                                                                              \
    COH_ATOMIC(name, int, result)                                                                                      \
    COH_ATOMIC(name, unsigned int, result)                                                                             \
    COH_ATOMIC(name, unsigned long long, result)

/* Sums wrap around on the device. */
inline int atomicAdd(int *at, int value)
{
    return coh::atomic(at, [value](int old) {
        return static_cast<int>(static_cast<unsigned int>(old) + static_cast<unsigned int>(value));
    });
}
COH_ATOMIC(atomicAdd, unsigned int, old + value)
COH_ATOMIC(atomicAdd, unsigned long long, old + value)
COH_ATOMIC(atomicAdd, float, old + value)
COH_ATOMIC(atomicAdd, double, old + value)
inline int atomicSub(int *at, int value)
{
    return atomicAdd(at, static_cast<int>(0u - static_cast<unsigned int>(value)));
}
COH_ATOMIC(atomicSub, unsigned int, old - value)
COH_ATOMIC_INTEGERS(atomicMax, old > value ? old : value)
COH_ATOMIC(atomicMax, long long, old > value ? old : value)
COH_ATOMIC_INTEGERS(atomicMin, old < value ? old : value)
COH_ATOMIC(atomicMin, long long, old < value ? old : value)
COH_ATOMIC_INTEGERS(atomicOr, old | value)
COH_ATOMIC_INTEGERS(atomicAnd, old &value)
COH_ATOMIC_INTEGERS(atomicXor, old ^ value)
COH_ATOMIC(atomicInc, unsigned int, old >= value ? 0 : old + 1)
COH_ATOMIC(atomicDec, unsigned int, old == 0 || old > value ? value : old - 1)

#undef COH_ATOMIC
#undef COH_ATOMIC_INTEGERS

template <typename T> T atomicExch(T *at, T value)
{
    return coh::atomic(at, [value](T) { return value; });
}

template <typename T> T atomicCAS(T *at, T expected, T value)
{
    return coh::atomic(at, [expected, value](T old) { return old == expected ? value : old; });
}
