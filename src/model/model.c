/* Declaring the model's tensors and laying out its workspace. The passes are in run.c. */
#include "gmvae/model.h"

#include "gmvae/mem.h"
#include "gmvae/rng.h"
#include "trunk.h"

#include <stdio.h>
#include <string.h>

/* A linear layer NAME.weight [out, in], NAME.bias [out]. */
static gmv_status declare_linear(gmv_params *params, const char *name, int out, int in, int *weight, int *bias)
{
    char tensor[GMV_MAX_NAME + 8];
    snprintf(tensor, sizeof tensor, "%s.weight", name);
    GMV_TRY(gmv_params_declare(params, tensor, out, in, false, in, 0.0, weight));
    snprintf(tensor, sizeof tensor, "%s.bias", name);
    return gmv_params_declare(params, tensor, out, 0, false, in, 0.0, bias);
}

static int last_width(gmv_ints widths, int without_layers)
{
    return widths.n > 0 ? (int)widths.at[widths.n - 1] : without_layers;
}

static gmv_status declare_tensors(gmv_model *model, const gmv_config *config)
{
    gmv_params *params = &model->params;
    uint32_t stream = GMV_STREAM_DROPOUT;
    int encoded = last_width(config->model_encoder, 0), decoded = last_width(config->model_decoder, 0);
    GMV_TRY(gmv_trunk_declare(&model->encoder, params, "encoder", model->genes, config->model_encoder, true, &stream));
    GMV_TRY(declare_linear(params, "encoder.x", 2 * model->latent_dim, encoded, &model->x_weight, &model->x_bias));
    GMV_TRY(declare_linear(params, "encoder.w", 2 * model->w_dim, encoded, &model->w_weight, &model->w_bias));
    model->part_start[GMV_PART_BETA] = params->total;
    GMV_TRY(gmv_trunk_declare(&model->beta, params, "beta", model->w_dim, config->model_beta, false, &stream));
    GMV_TRY(declare_linear(params, "beta.out", 2 * model->clusters * model->latent_dim,
                           last_width(config->model_beta, model->w_dim), &model->beta_weight, &model->beta_bias));
    model->part_start[GMV_PART_DECODER] = params->total;
    GMV_TRY(gmv_trunk_declare(&model->decoder, params, "decoder", model->latent_dim + model->levels,
                              config->model_decoder, true, &stream));
    for (int h = 0; h < model->likelihood.heads; h++) {
        char name[GMV_MAX_NAME];
        snprintf(name, sizeof name, "decoder.%s", model->likelihood.head[h]);
        GMV_TRY(declare_linear(params, name, model->genes, decoded, &model->head_weight[h], &model->head_bias[h]));
    }
    model->theta = -1;
    if (model->likelihood.gene_param) {
        GMV_TRY(gmv_params_declare(params, "decoder.theta", model->genes, 0, false, 0, 0.0, &model->theta));
    }
    model->part_start[GMV_PARTS] = params->total;
    return GMV_OK;
}

static void describe(gmv_model *model, const gmv_config *config, int32_t genes, int levels)
{
    model->genes = genes;
    model->levels = levels;
    model->latent_dim = (int)config->model_latent_dim;
    model->w_dim = (int)config->model_w_dim;
    model->clusters = (int)config->model_clusters;
    model->objective = (gmv_objective)config->model_objective;
    model->likelihood_id = (gmv_likelihood)config->model_likelihood;
    model->likelihood = gmv_likelihood_of(model->likelihood_id);
    model->observed_library = config->model_library == GMV_LIBRARY_OBSERVED;
    model->dropout = (float)config->model_dropout;
    model->free_nats = (float)config->train_z_free_nats;
    model->seed = (uint64_t)config->seed;
}

gmv_status gmv_model_declare(gmv_params *params, const gmv_config *config, int32_t genes, int levels)
{
    gmv_model model = {0};
    describe(&model, config, genes, levels);
    gmv_params_init(&model.params, NULL);
    gmv_status status = declare_tensors(&model, config);
    *params = model.params;
    return status;
}

gmv_status gmv_model_create(gmv_model **out, const gmv_config *config, gmv_backend *backend, int32_t genes, int levels,
                            gmv_input input)
{
    gmv_model *model;
    *out = NULL;
    GMV_TRY(GMV_NEW(model, 1, "the model"));
    model->backend = backend;
    model->input = input;
    describe(model, config, genes, levels);
    gmv_params_init(&model->params, backend);
    gmv_status status;
    GMV_GO(declare_tensors(model, config));
    GMV_GO(gmv_params_allocate(&model->params, model->seed));
    GMV_GO(backend->op->allocate(backend, (void **)&model->step, sizeof *model->step, "numbers of a step"));
    *out = model;
    model = NULL;
done:
    gmv_model_destroy(&model);
    return status;
}

