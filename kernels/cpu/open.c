/* The op table of this instruction set, and opening it. */
#include "cpu.h"

#include "gmvae/mem.h"

#include <cblas.h>
#include <stdio.h>

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
    int threads = backend->comm->cores;
    snprintf(text, size, "cpu: %d thread%s, " GMV_CPU_ISA_NAME " kernels, OpenBLAS for %s", threads,
             threads == 1 ? "" : "s", openblas_get_corename());
}

gmv_status GMV_CPU(open)(gmv_backend *backend)
{
    gmv_cpu_state *state;
    GMV_TRY(GMV_NEW(state, 1, "the CPU backend"));
    backend->state = state;
    backend->op = &table;
    backend->host_memory = true;
    backend->close = close_backend;
    backend->describe = describe;
    openblas_set_num_threads(1); /* threads are ours, over pieces of fixed size */
    return GMV_OK;
}
