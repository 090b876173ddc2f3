/* One pass over a batch, forward and backward, as a sequence of ops. */
#include "gmvae/model.h"

#include "gmvae/rng.h"
#include "trunk.h"

/* Everything the stages of one pass share. */
typedef struct stage {
    gmv_model *model;
    gmv_backend *b;
    const gmv_pass *pass;
    int cells, rows;
    float rate;                      /* dropout */
    gmv_noise cell_noise, row_noise; /* for encoder layers; for layers of drawn latents */
    gmv_noise x_noise, w_noise;
    gmv_mat posterior_x, posterior_w, x, w, terms;
    gmv_mat d_posterior_x, d_posterior_w, d_x, d_w;
} stage;

static gmv_mat value_mat(const gmv_model *model, int tensor)
{
    return gmv_params_mat(&model->params, model->params.value, tensor);
}

static gmv_mat grad_mat(const gmv_model *model, int tensor)
{
    return gmv_params_mat(&model->params, model->params.grad, tensor);
}

static gmv_vec value_vec(const gmv_model *model, int tensor)
{
    return gmv_params_vec(&model->params, model->params.value, tensor);
}

static gmv_vec grad_vec(const gmv_model *model, int tensor)
{
    return gmv_params_vec(&model->params, model->params.grad, tensor);
}

static gmv_noise noise_of(const stage *s, uint32_t stream, int draws)
{
    gmv_noise noise = {.seed = s->model->seed,
                       .stream = stream,
                       .step = s->model->step,
                       .first_draw = s->pass->first_draw,
                       .cell_id = s->pass->batch->cell_id,
                       .draws = draws};
    return noise;
}

static stage prepare(gmv_model *model, const gmv_pass *pass)
{
    stage s = {.model = model, .b = model->backend, .pass = pass, .cells = pass->batch->cells};
    int d = model->latent_dim, w = model->w_dim, draws = pass->draws;
    s.rows = s.cells * draws;
    s.rate = pass->training ? model->dropout : 0.0f;
    s.cell_noise = noise_of(&s, GMV_STREAM_DROPOUT, 1);
    s.row_noise = noise_of(&s, GMV_STREAM_DROPOUT, draws);
    s.x_noise = noise_of(&s, pass->training ? GMV_STREAM_LATENT_X : GMV_STREAM_EVAL_X, draws);
    s.w_noise = noise_of(&s, pass->training ? GMV_STREAM_LATENT_W : GMV_STREAM_EVAL_W, draws);
    s.posterior_x = gmv_mat_of(model->posterior_x, s.cells, 2 * d);
    s.posterior_w = gmv_mat_of(model->posterior_w, s.cells, 2 * w);
    s.x = gmv_mat_of(model->x, s.rows, d);
    s.w = gmv_mat_of(model->w, s.rows, w);
    s.terms = gmv_mat_of(model->terms, s.cells, GMV_TERMS);
    if (pass->training) {
        s.d_posterior_x = gmv_mat_of(model->d_posterior_x, s.cells, 2 * d);
        s.d_posterior_w = gmv_mat_of(model->d_posterior_w, s.cells, 2 * w);
        s.d_x = gmv_mat_of(model->d_x, s.rows, d);
        s.d_w = gmv_mat_of(model->d_w, s.rows, w);
    }
    return s;
}

/* counts -> q(x|y), q(w|y) */
static gmv_status encode(const stage *s)
{
    const gmv_model *model = s->model;
    const gmv_trunk_layer *first = &model->encoder.layer[0];
    GMV_TRY(s->b->op->input_forward(s->b, s->pass->batch, model->input, value_mat(model, first->weight),
                                    gmv_rows_of(first->pre, s->cells)));
    GMV_TRY(gmv_trunk_forward(model, &model->encoder, s->cells, s->rate, &s->cell_noise));
    gmv_mat hidden = gmv_trunk_output(&model->encoder, s->cells);
    GMV_TRY(s->b->op->gemm(s->b, GMV_N, GMV_T, 1.0f, hidden, value_mat(model, model->x_weight), 0.0f, s->posterior_x));
    GMV_TRY(s->b->op->add_bias(s->b, s->posterior_x, value_vec(model, model->x_bias)));
    GMV_TRY(s->b->op->gemm(s->b, GMV_N, GMV_T, 1.0f, hidden, value_mat(model, model->w_weight), 0.0f, s->posterior_w));
    return s->b->op->add_bias(s->b, s->posterior_w, value_vec(model, model->w_bias));
}

