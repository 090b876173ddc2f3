/* The main path: one optimiser step. */
#include "gmvae/mem.h"
#include "gmvae/signals.h"
#include "gmvae/stage.h"
#include "gmvae/train.h"

#include <math.h>
#include <string.h>

/* Floats that ride before the gradient in its all-reduce. */
enum { extra_terms = 0, extra_stop = GMV_MAX_TERMS };
_Static_assert((int)extra_stop < (int)GMV_GRAD_EXTRA, "room before the gradient");

/* Sequences of operations that a device records: a step; with exact sums the pieces of one, and what follows them. */
enum { whole_step, one_piece, sum_of_pieces };

/* This rank's part of a batch, or a piece of that. */
typedef struct piece {
    gmv_trainer *trainer;
    int rows; /* of it in backend memory: its cells, and on a device as many without cells as make all pieces equal */
    bool fetched; /* it is there */
    bool ahead;   /* the next one is fetched beside the work on it */
} piece;

/* What the operations of a step read from backend memory. */
static gmv_step step_values(const gmv_trainer *trainer, const gmv_taken_step *taken)
{
    const gmv_config *config = trainer->config;
    double update = (double)taken->step, beta1 = (double)(float)config->train_adam_beta1;
    double beta2 = (double)(float)config->train_adam_beta2;
    float scale = (float)(1.0 / (double)taken->cells);
    gmv_step values = {.epoch = (uint32_t)taken->epoch,
                       .scale = scale,
                       .kl_scale = (float)taken->kl_weight * scale,
                       .stop = gmv_stop_asked() ? 1.0f : 0.0f,
                       .adam_rate = (float)taken->lr / (float)(1.0 - pow(beta1, update)),
                       .adam_inverse_root = 1.0f / (float)sqrt(1.0 - pow(beta2, update))};
    return values;
}

/* Rows that a piece with so many cells has in backend memory. */
static int rows_of(const gmv_trainer *trainer, int cells)
{
    return trainer->rows > 0 ? trainer->rows : cells;
}

/* Starts the sum over ranks of a stretch of the gradient; the floats before it ride with its first stretch. */
static gmv_status reduce_stretch(gmv_trainer *trainer, int stretch)
{
    const int64_t *start = trainer->model->stretch_start + stretch;
    int64_t extra = stretch == 0 ? GMV_GRAD_EXTRA : 0, n = start[1] - start[0] + extra;
    return trainer->backend->op->allreduce_f32(trainer->backend,
                                               gmv_vec_of(trainer->model->params.grad + start[0] - extra, n));
}

/* Called by the backward pass: the sum over ranks of a stretch runs beside the work on the next. */
static gmv_status stretch_is_ready(void *context, int stretch)
{
    gmv_trainer *trainer = context;
    gmv_backend *b = trainer->backend;
    gmv_model *model = trainer->model;
    if (stretch == 0) { /* the last: the terms are known by now */
        const gmv_cell_output *clusters = gmv_components_of(&model->outputs);
        int n = trainer->feed.batch.cells;
        GMV_TRY(b->op->add_column_sums(b, gmv_mat_of(model->loss, n, model->terms.n), &model->step->scale,
                                       gmv_vec_of(model->params.extra + extra_terms, model->terms.n)));
        GMV_TRY(b->op->add_column_sums(b, gmv_mat_of(*clusters->value, n, clusters->cols), NULL,
                                       gmv_vec_of(trainer->cluster_mass, clusters->cols)));
    }
    return trainer->fixed == NULL ? reduce_stretch(trainer, stretch) : GMV_OK;
}

static gmv_status fetch(const piece *part)
{
    gmv_feed *feed = &part->trainer->feed;
    const gmv_model *model = part->trainer->model;
    const gmv_step *step = model->step;
    if (!part->fetched && part->rows > 0) {
        GMV_TRY(gmv_feed_next(feed, &step->first_row, &step->filled, part->rows, model->input));
    }
    return part->ahead ? gmv_feed_ahead(feed, &step->next_row, &step->next_filled, part->rows, model->input) : GMV_OK;
}

