/* What a model is made of: parts, in order, and the arrays that they hand on. Private to src/model.
 *
 * compose.c turns settings into parts. run.c goes through them: `forward` in order, then in reverse order `loss` and, in
 * training, `backward`. An operation that gives value and gradient in one call is a loss: nothing waits for its value, so
 * it is called on the way back.
 */
#pragma once

#include "gmvae/model.h"

enum { GMV_MAX_PARTS = 24, GMV_MAX_ARRAYS = 24, GMV_MAX_LAYERS = 16, GMV_NO_ARRAY = -1 };

/* A matrix of the workspace that parts hand on, and its gradient. */
typedef struct gmv_array {
    int cols;
    bool drawn;          /* R rows, one for each draw of a cell; else B rows */
    float *value, *grad; /* grad NULL where no gradients are reserved */
} gmv_array;

/* A stretch of the workspace: `width` floats for each cell, or for each drawn row. */
typedef struct gmv_space {
    float **at; /* where its address is kept */
    int64_t width;
    bool drawn, gradient; /* gradient: for training only */
} gmv_space;

typedef struct gmv_part gmv_part;

/* One pass under way. */
typedef struct gmv_sweep {
    gmv_model *model;
    gmv_backend *b;
    const gmv_pass *pass;
    int cells, rows;               /* B, R = B * M */
    bool has_grad[GMV_MAX_ARRAYS]; /* whether anything was written to the gradient of an array */
} gmv_sweep;

/* What a kind of part does. NULL: nothing. */
typedef struct gmv_part_kind {
    gmv_status (*forward)(gmv_sweep *s, const gmv_part *part);  /* in -> out */
    gmv_status (*loss)(gmv_sweep *s, const gmv_part *part);     /* terms; in training gradients of in and tensors */
    gmv_status (*backward)(gmv_sweep *s, const gmv_part *part); /* gradient of out -> gradients of in and tensors */
    /* What the term of the draw at hand has more than the mean over all draws, which its loss is; one draw a cell was taken.
     * Added to more [cells], host memory. */
    gmv_status (*of_draw)(gmv_model *model, const gmv_part *part, int cells, double *more);
    gmv_status (*expect)(gmv_sweep *s, const gmv_part *part); /* in -> expected expression, in place of a loss */
} gmv_part_kind;

/* A hidden layer: pre = in weight^T; out = dropout(norm(gelu(pre + bias))). */
typedef struct gmv_trunk_layer {
    int in, width;
    int weight, bias, norm_weight, norm_bias; /* tensors */
    uint32_t stream;                          /* of its dropout noise */
    float *pre, *stats, *out;                 /* workspace; the last layer's output is the part's */
} gmv_trunk_layer;

/* Hidden layers. The first is a sum of products, whose inputs stand one after the other in its weight: counts of genes,
 * the array `in`, one-hots of the covariates. */
typedef struct gmv_trunk {
    bool counts, covariates;
    int layers;
    gmv_trunk_layer layer[GMV_MAX_LAYERS];
} gmv_trunk;

/* Diagonal Gaussian: a linear layer in -> posterior [B, 2 D], and draws of it, out [R, D]. */
typedef struct gmv_latent {
    int dim, posterior; /* array */
    int weight, bias;
    uint32_t training_stream, evaluation_stream; /* of its noise */
} gmv_latent;

/* KL of a posterior against N(0, 1). */
typedef struct gmv_prior {
    int posterior, drawn, term; /* arrays of the latent; the term */
} gmv_prior;

/* Mixture prior of x, whose components are a linear layer of `in`, or static, with weights. */
typedef struct gmv_mixture {
    int x, posterior;           /* arrays of the latent that it is the prior of */
    int weight, bias;           /* of the linear layer */
    int components, log_weight; /* [2 K, D] and [K] of a static one */
    int term;                   /* the first of GMV_MIXTURE_TERMS */
} gmv_mixture;

/* Likelihood of the counts given `in`. */
typedef struct gmv_heads {
    int weight[GMV_MAX_HEADS], bias[GMV_MAX_HEADS], gene_param; /* gene_param -1: none */
    int term;
} gmv_heads;

struct gmv_part {
    const gmv_part_kind *kind;
    const char *name; /* prefix of its tensors; static */
    bool decodes;     /* not wanted where only latents are */
    int in, out;      /* arrays, or GMV_NO_ARRAY */
    int stretch_done; /* stretch of the gradient that is final after this part's way back, or -1 */
    union {
        gmv_trunk trunk;
        gmv_latent latent;
        gmv_prior prior;
        gmv_mixture mixture;
        gmv_heads heads;
    } of;
};

