/* From settings to parts. */
#include "gmvae/rng.h"
#include "part.h"

#include <stdio.h>

gmv_status gmv_declare_linear(gmv_params *params, const char *name, int out, int in, int *weight, int *bias)
{
    char tensor[GMV_MAX_NAME + 8];
    snprintf(tensor, sizeof tensor, "%s.weight", name);
    GMV_TRY(gmv_params_declare(params, tensor, out, in, false, in, 0.0, weight));
    snprintf(tensor, sizeof tensor, "%s.bias", name);
    return gmv_params_declare(params, tensor, out, 0, false, in, 0.0, bias);
}

gmv_part *gmv_add_part(gmv_model *model, const gmv_part_kind *kind, const char *name, int in, int out)
{
    struct gmv_assembly *all = model->assembly;
    gmv_part *part = &all->part[all->parts++];
    *part = (gmv_part){.kind = kind, .name = name, .in = in, .out = out, .stretch_done = -1};
    if (model->open_stretch >= 0) {
        part->stretch_done = model->open_stretch;
        model->open_stretch = -1;
    }
    return part;
}

void gmv_add_space(gmv_model *model, float **at, int64_t width, bool drawn, bool gradient)
{
    struct gmv_assembly *all = model->assembly;
    all->space[all->spaces++] = (gmv_space){at, width, drawn, gradient};
}

int gmv_add_array(gmv_model *model, int cols, bool drawn)
{
    struct gmv_assembly *all = model->assembly;
    gmv_array *array = &all->array[all->arrays];
    *array = (gmv_array){.cols = cols, .drawn = drawn};
    gmv_add_space(model, &array->value, cols, drawn, false);
    gmv_add_space(model, &array->grad, cols, drawn, true);
    return all->arrays++;
}

int gmv_add_term(gmv_model *model, gmv_term term)
{
    model->terms.at[model->terms.n] = term;
    return model->terms.n++;
}

void gmv_add_output(gmv_model *model, gmv_cell_output output)
{
    model->outputs.at[model->outputs.n++] = output;
}

/* From here on declared tensors belong to another stretch of the gradient, final when the next part's way back is done. */
static void begin_stretch(gmv_model *model)
{
    model->stretch_start[model->stretches] = model->params.total;
    model->open_stretch = model->stretches++;
}

/* w -> components of the prior of x; w has a prior of its own. */
static gmv_status add_mixture_of_w(gmv_model *model, const gmv_config *config, int encoded, int x)
{
    static const uint32_t streams[] = {GMV_STREAM_LATENT_W, GMV_STREAM_EVAL_W};
    int w, beta;
    GMV_TRY(gmv_add_latent(model, "encoder.w", encoded, model->w_dim, streams, &w));
    GMV_TRY(gmv_add_prior(model, "prior.w", w, (gmv_term){"kl_w", "KL w", .in_bound = true, .trained = true}));
    begin_stretch(model);
    int out = model->assembly->part[w].out;
    model->assembly->w = out;
    model->assembly->first_of_w = model->assembly->parts;
    GMV_TRY(gmv_add_trunk(model, "beta", (gmv_trunk_inputs){.in = out}, config->model_beta, &beta));
    model->assembly->mixture = model->assembly->parts;
    return gmv_add_mixture(model, "beta.out", beta, x);
}

static gmv_status add_prior_of_x(gmv_model *model, const gmv_config *config, int encoded, int x)
{
    model->w_dim = config->model_prior == GMV_PRIOR_MIXTURE_OF_W ? (int)config->model_w_dim : 0;
    model->clusters = config->model_prior != GMV_PRIOR_NORMAL ? (int)config->model_clusters : 0;
    if (config->model_prior == GMV_PRIOR_MIXTURE_OF_W) {
        return add_mixture_of_w(model, config, encoded, x);
    }
    if (config->model_prior == GMV_PRIOR_MIXTURE) {
        begin_stretch(model);
        model->assembly->mixture = model->assembly->parts;
        return gmv_add_static_mixture(model, "prior", x);
    }
    return gmv_add_prior(model, "prior.x", x, (gmv_term){"kl_x", "KL x", .in_bound = true, .trained = true});
}

/* encoder -> x and its prior; x and covariates -> counts. */
static gmv_status compose(gmv_model *model, const gmv_config *config, int reconstruction)
{
    static const uint32_t streams[] = {GMV_STREAM_LATENT_X, GMV_STREAM_EVAL_X};
    int encoded, decoded, x;
    begin_stretch(model);
    GMV_TRY(gmv_add_trunk(model, "encoder", (gmv_trunk_inputs){.counts = true, .in = GMV_NO_ARRAY},
                          config->model_encoder, &encoded));
    GMV_TRY(gmv_add_latent(model, "encoder.x", encoded, model->latent_dim, streams, &x));
    gmv_array *posterior = &model->assembly->array[model->assembly->part[x].of.latent.posterior]; /* means first */
    gmv_add_output(model, (gmv_cell_output){.name = "X_gmvae",
                                            .kind = GMV_OUTPUT_LATENT,
                                            .cols = model->latent_dim,
                                            .stride = posterior->cols,
                                            .value = &posterior->value});
    model->posterior = &posterior->value;
    model->latent = &model->assembly->array[model->assembly->part[x].out].value;
    GMV_TRY(add_prior_of_x(model, config, encoded, x));
    begin_stretch(model);
    int first = model->assembly->parts;
    GMV_TRY(gmv_add_trunk(model, "decoder", (gmv_trunk_inputs){.covariates = true, .in = model->assembly->part[x].out},
                          config->model_decoder, &decoded));
    GMV_TRY(gmv_add_heads(model, "decoder", decoded, reconstruction));
    for (int p = first; p < model->assembly->parts; p++) {
        model->assembly->part[p].decodes = true;
    }
    return GMV_OK;
}

gmv_status gmv_compose(gmv_model *model, const gmv_config *config)
{
    struct gmv_assembly *all = model->assembly;
    all->next_stream = GMV_STREAM_DROPOUT;
    all->w = all->mixture = all->first_of_w = -1;
    model->open_stretch = -1;
    int reconstruction =
        gmv_add_term(model, (gmv_term){"reconstruction", "reconstruction", .in_bound = true, .trained = true});
    GMV_TRY(compose(model, config, reconstruction));
    model->stretch_start[model->stretches] = model->params.total;
    gmv_add_space(model, &model->loss, model->terms.n, false, false);
    for (int i = 0; i < 2; i++) {
        gmv_add_space(model, &all->scratch[i], all->scratch_width, true, true);
    }
    return GMV_OK;
}
