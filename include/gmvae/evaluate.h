/* Evaluation and embedding of cells under a model. */
#pragma once

#include "gmvae/feed.h"

/* Means over cells and standard errors of the means (NaN for a single cell), nats per cell; the same for every number of
 * ranks. */
typedef struct gmv_evaluation {
    int64_t cells, samples;
    double neg_elbo, neg_elbo_se; /* exact (marginal) bound */
    double objective, objective_se;
    double neg_log_p,
        neg_log_p_se;       /* -log p(y) by importance sampling from q, at most -ELBO but for chance; NaN: not wanted */
    const gmv_terms *terms; /* the model's */
    double term[GMV_MAX_TERMS], term_se[GMV_MAX_TERMS];
    int components;        /* K of the model, 0: it has none */
    int active_components; /* those with more than 0.5 % of the mass */
    const double *share;   /* [components] of the cells, of an epoch of training; borrowed. NULL: not known */
} gmv_evaluation;

/* Draws from q of each cell. With `weighted` they are taken one by one, and -log p is computed of them (docs/math.md, 26a). */
typedef struct gmv_draws {
    int samples;
    bool weighted;
} gmv_draws;

/* What was computed for some local rows; NULL parts were not. Host memory. */
typedef struct gmv_row_results {
    int n;
    const gmv_gidx *row;        /* [n] global rows, ascending */
    const float *const *output; /* of each output of the model [n, cols]; means over GMV_EVAL_DRAWS draws */
    const float *neg_elbo;      /* [n] exact bound */
    const float *counts;        /* [n] of the cell in the genes in use; with the bound */
} gmv_row_results;

/* Takes results as they come, in row order. */
typedef struct gmv_row_sink {
    gmv_status (*take)(void *context, const gmv_row_results *results);
    void *context;
} gmv_row_sink;

typedef enum gmv_which_cells { GMV_CELLS_ALL, GMV_CELLS_HELD_OUT, GMV_CELLS_TRAINED } gmv_which_cells;

/* Whether a local row has counts and is one of these. Not collective. */
bool gmv_is_chosen(const gmv_cells *cells, gmv_which_cells which, gmv_gidx row);

/* Evaluates local rows (with counts): all, those that cells->split holds out, or the others. Collective.
 * @param[in] sink  takes bounds and outputs of the cells; may be NULL */
gmv_status gmv_evaluate(gmv_model *model, gmv_feed *feed, const gmv_cells *cells, const gmv_comm *comm,
                        gmv_which_cells which, gmv_draws draws, const gmv_row_sink *sink, gmv_evaluation *evaluation);

/* Outputs of the model of the local rows with counts, all, those held out, or the others; no bounds. Not collective. */
gmv_status gmv_embed_rows(gmv_model *model, gmv_feed *feed, const gmv_cells *cells, gmv_which_cells which,
                          const gmv_row_sink *sink);
