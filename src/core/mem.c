#define _DEFAULT_SOURCE /* madvise */
#include "gmvae/mem.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const size_t huge = (size_t)1 << 21;
static _Atomic int64_t allocations;
static _Atomic int64_t live, most_live;

gmv_status gmv_alloc_room(void **out, int64_t count, size_t size, const char *what)
{
    *out = NULL;
    if (count == 0) {
        return GMV_OK;
    }
    if (count < 0 || (uint64_t)count > (uint64_t)(SIZE_MAX / 2) / size) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: an impossible size of %" PRId64 " elements; the file is damaged", what,
                        count);
    }
    size_t bytes = (size_t)count * size, alignment = bytes < huge ? 64 : huge;
    bytes = (bytes + 63) / 64 * 64;
    void *block = NULL;
    if (posix_memalign(&block, alignment, bytes) != 0) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "out of memory: %zu bytes for %s; use more ranks or a machine with more",
                        bytes, what);
    }
    if (alignment == huge) { /* a page fault for each 2 MiB instead of for each 4 KiB */
        madvise(block, bytes / huge * huge, MADV_HUGEPAGE);
    }
    atomic_fetch_add(&allocations, 1);
    int64_t now = atomic_fetch_add(&live, 1) + 1, most = atomic_load(&most_live);
    while (now > most && !atomic_compare_exchange_weak(&most_live, &most, now)) {
    }
    *out = block;
    return GMV_OK;
}

gmv_status gmv_alloc_bytes(void **out, int64_t count, size_t size, const char *what)
{
    GMV_TRY(gmv_alloc_room(out, count, size, what));
    if (*out != NULL) {
        memset(*out, 0, (size_t)count * size);
    }
    return GMV_OK;
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

void gmv_free(void *block)
{
    if (block != NULL) {
        atomic_fetch_sub(&live, 1);
        free(block);
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
