/* Backends that this program was built with or finds as a plug-in, and the choice among them. */
#include "gmvae/backend.h"

#include "gmvae/cpu.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "plugin.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define GMV_CPU_VARIANT(id, isa) gmv_status gmv_cpu_##id##_open(gmv_backend *backend);
#include "cpu_variants.def"
#undef GMV_CPU_VARIANT

static gmv_status (*const open_variant[])(gmv_backend *backend) = {
#define GMV_CPU_VARIANT(id, isa) gmv_cpu_##id##_open,
#include "cpu_variants.def"
#undef GMV_CPU_VARIANT
};

static gmv_status open_cpu(gmv_backend *backend, const gmv_backend_options *options)
{
    static const char *const names[] = {GMV_PRECISIONS(GMV_CHOICE_NAME)};
    if (options->precision != GMV_FP32) {
        return GMV_FAIL(GMV_ERR_CONFIG, "train.precision: %s is not available on the cpu backend; use fp32",
                        names[options->precision]);
    }
    return open_variant[gmv_cpu_best()](backend);
}

static bool host_has_driver(void)
{
    return access("/dev/nvidiactl", F_OK) == 0 || access("/proc/driver/nvidia/version", F_OK) == 0;
}

/* Whether `auto` means cuda: every rank must have a GPU. Collective. */
static bool every_rank_has_gpu(const gmv_comm *comm)
{
    char text[1024];
    int64_t with = gmv_backend_find_gpu(text, sizeof text) ? 1 : 0;
    gmv_comm_sum_i64(comm, &with, 1);
    if (with > 0 && with < comm->size && comm->rank == 0) {
        gmv_warn("only %lld of %d ranks see a GPU, so all compute on the CPU; backend=cuda says what the others lack",
                 (long long)with, comm->size);
    } else if (with == 0 && comm->rank == 0 && host_has_driver()) {
        gmv_warn("this host has an NVIDIA driver, but computing is on the CPU: %s", text);
    }
    return with == comm->size;
}

gmv_status gmv_backend_open(gmv_backend **out, const gmv_backend_options *options, const gmv_comm *comm)
{
    *out = NULL;
    bool cuda = strcmp(options->name, "cuda") == 0 || (strcmp(options->name, "auto") == 0 && every_rank_has_gpu(comm));
    gmv_backend *backend;
    gmv_status status = GMV_NEW(backend, 1, "the backend");
    GMV_TRY(gmv_comm_agree(comm, status));
    backend->name = cuda ? "cuda" : "cpu";
    backend->comm = comm;
    if (cuda) {
        const gmv_plugin *plugin = NULL;
        status = gmv_comm_agree(comm, gmv_plugin_cuda(&plugin)); /* opening is collective */
        status = status == GMV_OK ? plugin->open(backend, options) : status;
    } else {
        status = open_cpu(backend, options);
    }
    if (status != GMV_OK) {
        GMV_FREE(backend);
        return status;
    }
    gmv_ranges_tell(backend->ranges);
    *out = backend;
    return GMV_OK;
}

void gmv_backend_close(gmv_backend **backend)
{
    if (*backend != NULL) {
        gmv_ranges_tell(NULL);
        (*backend)->close(*backend);
        GMV_FREE(*backend);
    }
}

void gmv_backend_describe(const gmv_backend *backend, char *text, size_t size)
{
    backend->describe(backend, text, size);
}

bool gmv_backend_find_gpu(char *text, size_t size)
{
    const gmv_plugin *plugin;
    if (gmv_plugin_cuda(&plugin) != GMV_OK) {
        snprintf(text, size, "%s", gmv_error_message());
        gmv_error_clear();
        return false;
    }
    return plugin->find_gpu(text, size);
}
