/* What the sanitizers have to be told. CMake defines COH_ASAN and COH_TSAN: in a TSan build this runtime itself
 * is not instrumented, because one host stack carries work of many contexts. */
#pragma once

#include <stddef.h>

#if defined(COH_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define COH_UNCHECKED __attribute__((no_sanitize("address")))
#else
#define COH_UNCHECKED
#endif

#if defined(COH_TSAN)
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned int flags);
void __tsan_switch_to_fiber(void *fiber, unsigned int flags);
void __tsan_acquire(void *at);
void __tsan_release(void *at);
void __tsan_read_range(void *at, size_t bytes);
void __tsan_write_range(void *at, size_t bytes);
enum { COH_RACES = 1, COH_NO_SYNC = 1 };
#else
enum { COH_RACES = 0 };
#endif

static inline void coh_poison(const void *at, size_t bytes)
{
#if defined(COH_ASAN)
    __asan_poison_memory_region(at, bytes);
#else
    (void)at, (void)bytes;
#endif
}

static inline void coh_unpoison(const void *at, size_t bytes)
{
#if defined(COH_ASAN)
    __asan_unpoison_memory_region(at, bytes);
#else
    (void)at, (void)bytes;
#endif
}

static inline void coh_acquire(void *at)
{
#if defined(COH_TSAN)
    __tsan_acquire(at);
#else
    (void)at;
#endif
}

static inline void coh_release(void *at)
{
#if defined(COH_TSAN)
    __tsan_release(at);
#else
    (void)at;
#endif
}

/* Makes a context of the race detector current, without ordering anything. @return the one before */
static inline void *coh_enter_context(void *context)
{
#if defined(COH_TSAN)
    void *before = __tsan_get_current_fiber();
    if (context != before) {
        __tsan_switch_to_fiber(context, COH_NO_SYNC);
    }
    return before;
#else
    return context;
#endif
}

static inline void *coh_new_context(void)
{
#if defined(COH_TSAN)
    return __tsan_create_fiber(0);
#else
    return NULL;
#endif
}

/* Accesses of code that is not instrumented. */
static inline void coh_reads(const void *at, size_t bytes)
{
#if defined(COH_TSAN)
    __tsan_read_range((void *)(size_t)at, bytes);
#else
    (void)at, (void)bytes;
#endif
}

static inline void coh_writes(void *at, size_t bytes)
{
#if defined(COH_TSAN)
    __tsan_write_range(at, bytes);
#else
    (void)at, (void)bytes;
#endif
}