/* The parts of a model, with their workspace. */
struct gmv_assembly {
    int parts, arrays, spaces;
    gmv_part part[GMV_MAX_PARTS];
    gmv_array array[GMV_MAX_ARRAYS];
    gmv_space space[4 * GMV_MAX_ARRAYS + 3 * GMV_MAX_LAYERS * GMV_MAX_PARTS];
    int w, mixture,
        first_of_w;       /* the array of draws of w; the mixture's part, and the first one from w to it; -1: none */
    uint32_t next_stream; /* of dropout noise */
    float *scratch[2];    /* [R, widest hidden layer] */
    int64_t scratch_width;
};

/* ---- composing: one function a kind declares tensors, arrays and workspace, and adds the part. Sizes that do not fit
 * are GMV_ERR_CONFIG. ---- */

/* All parts of the config's model (compose.c). */
gmv_status gmv_compose(gmv_model *model, const gmv_config *config);

typedef struct gmv_trunk_inputs {
    bool counts, covariates;
    int in; /* array, or GMV_NO_ARRAY */
} gmv_trunk_inputs;

/* Hidden layers NAME.layers.I over `inputs`; *out is their output, or the input where there are no layers. */
gmv_status gmv_add_trunk(gmv_model *model, const char *name, gmv_trunk_inputs inputs, gmv_ints widths, int *out);

bool gmv_is_trunk(const gmv_part *part);

/* A latent NAME of `dim` dimensions from the array `in`; *part is its number, `out` and `of.latent` of which others take. */
gmv_status gmv_add_latent(gmv_model *model, const char *name, int in, int dim, const uint32_t streams[2], int *part);

gmv_status gmv_add_prior(gmv_model *model, const char *name, int latent_part, gmv_term term);
gmv_status gmv_add_mixture(gmv_model *model, const char *name, int in, int latent_part);
gmv_status gmv_add_static_mixture(gmv_model *model, const char *name, int latent_part);
gmv_status gmv_add_heads(gmv_model *model, const char *name, int in, int term);

/* Adds an empty part, an array with room for its value and gradient, a term, an output, or room for something else. */
gmv_part *gmv_add_part(gmv_model *model, const gmv_part_kind *kind, const char *name, int in, int out);
int gmv_add_array(gmv_model *model, int cols, bool drawn);
int gmv_add_term(gmv_model *model, gmv_term term);
void gmv_add_output(gmv_model *model, gmv_cell_output output);
void gmv_add_space(gmv_model *model, float **at, int64_t width, bool drawn, bool gradient);

/* A linear layer NAME.weight [out, in], NAME.bias [out]. */
gmv_status gmv_declare_linear(gmv_params *params, const char *name, int out, int in, int *weight, int *bias);

/* ---- in a pass ---- */

gmv_mat gmv_value_of(const gmv_sweep *s, int array);

/* The gradient of an array: for operations that overwrite it, which must come first; with *beta 0 for the first that
 * writes it and 1 for others; cleared for the first, for operations that add. */
gmv_status gmv_grad_to_write(gmv_sweep *s, int array, gmv_mat *grad);
gmv_mat gmv_grad_with_beta(gmv_sweep *s, int array, float *beta);
gmv_status gmv_grad_to_add(gmv_sweep *s, int array, gmv_mat *grad);

/* The gradient that those behind have written. Errors: GMV_ERR_INTERNAL when there are none. */
gmv_status gmv_grad_of(const gmv_sweep *s, int array, gmv_mat *grad);

/* Noise of one use, of drawn rows or of cells. */
gmv_noise gmv_noise_of(const gmv_sweep *s, uint32_t stream, bool drawn);

/* Columns [first, first + n) of the terms of the loss. */
gmv_mat gmv_terms_of(const gmv_sweep *s, int first, int n);

/* Which rows of the batch count: in training those before the step's number, else all. */
static inline const int32_t *gmv_filled_of(const gmv_sweep *s)
{
    return s->pass->training ? &s->model->step->filled : NULL;
}

static inline float gmv_dropout_of(const gmv_sweep *s)
{
    return s->pass->training ? s->model->dropout : 0.0f;
}

static inline gmv_mat gmv_tensor_value(const gmv_sweep *s, int tensor)
{
    return gmv_params_mat(&s->model->params, s->model->params.value, tensor);
}

static inline gmv_mat gmv_tensor_grad(const gmv_sweep *s, int tensor)
{
    return gmv_params_mat(&s->model->params, s->model->params.grad, tensor);
}

static inline gmv_vec gmv_vector_value(const gmv_sweep *s, int tensor)
{
    return gmv_params_vec(&s->model->params, s->model->params.value, tensor);
}

static inline gmv_vec gmv_vector_grad(const gmv_sweep *s, int tensor)
{
    return gmv_params_vec(&s->model->params, s->model->params.grad, tensor);
}
