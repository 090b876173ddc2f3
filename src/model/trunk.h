/* A trunk of hidden layers; used by encoder, beta network and decoder alike. */
#pragma once

#include "gmvae/model.h"

/* Declares the tensors NAME.layers.I.linear.weight, ... of all layers. `input_major`: keep the first weight
 * as [in, out]. @param[in,out] stream  next free dropout stream */
gmv_status gmv_trunk_declare(gmv_trunk *trunk, gmv_params *params, const char *name, int in, gmv_ints widths,
                             bool input_major, uint32_t *stream);

/* Floats of workspace for `rows` rows, and laying it out at `at`; returns the end. at may be NULL to count. */
int64_t gmv_trunk_workspace(const gmv_trunk *trunk, int rows);
float *gmv_trunk_arrange(gmv_trunk *trunk, int rows, float *at);

/* Runs the layers from `first` on; the first layer's pre must be there when first == 0. `in` is the input of
 * layer `first` when first > 0. Returns nothing: outputs are in layer[].out. */
gmv_status gmv_trunk_forward(const gmv_model *model, const gmv_trunk *trunk, int rows, float rate,
                             const gmv_noise *noise);

/* From the gradient of the last output (in *d, a buffer of the pair `buffer`) to the gradient of the first
 * layer's pre, left in *d. Gradients of all tensors but the first weight are added. */
gmv_status gmv_trunk_backward(const gmv_model *model, const gmv_trunk *trunk, int rows, float rate,
                              const gmv_noise *noise, float *const buffer[2], float **d);

/* Last output [rows, width]. */
gmv_mat gmv_trunk_output(const gmv_trunk *trunk, int rows);

/* Rows of a workspace matrix in use. */
static inline gmv_mat gmv_rows_of(gmv_mat m, int rows)
{
    m.rows = rows;
    return m;
}
