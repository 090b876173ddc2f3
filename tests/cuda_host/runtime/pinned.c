/* Host memory that the runtime knows: what it allocated itself, and what was registered. */
#include "coh.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct range {
    char *at;
    size_t bytes;
    bool ours;
} * ranges;
static int n_ranges;

static int find(const void *at)
{
    for (int i = 0; i < n_ranges; i++) {
        if ((size_t)((const char *)at - ranges[i].at) < ranges[i].bytes) {
            return i;
        }
    }
    return -1;
}

bool coh_is_pinned(const void *at, size_t bytes)
{
    int i = find(at);
    return i >= 0 && bytes <= ranges[i].bytes - (size_t)((const char *)at - ranges[i].at);
}

static void add(void *at, size_t bytes, bool ours)
{
    ranges = coh_resize(ranges, (size_t)(n_ranges + 1) * sizeof *ranges);
    ranges[n_ranges++] = (struct range){at, bytes, ours};
}

static cudaError_t allocate(void **block, size_t bytes)
{
    cudaError_t error = coh_forbid_in_capture();
    if (error != cudaSuccess || block == NULL) {
        return error != cudaSuccess ? error : cudaErrorInvalidValue;
    }
    *block = NULL;
    if (bytes == 0) {
        return cudaSuccess;
    }
    void *memory = NULL;
    size_t page = (size_t)sysconf(_SC_PAGESIZE); /* whole pages: nothing else lies there that could be registered */
    if (posix_memalign(&memory, page, (bytes + page - 1) / page * page) != 0) {
        return cudaErrorMemoryAllocation;
    }
    memset(memory, 0xff, bytes);
    add(memory, bytes, true);
    *block = memory;
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **block, size_t bytes)
{
    COH_CALL(cudaMallocHost);
    return coh_say(allocate(block, bytes));
}

cudaError_t cudaHostAlloc(void **block, size_t bytes, unsigned int flags)
{
    COH_CALL(cudaHostAlloc);
    return coh_say(flags > 7 ? cudaErrorInvalidValue : allocate(block, bytes));
}

static cudaError_t forget(void *block, bool ours)
{
    int i = find(block);
    if (i < 0 || ranges[i].at != block || ranges[i].ours != ours) {
        return ours ? cudaErrorInvalidValue : cudaErrorHostMemoryNotRegistered;
    }
    ranges[i] = ranges[--n_ranges];
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *block)
{
    COH_CALL(cudaFreeHost);
    cudaError_t error = coh_forbid_in_capture();
    if (error != cudaSuccess || block == NULL) {
        return coh_say(error);
    }
    coh_queue_drain();
    error = forget(block, true);
    if (error == cudaSuccess) {
        free(block);
    }
    return coh_say(error);
}

cudaError_t cudaHostRegister(void *block, size_t bytes, unsigned int flags)
{
    COH_CALL(cudaHostRegister);
    if (block == NULL || bytes == 0 || flags > 15) {
        return coh_say(cudaErrorInvalidValue);
    }
    if (find(block) >= 0 || find((char *)block + bytes - 1) >= 0) {
        return coh_say(cudaErrorHostMemoryAlreadyRegistered);
    }
    add(block, bytes, false);
    return cudaSuccess;
}

cudaError_t cudaHostUnregister(void *block)
{
    COH_CALL(cudaHostUnregister);
    coh_queue_drain();
    return coh_say(forget(block, false));
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *pointer)
{
    COH_CALL(cudaPointerGetAttributes);
    memset(attributes, 0, sizeof *attributes);
    attributes->device = -2; /* CUDA's value for memory it does not know */
    if (coh_points_to_device(pointer, &attributes->device)) {
        attributes->type = cudaMemoryTypeDevice;
        attributes->devicePointer = (void *)(size_t)pointer;
    } else if (coh_is_pinned(pointer, 0)) {
        attributes->type = cudaMemoryTypeHost;
        attributes->device = coh_current_device();
        attributes->devicePointer = attributes->hostPointer = (void *)(size_t)pointer;
    } else {
        attributes->hostPointer = (void *)(size_t)pointer;
    }
    return cudaSuccess;
}
