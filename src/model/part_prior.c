/* KL of a posterior against N(0, 1). */
#include "part.h"

#include "gmvae/math/latent_gaussian.h"
#include "gmvae/mem.h"

static gmv_status prior_loss(gmv_sweep *s, const gmv_part *part)
{
    const gmv_prior *prior = &part->of.prior;
    gmv_mat d_posterior = {0};
    GMV_TRY(s->pass->training ? gmv_grad_to_add(s, prior->posterior, &d_posterior) : GMV_OK);
    return s->b->op->gaussian_kl(s->b, gmv_value_of(s, prior->posterior), gmv_filled_of(s),
                                 gmv_terms_of(s, prior->term, 1), &s->model->step->kl_scale, d_posterior);
}

/* Of log q(x) - log N(x; 0, 1) at the draw x and its mean over q, the KL: the logarithm of the variance is in both. */
static gmv_status prior_of_draw(gmv_model *model, const gmv_part *part, int cells, double *more)
{
    const gmv_prior *prior = &part->of.prior;
    const gmv_array *posterior = &model->assembly->array[prior->posterior],
                    *drawn = &model->assembly->array[prior->drawn];
    int dim = drawn->cols;
    float *of_q = NULL, *at = NULL;
    gmv_status status;
    GMV_GO(GMV_NEW(of_q, (int64_t)cells * 2 * dim, "posteriors of cells"));
    GMV_GO(GMV_NEW(at, (int64_t)cells * dim, "draws of cells"));
    GMV_GO(model->backend->op->download(model->backend, of_q, posterior->value,
                                        (int64_t)cells * 2 * dim * (int64_t)sizeof *of_q));
    GMV_GO(model->backend->op->download(model->backend, at, drawn->value, (int64_t)cells * dim * (int64_t)sizeof *at));
    for (int64_t i = 0; i < cells; i++) {
        for (int j = 0; j < dim; j++) {
            double mean = (double)of_q[2 * i * dim + j], x = (double)at[i * dim + j];
            double variance = (double)gmv_variance(of_q[(2 * i + 1) * dim + j]), away = x - mean;
            more[i] += 0.5 * (x * x - away * away / variance - mean * mean - variance + 1.0);
        }
    }
done:
    GMV_FREE(of_q);
    GMV_FREE(at);
    return status;
}

gmv_status gmv_add_prior(gmv_model *model, const char *name, int latent_part, gmv_term term)
{
    static const gmv_part_kind kind = {.loss = prior_loss, .of_draw = prior_of_draw};
    const gmv_part *latent = &model->assembly->part[latent_part];
    int posterior = latent->of.latent.posterior, drawn = latent->out;
    gmv_part *part = gmv_add_part(model, &kind, name, posterior, GMV_NO_ARRAY);
    part->of.prior = (gmv_prior){posterior, drawn, gmv_add_term(model, term)};
    return GMV_OK;
}