/* Gradient of the cells of the batch, and what rides before it. */
static gmv_status add_gradient(const piece *part)
{
    gmv_trainer *trainer = part->trainer;
    gmv_backend *b = trainer->backend;
    gmv_model *model = trainer->model;
    gmv_vec stop = gmv_vec_of(model->params.extra + extra_stop, 1);
    GMV_TRY(b->op->clear(b, model->params.extra, (GMV_GRAD_EXTRA + model->params.total) * (int64_t)sizeof(float)));
    GMV_TRY(b->op->add_column_sums(b, gmv_mat_of(&model->step->stop, 1, 1), NULL, stop));
    if (part->rows > 0) {
        gmv_pass pass = {.batch = &trainer->feed.batch,
                         .draws = (int)trainer->config->train_mc_samples,
                         .training = true,
                         .ready = stretch_is_ready,
                         .context = trainer,
                         .probability = true};
        return gmv_model_run(model, &pass);
    }
    for (int i = model->stretches - 1; trainer->fixed == NULL && i >= 0; i--) {
        GMV_TRY(reduce_stretch(trainer, i));
    }
    return GMV_OK;
}

/* Norm, verdict, Adam. */
static gmv_status update(gmv_trainer *trainer)
{
    gmv_backend *b = trainer->backend;
    const gmv_params *params = &trainer->model->params;
    const gmv_config *config = trainer->config;
    gmv_vec grad = gmv_vec_of(params->grad, params->total);
    GMV_TRY(b->op->sum_squares(b, grad, &trainer->outcome->squares));
    GMV_TRY(b->op->judge(b, gmv_vec_of(params->extra, GMV_GRAD_EXTRA), trainer->outcome));
    gmv_adam_args adam = {.value = gmv_vec_of(params->value, params->total),
                          .grad = grad,
                          .m = gmv_vec_of(params->m, params->total),
                          .v = gmv_vec_of(params->v, params->total),
                          .beta1 = (float)config->train_adam_beta1,
                          .beta2 = (float)config->train_adam_beta2,
                          .epsilon = (float)config->train_adam_epsilon,
                          .clip_norm = config->train_clip_norm,
                          .step = trainer->model->step,
                          .outcome = trainer->outcome};
    return b->op->adam(b, &adam);
}

/* `reduction: fast`: the whole step is one sequence, and the next batch is fetched beside it. */
static gmv_status do_step(void *context)
{
    const piece *part = context;
    gmv_trainer *trainer = part->trainer;
    gmv_backend *b = trainer->backend;
    GMV_RANGE("batch", fetch(part));
    GMV_RANGE("gradient", add_gradient(part));
    GMV_RANGE("sum", b->op->allreduce_wait(b));
    GMV_RANGE("update", update(trainer));
    return part->ahead ? b->op->aside_wait(b) : GMV_OK;
}

static gmv_status fast_step(gmv_trainer *trainer, gmv_step *values)
{
    gmv_backend *b = trainer->backend;
    gmv_feed *feed = &trainer->feed;
    const int64_t *start = trainer->order.start + (trainer->progress.batch - trainer->order.first);
    piece part = {.trainer = trainer, .ahead = !b->host_memory && trainer->progress.batch + 1 < trainer->order.end};
    values->first_row = start[0];
    values->filled = (int32_t)(start[1] - start[0]);
    values->next_row = start[1];
    values->next_filled = part.ahead ? (int32_t)(start[2] - start[1]) : 0;
    part.rows = rows_of(trainer, values->filled);
    part.fetched = gmv_feed_turn(feed, start[0], part.rows);
    GMV_TRY(gmv_model_set_step(trainer->model, values));
    gmv_sequence_key key = {whole_step, part.rows, feed->turn, part.fetched, part.ahead};
    GMV_TRY(b->op->sequence(b, &key, do_step, &part));
    feed->ahead_row = part.ahead ? start[1] : -1;
    return GMV_OK;
}

