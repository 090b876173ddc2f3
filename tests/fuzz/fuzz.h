/* Deterministic fuzzing in process: targets, random numbers, a mutator. Run under AddressSanitizer and UBSan. */
#pragma once

#include "gmvae/comm.h"
#include "gmvae/mem.h"
#include "gmvae/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* SplitMix64. */
typedef struct fuzz_rng {
    uint64_t state;
} fuzz_rng;

uint64_t fuzz_next(fuzz_rng *rng);

/* 0 .. n - 1; 0 when n is 0. */
int64_t fuzz_below(fuzz_rng *rng, int64_t n);

/* True once in n. */
bool fuzz_once_in(fuzz_rng *rng, int64_t n);

/* Edits 1 to 8 places: bytes, bits, words at their limits, copies from elsewhere; the length stays. */
void fuzz_mutate(fuzz_rng *rng, unsigned char *bytes, int64_t n);

/* Reads every byte, so that a sanitizer sees what was promised to be there. */
void fuzz_touch(const void *bytes, int64_t n);

/* The one rank of this process; starts MPI at the first call. */
const gmv_comm *fuzz_comm(void);

/* What must hold whatever the input. */
#define FUZZ_CHECK(condition)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fuzz_fail(__FILE__, __LINE__, #condition);                                                                 \
        }                                                                                                              \
    } while (0)

void fuzz_fail(const char *file, int line, const char *condition);

/* One parser: `one` runs a case that depends on rng alone. `prepare` runs before the first case. All start with no block of
 * gmv_alloc live, and leave none. */
typedef struct fuzz_target {
    const char *name;
    void (*prepare)(void);
    void (*one)(fuzz_rng *rng);
} fuzz_target;

extern const fuzz_target fuzz_config, fuzz_chunks, fuzz_rows, fuzz_matrix, fuzz_text, fuzz_checkpoint;
