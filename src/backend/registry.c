/* Backends that this program was built with, and the choice among them. */
#include "gmvae/backend.h"

#include "gmvae/mem.h"

#include <cblas.h>
#include <stdio.h>
#include <string.h>

#define GMV_CPU_BACKEND(id, isa) gmv_status gmv_cpu_##id##_open(gmv_backend *backend);
#include "cpu_backends.def"
#undef GMV_CPU_BACKEND

typedef struct cpu_variant {
    const char *isa;
    gmv_status (*open)(gmv_backend *backend);
} cpu_variant;

/* Best first, in the order of the build's GMVAE_CPU_ISA. */
static const cpu_variant variants[] = {
#define GMV_CPU_BACKEND(id, isa) {isa, gmv_cpu_##id##_open},
#include "cpu_backends.def"
#undef GMV_CPU_BACKEND
};

static bool machine_has(const char *isa)
{
    if (strcmp(isa, "x86-64-v4") == 0) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    }
    if (strcmp(isa, "x86-64-v3") == 0) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    }
    return true;
}

static const cpu_variant *best_variant(void)
{
    int count = (int)(sizeof variants / sizeof variants[0]);
    for (int i = 0; i < count; i++) {
        if (machine_has(variants[i].isa)) {
            return &variants[i];
        }
    }
    return &variants[count - 1];
}

gmv_status gmv_backend_open(gmv_backend **out, const char *name, const gmv_comm *comm)
{
    *out = NULL;
    if (strcmp(name, "cuda") == 0) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "backend: cuda was asked for, but this program was built without CUDA; "
                                             "use backend: cpu or auto");
    }
    gmv_backend *backend;
    GMV_TRY(GMV_NEW(backend, 1, "the backend"));
    backend->name = "cpu";
    backend->comm = comm;
    gmv_status status = best_variant()->open(backend);
    if (status != GMV_OK) {
        GMV_FREE(backend);
        return status;
    }
    *out = backend;
    return GMV_OK;
}

void gmv_backend_close(gmv_backend **backend)
{
    if (*backend != NULL) {
        (*backend)->close(*backend);
        GMV_FREE(*backend);
    }
}

void gmv_backend_describe(const gmv_backend *backend, char *text, size_t size)
{
    snprintf(text, size, "%s: %d thread%s, %s kernels, OpenBLAS for %s", backend->name, backend->comm->cores,
             backend->comm->cores == 1 ? "" : "s", best_variant()->isa, openblas_get_corename());
}
