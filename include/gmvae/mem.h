/* Typed host allocation with overflow check and counters. Memory comes zeroed, unless it says so. */
#pragma once

#include "gmvae/status.h"

#include <stddef.h>
#include <stdint.h>

/* Allocates count * size zeroed bytes, 64-byte aligned, into *out; count 0 gives NULL.
 * @param[in] what  named in the message when memory is short ("non-zeros of atlas.h5ad")
 * Ownership: caller frees with gmv_free.
 * Errors: GMV_ERR_ENVIRONMENT with the number of bytes wanted; GMV_ERR_DATA when count * size overflows. */
gmv_status gmv_alloc_bytes(void **out, int64_t count, size_t size, const char *what);

/* The same without the zeros, for large arrays that are written once. */
gmv_status gmv_alloc_room(void **out, int64_t count, size_t size, const char *what);

/* Grows or shrinks to count * size bytes; new bytes are zero. */
gmv_status gmv_realloc_bytes(void **block, int64_t old_count, int64_t count, size_t size, const char *what);

/* A new string with the same characters. Ownership: caller frees *copy with gmv_free. */
gmv_status gmv_copy_text(char **copy, const char *text);

/* Accepts NULL. */
void gmv_free(void *block);

/* Bytes that can still be had: of the machine, or of the container if that is less. */
int64_t gmv_memory_available(void);

/* Address space of this process. */
typedef struct gmv_addresses {
    int64_t limit; /* bytes (ulimit -v); -1: none */
    int64_t used;  /* bytes; -1: unknown */
} gmv_addresses;

/* Of this process, now. */
gmv_addresses gmv_memory_addresses(void);

/* Call before threads are started: where address space is limited, none of it is set aside for each thread. */
void gmv_memory_save_addresses(void);

/* How many of `most` blocks of `bytes` bytes can be mapped at once so that `rest` bytes could be mapped beside them.
 * Nothing stays mapped. */
int gmv_memory_blocks(int most, int64_t bytes, int64_t rest);

/* Allocations made since the program began, blocks not yet freed, and the most there were of these. */
int64_t gmv_alloc_count(void);
int64_t gmv_alloc_live(void);
int64_t gmv_alloc_most_live(void);

/* `pointer` is an lvalue of any object pointer type. */
#define GMV_NEW(pointer, count, what)                                                                                  \
    gmv_alloc_bytes((void **)(void *)&(pointer), (int64_t)(count), sizeof *(pointer), (what))
#define GMV_ROOM(pointer, count, what)                                                                                 \
    gmv_alloc_room((void **)(void *)&(pointer), (int64_t)(count), sizeof *(pointer), (what))
#define GMV_GROW(pointer, old_count, count, what)                                                                      \
    gmv_realloc_bytes((void **)(void *)&(pointer), (int64_t)(old_count), (int64_t)(count), sizeof *(pointer), (what))
#define GMV_FREE(pointer)                                                                                              \
    do {                                                                                                               \
        gmv_free((void *)(pointer));                                                                                   \
        (pointer) = NULL;                                                                                              \
    } while (0)
