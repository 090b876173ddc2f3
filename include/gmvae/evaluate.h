/* Evaluation and embedding of cells under a model, and how its clusters agree with labels. */
#pragma once

#include "gmvae/feed.h"

/* Means over cells and standard errors of the means (NaN for a single cell), nats per cell; the same for every number of
 * ranks. */
typedef struct gmv_evaluation {
    int64_t cells, samples;
    double neg_elbo, neg_elbo_se; /* exact (marginal) bound */
    double objective, objective_se;
    const gmv_terms *terms; /* the model's */
    double term[GMV_MAX_TERMS], term_se[GMV_MAX_TERMS];
    int clusters;        /* K of the model, 0: it has none */
    int active_clusters; /* those with more than 0.5 % of the mass */
} gmv_evaluation;

/* What was computed for some local rows; NULL parts were not. Host memory. */
typedef struct gmv_row_results {
    int n;
    const gmv_gidx *row;        /* [n] global rows, ascending */
    const float *const *output; /* of each output of the model [n, cols], at the posterior means */
    const float *neg_elbo;      /* [n] exact bound */
} gmv_row_results;

/* Takes results as they come, in row order. */
typedef struct gmv_row_sink {
    gmv_status (*take)(void *context, const gmv_row_results *results);
    void *context;
} gmv_row_sink;

typedef enum gmv_which_cells { GMV_CELLS_ALL, GMV_CELLS_HELD_OUT } gmv_which_cells;

/* Evaluates local rows (with counts), `samples` draws each: all, or those that cells->split holds out. Collective.
 * @param[in] sink  takes the bounds of the cells; may be NULL */
gmv_status gmv_evaluate(gmv_model *model, gmv_feed *feed, const gmv_cells *cells, const gmv_comm *comm,
                        gmv_which_cells which, int samples, const gmv_row_sink *sink, gmv_evaluation *evaluation);

/* Outputs of the model of the local rows with counts. Not collective. */
gmv_status gmv_embed_rows(gmv_model *model, gmv_feed *feed, const gmv_cells *cells, const gmv_row_sink *sink);

/* ", 9 of 20 clusters in use", or nothing where a model has none. @return text */
const char *gmv_clusters_text(const gmv_evaluation *evaluation, char *text, size_t size);

/* How well the model's own clusters (most probable component at the posterior means) agree with labels. */
typedef struct gmv_agreement {
    int clusters;    /* K, 0: the model has none */
    int64_t cells;   /* labelled cells compared; 0: no labels */
    int labels;      /* that these have */
    double ari, nmi; /* NaN with fewer than two labels */
} gmv_agreement;

/* Over local rows with counts and a label. Collective; the same for every number of ranks. */
gmv_status gmv_label_agreement(gmv_model *model, gmv_feed *feed, const gmv_cells *cells, const gmv_comm *comm,
                               gmv_which_cells which, gmv_agreement *agreement);
