#include "cpu.h"

#include "gmvae/mem.h"

#include <string.h>

gmv_status GMV_CPU(allocate)(gmv_backend *b, void **out, int64_t bytes, const char *what)
{
    (void)b;
    return gmv_alloc_bytes(out, bytes, 1, what);
}

gmv_status GMV_CPU(release)(gmv_backend *b, void *block)
{
    (void)b;
    gmv_free(block);
    return GMV_OK;
}

gmv_status GMV_CPU(upload)(gmv_backend *b, void *to, const void *host_from, int64_t bytes)
{
    (void)b;
    if (bytes > 0) {
        memcpy(to, host_from, (size_t)bytes);
    }
    return GMV_OK;
}

gmv_status GMV_CPU(download)(gmv_backend *b, void *host_to, const void *from, int64_t bytes)
{
    (void)b;
    if (bytes > 0) {
        memcpy(host_to, from, (size_t)bytes);
    }
    return GMV_OK;
}

gmv_status GMV_CPU(clear)(gmv_backend *b, void *block, int64_t bytes)
{
    (void)b;
    if (bytes > 0) {
        memset(block, 0, (size_t)bytes);
    }
    return GMV_OK;
}

gmv_status GMV_CPU(scratch)(gmv_backend *b, int64_t bytes, void **scratch)
{
    gmv_cpu_state *state = b->state;
    if (bytes > state->scratch_bytes) {
        GMV_FREE(state->scratch);
        state->scratch_bytes = 0;
        int64_t room = (int64_t)1 << 20; /* in powers of two: batches differ, and steps should not allocate */
        while (room < bytes) {
            room *= 2;
        }
        GMV_TRY(gmv_alloc_bytes(&state->scratch, room, 1, "scratch memory of the CPU backend"));
        state->scratch_bytes = room;
    }
    *scratch = state->scratch;
    return GMV_OK;
}

gmv_status GMV_CPU(memory_left)(gmv_backend *b, int64_t *bytes)
{
    (void)b;
    *bytes = INT64_MAX;
    return GMV_OK;
}

gmv_status GMV_CPU(map_host)(gmv_backend *b, const void *host, int64_t bytes, const void **seen)
{
    (void)b;
    (void)bytes;
    *seen = host;
    return GMV_OK;
}

gmv_status GMV_CPU(unmap_host)(gmv_backend *b, const void *host)
{
    (void)b;
    (void)host;
    return GMV_OK;
}
