/* A latent: linear layer to the posterior, draws from it, and back. */
#include "part.h"

static gmv_noise noise_of(const gmv_sweep *s, const gmv_latent *latent)
{
    return gmv_noise_of(s, s->pass->training ? latent->training_stream : latent->evaluation_stream, true);
}

static gmv_status latent_forward(gmv_sweep *s, const gmv_part *part)
{
    const gmv_latent *latent = &part->of.latent;
    gmv_mat posterior = gmv_value_of(s, latent->posterior);
    gmv_noise noise = noise_of(s, latent);
    GMV_TRY(s->b->op->gemm(s->b, GMV_N, GMV_T, 1.0f, gmv_value_of(s, part->in), gmv_tensor_value(s, latent->weight),
                           0.0f, posterior));
    GMV_TRY(s->b->op->add_bias(s->b, posterior, gmv_vector_value(s, latent->bias)));
    return s->b->op->gaussian_sample(s->b, posterior, &noise, s->pass->draws, gmv_value_of(s, part->out));
}

static gmv_status latent_backward(gmv_sweep *s, const gmv_part *part)
{
    const gmv_latent *latent = &part->of.latent;
    gmv_noise noise = noise_of(s, latent);
    gmv_mat d_out, d_posterior;
    float beta;
    GMV_TRY(gmv_grad_of(s, part->out, &d_out));
    GMV_TRY(gmv_grad_to_add(s, latent->posterior, &d_posterior));
    GMV_TRY(s->b->op->gaussian_sample_backward(s->b, gmv_value_of(s, latent->posterior), &noise, s->pass->draws, d_out,
                                               d_posterior));
    GMV_TRY(s->b->op->gemm(s->b, GMV_T, GMV_N, 1.0f, d_posterior, gmv_value_of(s, part->in), 1.0f,
                           gmv_tensor_grad(s, latent->weight)));
    GMV_TRY(s->b->op->bias_backward(s->b, d_posterior, gmv_vector_grad(s, latent->bias)));
    gmv_mat d_in = gmv_grad_with_beta(s, part->in, &beta);
    return s->b->op->gemm(s->b, GMV_N, GMV_N, 1.0f, d_posterior, gmv_tensor_value(s, latent->weight), beta, d_in);
}

gmv_status gmv_add_latent(gmv_model *model, const char *name, int in, int dim, const uint32_t streams[2], int *number)
{
    static const gmv_part_kind kind = {.forward = latent_forward, .backward = latent_backward};
    int posterior = gmv_add_array(model, 2 * dim, false), out = gmv_add_array(model, dim, true);
    *number = model->assembly->parts;
    gmv_part *part = gmv_add_part(model, &kind, name, in, out);
    gmv_latent *latent = &part->of.latent;
    *latent = (gmv_latent){
        .dim = dim, .posterior = posterior, .training_stream = streams[0], .evaluation_stream = streams[1]};
    return gmv_declare_linear(&model->params, name, 2 * dim, model->assembly->array[in].cols, &latent->weight,
                              &latent->bias);
}