/* q -> draws of x and w, and KL(q(w) || N(0,1)) */
static gmv_status draw(const stage *s)
{
    bool mean = s->pass->mean_latents;
    GMV_TRY(s->b->op->gaussian_sample(s->b, s->posterior_x, mean ? NULL : &s->x_noise, s->pass->draws, s->x));
    GMV_TRY(s->b->op->gaussian_sample(s->b, s->posterior_w, mean ? NULL : &s->w_noise, s->pass->draws, s->w));
    return s->b->op->gaussian_kl(s->b, s->posterior_w, s->terms, GMV_TERM_KL_W, &s->model->step->kl_scale,
                                 s->d_posterior_w);
}

/* x, covariates -> log p(y|x); in training back to d_x */
static gmv_status decode(const stage *s)
{
    gmv_model *model = s->model;
    const gmv_trunk_layer *first = &model->decoder.layer[0];
    gmv_mat weight = value_mat(model, first->weight), pre = gmv_rows_of(first->pre, s->rows);
    gmv_mat latent_rows = gmv_mat_rows(weight, 0, model->latent_dim);
    GMV_TRY(s->b->op->gemm(s->b, GMV_N, GMV_N, 1.0f, s->x, latent_rows, 0.0f, pre));
    GMV_TRY(s->b->op->onehot_forward(s->b, s->pass->batch, s->pass->draws,
                                     gmv_mat_rows(weight, model->latent_dim, model->levels), pre));
    GMV_TRY(gmv_trunk_forward(model, &model->decoder, s->rows, s->rate, &s->row_noise));

    gmv_head_args head = {.likelihood = model->likelihood_id,
                          .observed_library = model->observed_library,
                          .draws = s->pass->draws,
                          .batch = s->pass->batch,
                          .terms = s->terms,
                          .hidden = gmv_trunk_output(&model->decoder, s->rows),
                          .scale = &model->step->scale};
    for (int h = 0; h < model->likelihood.heads; h++) {
        head.weight[h] = value_mat(model, model->head_weight[h]);
        head.bias[h] = value_vec(model, model->head_bias[h]);
        head.d_weight[h] = grad_mat(model, model->head_weight[h]);
        head.d_bias[h] = grad_vec(model, model->head_bias[h]);
    }
    if (model->theta >= 0) {
        head.gene_param = value_vec(model, model->theta);
        head.d_gene_param = grad_vec(model, model->theta);
    }
    float *d = model->d_rows[0];
    if (s->pass->training) {
        head.d_hidden = gmv_mat_of(d, s->rows, head.hidden.cols);
    }
    GMV_TRY(s->b->op->head_likelihood(s->b, &head));
    if (!s->pass->training) {
        return GMV_OK;
    }
    GMV_TRY(gmv_trunk_backward(model, &model->decoder, s->rows, s->rate, &s->row_noise, model->d_rows, &d));
    gmv_mat d_pre = gmv_mat_of(d, s->rows, first->width), d_weight = grad_mat(model, first->weight);
    GMV_TRY(s->b->op->gemm(s->b, GMV_T, GMV_N, 1.0f, s->x, d_pre, 1.0f, gmv_mat_rows(d_weight, 0, model->latent_dim)));
    GMV_TRY(s->b->op->onehot_backward(s->b, s->pass->batch, s->pass->draws, d_pre,
                                      gmv_mat_rows(d_weight, model->latent_dim, model->levels)));
    return s->b->op->gemm(s->b, GMV_N, GMV_T, 1.0f, d_pre, latent_rows, 0.0f, s->d_x);
}

/* w -> mixture components -> conditional prior of x; in training back to d_w, adding to d_x */
static gmv_status prior(const stage *s)
{
    gmv_model *model = s->model;
    const gmv_trunk *beta = &model->beta;
    if (beta->layers > 0) {
        GMV_TRY(s->b->op->gemm(s->b, GMV_N, GMV_T, 1.0f, s->w, value_mat(model, beta->layer[0].weight), 0.0f,
                               gmv_rows_of(beta->layer[0].pre, s->rows)));
        GMV_TRY(gmv_trunk_forward(model, beta, s->rows, s->rate, &s->row_noise));
    }
    gmv_mixture_args mixture = {.objective = model->objective,
                                .components = model->clusters,
                                .free_nats = model->free_nats,
                                .draws = s->pass->draws,
                                .hidden = beta->layers > 0 ? gmv_trunk_output(beta, s->rows) : s->w,
                                .weight = value_mat(model, model->beta_weight),
                                .bias = value_vec(model, model->beta_bias),
                                .x = s->x,
                                .posterior = s->posterior_x,
                                .terms = s->terms};
    if (s->pass->probability) {
        mixture.probability = gmv_mat_of(model->probability, s->cells, model->clusters);
    }
    if (!s->pass->training) {
        return s->b->op->mixture(s->b, &mixture);
    }
    float *d = beta->layers > 0 ? model->d_rows[0] : model->d_w;
    mixture.scale = &model->step->kl_scale;
    mixture.d_hidden = gmv_mat_of(d, s->rows, mixture.hidden.cols);
    mixture.d_weight = grad_mat(model, model->beta_weight);
    mixture.d_bias = grad_vec(model, model->beta_bias);
    mixture.d_x = s->d_x;
    mixture.d_posterior = s->d_posterior_x;
    GMV_TRY(s->b->op->mixture(s->b, &mixture));
    if (beta->layers == 0) {
        return GMV_OK;
    }
    GMV_TRY(gmv_trunk_backward(model, beta, s->rows, s->rate, &s->row_noise, model->d_rows, &d));
    gmv_mat d_pre = gmv_mat_of(d, s->rows, beta->layer[0].width);
    GMV_TRY(s->b->op->gemm(s->b, GMV_T, GMV_N, 1.0f, d_pre, s->w, 1.0f, grad_mat(model, beta->layer[0].weight)));
    return s->b->op->gemm(s->b, GMV_N, GMV_N, 1.0f, d_pre, value_mat(model, beta->layer[0].weight), 0.0f, s->d_w);
}

