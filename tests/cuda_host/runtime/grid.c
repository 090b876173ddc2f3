/* Launches: checks, the attributes of kernels, and the blocks of a grid. */
#include "coh.h"

#include "annotate.h"

#include <stdio.h>
#include <string.h>

uint3 blockIdx;
dim3 blockDim, gridDim;

static const char *running = "";

const char *coh_running(void)
{
    return running;
}

void coh_set_running(const char *what)
{
    running = what;
}

void coh_describe_place(char *text, size_t size)
{
    if (coh_in_thread()) {
        snprintf(text, size, "kernel %s, block (%u,%u,%u), thread (%u,%u,%u)", running, blockIdx.x, blockIdx.y,
                 blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
    } else if (*running != '\0') {
        snprintf(text, size, "%s", running);
    } else {
        snprintf(text, size, "host code");
    }
}

void coh_trap(const char *what, const char *file, int line)
{
    char place[256];
    coh_describe_place(place, sizeof place);
    coh_die("%s: %s, %s:%d", place, what, file, line);
}

/* ---- running ---- */

static void order_threads(int *order, int n)
{
    coh_order how = coh_setting()->order;
    for (int i = 0; i < n; i++) {
        order[i] = how == COH_REVERSE ? n - 1 - i : i;
    }
    for (int i = n - 1; i > 0 && how == COH_SCATTERED; i--) {
        int j = (int)(coh_random() % (uint64_t)(i + 1)), kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Step from a block to the next, coprime to the number of blocks so that all are met. */
static uint64_t block_stride(uint64_t n)
{
    coh_order how = coh_setting()->order;
    if (how != COH_SCATTERED || n < 3) {
        return how == COH_FORWARD || n == 1 ? 1 : n - 1;
    }
    uint64_t stride = coh_random() % n;
    while (common_divisor(stride, n) != 1) {
        stride = (stride + 1) % n;
    }
    return stride;
}

void coh_grid_run(const coh_grid *grid, void *context)
{
    static int order[COH_MAX_THREADS];
    static char one_at_a_time; /* kernels share this file's and shared memory: never a race between two */
    int threads = (int)(grid->block.x * grid->block.y * grid->block.z);
    uint64_t plane = (uint64_t)grid->grid.x * grid->grid.y, n = plane * grid->grid.z;
    uint64_t stride = block_stride(n);
    uint64_t at = coh_setting()->order == COH_SCATTERED ? coh_random() % n
                  : coh_setting()->order == COH_REVERSE ? n - 1
                                                        : 0;
    coh_acquire(&one_at_a_time);
    gridDim = grid->grid;
    blockDim = grid->block;
    order_threads(order, threads);
    coh_shared_prepare(grid->shared);
    for (uint64_t done = 0; done < n; done++) {
        blockIdx.x = (unsigned int)(at % grid->grid.x);
        blockIdx.y = (unsigned int)(at % plane / grid->grid.x);
        blockIdx.z = (unsigned int)(at / plane);
        coh_shared_fill();
        coh_block_run(grid, context, order, threads);
        at = (at + stride) % n;
    }
    coh_release(&one_at_a_time);
    coh_check_guards(running);
}

/* ---- launching ---- */

static struct kernel_limit {
    const void *kernel;
    int shared;
} * limits;
static int n_limits;

static int shared_limit(const void *kernel)
{
    for (int i = 0; i < n_limits; i++) {
        if (limits[i].kernel == kernel) {
            return limits[i].shared;
        }
    }
    return COH_STATIC_SHARED;
}

static cudaError_t check_launch(const coh_grid *g)
{
    uint64_t threads = (uint64_t)g->block.x * g->block.y * g->block.z;
    if (threads < 1 || threads > COH_MAX_THREADS || g->block.x > COH_MAX_THREADS || g->block.y > COH_MAX_THREADS ||
        g->block.z > 64) {
        return cudaErrorInvalidConfiguration;
    }
    if (g->grid.x < 1 || g->grid.x > 2147483647u || g->grid.y < 1 || g->grid.y > 65535 || g->grid.z < 1 ||
        g->grid.z > 65535) {
        return cudaErrorInvalidConfiguration;
    }
    return g->shared > (size_t)shared_limit((const void *)(size_t)g->kernel.function) ? cudaErrorInvalidValue
                                                                                      : cudaSuccess;
}

/* The name as in the source, without the parentheses and the arguments of the template. */
static void plain_name(const char *name, char *plain, size_t size)
{
    name += strspn(name, "( ");
    snprintf(plain, size, "%.*s", (int)strcspn(name, "<) "), name);
}

static bool run_launch(coh_op *op, coh_item *item)
{
    coh_grid *grid = coh_payload(op);
    coh_arena_open();
    coh_grid_run(grid, coh_context_of(item->lane));
    return true;
}

static cudaError_t launch(const coh_grid *grid, cudaStream_t stream, const void *arguments, size_t bytes)
{
    char name[64];
    plain_name(grid->kernel.name, name, sizeof name);
    int fault = coh_injected(name);
    cudaError_t error = coh_device_error();
    if (error == cudaSuccess) {
        error = coh_check_stream(stream);
    }
    if (error == cudaSuccess) {
        error = check_launch(grid);
    }
    if (error != cudaSuccess) {
        return error;
    }
    size_t header = (sizeof *grid + 15) / 16 * 16;
    coh_op *op = coh_op_new(grid->kernel.name, run_launch, header + bytes);
    coh_grid *copy = coh_payload(op);
    *copy = *grid;
    copy->arguments = (char *)copy + header;
    coh_copy_quietly((char *)copy + header, arguments, bytes);
    op->fault = (cudaError_t)fault;
    return coh_submit(stream, op);
}

void coh_launch(const coh_kernel *kernel, dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                const void *arguments, size_t bytes)
{
    COH_LOCKED;
    coh_grid what = {*kernel, grid, block, shared, NULL};
    int injected = coh_injected("cudaLaunchKernel");
    coh_say(injected != 0 ? (cudaError_t)injected : launch(&what, stream, arguments, bytes));
}

cudaError_t cudaFuncSetAttribute(const void *kernel, enum cudaFuncAttribute attribute, int value)
{
    COH_CALL(cudaFuncSetAttribute);
    if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) {
        return cudaSuccess;
    }
    if (kernel == NULL || attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
        value > COH_OPTIN_SHARED) {
        return coh_say(cudaErrorInvalidValue);
    }
    int i = 0;
    while (i < n_limits && limits[i].kernel != kernel) {
        i++;
    }
    if (i == n_limits) {
        limits = coh_resize(limits, (size_t)++n_limits * sizeof *limits);
    }
    limits[i].kernel = kernel;
    limits[i].shared = value > COH_STATIC_SHARED ? value : COH_STATIC_SHARED;
    return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *attributes, const void *kernel)
{
    COH_CALL(cudaFuncGetAttributes);
    memset(attributes, 0, sizeof *attributes);
    attributes->maxThreadsPerBlock = COH_MAX_THREADS;
    attributes->numRegs = 32;
    attributes->maxDynamicSharedSizeBytes = shared_limit(kernel);
    return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *kernel, int block_size,
                                                          size_t shared)
{
    COH_CALL(cudaOccupancyMaxActiveBlocksPerMultiprocessor);
    if (block_size < 1) {
        return coh_say(cudaErrorInvalidValue);
    }
    int warps = (block_size + COH_WARP - 1) / COH_WARP;
    int by_threads = block_size > COH_MAX_THREADS ? 0 : 64 / warps;
    int by_shared = shared > (size_t)shared_limit(kernel) ? 0 : (int)(228 * 1024 / (shared + 1024));
    *blocks = by_threads < by_shared ? by_threads : by_shared;
    *blocks = *blocks < 32 ? *blocks : 32;
    return cudaSuccess;
}
