/* KL of a posterior against N(0, 1). */
#include "part.h"

static gmv_status prior_loss(gmv_sweep *s, const gmv_part *part)
{
    const gmv_prior *prior = &part->of.prior;
    gmv_mat d_posterior = {0};
    GMV_TRY(s->pass->training ? gmv_grad_to_add(s, prior->posterior, &d_posterior) : GMV_OK);
    return s->b->op->gaussian_kl(s->b, gmv_value_of(s, prior->posterior), gmv_filled_of(s),
                                 gmv_terms_of(s, prior->term, 1), &s->model->step->kl_scale, d_posterior);
}

gmv_status gmv_add_prior(gmv_model *model, const char *name, int latent_part, gmv_term term)
{
    static const gmv_part_kind kind = {.loss = prior_loss};
    int posterior = model->assembly->part[latent_part].of.latent.posterior;
    gmv_part *part = gmv_add_part(model, &kind, name, posterior, GMV_NO_ARRAY);
    part->of.prior = (gmv_prior){posterior, gmv_add_term(model, term)};
    return GMV_OK;
}