/* One posterior head: from d_posterior to its tensors, adding to the hidden rows' gradient. */
static gmv_status posterior_backward(const stage *s, gmv_mat d_posterior, int weight, int bias, float beta, gmv_mat d)
{
    const gmv_model *model = s->model;
    gmv_mat hidden = gmv_trunk_output(&model->encoder, s->cells);
    GMV_TRY(s->b->op->gemm(s->b, GMV_T, GMV_N, 1.0f, d_posterior, hidden, 1.0f, grad_mat(model, weight)));
    GMV_TRY(s->b->op->bias_backward(s->b, d_posterior, grad_vec(model, bias)));
    return s->b->op->gemm(s->b, GMV_N, GMV_N, 1.0f, d_posterior, value_mat(model, weight), beta, d);
}

/* d_x, d_w -> q -> encoder */
static gmv_status encode_backward(const stage *s)
{
    gmv_model *model = s->model;
    const gmv_trunk_layer *first = &model->encoder.layer[0];
    int draws = s->pass->draws;
    GMV_TRY(s->b->op->gaussian_sample_backward(s->b, s->posterior_x, &s->x_noise, draws, s->d_x, s->d_posterior_x));
    GMV_TRY(s->b->op->gaussian_sample_backward(s->b, s->posterior_w, &s->w_noise, draws, s->d_w, s->d_posterior_w));
    float *d = model->d_cells[0];
    gmv_mat d_hidden = gmv_mat_of(d, s->cells, model->encoder.layer[model->encoder.layers - 1].width);
    GMV_TRY(posterior_backward(s, s->d_posterior_x, model->x_weight, model->x_bias, 0.0f, d_hidden));
    GMV_TRY(posterior_backward(s, s->d_posterior_w, model->w_weight, model->w_bias, 1.0f, d_hidden));
    GMV_TRY(gmv_trunk_backward(model, &model->encoder, s->cells, s->rate, &s->cell_noise, model->d_cells, &d));
    return s->b->op->input_backward(s->b, s->pass->batch, model->input, gmv_mat_of(d, s->cells, first->width),
                                    grad_mat(model, first->weight));
}

static gmv_status clear_gradients_of_latents(const stage *s)
{
    int64_t x = (int64_t)s->cells * s->d_posterior_x.cols, w = (int64_t)s->cells * s->d_posterior_w.cols;
    GMV_TRY(s->b->op->clear(s->b, s->d_posterior_x.at, x * (int64_t)sizeof(float)));
    return s->b->op->clear(s->b, s->d_posterior_w.at, w * (int64_t)sizeof(float));
}

/* Tells whoever wants to know that a part of the gradient is final. */
static gmv_status ready(const stage *s, gmv_part part)
{
    return s->pass->training && s->pass->ready != NULL ? s->pass->ready(s->pass->context, part) : GMV_OK;
}

gmv_status gmv_model_run(gmv_model *model, const gmv_pass *pass)
{
    GMV_CHECK(pass->batch->cells <= model->max_cells && pass->batch->cells * pass->draws <= model->max_rows);
    GMV_CHECK(model->gradients || !pass->training);
    stage s = prepare(model, pass);
    if (pass->training) {
        GMV_TRY(clear_gradients_of_latents(&s));
    }
    GMV_TRY(encode(&s));
    GMV_TRY(draw(&s));
    if (!pass->encode_only) {
        GMV_TRY(decode(&s));
        GMV_TRY(ready(&s, GMV_PART_DECODER));
    }
    GMV_TRY(prior(&s));
    GMV_TRY(ready(&s, GMV_PART_BETA));
    if (!pass->training) {
        return GMV_OK;
    }
    GMV_TRY(encode_backward(&s));
    return ready(&s, GMV_PART_ENCODER);
}
