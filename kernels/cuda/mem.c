/* Device memory, with an account of who has how much: so that running out of it can be explained. */
#include "cuda.h"

#include "gmvae/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct gmv_cuda_block {
    gmv_cuda_block *next;
    void *at;
    int64_t bytes;
    const char *what;
};

static const double mega = 1024.0 * 1024.0;

/* "activations of a batch 3.1 MB, parameters ..." of the five largest uses. */
static void list_uses(const gmv_cuda_state *state, char *text, size_t size)
{
    enum { most = 5 };
    const char *shown[most];
    text[0] = '\0';
    for (int i = 0; i < most; i++) {
        const char *largest = NULL;
        int64_t largest_bytes = 0;
        for (const gmv_cuda_block *block = state->blocks; block != NULL; block = block->next) {
            int64_t bytes = 0;
            bool seen = false;
            for (int j = 0; j < i; j++) {
                seen = seen || strcmp(shown[j], block->what) == 0;
            }
            for (const gmv_cuda_block *other = state->blocks; !seen && other != NULL; other = other->next) {
                bytes += strcmp(other->what, block->what) == 0 ? other->bytes : 0;
            }
            if (bytes > largest_bytes) {
                largest_bytes = bytes;
                largest = block->what;
            }
        }
        if (largest == NULL) {
            return;
        }
        shown[i] = largest;
        size_t used = strlen(text);
        snprintf(text + used, size - used, "%s%s %.1f MB", i > 0 ? ", " : "", largest, (double)largest_bytes / mega);
    }
}

static gmv_status out_of_memory(const gmv_cuda_state *state, int64_t bytes, const char *what)
{
    char uses[512];
    size_t left = 0, total = 0;
    cudaGetLastError();
    if (cudaMemGetInfo(&left, &total) != cudaSuccess) {
        cudaGetLastError();
    }
    list_uses(state, uses, sizeof uses);
    return GMV_FAIL(GMV_ERR_ENVIRONMENT,
                    "GPU %d is out of memory: %.1f MB for %s, %.1f of %.1f MB are free (in use here: %s); lower "
                    "train.batch_size or train.mc_samples, or use more GPUs",
                    state->device, (double)bytes / mega, what, (double)left / mega, (double)total / mega,
                    uses[0] != '\0' ? uses : "nothing");
}

static gmv_status take_block(gmv_cuda_state *state, void **out, int64_t bytes, const char *what)
{
    gmv_cuda_block *block;
    GMV_TRY(GMV_NEW(block, 1, "an account of device memory"));
    cudaError_t error = cudaMalloc(&block->at, bytes > 0 ? (size_t)bytes : 1);
    if (error != cudaSuccess) {
        gmv_free(block);
        return error == cudaErrorMemoryAllocation ? out_of_memory(state, bytes, what)
                                                  : gmv_cuda_failed(__FILE__, __LINE__, "cudaMalloc", error);
    }
    block->bytes = bytes;
    block->what = what;
    block->next = state->blocks;
    state->blocks = block;
    *out = block->at;
    return GMV_OK;
}

gmv_status gmv_cuda_allocate(gmv_backend *b, void **out, int64_t bytes, const char *what)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    *out = NULL;
    GMV_CHECK(!state->capturing);
    gmv_cuda_forget_sequences(state);
    GMV_TRY(take_block(state, out, bytes, what));
    return gmv_cuda_clear(b, *out, bytes);
}

gmv_status gmv_cuda_release(gmv_backend *b, void *at)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    if (at == NULL) {
        return GMV_OK;
    }
    gmv_cuda_forget_sequences(state);
    for (gmv_cuda_block **link = &state->blocks; *link != NULL; link = &(*link)->next) {
        gmv_cuda_block *block = *link;
        if (block->at == at) {
            *link = block->next;
            gmv_free(block);
            GMV_CUDA(cudaFree(at));
            return GMV_OK;
        }
    }
    return GMV_FAIL(GMV_ERR_INTERNAL, "released device memory that was not allocated");
}

void gmv_cuda_release_all(gmv_cuda_state *state)
{
    while (state->blocks != NULL) {
        gmv_cuda_block *block = state->blocks;
        state->blocks = block->next;
        cudaFree(block->at);
        gmv_free(block);
    }
}

gmv_status gmv_cuda_upload(gmv_backend *b, void *to, const void *host_from, int64_t bytes)
{
    if (bytes == 0) {
        return GMV_OK;
    }
    GMV_CUDA(cudaMemcpyAsync(to, host_from, (size_t)bytes, cudaMemcpyHostToDevice, gmv_cuda_stream(b)));
    return gmv_cuda_wait(b, NULL);
}

gmv_status gmv_cuda_download(gmv_backend *b, void *host_to, const void *from, int64_t bytes)
{
    if (bytes == 0) {
        return GMV_OK;
    }
    GMV_CUDA(cudaMemcpyAsync(host_to, from, (size_t)bytes, cudaMemcpyDeviceToHost, gmv_cuda_stream(b)));
    return gmv_cuda_wait(b, NULL);
}

gmv_status gmv_cuda_memory_left(gmv_backend *b, int64_t *bytes)
{
    (void)b;
    size_t left = 0, total = 0;
    GMV_CUDA(cudaMemGetInfo(&left, &total));
    *bytes = (int64_t)left;
    return GMV_OK;
}

gmv_status gmv_cuda_clear(gmv_backend *b, void *block, int64_t bytes)
{
    if (bytes > 0) {
        GMV_CUDA(cudaMemsetAsync(block, 0, (size_t)bytes, gmv_cuda_stream(b)));
    }
    return GMV_OK;
}

gmv_status gmv_cuda_scratch(gmv_backend *b, gmv_cuda_place place, int64_t bytes, void **scratch)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    if (bytes > state->scratch_bytes[place]) {
        GMV_CHECK(!state->capturing); /* a sequence runs once before it is recorded, and reserves by that */
        GMV_TRY(gmv_cuda_wait(b, NULL));
        void *old = state->scratch[place];
        state->scratch[place] = NULL;
        state->scratch_bytes[place] = 0;
        GMV_TRY(gmv_cuda_release(b, old));
        int64_t room =
            (int64_t)1 << 20; /* in eighths of powers of two: batches differ, and steps should not allocate */
        while (room < bytes) {
            room += room / 8;
        }
        room = (room + 255) / 256 * 256;
        gmv_cuda_forget_sequences(state);
        GMV_TRY(take_block(state, &state->scratch[place], room, "scratch"));
        state->scratch_bytes[place] = room;
    }
    *scratch = state->scratch[place];
    return GMV_OK;
}
