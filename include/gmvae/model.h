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
    GMV_OUTPUT_LATENT,   /* posterior means */
    GMV_OUTPUT_CLUSTERS, /* probabilities, of which the largest is the cell's cluster; figures of clusters are of these */
    GMV_OUTPUT_NUMBERS
} gmv_output_kind;

typedef struct gmv_cell_output {
    const char *name; /* of the matrix in obsm; static */
    gmv_output_kind kind;
    const char *column; /* of the clusters in obs; static */
    int cols;
    float *const *value; /* where its address is kept: [B, cols], backend memory, after a pass with mean_latents */
} gmv_cell_output;

enum { GMV_MAX_OUTPUTS = 8 };

/* The outputs of a model, in the order of its parts. */
typedef struct gmv_cell_outputs {
    int n;
    gmv_cell_output at[GMV_MAX_OUTPUTS];
} gmv_cell_outputs;

/* The first output that is CLUSTERS; one of 0 columns where the model has none. */
const gmv_cell_output *gmv_clusters_of(const gmv_cell_outputs *outputs);

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

    gmv_step *step; /* backend memory: the numbers that passes and the optimiser read */

    /* stretch i are the floats [stretch_start[i], stretch_start[i + 1]) of the gradient; the way back ends with 0 */
    int stretches, open_stretch;
    int64_t stretch_start[GMV_MAX_STRETCHES + 1];
} gmv_model;

/* Called in training when a stretch of the gradient is final. */
typedef gmv_status gmv_stretch_ready(void *context, int stretch);

/* What to compute for a batch. */
typedef struct gmv_pass {
    const gmv_batch *batch;
    int draws;                /* M */
    uint32_t first_draw;      /* draw number of m = 0 */
    bool training;            /* dropout, gradients added to params.grad, training noise streams */
    gmv_stretch_ready *ready; /* NULL: nobody wants to know */
    void *context;            /* of `ready` */
    bool probability;         /* also fill model->probability [B, K] */
    bool mean_latents;        /* x and w are posterior means, no noise (embedding) */
    bool encode_only;         /* stop after latents (and probability): no decoder */
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

/* Bytes of backend memory that a workspace of this size takes. */
int64_t gmv_model_workspace_bytes(const gmv_model *model, int cells, int draws, bool gradients);
