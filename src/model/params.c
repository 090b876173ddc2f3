#include "gmvae/params.h"

#include "gmvae/mem.h"
#include "gmvae/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { alignment = 16 };
_Static_assert(GMV_GRAD_EXTRA % alignment == 0, "the gradient behind them is aligned as the other buffers are");

void gmv_params_init(gmv_params *params, gmv_backend *backend)
{
    memset(params, 0, sizeof *params);
    params->backend = backend;
}

gmv_status gmv_params_declare(gmv_params *params, const char *name, int64_t rows, int64_t columns, bool transposed,
                              int64_t fan_in, double init_value, int *index)
{
    GMV_TRY(GMV_GROW(params->tensor, params->tensors, params->tensors + 1, "the table of parameters"));
    gmv_tensor *tensor = &params->tensor[params->tensors];
    snprintf(tensor->name, sizeof tensor->name, "%s", name);
    tensor->dims = columns > 0 ? 2 : 1;
    tensor->shape[0] = rows;
    tensor->shape[1] = columns > 0 ? columns : 1;
    tensor->transposed = transposed;
    tensor->offset = params->total;
    tensor->n = tensor->shape[0] * tensor->shape[1];
    tensor->init_bound = fan_in > 0 ? 1.0 / sqrt((double)fan_in) : 0.0;
    tensor->init_value = init_value;
    params->total += (tensor->n + alignment - 1) / alignment * alignment;
    params->count += tensor->n;
    *index = params->tensors++;
    return GMV_OK;
}

/* Initial values of tensor `index` in file order; a function of seed and index alone. */
static void initial_values(const gmv_tensor *tensor, int index, uint64_t seed, float *host)
{
    for (int64_t i = 0; i < tensor->n; i += 4) {
        gmv_philox block = gmv_random_block(seed, GMV_STREAM_INIT, 0, index, 0, (uint32_t)(i / 4));
        for (int k = 0; k < 4 && i + k < tensor->n; k++) {
            double u = 2.0 * (double)gmv_uniform(block.word[k]) - 1.0;
            host[i + k] = (float)(tensor->init_value + u * tensor->init_bound);
        }
    }
}

gmv_status gmv_params_allocate(gmv_params *params, uint64_t seed)
{
    const gmv_ops *op = params->backend->op;
    int64_t bytes = params->total * (int64_t)sizeof(float);
    GMV_TRY(op->allocate(params->backend, (void **)&params->value, bytes, "parameters"));
    GMV_TRY(op->allocate(params->backend, (void **)&params->extra, bytes + GMV_GRAD_EXTRA * (int64_t)sizeof(float),
                         "gradients"));
    params->grad = params->extra + GMV_GRAD_EXTRA;
    GMV_TRY(op->allocate(params->backend, (void **)&params->m, bytes, "Adam's means"));
    GMV_TRY(op->allocate(params->backend, (void **)&params->v, bytes, "Adam's squares"));
    for (int i = 0; i < params->tensors; i++) {
        float *host;
        GMV_TRY(GMV_NEW(host, params->tensor[i].n, "initial values"));
        initial_values(&params->tensor[i], i, seed, host);
        gmv_status status = gmv_params_upload(params, params->value, i, host);
        gmv_free(host);
        GMV_TRY(status);
    }
    return GMV_OK;
}

void gmv_params_fini(gmv_params *params)
{
    if (params->backend != NULL) {
        const gmv_ops *op = params->backend->op;
        op->release(params->backend, params->value);
        op->release(params->backend, params->extra);
        op->release(params->backend, params->m);
        op->release(params->backend, params->v);
    }
    GMV_FREE(params->tensor);
    memset(params, 0, sizeof *params);
}

int gmv_params_find(const gmv_params *params, const char *name)
{
    for (int i = 0; i < params->tensors; i++) {
        if (strcmp(params->tensor[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

gmv_mat gmv_params_mat(const gmv_params *params, float *buffer, int index)
{
    const gmv_tensor *tensor = &params->tensor[index];
    int rows = (int)tensor->shape[tensor->transposed ? 1 : 0], cols = (int)tensor->shape[tensor->transposed ? 0 : 1];
    return gmv_mat_of(buffer + tensor->offset, rows, cols);
}

gmv_vec gmv_params_vec(const gmv_params *params, float *buffer, int index)
{
    return gmv_vec_of(buffer + params->tensor[index].offset, params->tensor[index].n);
}

/* out [cols, rows] = transpose of in [rows, cols]. */
static void transpose(const float *in, int64_t rows, int64_t cols, float *out)
{
    enum { tile = 32 };
    for (int64_t i0 = 0; i0 < rows; i0 += tile) {
        for (int64_t j0 = 0; j0 < cols; j0 += tile) {
            for (int64_t i = i0; i < rows && i < i0 + tile; i++) {
                for (int64_t j = j0; j < cols && j < j0 + tile; j++) {
                    out[j * rows + i] = in[i * cols + j];
                }
            }
        }
    }
}

gmv_status gmv_params_download(const gmv_params *params, const float *buffer, int index, float *host)
{
    const gmv_tensor *tensor = &params->tensor[index];
    const gmv_ops *op = params->backend->op;
    int64_t bytes = tensor->n * (int64_t)sizeof(float);
    if (!tensor->transposed) {
        return op->download(params->backend, host, buffer + tensor->offset, bytes);
    }
    float *kept;
    GMV_TRY(GMV_NEW(kept, tensor->n, "a transposed tensor"));
    gmv_status status = op->download(params->backend, kept, buffer + tensor->offset, bytes);
    transpose(kept, tensor->shape[1], tensor->shape[0], host);
    gmv_free(kept);
    return status;
}

gmv_status gmv_params_upload(const gmv_params *params, float *buffer, int index, const float *host)
{
    const gmv_tensor *tensor = &params->tensor[index];
    const gmv_ops *op = params->backend->op;
    int64_t bytes = tensor->n * (int64_t)sizeof(float);
    if (!tensor->transposed) {
        return op->upload(params->backend, buffer + tensor->offset, host, bytes);
    }
    float *kept;
    GMV_TRY(GMV_NEW(kept, tensor->n, "a transposed tensor"));
    transpose(host, tensor->shape[0], tensor->shape[1], kept);
    gmv_status status = op->upload(params->backend, buffer + tensor->offset, kept, bytes);
    gmv_free(kept);
    return status;
}
