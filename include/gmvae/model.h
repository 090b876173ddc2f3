/* The GMVAE: encoder trunk -> posteriors of x and w -> w-conditioned mixture prior -> decoder trunk -> heads.
 *
 * A model is a sequence of ops over its parameters and a workspace; it holds no data and no optimiser.
 */
#pragma once

#include "gmvae/config.h"
#include "gmvae/likelihoods.h"
#include "gmvae/params.h"

enum { GMV_MAX_LAYERS = 16 };

/* One trunk layer: pre = in weight^T; out = dropout(norm(gelu(pre + bias))). */
typedef struct gmv_trunk_layer {
    int in, width;
    int weight, bias, norm_weight, norm_bias; /* tensors */
    uint32_t stream;                          /* of its dropout noise */
    gmv_mat pre, stats, out;                  /* workspace */
} gmv_trunk_layer;

typedef struct gmv_trunk {
    int layers;
    gmv_trunk_layer layer[GMV_MAX_LAYERS];
    bool input_major; /* first layer's weight is kept [in, out] */
} gmv_trunk;

typedef struct gmv_model {
    gmv_backend *backend;
    gmv_params params;
    gmv_input input;
    int32_t genes;
    int levels; /* L: one-hot columns of the decoder's input */
    int latent_dim, w_dim, clusters;
    gmv_objective objective;
    gmv_likelihood_info likelihood;
    gmv_likelihood likelihood_id;
    bool observed_library;
    float dropout, free_nats;
    uint64_t seed;

    gmv_trunk encoder, beta, decoder;
    int x_weight, x_bias, w_weight, w_bias; /* posterior heads */
    int beta_weight, beta_bias;
    int head_weight[GMV_MAX_HEADS], head_bias[GMV_MAX_HEADS], theta; /* theta -1: none */

    /* workspace, sized by gmv_model_reserve */
    int max_cells, max_rows;
    bool gradients;
    void *workspace;
    float *posterior_x, *posterior_w, *x, *w, *terms, *probability;
    float *d_posterior_x, *d_posterior_w, *d_x, *d_w, *d_cells[2], *d_rows[2];
} gmv_model;

/* What to compute for a batch. */
typedef struct gmv_pass {
    const gmv_batch *batch;
    int draws;           /* M */
    uint32_t first_draw; /* draw number of m = 0 */
    uint32_t epoch;      /* of the noise */
    bool training;       /* dropout, gradients added to params.grad, training noise streams */
    float kl_weight;     /* warm-up weight of all KL terms in the gradient */
    float scale;         /* 1 / cells of the global batch */
    bool probability;    /* also fill model->probability [B, K] */
    bool mean_latents;   /* x and w are posterior means, no noise (embedding) */
    bool encode_only;    /* stop after latents (and probability): no decoder */
} gmv_pass;

/* Declares and allocates all tensors with their initial values.
 * @param[in] levels  one-hot columns L of all covariates together
 * Ownership: caller destroys; `backend` is borrowed. */
gmv_status gmv_model_create(gmv_model **model, const gmv_config *config, gmv_backend *backend, int32_t genes, int levels,
                            gmv_input input);

/* Makes the workspace large enough for batches of `cells` with `draws`; nothing allocates in passes after it. */
gmv_status gmv_model_reserve(gmv_model *model, int cells, int draws, bool gradients);

void gmv_model_destroy(gmv_model **model);

/* Runs one pass. Fills model->terms [B, GMV_TERMS] (backend memory, nats per cell) and the workspace's
 * latents; in training adds gradients of scale * sum over cells of
 * (reconstruction + kl_weight * (KL_W + PRIOR)) to params.grad. */
gmv_status gmv_model_run(gmv_model *model, const gmv_pass *pass);

/* Bytes of backend memory that a workspace of this size takes. */
int64_t gmv_model_workspace_bytes(const gmv_model *model, int cells, int draws, bool gradients);
