/* Host memory that kernels read where it lies, over the bus: for a matrix that the device has no room for. Each row of a
 * batch is read once a step, by batch_fetch, beside the work on the batch before.
 *
 * What is registered are pages. Arrays may share their first and last page with others: a page belongs to the mapping
 * that came first, which is why mappings end in reverse order. */
#include "cuda.h"

#include "gmvae/mem.h"

#include <unistd.h>

struct gmv_cuda_mapping {
    gmv_cuda_mapping *next;
    const void *host;
    uintptr_t begin, end; /* registered pages; none when an earlier mapping has them all */
};

/* Takes pages off both ends that are registered already. */
static void trim(const gmv_cuda_state *state, uintptr_t *begin, uintptr_t *end)
{
    for (const gmv_cuda_mapping *m = state->mappings; m != NULL; m = m->next) {
        if (m->begin <= *begin && *begin < m->end) {
            *begin = m->end;
        }
        if (m->begin < *end && *end <= m->end) {
            *end = m->begin;
        }
    }
    *end = *end < *begin ? *begin : *end;
}

gmv_status gmv_cuda_map_host(gmv_backend *b, const void *host, int64_t bytes, const void **seen)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    gmv_cuda_mapping *mapping;
    int same_address = 0;
    *seen = host;
    if (bytes == 0) {
        return GMV_OK;
    }
    GMV_CUDA(cudaDeviceGetAttribute(&same_address, cudaDevAttrCanUseHostPointerForRegisteredMem, state->device));
    if (same_address == 0) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT,
                        "GPU %d cannot read host memory where it lies; take data.residence: device", state->device);
    }
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)host;
    uintptr_t begin = at / page * page, end = (at + (uintptr_t)bytes + page - 1) / page * page;
    trim(state, &begin, &end);
    if (begin < end) {
        GMV_CUDA(cudaHostRegister((void *)begin, end - begin, cudaHostRegisterDefault));
    }
    gmv_status status = GMV_NEW(mapping, 1, "an account of host memory");
    if (status != GMV_OK) {
        cudaHostUnregister((void *)begin);
        return status;
    }
    *mapping = (gmv_cuda_mapping){state->mappings, host, begin, end};
    state->mappings = mapping;
    return GMV_OK;
}

static gmv_status end_mapping(gmv_cuda_mapping **link)
{
    gmv_cuda_mapping *mapping = *link;
    uintptr_t begin = mapping->begin, end = mapping->end;
    *link = mapping->next;
    gmv_free(mapping);
    if (begin < end) {
        GMV_CUDA(cudaHostUnregister((void *)begin));
    }
    return GMV_OK;
}

gmv_status gmv_cuda_unmap_host(gmv_backend *b, const void *host)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    for (gmv_cuda_mapping **link = &state->mappings; *link != NULL; link = &(*link)->next) {
        if ((*link)->host == host) {
            gmv_cuda_forget_sequences(state);
            GMV_TRY(gmv_cuda_wait(b, NULL)); /* kernels may still read it */
            return end_mapping(link);
        }
    }
    return GMV_OK; /* of no bytes */
}

void gmv_cuda_unmap_all(gmv_cuda_state *state)
{
    while (state->mappings != NULL) {
        end_mapping(&state->mappings);
    }
}
