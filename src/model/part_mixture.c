/* Mixture prior of a latent. Its components are a linear layer of what the beta network makes of w; or they are the same
 * for all cells, and have weights. */
#include "part.h"

#include <stdio.h>

/* What differs between the two: the parameters. */
static gmv_status components_of(gmv_sweep *s, const gmv_part *part, gmv_mixture_args *args)
{
    const gmv_mixture *mixture = &part->of.mixture;
    bool training = s->pass->training;
    if (part->in == GMV_NO_ARRAY) {
        args->hidden = gmv_mat_of(gmv_value_of(s, mixture->x).at, s->rows, 0); /* no layer: the bias is all there is */
        args->weight = gmv_mat_of(NULL, 2 * s->model->clusters * s->model->latent_dim, 0);
        args->bias = gmv_vector_value(s, mixture->components);
        args->log_weight = gmv_vector_value(s, mixture->log_weight);
        args->d_weight = args->weight;
        args->d_bias = training ? gmv_vector_grad(s, mixture->components) : args->d_bias;
        args->d_log_weight = training ? gmv_vector_grad(s, mixture->log_weight) : args->d_log_weight;
        args->d_hidden = args->hidden;
        return GMV_OK;
    }
    args->hidden = gmv_value_of(s, part->in);
    args->weight = gmv_tensor_value(s, mixture->weight);
    args->bias = gmv_vector_value(s, mixture->bias);
    if (training) {
        args->d_weight = gmv_tensor_grad(s, mixture->weight);
        args->d_bias = gmv_vector_grad(s, mixture->bias);
        GMV_TRY(gmv_grad_to_write(s, part->in, &args->d_hidden));
    }
    return GMV_OK;
}

static gmv_status mixture_loss(gmv_sweep *s, const gmv_part *part)
{
    const gmv_mixture *mixture = &part->of.mixture;
    gmv_model *model = s->model;
    gmv_mixture_args args = {.objective = model->objective,
                             .components = model->clusters,
                             .free_nats = model->free_nats,
                             .draws = s->pass->draws,
                             .filled = gmv_filled_of(s),
                             .x = gmv_value_of(s, mixture->x),
                             .posterior = gmv_value_of(s, mixture->posterior),
                             .terms = gmv_terms_of(s, mixture->term, GMV_MIXTURE_TERMS)};
    GMV_TRY(components_of(s, part, &args));
    if (s->pass->probability || args.d_log_weight.at != NULL) {
        args.probability = gmv_mat_of(model->probability, s->cells, model->clusters);
    }
    if (s->pass->training) {
        args.scale = &model->step->kl_scale;
        GMV_TRY(gmv_grad_to_add(s, mixture->x, &args.d_x));
        GMV_TRY(gmv_grad_to_add(s, mixture->posterior, &args.d_posterior));
    }
    return s->b->op->mixture(s->b, &args);
}

static gmv_mixture *add(gmv_model *model, const char *name, int in, int latent_part)
{
    static const gmv_part_kind kind = {.loss = mixture_loss};
    _Static_assert(GMV_MIXTURE_KL_Z == 0 && GMV_MIXTURE_KL_X == 1 && GMV_MIXTURE_PRIOR == 2 && GMV_MIXTURE_TERMS == 3,
                   "columns of the op, in the order of the terms");
    const gmv_part *latent = &model->assembly->part[latent_part];
    gmv_mixture *mixture = &gmv_add_part(model, &kind, name, in, GMV_NO_ARRAY)->of.mixture;
    *mixture = (gmv_mixture){.x = latent->out, .posterior = latent->of.latent.posterior};
    mixture->term = gmv_add_term(model, (gmv_term){"kl_z", "KL z", .in_bound = true});
    gmv_add_term(model, (gmv_term){"kl_x", "KL x", .in_bound = true});
    gmv_add_term(model, (gmv_term){"prior", "prior", .trained = true});
    gmv_add_space(model, &model->probability, model->clusters, false, false);
    gmv_add_output(model, (gmv_cell_output){.name = "gmvae_component_prob",
                                            .kind = GMV_OUTPUT_COMPONENTS,
                                            .column = "gmvae_component",
                                            .cols = model->clusters,
                                            .stride = model->clusters,
                                            .value = &model->probability});
    return mixture;
}

gmv_status gmv_add_mixture(gmv_model *model, const char *name, int in, int latent_part)
{
    gmv_mixture *mixture = add(model, name, in, latent_part);
    int dim = model->assembly->part[latent_part].of.latent.dim;
    return gmv_declare_linear(&model->params, name, 2 * model->clusters * dim, model->assembly->array[in].cols,
                              &mixture->weight, &mixture->bias);
}

gmv_status gmv_add_static_mixture(gmv_model *model, const char *name, int latent_part)
{
    gmv_mixture *mixture = add(model, name, GMV_NO_ARRAY, latent_part);
    int dim = model->assembly->part[latent_part].of.latent.dim, uniform = 1;
    char tensor[GMV_MAX_NAME];
    /* means, then raw variances; between -1 and 1, as components that are the same would stay so */
    snprintf(tensor, sizeof tensor, "%s.components", name);
    GMV_TRY(gmv_params_declare(&model->params, tensor, 2 * model->clusters, dim, false, uniform, 0.0,
                               &mixture->components));
    snprintf(tensor, sizeof tensor, "%s.log_weight", name);
    return gmv_params_declare(&model->params, tensor, model->clusters, 0, false, 0, 0.0, &mixture->log_weight);
}
