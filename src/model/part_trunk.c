/* Hidden layers: encoder, beta network and decoder alike. */
#include "part.h"

#include <stdio.h>

/* ---- forward ---- */

static gmv_layer layer_tensors(const gmv_params *params, float *buffer, const gmv_trunk_layer *layer)
{
    gmv_layer tensors = {gmv_params_vec(params, buffer, layer->bias),
                         gmv_params_vec(params, buffer, layer->norm_weight),
                         gmv_params_vec(params, buffer, layer->norm_bias)};
    return tensors;
}

static int rows_of(const gmv_sweep *s, const gmv_part *part)
{
    return s->model->assembly->array[part->out].drawn ? s->rows : s->cells;
}

/* The first weight is kept [in, out] where its inputs are sparse: the row of a gene or level is then contiguous. */
static bool is_input_major(const gmv_trunk *trunk)
{
    return trunk->counts || trunk->covariates;
}

/* Columns [from, from + n) of the inputs, in whatever way the first weight is kept. */
static gmv_mat of_inputs(const gmv_trunk *trunk, gmv_mat weight, int from, int n)
{
    return is_input_major(trunk) ? gmv_mat_rows(weight, from, n) : gmv_mat_columns(weight, from, n);
}

static gmv_status first_product(gmv_sweep *s, const gmv_part *part, gmv_mat pre)
{
    const gmv_trunk *trunk = &part->of.trunk;
    const gmv_model *model = s->model;
    gmv_mat weight = gmv_tensor_value(s, trunk->layer[0].weight);
    int at = 0;
    if (trunk->counts) {
        GMV_TRY(
            s->b->op->input_forward(s->b, s->pass->batch, model->input, gmv_mat_rows(weight, 0, model->genes), pre));
        at += model->genes;
    }
    if (part->in != GMV_NO_ARRAY) {
        gmv_mat in = gmv_value_of(s, part->in);
        GMV_TRY(s->b->op->gemm(s->b, GMV_N, is_input_major(trunk) ? GMV_N : GMV_T, 1.0f, in,
                               of_inputs(trunk, weight, at, in.cols), at > 0 ? 1.0f : 0.0f, pre));
        at += in.cols;
    }
    return trunk->covariates ? s->b->op->onehot_forward(s->b, s->pass->batch, pre.rows / s->cells,
                                                        gmv_mat_rows(weight, at, model->levels), pre)
                             : GMV_OK;
}

/* Output of a layer; the last one's is the part's. */
static gmv_mat output_of(const gmv_sweep *s, const gmv_part *part, int layer, int rows)
{
    const gmv_trunk *trunk = &part->of.trunk;
    return layer + 1 == trunk->layers ? gmv_value_of(s, part->out)
                                      : gmv_mat_of(trunk->layer[layer].out, rows, trunk->layer[layer].width);
}

static gmv_status trunk_forward(gmv_sweep *s, const gmv_part *part)
{
    const gmv_trunk *trunk = &part->of.trunk;
    const gmv_params *params = &s->model->params;
    int rows = rows_of(s, part);
    bool drawn = s->model->assembly->array[part->out].drawn;
    for (int i = 0; i < trunk->layers; i++) {
        const gmv_trunk_layer *layer = &trunk->layer[i];
        gmv_mat pre = gmv_mat_of(layer->pre, rows, layer->width);
        if (i == 0) {
            GMV_TRY(first_product(s, part, pre));
        } else {
            GMV_TRY(s->b->op->gemm(s->b, GMV_N, GMV_T, 1.0f, output_of(s, part, i - 1, rows),
                                   gmv_tensor_value(s, layer->weight), 0.0f, pre));
        }
        gmv_layer tensors = layer_tensors(params, params->value, layer);
        gmv_noise noise = gmv_noise_of(s, layer->stream, drawn);
        GMV_TRY(s->b->op->layer_forward(s->b, pre, &tensors, gmv_dropout_of(s), &noise,
                                        gmv_mat_of(layer->stats, rows, 2), output_of(s, part, i, rows)));
    }
    return GMV_OK;
}

/* ---- backward ---- */

static gmv_status first_product_backward(gmv_sweep *s, const gmv_part *part, gmv_mat d_pre)
{
    const gmv_trunk *trunk = &part->of.trunk;
    const gmv_model *model = s->model;
    gmv_mat weight = gmv_tensor_value(s, trunk->layer[0].weight), d_weight = gmv_tensor_grad(s, trunk->layer[0].weight);
    int at = trunk->counts ? model->genes : 0;
    bool has_in = part->in != GMV_NO_ARRAY, major = is_input_major(trunk);
    gmv_mat in = has_in ? gmv_value_of(s, part->in) : (gmv_mat){0};
    if (trunk->counts) {
        GMV_TRY(s->b->op->input_backward(s->b, s->pass->batch, model->input, d_pre,
                                         gmv_mat_rows(d_weight, 0, model->genes)));
    }
    if (has_in) {
        gmv_mat of_in = of_inputs(trunk, d_weight, at, in.cols);
        GMV_TRY(s->b->op->gemm(s->b, GMV_T, GMV_N, 1.0f, major ? in : d_pre, major ? d_pre : in, 1.0f, of_in));
    }
    if (trunk->covariates) {
        GMV_TRY(s->b->op->onehot_backward(s->b, s->pass->batch, d_pre.rows / s->cells, d_pre,
                                          gmv_mat_rows(d_weight, at + in.cols, model->levels)));
    }
    if (!has_in) {
        return GMV_OK;
    }
    float beta;
    gmv_mat d_in = gmv_grad_with_beta(s, part->in, &beta);
    return s->b->op->gemm(s->b, GMV_N, major ? GMV_T : GMV_N, 1.0f, d_pre, of_inputs(trunk, weight, at, in.cols), beta,
                          d_in);
}