void gmv_model_destroy(gmv_model **model)
{
    if (*model != NULL) {
        (*model)->backend->op->release((*model)->backend, (*model)->workspace);
        (*model)->backend->op->release((*model)->backend, (*model)->step);
        gmv_params_fini(&(*model)->params);
        GMV_FREE(*model);
    }
}

static int widest(const gmv_trunk *trunk)
{
    int width = 0;
    for (int i = 0; i < trunk->layers; i++) {
        width = trunk->layer[i].width > width ? trunk->layer[i].width : width;
    }
    return width;
}

/* A cursor through the workspace; with base NULL it only counts. */
static float *take(int64_t *used, float *base, int64_t floats)
{
    float *at = base == NULL ? NULL : base + *used;
    *used += (floats + 15) / 16 * 16;
    return at;
}

/* Lays everything out at `base` and returns the floats used. */
static int64_t arrange(gmv_model *model, float *base, int64_t cells, int64_t rows, bool gradients)
{
    int64_t used = 0, d = model->latent_dim, w = model->w_dim;
    float *at = take(&used, base, gmv_trunk_workspace(&model->encoder, (int)cells));
    float *at_beta = take(&used, base, gmv_trunk_workspace(&model->beta, (int)rows));
    float *at_decoder = take(&used, base, gmv_trunk_workspace(&model->decoder, (int)rows));
    if (base != NULL) {
        gmv_trunk_arrange(&model->encoder, (int)cells, at);
        gmv_trunk_arrange(&model->beta, (int)rows, at_beta);
        gmv_trunk_arrange(&model->decoder, (int)rows, at_decoder);
    }
    model->posterior_x = take(&used, base, cells * 2 * d);
    model->posterior_w = take(&used, base, cells * 2 * w);
    model->x = take(&used, base, rows * d);
    model->w = take(&used, base, rows * w);
    model->terms = take(&used, base, cells * GMV_TERMS);
    model->probability = take(&used, base, cells * model->clusters);
    if (gradients) {
        int64_t cell_width = widest(&model->encoder);
        int64_t row_width =
            widest(&model->decoder) > widest(&model->beta) ? widest(&model->decoder) : widest(&model->beta);
        row_width = row_width > w ? row_width : w;
        model->d_posterior_x = take(&used, base, cells * 2 * d);
        model->d_posterior_w = take(&used, base, cells * 2 * w);
        model->d_x = take(&used, base, rows * d);
        model->d_w = take(&used, base, rows * w);
        for (int i = 0; i < 2; i++) {
            model->d_cells[i] = take(&used, base, cells * cell_width);
            model->d_rows[i] = take(&used, base, rows * row_width);
        }
    }
    return used;
}

int64_t gmv_model_workspace_bytes(const gmv_model *model, int cells, int draws, bool gradients)
{
    gmv_model copy = *model;
    return arrange(&copy, NULL, cells, (int64_t)cells * draws, gradients) * (int64_t)sizeof(float);
}

gmv_status gmv_model_reserve(gmv_model *model, int cells, int draws, bool gradients)
{
    int64_t rows = (int64_t)cells * draws;
    if (rows > INT32_MAX) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "%d cells times %d draws on one rank are too many; lower train.batch_size or "
                        "train.mc_samples, or use more ranks",
                        cells, draws);
    }
    if (cells <= model->max_cells && rows <= model->max_rows && (model->gradients || !gradients)) {
        return GMV_OK;
    }
    int most_cells = cells > model->max_cells ? cells : model->max_cells;
    int64_t most_rows = rows > model->max_rows ? rows : model->max_rows;
    gradients = gradients || model->gradients;
    model->backend->op->release(model->backend, model->workspace);
    model->workspace = NULL;
    int64_t bytes = arrange(model, NULL, most_cells, most_rows, gradients) * (int64_t)sizeof(float);
    GMV_TRY(model->backend->op->allocate(model->backend, &model->workspace, bytes, "activations of a batch"));
    arrange(model, model->workspace, most_cells, most_rows, gradients);
    model->max_cells = most_cells;
    model->max_rows = (int)most_rows;
    model->gradients = gradients;
    return GMV_OK;
}

gmv_status gmv_model_set_step(gmv_model *model, const gmv_step *values)
{
    return model->backend->op->set_step(model->backend, model->step, values);
}
