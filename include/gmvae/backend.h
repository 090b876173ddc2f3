/* A compute backend: an op table with its private data. */
#pragma once

#include "gmvae/comm.h"
#include "gmvae/ops.h"

/* Scale of `reduction: exact`: gradients are summed as multiples of 2^-40 (9.1e-13), range +-8.4e6. */
enum { GMV_FIXED_BITS = 40 };

struct gmv_backend {
    const char *name;      /* "cpu", "cuda" */
    const gmv_ops *op;
    const gmv_comm *comm;  /* borrowed */
    bool host_memory;      /* backend memory is host memory: data already there need no copy */
    void *state;           /* the backend's own */
    void (*close)(gmv_backend *backend);
};

/* Opens the backend named by the config: auto | cpu | cuda. Collective.
 * Ownership: caller closes with gmv_backend_close. `comm` is borrowed and must outlive the backend.
 * Errors: GMV_ERR_ENVIRONMENT when a GPU was asked for and none can be used, saying why. */
gmv_status gmv_backend_open(gmv_backend **backend, const char *name, const gmv_comm *comm);

/* Accepts *backend == NULL; sets it NULL. */
void gmv_backend_close(gmv_backend **backend);

/* Describes in one line what the backend runs on ("2 threads, AVX-512 kernels, OpenBLAS 0.3.21").
 * @param[out] text  at most `size` bytes with the final zero */
void gmv_backend_describe(const gmv_backend *backend, char *text, size_t size);