static gmv_status trunk_backward(gmv_sweep *s, const gmv_part *part)
{
    const gmv_trunk *trunk = &part->of.trunk;
    const gmv_params *params = &s->model->params;
    int rows = rows_of(s, part);
    bool drawn = s->model->assembly->array[part->out].drawn;
    gmv_mat d; /* of a layer's output, then of its pre in the same place */
    GMV_TRY(gmv_grad_of(s, part->out, &d));
    for (int i = trunk->layers - 1; i >= 0; i--) {
        const gmv_trunk_layer *layer = &trunk->layer[i];
        gmv_layer tensors = layer_tensors(params, params->value, layer);
        gmv_layer d_tensors = layer_tensors(params, params->grad, layer);
        gmv_noise noise = gmv_noise_of(s, layer->stream, drawn);
        GMV_TRY(s->b->op->layer_backward(s->b, gmv_mat_of(layer->pre, rows, layer->width), &tensors, gmv_dropout_of(s),
                                         &noise, gmv_mat_of(layer->stats, rows, 2), d, d, &d_tensors));
        if (i == 0) {
            break;
        }
        gmv_mat below = gmv_mat_of(s->model->assembly->scratch[i % 2], rows, layer->in);
        GMV_TRY(s->b->op->gemm(s->b, GMV_T, GMV_N, 1.0f, d, output_of(s, part, i - 1, rows), 1.0f,
                               gmv_tensor_grad(s, layer->weight)));
        GMV_TRY(s->b->op->gemm(s->b, GMV_N, GMV_N, 1.0f, d, gmv_tensor_value(s, layer->weight), 0.0f, below));
        d = below;
    }
    return first_product_backward(s, part, d);
}

/* ---- composing ---- */

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

static int width_of(const gmv_model *model, gmv_trunk_inputs inputs)
{
    return (inputs.counts ? model->genes : 0) +
           (inputs.in != GMV_NO_ARRAY ? model->assembly->array[inputs.in].cols : 0) +
           (inputs.covariates ? model->levels : 0);
}

static gmv_status add_layers(gmv_model *model, const char *name, gmv_part *part, int in, gmv_ints widths, bool drawn)
{
    struct gmv_assembly *all = model->assembly;
    gmv_trunk *trunk = &part->of.trunk;
    trunk->layers = widths.n;
    for (int i = 0; i < widths.n; i++) {
        gmv_trunk_layer *layer = &trunk->layer[i];
        layer->in = i == 0 ? in : (int)widths.at[i - 1];
        layer->width = (int)widths.at[i];
        layer->stream = all->next_stream++;
        GMV_TRY(declare_layer(&model->params, name, i, is_input_major(trunk) && i == 0, layer));
        gmv_add_space(model, &layer->pre, layer->width, drawn, false);
        gmv_add_space(model, &layer->stats, 2, drawn, false);
        if (i + 1 < widths.n) {
            gmv_add_space(model, &layer->out, layer->width, drawn, false);
            all->scratch_width = layer->width > all->scratch_width ? layer->width : all->scratch_width;
        }
    }
    return GMV_OK;
}

static const gmv_part_kind kind = {.forward = trunk_forward, .backward = trunk_backward};

bool gmv_is_trunk(const gmv_part *part)
{
    return part->kind == &kind;
}

gmv_status gmv_add_trunk(gmv_model *model, const char *name, gmv_trunk_inputs inputs, gmv_ints widths, int *out)
{
    bool drawn = inputs.in != GMV_NO_ARRAY && model->assembly->array[inputs.in].drawn;
    if (widths.n > GMV_MAX_LAYERS) {
        return GMV_FAIL(GMV_ERR_CONFIG, "model.%s has %d layers; at most %d are possible", name, widths.n,
                        (int)GMV_MAX_LAYERS);
    }
    if (widths.n == 0) {
        *out = inputs.in;
        return GMV_OK;
    }
    *out = gmv_add_array(model, (int)widths.at[widths.n - 1], drawn);
    gmv_part *part = gmv_add_part(model, &kind, name, inputs.in, *out);
    part->of.trunk.counts = inputs.counts;
    part->of.trunk.covariates = inputs.covariates;
    return add_layers(model, name, part, width_of(model, inputs), widths, drawn);
}
