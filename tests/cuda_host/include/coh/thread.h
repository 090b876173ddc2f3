/* Barriers, votes and shuffles. Their places in the source come from default arguments, so that two barriers
 * are known apart and messages can name them. */
#pragma once

#include "launch.h"

#include <string.h>

#define COH_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

enum { warpSize = 32 };

inline void __syncthreads(COH_HERE)
{
    coh_barrier(COH_SYNC, 0, file, line);
}

inline int __syncthreads_or(int predicate, COH_HERE)
{
    return coh_barrier(COH_SYNC_OR, predicate, file, line);
}

inline int __syncthreads_and(int predicate, COH_HERE)
{
    return coh_barrier(COH_SYNC_AND, predicate, file, line);
}

inline int __syncthreads_count(int predicate, COH_HERE)
{
    return coh_barrier(COH_SYNC_COUNT, predicate, file, line);
}

inline void __syncwarp(unsigned int mask = 0xffffffffu, COH_HERE)
{
    coh_warp_call call = {COH_WARP_SYNC, mask, 0, 0, 32, file, line};
    coh_warp(&call);
}

namespace coh
{

template <typename T>
T shuffle(coh_warp_kind kind, unsigned int mask, T value, unsigned int operand, int width, const char *file, int line)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 2, "shuffles move 2, 4 or 8 bytes");
    coh_warp_call call = {kind, mask, 0, operand, width, file, line};
    memcpy(&call.value, &value, sizeof value);
    unsigned long long result = coh_warp(&call);
    memcpy(&value, &result, sizeof value);
    return value;
}

inline unsigned int vote(coh_warp_kind kind, unsigned int mask, unsigned long long value, const char *file, int line)
{
    coh_warp_call call = {kind, mask, value, 0, 32, file, line};
    return static_cast<unsigned int>(coh_warp(&call));
}

} // namespace coh

template <typename T> T __shfl_sync(unsigned int mask, T value, int lane, int width = 32, COH_HERE)
{
    return coh::shuffle(COH_WARP_INDEX, mask, value, static_cast<unsigned int>(lane), width, file, line);
}

template <typename T> T __shfl_up_sync(unsigned int mask, T value, unsigned int delta, int width = 32, COH_HERE)
{
    return coh::shuffle(COH_WARP_UP, mask, value, delta, width, file, line);
}

template <typename T> T __shfl_down_sync(unsigned int mask, T value, unsigned int delta, int width = 32, COH_HERE)
{
    return coh::shuffle(COH_WARP_DOWN, mask, value, delta, width, file, line);
}

template <typename T> T __shfl_xor_sync(unsigned int mask, T value, int lanes, int width = 32, COH_HERE)
{
    return coh::shuffle(COH_WARP_XOR, mask, value, static_cast<unsigned int>(lanes), width, file, line);
}

inline unsigned int __ballot_sync(unsigned int mask, int predicate, COH_HERE)
{
    return coh::vote(COH_WARP_BALLOT, mask, predicate != 0, file, line);
}

inline int __any_sync(unsigned int mask, int predicate, COH_HERE)
{
    return coh::vote(COH_WARP_BALLOT, mask, predicate != 0, file, line) != 0;
}

inline int __all_sync(unsigned int mask, int predicate, COH_HERE)
{
    return coh::vote(COH_WARP_BALLOT, mask, predicate == 0, file, line) == 0;
}

template <typename T> unsigned int __match_any_sync(unsigned int mask, T value, COH_HERE)
{
    unsigned long long bits = 0;
    memcpy(&bits, &value, sizeof value);
    return coh::vote(COH_WARP_MATCH, mask, bits, file, line);
}

#define COH_REDUCE(name, kind, type)                                                                                   \
    inline type name(unsigned int mask, type value, COH_HERE)                                                          \
    {                                                                                                                  \
        return static_cast<type>(coh::vote(kind, mask, static_cast<unsigned int>(value), file, line));                 \
    }
COH_REDUCE(__reduce_add_sync, COH_WARP_ADD, int)
COH_REDUCE(__reduce_add_sync, COH_WARP_ADD, unsigned int)
COH_REDUCE(__reduce_min_sync, COH_WARP_MIN_SIGNED, int)
COH_REDUCE(__reduce_min_sync, COH_WARP_MIN, unsigned int)
COH_REDUCE(__reduce_max_sync, COH_WARP_MAX_SIGNED, int)
COH_REDUCE(__reduce_max_sync, COH_WARP_MAX, unsigned int)
COH_REDUCE(__reduce_and_sync, COH_WARP_AND, unsigned int)
COH_REDUCE(__reduce_or_sync, COH_WARP_OR, unsigned int)
COH_REDUCE(__reduce_xor_sync, COH_WARP_BITXOR, unsigned int)
#undef COH_REDUCE

inline unsigned int __activemask(void)
{
    return coh_active_mask();
}

[[noreturn]] inline void __trap(COH_HERE)
{
    coh_trap("__trap()", file, line);
}

/* One thread runs at a time, so that keeping the compiler from moving accesses is enough. */
inline void __threadfence(void)
{
    __asm__ volatile("" ::: "memory");
}

inline void __threadfence_block(void)
{
    __threadfence();
}

inline void __threadfence_system(void)
{
    __threadfence();
}

template <typename T> T __ldg(const T *at)
{
    return *at;
}

template <typename T> T __ldcs(const T *at)
{
    return *at;
}

template <typename T> void __stcs(T *at, T value)
{
    *at = value;
}

#undef COH_HERE
