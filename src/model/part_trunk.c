#include "trunk.h"

#include <stdio.h>

static gmv_status declare_layer(gmv_params *params, const char *name, int index, bool input_major,
                                gmv_trunk_layer *layer)
{
    char tensor[GMV_MAX_NAME];
    snprintf(tensor, sizeof tensor, "%s.layers.%d.linear.weight", name, index);
    GMV_TRY(gmv_params_declare(params, tensor, layer->width, layer->in, input_major, layer->in, 0.0, &layer->weight));
    snprintf(tensor, sizeof tensor, "%s.layers.%d.linear.bias", name, index);
    GMV_TRY(gmv_params_declare(params, tensor, layer->width, 0, false, layer->in, 0.0, &layer->bias));
    snprintf(tensor, sizeof tensor, "%s.layers.%d.norm.weight", name, index);
    GMV_TRY(gmv_params_declare(params, tensor, layer->width, 0, false, 0, 1.0, &layer->norm_weight));
    snprintf(tensor, sizeof tensor, "%s.layers.%d.norm.bias", name, index);
    return gmv_params_declare(params, tensor, layer->width, 0, false, 0, 0.0, &layer->norm_bias);
}

gmv_status gmv_trunk_declare(gmv_trunk *trunk, gmv_params *params, const char *name, int in, gmv_ints widths,
                             bool input_major, uint32_t *stream)
{
    if (widths.n > GMV_MAX_LAYERS) {
        return GMV_FAIL(GMV_ERR_CONFIG, "model.%s has %d layers; at most %d are possible", name, widths.n,
                        (int)GMV_MAX_LAYERS);
    }
    trunk->layers = widths.n;
    trunk->input_major = input_major;
    for (int i = 0; i < widths.n; i++) {
        gmv_trunk_layer *layer = &trunk->layer[i];
        layer->in = i == 0 ? in : (int)widths.at[i - 1];
        layer->width = (int)widths.at[i];
        layer->stream = (*stream)++;
        GMV_TRY(declare_layer(params, name, i, input_major && i == 0, layer));
    }
    return GMV_OK;
}

/* Every matrix starts on a cache line, whatever the number of rows: vectorised sums then do not depend on
 * how much was reserved. */
static int64_t whole_lines(int64_t floats)
{
    return (floats + 15) / 16 * 16;
}

int64_t gmv_trunk_workspace(const gmv_trunk *trunk, int rows)
{
    int64_t floats = 0;
    for (int i = 0; i < trunk->layers; i++) {
        floats += 2 * whole_lines((int64_t)rows * trunk->layer[i].width) + whole_lines((int64_t)rows * 2);
    }
    return floats;
}

float *gmv_trunk_arrange(gmv_trunk *trunk, int rows, float *at)
{
    for (int i = 0; i < trunk->layers; i++) {
        gmv_trunk_layer *layer = &trunk->layer[i];
        layer->pre = gmv_mat_of(at, rows, layer->width);
        at += whole_lines((int64_t)rows * layer->width);
        layer->out = gmv_mat_of(at, rows, layer->width);
        at += whole_lines((int64_t)rows * layer->width);
        layer->stats = gmv_mat_of(at, rows, 2);
        at += whole_lines((int64_t)rows * 2);
    }
    return at;
}

static gmv_layer layer_tensors(const gmv_params *params, float *buffer, const gmv_trunk_layer *layer)
{
    gmv_layer tensors = {gmv_params_vec(params, buffer, layer->bias),
                         gmv_params_vec(params, buffer, layer->norm_weight),
                         gmv_params_vec(params, buffer, layer->norm_bias)};
    return tensors;
}

gmv_status gmv_trunk_forward(const gmv_model *model, const gmv_trunk *trunk, int rows, float rate,
                             const gmv_noise *noise)
{
    gmv_backend *b = model->backend;
    const gmv_params *params = &model->params;
    for (int i = 0; i < trunk->layers; i++) {
        const gmv_trunk_layer *layer = &trunk->layer[i];
        gmv_mat pre = gmv_rows_of(layer->pre, rows);
        if (i > 0) {
            gmv_mat weight = gmv_params_mat(params, params->value, layer->weight);
            GMV_TRY(b->op->gemm(b, GMV_N, GMV_T, 1.0f, gmv_rows_of(trunk->layer[i - 1].out, rows), weight, 0.0f, pre));
        }
        gmv_layer tensors = layer_tensors(params, params->value, layer);
        gmv_noise mine = *noise;
        mine.stream = layer->stream;
        GMV_TRY(b->op->layer_forward(b, pre, &tensors, rate, &mine, gmv_rows_of(layer->stats, rows),
                                     gmv_rows_of(layer->out, rows)));
    }
    return GMV_OK;
}

gmv_status gmv_trunk_backward(const gmv_model *model, const gmv_trunk *trunk, int rows, float rate,
                              const gmv_noise *noise, float *const buffer[2], float **d)
{
    gmv_backend *b = model->backend;
    const gmv_params *params = &model->params;
    for (int i = trunk->layers - 1; i >= 0; i--) {
        const gmv_trunk_layer *layer = &trunk->layer[i];
        gmv_mat d_out = gmv_mat_of(*d, rows, layer->width);
        gmv_layer tensors = layer_tensors(params, params->value, layer);
        gmv_layer d_tensors = layer_tensors(params, params->grad, layer);
        gmv_noise mine = *noise;
        mine.stream = layer->stream;
        GMV_TRY(b->op->layer_backward(b, gmv_rows_of(layer->pre, rows), &tensors, rate, &mine,
                                      gmv_rows_of(layer->stats, rows), d_out, d_out, &d_tensors));
        if (i == 0) {
            break;
        }
        gmv_mat below = gmv_rows_of(trunk->layer[i - 1].out, rows);
        gmv_mat weight = gmv_params_mat(params, params->value, layer->weight);
        gmv_mat d_weight = gmv_params_mat(params, params->grad, layer->weight);
        float *other = *d == buffer[0] ? buffer[1] : buffer[0];
        GMV_TRY(b->op->gemm(b, GMV_T, GMV_N, 1.0f, d_out, below, 1.0f, d_weight));
        GMV_TRY(b->op->gemm(b, GMV_N, GMV_N, 1.0f, d_out, weight, 0.0f, gmv_mat_of(other, rows, layer->in)));
        *d = other;
    }
    return GMV_OK;
}

gmv_mat gmv_trunk_output(const gmv_trunk *trunk, int rows)
{
    return gmv_rows_of(trunk->layer[trunk->layers - 1].out, rows);
}
