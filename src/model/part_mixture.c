/* Conditional mixture prior of a latent, whose components are a linear layer of what the beta network makes of w. */
#include "part.h"

static gmv_status mixture_loss(gmv_sweep *s, const gmv_part *part)
{
    const gmv_mixture *mixture = &part->of.mixture;
    gmv_model *model = s->model;
    gmv_mixture_args args = {.objective = model->objective,
                             .components = model->clusters,
                             .free_nats = model->free_nats,
                             .draws = s->pass->draws,
                             .hidden = gmv_value_of(s, part->in),
                             .weight = gmv_tensor_value(s, mixture->weight),
                             .bias = gmv_vector_value(s, mixture->bias),
                             .x = gmv_value_of(s, mixture->x),
                             .posterior = gmv_value_of(s, mixture->posterior),
                             .terms = gmv_terms_of(s, mixture->term, GMV_MIXTURE_TERMS)};
    if (s->pass->probability) {
        args.probability = gmv_mat_of(model->probability, s->cells, model->clusters);
    }
    if (s->pass->training) {
        args.scale = &model->step->kl_scale;
        args.d_weight = gmv_tensor_grad(s, mixture->weight);
        args.d_bias = gmv_vector_grad(s, mixture->bias);
        GMV_TRY(gmv_grad_to_write(s, part->in, &args.d_hidden));
        GMV_TRY(gmv_grad_to_add(s, mixture->x, &args.d_x));
        GMV_TRY(gmv_grad_to_add(s, mixture->posterior, &args.d_posterior));
    }
    return s->b->op->mixture(s->b, &args);
}

gmv_status gmv_add_mixture(gmv_model *model, const char *name, int in, int latent_part)
{
    static const gmv_part_kind kind = {.loss = mixture_loss};
    const gmv_part *latent = &model->assembly->part[latent_part];
    gmv_part *part = gmv_add_part(model, &kind, name, in, GMV_NO_ARRAY);
    gmv_mixture *mixture = &part->of.mixture;
    _Static_assert(GMV_MIXTURE_KL_Z == 0 && GMV_MIXTURE_KL_X == 1 && GMV_MIXTURE_PRIOR == 2, "columns of the op");
    int term = gmv_add_term(model, (gmv_term){"kl_z", "KL z", .in_bound = true});
    gmv_add_term(model, (gmv_term){"kl_x", "KL x", .in_bound = true});
    gmv_add_term(model, (gmv_term){"prior", "prior", .trained = true});
    *mixture = (gmv_mixture){.term = term, .x = latent->out, .posterior = latent->of.latent.posterior};
    return gmv_declare_linear(&model->params, name, 2 * model->clusters * latent->of.latent.dim,
                              model->assembly->array[in].cols, &mixture->weight, &mixture->bias);
}
