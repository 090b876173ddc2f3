/* Trainable tensors: a table of names and shapes over four flat backend buffers.
 *
 * Names and shapes are those of a PyTorch state_dict (docs/formats.md): weights [out, in]. In memory a
 * tensor may be kept transposed (input-major), where a kernel wants the row of one input contiguous;
 * files always hold it as named.
 */
#pragma once

#include "gmvae/backend.h"

enum { GMV_MAX_NAME = 64 };

typedef struct gmv_tensor {
    char name[GMV_MAX_NAME];
    int dims;          /* 1 or 2 */
    int64_t shape[2];  /* as in the state_dict: [out, in] or [n] */
    bool transposed;   /* kept as [in, out] */
    int64_t offset, n; /* place in the flat buffers; offsets are multiples of 16 floats */
    double init_bound; /* uniform in +-bound (PyTorch's Linear default) */
    double init_value; /* added: 1 for norm weights */
} gmv_tensor;

typedef struct gmv_params {
    int tensors;
    gmv_tensor *tensor;
    int64_t total; /* P: floats in each buffer, gaps (always zero) included */
    int64_t count; /* trainable parameters, gaps not counted */
    gmv_backend *backend;
    float *value, *grad, *m, *v; /* [total] backend memory */
    float *extra;                /* [GMV_GRAD_EXTRA] right before grad, so that it rides in the gradient's all-reduce */
} gmv_params;

/* An empty table; nothing is allocated. `backend` is borrowed: NULL where only names and shapes are wanted. */
void gmv_params_init(gmv_params *params, gmv_backend *backend);

/* Adds a tensor; its index is the return value's *index. columns 0 makes it a vector.
 * @param[in] fan_in  > 0: initial values uniform in +-1/sqrt(fan_in); 0: `init_value` everywhere */
gmv_status gmv_params_declare(gmv_params *params, const char *name, int64_t rows, int64_t columns, bool transposed,
                              int64_t fan_in, double init_value, int *index);

/* Allocates the buffers and sets initial values: a function of seed and tensor order alone. */
gmv_status gmv_params_allocate(gmv_params *params, uint64_t seed);

/* Gives back the buffers and the table, and leaves it empty. */
void gmv_params_fini(gmv_params *params);

/* Index of a tensor by name, -1 when there is none. */
int gmv_params_find(const gmv_params *params, const char *name);

/* Views into one of the flat buffers, in memory order ([in, out] for transposed tensors). */
gmv_mat gmv_params_mat(const gmv_params *params, float *buffer, int index);
gmv_vec gmv_params_vec(const gmv_params *params, float *buffer, int index);

/* Copies one tensor between a flat backend buffer and host memory in file order ([out, in]).
 * @param host [n] floats */
gmv_status gmv_params_download(const gmv_params *params, const float *buffer, int index, float *host);
gmv_status gmv_params_upload(const gmv_params *params, float *buffer, int index, const float *host);
