/* The components of the mixture prior, in host memory. */
#include "part.h"

#include <string.h>

static gmv_status take_static(gmv_model *model, const gmv_mixture *mixture, float *component, float *log_weight)
{
    GMV_TRY(gmv_params_download(&model->params, model->params.value, mixture->components, component));
    return gmv_params_download(&model->params, model->params.value, mixture->log_weight, log_weight);
}

/* The network from w to the components, whose output is `out` [n, 2 K D]. */
static gmv_status run_network(gmv_model *model, int n, gmv_mat out)
{
    const struct gmv_assembly *all = model->assembly;
    const gmv_part *mixture = &all->part[all->mixture];
    gmv_batch batch = {.cells = n};
    gmv_pass pass = {.batch = &batch, .draws = 1};
    gmv_sweep s = {.model = model, .b = model->backend, .pass = &pass, .cells = n, .rows = n};
    for (int p = all->first_of_w; p < all->mixture; p++) {
        GMV_TRY(all->part[p].kind->forward(&s, &all->part[p]));
    }
    GMV_TRY(s.b->op->gemm(s.b, GMV_N, GMV_T, 1.0f, gmv_value_of(&s, mixture->in),
                          gmv_tensor_value(&s, mixture->of.mixture.weight), 0.0f, out));
    return s.b->op->add_bias(s.b, out, gmv_vector_value(&s, mixture->of.mixture.bias));
}

gmv_status gmv_model_components(gmv_model *model, const float *w, int n, float *component, float *log_weight)
{
    const struct gmv_assembly *all = model->assembly;
    gmv_backend *b = model->backend;
    GMV_CHECK(all->mixture >= 0 && n <= model->max_cells);
    const gmv_mixture *mixture = &all->part[all->mixture].of.mixture;
    if (all->w < 0) {
        return take_static(model, mixture, component, log_weight);
    }
    int width = 2 * model->clusters * model->latent_dim;
    int64_t bytes = (int64_t)n * width * (int64_t)sizeof(float);
    void *out = NULL;
    memset(log_weight, 0, (size_t)model->clusters * sizeof *log_weight);
    GMV_TRY(b->op->upload(b, all->array[all->w].value, w, (int64_t)n * model->w_dim * (int64_t)sizeof *w));
    GMV_TRY(b->op->allocate(b, &out, bytes, "components of cells"));
    gmv_status status = run_network(model, n, gmv_mat_of(out, n, width));
    status = status == GMV_OK ? b->op->download(b, component, out, bytes) : status;
    b->op->release(b, out);
    return status;
}
