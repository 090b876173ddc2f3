/* From latents to expected expression. */
#include "gmvae/expression.h"

#include "gmvae/mem.h"

#include <string.h>

gmv_status gmv_expression_init(gmv_expression *e, gmv_model *model, int cells, int draws, int covariates)
{
    gmv_backend *b = model->backend;
    int64_t rows = (int64_t)cells * draws, one = (int64_t)sizeof(float);
    *e = (gmv_expression){.model = model, .cells = cells, .draws = draws, .covariates = covariates};
    GMV_TRY(gmv_model_reserve(model, cells, draws, model->gradients));
    GMV_TRY(b->op->allocate(b, (void **)&e->predictor, model->likelihood.heads * rows * model->genes * one,
                            "predictions of the heads"));
    GMV_TRY(b->op->allocate(b, (void **)&e->fraction, (int64_t)cells * model->genes * one, "expected expression"));
    GMV_TRY(b->op->allocate(b, (void **)&e->level, (int64_t)cells * covariates * (int64_t)sizeof *e->level,
                            "levels of cells"));
    return GMV_NEW(e->wanted, (int64_t)cells * covariates, "levels of cells");
}

void gmv_expression_fini(gmv_expression *e)
{
    if (e->model != NULL) {
        gmv_backend *b = e->model->backend;
        b->op->release(b, e->predictor);
        b->op->release(b, e->fraction);
        b->op->release(b, e->level);
    }
    GMV_FREE(e->wanted);
    *e = (gmv_expression){0};
}

gmv_status gmv_expression_set_latents(gmv_expression *e, const float *latent, int rows)
{
    gmv_backend *b = e->model->backend;
    GMV_CHECK(rows <= e->cells * e->draws);
    return b->op->upload(b, *e->model->latent, latent, (int64_t)rows * e->model->latent_dim * (int64_t)sizeof *latent);
}

gmv_status gmv_expression_draw_latents(gmv_expression *e, const gmv_batch *batch, int draws, int first_draw)
{
    gmv_pass pass = {.batch = batch, .draws = draws, .first_draw = (uint32_t)first_draw, .encode_only = true};
    return gmv_model_run(e->model, &pass);
}

gmv_status gmv_expression_clear(gmv_expression *e, int cells)
{
    gmv_backend *b = e->model->backend;
    return b->op->clear(b, e->fraction, (int64_t)cells * e->model->genes * (int64_t)sizeof *e->fraction);
}

/* The levels of all cells, in backend memory. */
static gmv_status set_levels(gmv_expression *e, int cells, const int32_t *level, int stride)
{
    gmv_backend *b = e->model->backend;
    int n = e->covariates;
    for (int i = 0; i < cells && n > 0; i++) {
        memcpy(e->wanted + (int64_t)i * n, level + (int64_t)i * stride, (size_t)n * sizeof *level);
    }
    return b->op->upload(b, e->level, e->wanted, (int64_t)cells * n * (int64_t)sizeof *level);
}

static gmv_status decode(gmv_expression *e, const gmv_decoding *how, float *out)
{
    gmv_batch as =
        how->batch != NULL ? *how->batch : (gmv_batch){.genes = e->model->genes, .covariates = e->covariates};
    gmv_expected expected = {.predictor = e->predictor,
                             .weight = how->weight,
                             .measured = how->measured,
                             .out = gmv_mat_of(out, how->cells, e->model->genes)};
    gmv_pass pass = {.batch = &as, .draws = how->draws, .decode_only = true, .expected = &expected};
    GMV_CHECK(how->cells <= e->cells && how->draws <= e->draws);
    GMV_CHECK(how->batch != NULL ? how->batch->cells == how->cells : !how->measured);
    as.cells = how->cells;
    if (how->batch == NULL || how->level != NULL) {
        GMV_TRY(set_levels(e, how->cells, how->level, how->stride));
        as.level = e->level;
    }
    return gmv_model_run(e->model, &pass);
}

gmv_status gmv_expression_add(gmv_expression *e, const gmv_decoding *how)
{
    return decode(e, how, e->fraction);
}

gmv_status gmv_expression_predict(gmv_expression *e, const gmv_decoding *how, float *predictor)
{
    gmv_backend *b = e->model->backend;
    int64_t values = (int64_t)e->model->likelihood.heads * how->cells * e->model->genes;
    GMV_CHECK(how->draws == 1);
    GMV_TRY(decode(e, how, NULL));
    return b->op->download(b, predictor, e->predictor, values * (int64_t)sizeof *predictor);
}

gmv_status gmv_expression_add_mix(gmv_expression *e, const gmv_decoding *how, const gmv_level_mix *mix)
{
    gmv_decoding one = *how;
    one.stride = 0;
    for (int i = 0; i < mix->n; i++) {
        one.level = mix->level + (int64_t)i * mix->covariates;
        one.weight = how->weight * mix->share[i];
        GMV_TRY(gmv_expression_add(e, &one));
    }
    return GMV_OK;
}

gmv_status gmv_expression_take(gmv_expression *e, int cells, float *fraction)
{
    gmv_backend *b = e->model->backend;
    return b->op->download(b, fraction, e->fraction, (int64_t)cells * e->model->genes * (int64_t)sizeof *fraction);
}
