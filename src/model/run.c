/* One pass over a batch: the parts forward, and back. */
#include "part.h"

#include "gmvae/stage.h"

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

static bool is_wanted(const gmv_sweep *s, const gmv_part *part)
{
    return !(part->decodes ? s->pass->encode_only : s->pass->decode_only);
}

static gmv_status forward(gmv_sweep *s)
{
    const struct gmv_assembly *all = s->model->assembly;
    for (int p = 0; p < all->parts; p++) {
        const gmv_part *part = &all->part[p];
        if (part->kind->forward != NULL && is_wanted(s, part)) {
            GMV_RANGE(part->name, part->kind->forward(s, part));
        }
    }
    return GMV_OK;
}

/* Losses as well: those of what is last come first. */
static gmv_status backward(gmv_sweep *s)
{
    const struct gmv_assembly *all = s->model->assembly;
    for (int p = all->parts - 1; p >= 0; p--) {
        const gmv_part *part = &all->part[p];
        if (part->kind->loss != NULL && is_wanted(s, part)) {
            GMV_RANGE(part->name, part->kind->loss(s, part));
        }
        if (s->pass->training && part->kind->backward != NULL) {
            GMV_RANGE(part->name, part->kind->backward(s, part));
        }
        GMV_TRY(s->pass->training ? ready(s, part->stretch_done) : GMV_OK);
    }
    return GMV_OK;
}

static gmv_status expect(gmv_sweep *s)
{
    const struct gmv_assembly *all = s->model->assembly;
    for (int p = 0; p < all->parts; p++) {
        GMV_TRY(all->part[p].kind->expect != NULL ? all->part[p].kind->expect(s, &all->part[p]) : GMV_OK);
    }
    return GMV_OK;
}

gmv_status gmv_model_run(gmv_model *model, const gmv_pass *pass)
{
    GMV_CHECK(pass->batch->cells <= model->max_cells && pass->batch->cells * pass->draws <= model->max_rows);
    GMV_CHECK(model->gradients || !pass->training);
    GMV_CHECK(pass->expected != NULL ? !pass->training && !pass->encode_only : !pass->decode_only);
    gmv_sweep s = {.model = model,
                   .b = model->backend,
                   .pass = pass,
                   .cells = pass->batch->cells,
                   .rows = pass->batch->cells * pass->draws};
    GMV_RANGE("forward", forward(&s));
    if (pass->expected != NULL) {
        return expect(&s);
    }
    GMV_RANGE("backward", backward(&s));
    return GMV_OK;
}

gmv_status gmv_model_of_draw(gmv_model *model, int cells, double *more)
{
    const struct gmv_assembly *all = model->assembly;
    memset(more, 0, (size_t)cells * sizeof *more);
    for (int p = 0; p < all->parts; p++) {
        const gmv_part *part = &all->part[p];
        GMV_TRY(part->kind->of_draw != NULL ? part->kind->of_draw(model, part, cells, more) : GMV_OK);
    }
    return GMV_OK;
}
