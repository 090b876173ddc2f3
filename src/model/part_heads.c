/* Decoder heads and the likelihood of the counts. */
#include "part.h"

#include <stdio.h>

static gmv_status heads_loss(gmv_sweep *s, const gmv_part *part)
{
    const gmv_heads *heads = &part->of.heads;
    gmv_model *model = s->model;
    gmv_head_args args = {.likelihood = model->likelihood_id,
                          .observed_library = model->observed_library,
                          .draws = s->pass->draws,
                          .batch = s->pass->batch,
                          .terms = gmv_terms_of(s, heads->term, 1),
                          .hidden = gmv_value_of(s, part->in),
                          .filled = gmv_filled_of(s),
                          .scale = &model->step->scale};
    for (int h = 0; h < model->likelihood.heads; h++) {
        args.weight[h] = gmv_tensor_value(s, heads->weight[h]);
        args.bias[h] = gmv_vector_value(s, heads->bias[h]);
        args.d_weight[h] = gmv_tensor_grad(s, heads->weight[h]);
        args.d_bias[h] = gmv_vector_grad(s, heads->bias[h]);
    }
    if (heads->gene_param >= 0) {
        args.gene_param = gmv_vector_value(s, heads->gene_param);
        args.d_gene_param = gmv_vector_grad(s, heads->gene_param);
    }
    GMV_TRY(s->pass->training ? gmv_grad_to_write(s, part->in, &args.d_hidden) : GMV_OK);
    return s->b->op->head_likelihood(s->b, &args);
}

static gmv_status heads_expect(gmv_sweep *s, const gmv_part *part)
{
    const gmv_heads *heads = &part->of.heads;
    const gmv_model *model = s->model;
    const gmv_expected *expected = s->pass->expected;
    gmv_fraction_args args = {.likelihood = model->likelihood_id,
                              .draws = s->pass->draws,
                              .batch = expected->measured ? s->pass->batch : NULL,
                              .weight = expected->weight,
                              .out = expected->out};
    for (int h = 0; h < model->likelihood.heads; h++) {
        size_t before = (size_t)h * (size_t)s->rows * (size_t)model->genes;
        args.predictor[h] = gmv_mat_of(expected->predictor + before, s->rows, model->genes);
        GMV_TRY(s->b->op->gemm(s->b, GMV_N, GMV_T, 1.0f, gmv_value_of(s, part->in),
                               gmv_tensor_value(s, heads->weight[h]), 0.0f, args.predictor[h]));
        GMV_TRY(s->b->op->add_bias(s->b, args.predictor[h], gmv_vector_value(s, heads->bias[h])));
    }
    if (heads->gene_param >= 0) {
        args.gene_param = gmv_vector_value(s, heads->gene_param);
    }
    return expected->out.at != NULL ? s->b->op->head_fractions(s->b, &args) : GMV_OK;
}

gmv_status gmv_add_heads(gmv_model *model, const char *name, int in, int term)
{
    static const gmv_part_kind kind = {.loss = heads_loss, .expect = heads_expect};
    gmv_heads *heads = &gmv_add_part(model, &kind, name, in, GMV_NO_ARRAY)->of.heads;
    char tensor[GMV_MAX_NAME];
    for (int h = 0; h < model->likelihood.heads; h++) {
        snprintf(tensor, sizeof tensor, "%s.%s", name, model->likelihood.head[h]);
        GMV_TRY(gmv_declare_linear(&model->params, tensor, model->genes, model->assembly->array[in].cols,
                                   &heads->weight[h], &heads->bias[h]));
    }
    heads->term = term;
    heads->gene_param = -1;
    snprintf(tensor, sizeof tensor, "%s.theta", name);
    return model->likelihood.gene_param
               ? gmv_params_declare(&model->params, tensor, model->genes, 0, false, 0, 0.0, &heads->gene_param)
               : GMV_OK;
}
