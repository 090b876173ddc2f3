/* One pass over a batch: the parts forward, and back. */
#include "part.h"

#include <string.h>

gmv_mat gmv_value_of(const gmv_sweep *s, int array)
{
    const gmv_array *a = &s->model->assembly->array[array];
    return gmv_mat_of(a->value, a->drawn ? s->rows : s->cells, a->cols);
}

gmv_mat gmv_terms_of(const gmv_sweep *s, int first, int n)
{
    return gmv_mat_columns(gmv_mat_of(s->model->loss, s->cells, s->model->terms.n), first, n);
}

static gmv_mat grad_mat(const gmv_sweep *s, int array)
{
    const gmv_array *a = &s->model->assembly->array[array];
    return gmv_mat_of(a->grad, a->drawn ? s->rows : s->cells, a->cols);
}

gmv_status gmv_grad_to_write(gmv_sweep *s, int array, gmv_mat *grad)
{
    GMV_CHECK(!s->has_grad[array]);
    s->has_grad[array] = true;
    *grad = grad_mat(s, array);
    return GMV_OK;
}

gmv_mat gmv_grad_with_beta(gmv_sweep *s, int array, float *beta)
{
    *beta = s->has_grad[array] ? 1.0f : 0.0f;
    s->has_grad[array] = true;
    return grad_mat(s, array);
}

gmv_status gmv_grad_to_add(gmv_sweep *s, int array, gmv_mat *grad)
{
    *grad = grad_mat(s, array);
    if (s->has_grad[array]) {
        return GMV_OK;
    }
    s->has_grad[array] = true;
    return s->b->op->clear(s->b, grad->at, (int64_t)grad->rows * grad->cols * (int64_t)sizeof(float));
}

gmv_status gmv_grad_of(const gmv_sweep *s, int array, gmv_mat *grad)
{
    GMV_CHECK(s->has_grad[array]);
    *grad = grad_mat(s, array);
    return GMV_OK;
}

gmv_noise gmv_noise_of(const gmv_sweep *s, uint32_t stream, bool drawn)
{
    gmv_noise noise = {.seed = s->model->seed,
                       .stream = stream,
                       .step = s->model->step,
                       .first_draw = s->pass->first_draw,
                       .cell_id = s->pass->batch->cell_id,
                       .draws = drawn ? s->pass->draws : 1};
    return noise;
}

/* Tells whoever wants to know that a stretch of the gradient is final. */
static gmv_status ready(const gmv_sweep *s, int stretch)
{
    return stretch >= 0 && s->pass->ready != NULL ? s->pass->ready(s->pass->context, stretch) : GMV_OK;
}

gmv_status gmv_model_run(gmv_model *model, const gmv_pass *pass)
{
    GMV_CHECK(pass->batch->cells <= model->max_cells && pass->batch->cells * pass->draws <= model->max_rows);
    GMV_CHECK(model->gradients || !pass->training);
    const struct gmv_assembly *all = model->assembly;
    gmv_sweep s = {.model = model,
                   .b = model->backend,
                   .pass = pass,
                   .cells = pass->batch->cells,
                   .rows = pass->batch->cells * pass->draws};
    for (int p = 0; p < all->parts; p++) {
        const gmv_part *part = &all->part[p];
        if (part->kind->forward != NULL && !(pass->encode_only && part->decodes)) {
            GMV_TRY(part->kind->forward(&s, part));
        }
    }
    for (int p = all->parts - 1; p >= 0; p--) {
        const gmv_part *part = &all->part[p];
        if (part->kind->loss != NULL && !(pass->encode_only && part->decodes)) {
            GMV_TRY(part->kind->loss(&s, part));
        }
        if (pass->training) {
            GMV_TRY(part->kind->backward != NULL ? part->kind->backward(&s, part) : GMV_OK);
            GMV_TRY(ready(&s, part->stretch_done));
        }
    }
    return GMV_OK;
}
