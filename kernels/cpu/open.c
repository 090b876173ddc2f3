/* The op table of this instruction set, and opening it. */
#include "cpu.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <cblas.h>
#include <omp.h>
#include <stdio.h>

/* OpenBLAS's own, not declared in its headers; absent from a library that hides them. */
extern void *blas_memory_alloc(int place) __attribute__((weak));
extern void blas_memory_free(void *buffer) __attribute__((weak));

/* OpenBLAS maps 128 MiB and two pages for each product that is at work. What else a run takes from the system, outside
 * the allocations that it checks, is far less than the rest (MPI's and HDF5's buffers, stacks). */
enum { product_bytes = (1 << 27) + (1 << 14), rest_bytes = 1 << 26 };

/* What is in use differs from run to run by some stacks and buffers: advice must be enough for each. */
enum { advice_bytes = 1 << 25 };

static const gmv_ops table = {
#define GMV_OP(name, parameters) .name = GMV_CPU(name),
#include "gmvae/ops.def"
#undef GMV_OP
};

static void close_backend(gmv_backend *backend)
{
    gmv_cpu_state *state = backend->state;
    GMV_FREE(state->scratch);
    GMV_FREE(state);
    backend->state = NULL;
}

static void describe(const gmv_backend *backend, char *text, size_t size)
{
    (void)backend;
    int threads = omp_get_max_threads();
    snprintf(text, size, "cpu: %d thread%s, " GMV_CPU_ISA_NAME " kernels, OpenBLAS for %s", threads,
             threads == 1 ? "" : "s", openblas_get_corename());
}

static gmv_status too_few_addresses(int threads)
{
    const double megabyte = 1e6;
    gmv_addresses here = gmv_memory_addresses();
    if (here.limit < 0 || here.used < 0) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT,
                        "out of memory: OpenBLAS cannot map the %d MB that a thread takes for products; see "
                        "vm.overcommit_memory and the limits of the job",
                        product_bytes / 1000000);
    }
    double one = (double)product_bytes / megabyte,
           least = (double)(here.used + rest_bytes + advice_bytes) / megabyte + one;
    return GMV_FAIL(GMV_ERR_ENVIRONMENT,
                    "the limit on address space (ulimit -v) of %.0f MB is too small: products need %.0f MB with one "
                    "thread and %.0f MB more for each other, %.0f MB with the %d here; raise it",
                    (double)here.limit / megabyte, least, one, least + (threads - 1) * one, threads);
}

/* OpenBLAS asks for a buffer again and again, for ever, when it gets none. So it is made to take one for each thread
 * here, where it is known that there are as many; threads for which there is none are not used. */
static gmv_status take_product_buffers(void)
{
    int wanted = omp_get_max_threads(), threads = gmv_memory_blocks(wanted, product_bytes, rest_bytes);
    if (threads == 0) {
        return too_few_addresses(wanted);
    }
    if (threads < wanted) {
        gmv_warn("only %d of %d threads are used: products take %d MB of address space each, and there is no more; "
                 "raise the limit (ulimit -v)",
                 threads, wanted, product_bytes / 1000000);
        omp_set_num_threads(threads);
    }
    if (blas_memory_alloc == NULL || blas_memory_free == NULL) {
        return GMV_OK;
    }
#pragma omp parallel num_threads(threads)
    {
        void *buffer = blas_memory_alloc(0);
#pragma omp barrier
        blas_memory_free(buffer);
    }
    return GMV_OK;
}

gmv_status GMV_CPU(open)(gmv_backend *backend)
{
    openblas_set_num_threads(1); /* threads are ours, over pieces of fixed size */
    GMV_TRY(take_product_buffers());
    gmv_cpu_state *state;
    GMV_TRY(GMV_NEW(state, 1, "the CPU backend"));
    backend->state = state;
    backend->op = &table;
    backend->host_memory = true;
    backend->close = close_backend;
    backend->describe = describe;
    return GMV_OK;
}
