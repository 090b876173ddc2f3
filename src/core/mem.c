#define _DEFAULT_SOURCE /* madvise */
#include "gmvae/mem.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static _Atomic int64_t allocations;
static _Atomic int64_t live, most_live;

/* A page fault for each 2 MiB instead of for each 4 KiB. */
static void ask_for_huge_pages(char *block, size_t bytes)
{
    const uintptr_t huge = (uintptr_t)1 << 21;
    uintptr_t first = ((uintptr_t)block + huge - 1) / huge * huge, end = ((uintptr_t)block + bytes) / huge * huge;
    if (first < end) {
        madvise(block + (first - (uintptr_t)block), end - first, MADV_HUGEPAGE);
    }
}

static gmv_status short_of(size_t bytes, const char *what)
{
    const long long megabyte = 1000000;
    long long limit = (long long)gmv_memory_addresses().limit;
    if (limit < 0) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "out of memory: %zu bytes for %s; use more ranks or a machine with more",
                        bytes, what);
    }
    return GMV_FAIL(GMV_ERR_ENVIRONMENT,
                    "out of memory: %zu bytes for %s; the limit on address space (ulimit -v) of %lld MB is too small: "
                    "raise it, or take fewer threads (OMP_NUM_THREADS)",
                    bytes, what, limit / megabyte);
}

/* Zeros come from calloc, which does not touch fresh memory: a large array takes as much as is used of it. The block that
 * the allocator knows is kept in front of the aligned one. */
static gmv_status allocate(void **out, int64_t count, size_t size, bool zeroed, const char *what)
{
    enum { alignment = 64 };
    *out = NULL;
    if (count == 0) {
        return GMV_OK;
    }
    if (count < 0 || (uint64_t)count > (uint64_t)(SIZE_MAX / 2) / size) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: an impossible size of %" PRId64 " elements; the file is damaged", what,
                        count);
    }
    size_t bytes = (size_t)count * size, whole = bytes + sizeof(void *) + alignment - 1;
    char *known = zeroed ? calloc(1, whole) : malloc(whole);
    if (known == NULL) {
        return short_of(bytes, what);
    }
    size_t skip = sizeof(void *) + (alignment - ((uintptr_t)known + sizeof(void *)) % alignment) % alignment;
    char *block = known + skip;
    memcpy(block - sizeof(void *), &known, sizeof(void *));
    ask_for_huge_pages(block, bytes);
    atomic_fetch_add(&allocations, 1);
    int64_t now = atomic_fetch_add(&live, 1) + 1, most = atomic_load(&most_live);
    while (now > most && !atomic_compare_exchange_weak(&most_live, &most, now)) {
    }
    *out = block;
    return GMV_OK;
}

gmv_status gmv_alloc_room(void **out, int64_t count, size_t size, const char *what)
{
    return allocate(out, count, size, false, what);
}

gmv_status gmv_alloc_bytes(void **out, int64_t count, size_t size, const char *what)
{
    return allocate(out, count, size, true, what);
}

gmv_status gmv_realloc_bytes(void **block, int64_t old_count, int64_t count, size_t size, const char *what)
{
    void *grown = NULL;
    GMV_TRY(gmv_alloc_bytes(&grown, count, size, what));
    int64_t kept = old_count < count ? old_count : count;
    if (kept > 0 && *block != NULL) {
        memcpy(grown, *block, (size_t)kept * size);
    }
    gmv_free(*block);
    *block = grown;
    return GMV_OK;
}

gmv_status gmv_copy_text(char **copy, const char *text)
{
    size_t length = strlen(text);
    GMV_TRY(GMV_NEW(*copy, length + 1, "a text"));
    memcpy(*copy, text, length);
    return GMV_OK;
}

void gmv_free(void *block)
{
    if (block != NULL) {
        void *known;
        memcpy(&known, (char *)block - sizeof(void *), sizeof(void *));
        atomic_fetch_sub(&live, 1);
        free(known);
    }
}

int64_t gmv_alloc_count(void)
{
    return atomic_load(&allocations);
}

int64_t gmv_alloc_live(void)
{
    return atomic_load(&live);
}

int64_t gmv_alloc_most_live(void)
{
    return atomic_load(&most_live);
}
