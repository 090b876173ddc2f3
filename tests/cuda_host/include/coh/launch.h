/* What the launch macro and the kernels call in the runtime. C and C++. */
#pragma once

#include "../cuda_runtime_api.h"

#if defined(__cplusplus)
extern "C" {
#endif
#pragma GCC visibility push(hidden)

typedef void (*coh_function)(void);

typedef struct coh_kernel {
    coh_function function;
    void (*call)(coh_function function, const void *arguments);
    const char *name;
} coh_kernel;

/* Queues a launch; the result is what cudaGetLastError will say. `arguments` are copied. */
void coh_launch(const coh_kernel *kernel, dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                const void *arguments, size_t bytes);

/* Dynamic shared memory of the block that runs. */
void *coh_dynamic_shared(void);

typedef enum coh_barrier_kind { COH_SYNC, COH_SYNC_OR, COH_SYNC_AND, COH_SYNC_COUNT } coh_barrier_kind;

/* Waits for all threads of the block. @return the combined predicates */
int coh_barrier(coh_barrier_kind kind, int predicate, const char *file, int line);

typedef enum coh_warp_kind {
    COH_WARP_SYNC,
    COH_WARP_INDEX, /* shuffles */
    COH_WARP_UP,
    COH_WARP_DOWN,
    COH_WARP_XOR,
    COH_WARP_BALLOT,
    COH_WARP_MATCH,
    COH_WARP_ADD, /* reductions of 32-bit integers */
    COH_WARP_MIN,
    COH_WARP_MAX,
    COH_WARP_MIN_SIGNED,
    COH_WARP_MAX_SIGNED,
    COH_WARP_AND,
    COH_WARP_OR,
    COH_WARP_BITXOR
} coh_warp_kind;

typedef struct coh_warp_call {
    coh_warp_kind kind;
    unsigned int mask;
    unsigned long long value;
    unsigned int operand; /* shuffles: lane, delta or lane mask */
    int width;
    const char *file;
    int line;
} coh_warp_call;

/* Waits for the lanes of the mask and exchanges values with them. */
unsigned long long coh_warp(const coh_warp_call *call);

/* Lanes of the warp that have not exited. */
unsigned int coh_active_mask(void);

/* Ends the program: a condition of assert() or a trap of the kernel. */
void coh_trap(const char *what, const char *file, int line) __attribute__((noreturn));

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

#pragma GCC visibility pop
#if defined(__cplusplus)
}
#endif