/* `reduction: exact`: integers do not mind the order of additions, nor the number of ranks. */
static gmv_status do_piece(void *context)
{
    const piece *part = context;
    gmv_trainer *trainer = part->trainer;
    gmv_backend *b = trainer->backend;
    gmv_params *params = &trainer->model->params;
    gmv_vec grad = gmv_vec_of(params->extra, GMV_GRAD_EXTRA + params->total);
    GMV_RANGE("batch", fetch(part));
    GMV_RANGE("gradient", add_gradient(part));
    return b->op->fixed_add(b, grad, trainer->pieces + 1, trainer->fixed, trainer->overflow);
}

static gmv_status do_sum(void *context)
{
    gmv_trainer *trainer = context;
    gmv_backend *b = trainer->backend;
    gmv_params *params = &trainer->model->params;
    gmv_vec grad = gmv_vec_of(params->extra, GMV_GRAD_EXTRA + params->total);
    GMV_TRY(b->op->allreduce_i64(b, trainer->fixed, grad.n + 1));
    GMV_TRY(b->op->allreduce_wait(b));
    GMV_TRY(b->op->fixed_value(b, trainer->fixed, trainer->overflow, grad));
    GMV_RANGE("update", update(trainer));
    return GMV_OK;
}

static gmv_status exact_step(gmv_trainer *trainer, gmv_step *values)
{
    gmv_backend *b = trainer->backend;
    int mine = trainer->end_piece - trainer->first_piece;
    const int64_t *start = trainer->order.start + (trainer->progress.batch - trainer->order.first) * mine;
    int64_t sums = GMV_GRAD_EXTRA + trainer->model->params.total + 1;
    GMV_TRY(b->op->clear(b, trainer->fixed, sums * (int64_t)sizeof(int64_t)));
    for (int p = 0; p < mine; p++) {
        values->first_row = start[p];
        values->filled = (int32_t)(start[p + 1] - start[p]);
        GMV_TRY(gmv_model_set_step(trainer->model, values));
        piece part = {.trainer = trainer, .rows = rows_of(trainer, values->filled)};
        gmv_sequence_key key = {.kind = one_piece, .rows = part.rows, .turn = trainer->feed.turn};
        GMV_TRY(b->op->sequence(b, &key, do_piece, &part));
        values->stop = 0.0f; /* once is enough */
    }
    gmv_sequence_key key = {.kind = sum_of_pieces};
    return b->op->sequence(b, &key, do_sum, trainer);
}

static gmv_status not_finite(const gmv_trainer *trainer, const gmv_taken_step *taken, bool loss)
{
    long long epoch = (long long)taken->epoch + 1, step = (long long)taken->step;
    if (trainer->fixed != NULL) {
        return GMV_FAIL(GMV_ERR_NUMERIC,
                        "epoch %lld, step %lld: a gradient is not finite or beyond the range of exact sums (%.1e a "
                        "micro-batch); lower train.lr or use train.reduction=fast",
                        epoch, step, ldexp(1.0, 62 - GMV_FIXED_BITS) / (trainer->pieces + 1));
    }
    return GMV_FAIL(GMV_ERR_NUMERIC,
                    "epoch %lld, step %lld: the %s is not finite; parameters were left as they were. Lower "
                    "train.lr, or set train.clip_norm, and run again from the last checkpoint",
                    epoch, step, loss ? "loss" : "gradient");
}

