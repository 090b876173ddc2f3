/* A variational autoencoder: encoder trunk -> posterior of x and its prior -> decoder trunk -> heads.
 *
 * A model is a sequence of ops over its parameters and a workspace; it holds no data and no optimiser.
 */
#pragma once

#include "gmvae/config.h"
#include "gmvae/likelihoods.h"
#include "gmvae/params.h"

/* At most so many terms; they ride before the gradient in its sum over ranks (params.h). */
enum { GMV_MAX_TERMS = 12 };

/* A term of the loss: a number of each cell, mean over draws, nats. */
typedef struct gmv_term {
    const char *name;  /* its key in metrics.jsonl and evaluation.json; static */
    const char *label; /* in the log; static */
    bool in_bound;     /* a part of -ELBO, the exact bound */
    bool trained;      /* a part of what is minimised, without warm-up weight */
} gmv_term;

/* The terms of a model, in the order of its parts. */
typedef struct gmv_terms {
    int n;
    gmv_term at[GMV_MAX_TERMS];
} gmv_terms;

/* Sums of the terms `value` [n] that are in the bound, or trained. */
double gmv_terms_bound(const gmv_terms *terms, const double *value);
double gmv_terms_objective(const gmv_terms *terms, const double *value);

/* What a cell gets in embedding.h5ad: a row of numbers. */
typedef enum gmv_output_kind {
    GMV_OUTPUT_LATENT,     /* posterior means */
    GMV_OUTPUT_COMPONENTS, /* probabilities of the components of a mixture, means over draws */
    GMV_OUTPUT_CLUSTERS,   /* probabilities of clusters, which are made of components (clusters.h) */
    GMV_OUTPUT_NUMBERS,
    GMV_OUTPUT_LAYER /* of genes: a layer, not in obsm */
} gmv_output_kind;

typedef struct gmv_cell_output {
    const char *name; /* of the matrix; static, as the others are */
    gmv_output_kind kind;
    const char *column;  /* in obs: which of a cell's numbers is the largest; NULL: none */
    const char *largest; /* in obs: that number; NULL: none */
    int cols;
    int stride;          /* floats from one cell to the next */
    float *const *value; /* where its address is kept: [B, stride] of which [B, cols], backend memory, after a pass */
} gmv_cell_output;

enum { GMV_MAX_OUTPUTS = 8 };

/* The outputs of a model, in the order of its parts. */
typedef struct gmv_cell_outputs {
    int n;
    gmv_cell_output at[GMV_MAX_OUTPUTS];
} gmv_cell_outputs;

/* The first output that is COMPONENTS; one of 0 columns where the model has none. */
const gmv_cell_output *gmv_components_of(const gmv_cell_outputs *outputs);

/* Stretches of the gradient: tensors that lie side by side and whose gradients are final together. */
enum { GMV_MAX_STRETCHES = 8 };

typedef struct gmv_model {
    gmv_backend *backend;
    gmv_params params;
    gmv_input input;
    int32_t genes;
    int levels;                      /* L: one-hot columns of the decoder's input */
    int latent_dim, w_dim, clusters; /* D, W, K; 0: it has no w, no clusters */
    gmv_objective objective;
    gmv_likelihood_info likelihood;
    gmv_likelihood likelihood_id;
    bool observed_library;
    float dropout, free_nats;
    uint64_t seed;
    gmv_terms terms;
    gmv_cell_outputs outputs;

    struct gmv_assembly *assembly; /* the parts; private to src/model */

    /* workspace, sized by gmv_model_reserve */
    int max_cells, max_rows;
    bool gradients;
    void *workspace;
    float *loss; /* [B, terms] */
    float *probability;
    float *const
        *posterior; /* where the address of q(x|y) is kept: [B, 2 D] means, then raw variances; static as outputs */
    float *const *latent; /* and that of its draws: [R, D] */

    gmv_step *step; /* backend memory: the numbers that passes and the optimiser read */

    /* stretch i are the floats [stretch_start[i], stretch_start[i + 1]) of the gradient; the way back ends with 0 */
    int stretches, open_stretch;
    int64_t stretch_start[GMV_MAX_STRETCHES + 1];
} gmv_model;

