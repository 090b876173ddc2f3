/* A model and its workspace. What it is made of is in compose.c, its passes in run.c. */
#include "gmvae/model.h"

#include "gmvae/mem.h"
#include "part.h"

#include <string.h>

static void describe(gmv_model *model, const gmv_config *config, int32_t genes, int levels)
{
    model->genes = genes;
    model->levels = levels;
    model->latent_dim = (int)config->model_latent_dim;
    model->objective = (gmv_objective)config->model_objective;
    model->likelihood_id = (gmv_likelihood)config->model_likelihood; /* both are places in likelihoods.def */
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
    gmv_status status = GMV_NEW(model.assembly, 1, "the parts of the model");
    status = status == GMV_OK ? gmv_compose(&model, config) : status;
    GMV_FREE(model.assembly);
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
    GMV_GO(GMV_NEW(model->assembly, 1, "the parts of the model"));
    GMV_GO(gmv_compose(model, config));
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
        GMV_FREE((*model)->assembly);
        GMV_FREE(*model);
    }
}

/* Floats that a piece of the workspace takes. Every piece starts on a cache line, whatever the number of rows:
 * vectorised sums then do not depend on how much was reserved. */
static int64_t floats_of(const gmv_space *space, int64_t cells, int64_t rows, bool gradients)
{
    int64_t floats = space->gradient && !gradients ? 0 : (space->drawn ? rows : cells) * space->width;
    return (floats + 15) / 16 * 16;
}

static int64_t workspace_floats(const gmv_model *model, int64_t cells, int64_t rows, bool gradients)
{
    int64_t floats = 0;
    for (int i = 0; i < model->assembly->spaces; i++) {
        floats += floats_of(&model->assembly->space[i], cells, rows, gradients);
    }
    return floats;
}

double gmv_terms_bound(const gmv_terms *terms, const double *value)
{
    double sum = 0.0;
    for (int i = 0; i < terms->n; i++) {
        sum += terms->at[i].in_bound ? value[i] : 0.0;
    }
    return sum;
}

double gmv_terms_objective(const gmv_terms *terms, const double *value)
{
    double sum = 0.0;
    for (int i = 0; i < terms->n; i++) {
        sum += terms->at[i].trained ? value[i] : 0.0;
    }
    return sum;
}

const gmv_cell_output *gmv_components_of(const gmv_cell_outputs *outputs)
{
    static float *nowhere;
    static const gmv_cell_output none = {.kind = GMV_OUTPUT_COMPONENTS, .value = &nowhere};
    for (int i = 0; i < outputs->n; i++) {
        if (outputs->at[i].kind == GMV_OUTPUT_COMPONENTS) {
            return &outputs->at[i];
        }
    }
    return &none;
}

static void arrange(gmv_model *model, float *base, int64_t cells, int64_t rows, bool gradients)
{
    struct gmv_assembly *all = model->assembly;
    for (int i = 0; i < all->spaces; i++) {
        int64_t floats = floats_of(&all->space[i], cells, rows, gradients);
        *all->space[i].at = floats > 0 ? base : NULL;
        base += floats;
    }
}

int64_t gmv_model_workspace_bytes(const gmv_model *model, int cells, int draws, bool gradients)
{
    return workspace_floats(model, cells, (int64_t)cells * draws, gradients) * (int64_t)sizeof(float);
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
    int64_t bytes = workspace_floats(model, most_cells, most_rows, gradients) * (int64_t)sizeof(float);
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