/* Takes note of the oldest step whose outcome the host has not seen. */
static gmv_status see_outcome(gmv_trainer *trainer)
{
    gmv_outcome outcome;
    GMV_TRY(
        gmv_comm_fail_alone(trainer->comm, trainer->backend->op->collect(trainer->backend, &outcome, sizeof outcome)));
    trainer->seen = trainer->taken[trainer->steps_seen++ % GMV_REPORTS];
    double loss = 0.0;
    for (int i = 0; i < trainer->model->terms.n; i++) {
        trainer->last[i] = (double)outcome.extra[extra_terms + i];
        trainer->progress.sum[i] += trainer->last[i] * (double)trainer->seen.cells;
        loss += trainer->last[i];
    }
    trainer->last_norm = trainer->progress.norm = sqrt(outcome.squares);
    trainer->stop = trainer->stop || outcome.extra[extra_stop] != 0.0f;
    if (outcome.bad != 0) {
        return not_finite(trainer, &trainer->seen, !isfinite(loss));
    }
    if (isnan(trainer->lowest)) {
        trainer->lowest = gmv_terms_bound(&trainer->model->terms, trainer->last);
    }
    int64_t every = trainer->config->train_log_steps;
    if (every > 0 && trainer->seen.step % every == 0) {
        gmv_metrics_step(trainer);
    }
    return GMV_OK;
}

gmv_status gmv_train_settle(gmv_trainer *trainer)
{
    while (trainer->steps_seen < trainer->steps_taken) {
        GMV_TRY(see_outcome(trainer));
    }
    return GMV_OK;
}

/* A device records one sequence for all batches, and all ranks record at the same step: so each has as many rows as the
 * largest of the order on any rank. */
static void set_rows(gmv_trainer *trainer)
{
    const gmv_order *order = &trainer->order;
    int64_t rows = 0, pieces = (order->end - order->first) * order->pieces;
    for (int64_t p = 0; p < pieces; p++) {
        int64_t n = order->start[p + 1] - order->start[p];
        rows = n > rows ? n : rows;
    }
    gmv_comm_max_i64(trainer->comm, &rows, 1);
    trainer->rows = trainer->backend->host_memory ? 0 : (int)rows;
}

/* The order that the next batch is in. */
static gmv_status take_order(gmv_trainer *trainer)
{
    gmv_order *order = &trainer->order;
    const gmv_progress *progress = &trainer->progress;
    if (order->epoch == progress->epoch && progress->batch >= order->first && progress->batch < order->end) {
        return GMV_OK;
    }
    GMV_TRY(gmv_train_settle(trainer)); /* what comes into its place may not be at work any more */
    gmv_status status = gmv_order_take(order, progress->epoch, progress->batch);
    trainer->steps_of_order = trainer->steps_taken;
    status = gmv_comm_agree(trainer->comm, status); /* all ranks take the same batches at the same time */
    trainer->stop = trainer->stop || status == GMV_STOPPED;
    GMV_TRY(status);
    set_rows(trainer);
    return gmv_feed_set_order(&trainer->feed, order->row, order->start[(order->end - order->first) * order->pieces],
                              order->room);
}

gmv_status gmv_train_step(gmv_trainer *trainer)
{
    gmv_backend *b = trainer->backend;
    gmv_progress *progress = &trainer->progress;
    GMV_TRY(take_order(trainer));
    gmv_taken_step taken = {.epoch = progress->epoch,
                            .step = progress->step + 1,
                            .cells = gmv_sampler_batch_cells(&trainer->sampler, progress->batch),
                            .lr = gmv_learning_rate(trainer->config, progress->epoch),
                            .kl_weight = gmv_kl_weight(trainer)};
    gmv_step values = step_values(trainer, &taken);
    gmv_range_begin("step");
    gmv_status status = trainer->fixed != NULL ? exact_step(trainer, &values) : fast_step(trainer, &values);
    gmv_range_end();
    status = status == GMV_OK ? b->op->report(b, trainer->outcome, sizeof *trainer->outcome) : status;
    GMV_TRY(gmv_comm_fail_alone(trainer->comm, status)); /* the others wait in a sum over ranks */
    trainer->taken[trainer->steps_taken++ % GMV_REPORTS] = taken;
    progress->step++;
    progress->batch++;
    /* a device works on this step while the host looks at the one before */
    if (b->host_memory || trainer->steps_taken - trainer->steps_seen == GMV_REPORTS) {
        GMV_TRY(see_outcome(trainer));
    }
    if (trainer->steps_seen > trainer->steps_of_order && progress->step < trainer->planned_steps) {
        gmv_order_prepare(&trainer->order);
    }
    return GMV_OK;
}
