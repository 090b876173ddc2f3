/* A compute backend: an op table with its private data. */
#pragma once

#include "gmvae/comm.h"
#include "gmvae/ops.h"
#include "gmvae/stage.h"

/* Scale of `reduction: exact`: gradients are summed as multiples of 2^-40 (9.1e-13), range +-8.4e6. */
enum { GMV_FIXED_BITS = 40 };

typedef struct gmv_backend_options {
    const char *name;        /* auto | cpu | cuda */
    gmv_precision precision; /* of the matrix products; everything else is fp32 */
    bool share_gpu;          /* several ranks may use one GPU */
    double timeout;          /* seconds that a rank waits for the others in a step */
    bool lone_sums;          /* sums over one rank take the way of many: for tests */
} gmv_backend_options;

struct gmv_backend {
    const char *name; /* "cpu", "cuda" */
    const gmv_ops *op;
    const gmv_comm *comm; /* borrowed */
    bool host_memory;     /* backend memory is host memory: data already there need no copy */
    void *state;          /* the backend's own */
    void (*close)(gmv_backend *backend);
    void (*describe)(const gmv_backend *backend, char *text, size_t size);
    const gmv_ranges
        *ranges; /* tell its profiler what is being done; NULL: it has none. While it is open they are told */
};

/* Opens a backend: `auto` is cuda when every rank has a GPU. Collective.
 * Ownership: caller closes with gmv_backend_close. `comm` is borrowed and must outlive the backend.
 * Errors: GMV_ERR_ENVIRONMENT when a GPU was asked for and none can be used, saying why; GMV_ERR_CONFIG for a
 * precision that the backend does not have, and for more ranks than GPUs. */
gmv_status gmv_backend_open(gmv_backend **backend, const gmv_backend_options *options, const gmv_comm *comm);

/* Whether this process could use a GPU. Not collective.
 * @param[out] text  which one, or why not; at most `size` bytes with the final zero */
bool gmv_backend_find_gpu(char *text, size_t size);

/* Accepts *backend == NULL; sets it NULL. */
void gmv_backend_close(gmv_backend **backend);

/* Describes in one line what the backend runs on ("2 threads, AVX-512 kernels, OpenBLAS 0.3.21").
 * @param[out] text  at most `size` bytes with the final zero */
void gmv_backend_describe(const gmv_backend *backend, char *text, size_t size);

/* ---- plug-ins: a backend in a shared object of its own, loaded when it is wanted ---- */

/* What libgmvae_cuda.so exports under the name gmv_cuda_plugin. It takes everything else from the program. */
typedef struct gmv_plugin {
    const char *version; /* GMVAE_VERSION it was built with: must be the program's */
    size_t table_bytes;  /* sizeof(gmv_ops): must be the program's */
    /* Fills state, op, host_memory, close, describe of a backend whose name and comm are set. Collective. */
    gmv_status (*open)(gmv_backend *backend, const gmv_backend_options *options);
    /* As gmv_backend_find_gpu. */
    bool (*find_gpu)(char *text, size_t size);
} gmv_plugin;