/* Called in training when a stretch of the gradient is final. */
typedef gmv_status gmv_stretch_ready(void *context, int stretch);

/* Where a pass puts expected expression. */
typedef struct gmv_expected {
    float *predictor; /* [heads, R, G] what the heads predict */
    float weight;
    bool measured; /* the fractions of a cell are of the sum over the genes that it was measured for, else over all */
    gmv_mat out;   /* added to [B, G]: weight * sum over draws of the fractions; at == NULL: predictors are all */
} gmv_expected;

/* What to compute for a batch. */
typedef struct gmv_pass {
    const gmv_batch *batch;
    int draws;                    /* M */
    uint32_t first_draw;          /* draw number of m = 0 */
    bool training;                /* dropout, gradients added to params.grad, training noise streams */
    gmv_stretch_ready *ready;     /* NULL: nobody wants to know */
    void *context;                /* of `ready` */
    bool probability;             /* also fill model->probability [B, K] */
    bool encode_only;             /* stop after latents (and probability): no decoder */
    bool decode_only;             /* the latents are there: no encoder; needs `expected` */
    const gmv_expected *expected; /* expected expression instead of terms; NULL: terms */
} gmv_pass;

/* Names and shapes of the tensors of the model that a config describes, without memory for them.
 * @param[in] levels  as below. Ownership: gmv_params_fini */
gmv_status gmv_model_declare(gmv_params *params, const gmv_config *config, int32_t genes, int levels);

/* Declares and allocates all tensors with their initial values.
 * @param[in] levels  one-hot columns L of all covariates together
 * Ownership: caller destroys; `backend` is borrowed. */
gmv_status gmv_model_create(gmv_model **model, const gmv_config *config, gmv_backend *backend, int32_t genes,
                            int levels, gmv_input input);

/* Makes the workspace large enough for batches of `cells` with `draws`; nothing allocates in passes after it. */
gmv_status gmv_model_reserve(gmv_model *model, int cells, int draws, bool gradients);

/* Gives back its backend memory, before the backend is closed. Accepts *model == NULL; sets it NULL. */
void gmv_model_destroy(gmv_model **model);

/* Sets *model->step. Values that a pass does not use may be 0; in training it uses `filled`, too: at 0 no row counts. */
gmv_status gmv_model_set_step(gmv_model *model, const gmv_step *values);

/* Runs one pass with the numbers of *model->step. Fills model->loss [B, terms] (backend memory, nats per
 * cell) and the workspace's latents; in training adds gradients of the sum over cells of
 * scale * reconstruction + kl_scale * the other trained terms to params.grad. */
gmv_status gmv_model_run(gmv_model *model, const gmv_pass *pass);

/* After an evaluation pass of one draw a cell: what -log of p(y, latents) / q(latents | y) at the draw is more than the terms in the
 * bound, some of which are means over all draws. @param[out] more  [cells] host memory, nats. */
gmv_status gmv_model_of_draw(gmv_model *model, int cells, double *more);

/* Components of the mixture prior: means [K, D], then raw variances, as the posterior's. Given w for a mixture of w, else the
 * same for all. @param[in] w  [n, W] host memory  @param[out] component  [n, 2, K, D], [1, 2, K, D] without w, host memory
 * @param[out] log_weight  [K] host memory, logits of their weights. The model must have a mixture. */
gmv_status gmv_model_components(gmv_model *model, const float *w, int n, float *component, float *log_weight);

/* Bytes of backend memory that a workspace of this size takes. */
int64_t gmv_model_workspace_bytes(const gmv_model *model, int cells, int draws, bool gradients);
