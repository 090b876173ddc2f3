/* Fibers: stacks that are switched between by hand. */
#pragma once

#include "coh.h"

#include "annotate.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

struct coh_fiber {
#if defined(__x86_64__)
    void *at; /* stack pointer while it does not run */
#else
    ucontext_t state;
#endif
    const void *stack; /* lowest address */
    size_t bytes;
    void *fake_stack; /* AddressSanitizer's */
    void *context;    /* race detector's */
};

#pragma GCC visibility push(hidden)

/* A fiber that starts in `entry` (which never returns) when it is first switched to. */
coh_fiber *coh_fiber_new(void (*entry)(void));

/* Goes from the running fiber to another, and returns when somebody goes back. */
void coh_fiber_switch(coh_fiber *from, coh_fiber *to);

/* First call of a fiber's entry. */
void coh_fiber_arrived(void);

/* @return whether `at` is in the guard page of a fiber's stack */
bool coh_is_stack_guard(const void *at);

#pragma GCC visibility pop
