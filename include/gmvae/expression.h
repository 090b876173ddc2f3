/* What a model's decoder expects of cells: of latents, each gene's fraction of the counts. */
#pragma once

#include "gmvae/level_mix.h"
#include "gmvae/model.h"

/* Room for expected expression. Backend memory, but for `wanted`. */
typedef struct gmv_expression {
    gmv_model *model;
    int cells, draws; /* at most */
    int covariates;
    float *predictor; /* [heads, R, G] */
    float *fraction;  /* [B, G] */
    int32_t *level;   /* [B, C] */
    int32_t *wanted;  /* [B, C] host memory */
} gmv_expression;

/* @param[in] covariates  C. Ownership: gmv_expression_fini before the model's, also after an error; the model is borrowed,
 * and must not be reserved anew for more meanwhile. Not collective, as all of these. */
gmv_status gmv_expression_init(gmv_expression *e, gmv_model *model, int cells, int draws, int covariates);
void gmv_expression_fini(gmv_expression *e);

/* Latents to decode: given ones [rows, D] (host memory), or draws first_draw .. of q(x|y) of the cells of a batch. */
gmv_status gmv_expression_set_latents(gmv_expression *e, const float *latent, int rows);
gmv_status gmv_expression_draw_latents(gmv_expression *e, const gmv_batch *batch, int draws, int first_draw);

/* Begins with a sum of 0 for `cells`. */
gmv_status gmv_expression_clear(gmv_expression *e, int cells);

/* How the latents that were set are decoded. */
typedef struct gmv_decoding {
    int cells, draws;
    const gmv_batch *batch; /* whose cells they are of; NULL: given latents, which need `level` */
    bool measured;          /* as in gmv_expected; needs `batch` */
    const int32_t *level;   /* one-hot columns, host memory; NULL: the batch's own */
    int stride;             /* from one cell's levels to the next one's: C, or 0 for the same of all */
    float weight;           /* of each draw */
} gmv_decoding;

/* Adds weight * sum over the draws of each cell of its fractions. */
gmv_status gmv_expression_add(gmv_expression *e, const gmv_decoding *how);

/* The same under each combination of a mix, weighted by its share as well. */
gmv_status gmv_expression_add_mix(gmv_expression *e, const gmv_decoding *how, const gmv_level_mix *mix);

/* Predictors of the heads in place of fractions, of one draw of each cell. @param[out] predictor  [heads, cells, G] host memory */
gmv_status gmv_expression_predict(gmv_expression *e, const gmv_decoding *how, float *predictor);

/* The sums. @param[out] fraction  [cells, G] host memory */
gmv_status gmv_expression_take(gmv_expression *e, int cells, float *fraction);
