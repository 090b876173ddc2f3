/* The main path: one optimiser step. */
#include "gmvae/mem.h"
#include "gmvae/signals.h"
#include "gmvae/train.h"

#include <math.h>
#include <string.h>

/* Floats that ride before the gradient in its all-reduce. */
enum { extra_terms = 0, extra_stop = GMV_MAX_TERMS };
_Static_assert((int)extra_stop < (int)GMV_GRAD_EXTRA, "room before the gradient");

/* Keys of recorded sequences: of a batch or a piece of it, see key_of; the update behind the pieces of an exact sum. */
enum { key_of_update = -1 };

double gmv_learning_rate(const gmv_config *config, int64_t epoch)
{
    bool later = config->train_lr_schedule_after > 0 && epoch >= config->train_lr_schedule_after;
    return config->train_lr * (later ? config->train_lr_schedule_factor : 1.0);
}

static double kl_weight_at(const gmv_trainer *trainer, int64_t step)
{
    return step >= trainer->warmup_steps ? 1.0 : (double)step / (double)trainer->warmup_steps;
}

double gmv_kl_weight(const gmv_trainer *trainer)
{
    return kl_weight_at(trainer, trainer->progress.step);
}

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
        int n = trainer->feed.batch.cells;
        GMV_TRY(b->op->add_column_sums(b, gmv_mat_of(model->loss, n, model->terms.n), &model->step->scale,
                                       gmv_vec_of(model->params.extra + extra_terms, model->terms.n)));
        GMV_TRY(model->clusters == 0
                    ? GMV_OK
                    : b->op->add_column_sums(b, gmv_mat_of(model->probability, n, model->clusters), NULL,
                                             gmv_vec_of(trainer->cluster_mass, model->clusters)));
    }
    return trainer->fixed == NULL ? reduce_stretch(trainer, stretch) : GMV_OK;
}

/* Gradient of the n cells of the batch, and what rides before it. */
static gmv_status gradient_of(gmv_trainer *trainer, int n)
{
    gmv_backend *b = trainer->backend;
    gmv_model *model = trainer->model;
    gmv_vec stop = gmv_vec_of(model->params.extra + extra_stop, 1);
    GMV_TRY(b->op->clear(b, model->params.extra, (GMV_GRAD_EXTRA + model->params.total) * (int64_t)sizeof(float)));
    GMV_TRY(b->op->add_column_sums(b, gmv_mat_of(&model->step->stop, 1, 1), NULL, stop));
    if (n > 0) {
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

static gmv_status fetch(gmv_trainer *trainer, int n)
{
    const gmv_model *model = trainer->model;
    return n > 0 ? gmv_feed_next(&trainer->feed, &model->step->first_row, n, model->input) : GMV_OK;
}

/* Cells of the next batch in the order at hand where a device can fetch it beside the work on this one, else 0. */
static int cells_ahead(const gmv_trainer *trainer)
{
    const int64_t *start = trainer->order.start + (trainer->progress.batch - trainer->order.first);
    bool last = trainer->progress.batch + 1 == trainer->order.end;
    return trainer->backend->host_memory || last ? 0 : (int)(start[2] - start[1]);
}

/* What tells the operations of one step from those of another. */
static int64_t key_of(const gmv_trainer *trainer, int n, int ahead, bool fetched)
{
    return n | (int64_t)ahead << 30 | (int64_t)trainer->feed.turn << 60 | (int64_t)fetched << 61;
}

/* `reduction: fast`: the whole step is one sequence, and the next batch is fetched beside it. */
static gmv_status fast_step(gmv_trainer *trainer, gmv_step *values)
{
    gmv_backend *b = trainer->backend;
    gmv_feed *feed = &trainer->feed;
    const int64_t *start = trainer->order.start + (trainer->progress.batch - trainer->order.first);
    int n = (int)(start[1] - start[0]), ahead = cells_ahead(trainer);
    bool known, fetched = gmv_feed_turn(feed, start[0]);
    feed->batch.cells = n; /* a sequence that was replayed fetched them without this program's knowledge */
    values->first_row = start[0];
    values->next_row = start[1];
    GMV_TRY(gmv_model_set_step(trainer->model, values));
    GMV_TRY(b->op->sequence_begin(b, key_of(trainer, n, ahead, fetched), &known));
    if (!known) {
        GMV_TRY(fetched ? GMV_OK : fetch(trainer, n));
        GMV_TRY(ahead > 0 ? gmv_feed_ahead(feed, &trainer->model->step->next_row, ahead, trainer->model->input)
                          : GMV_OK);
        GMV_TRY(gradient_of(trainer, n));
        GMV_TRY(b->op->allreduce_wait(b));
        GMV_TRY(update(trainer));
        GMV_TRY(ahead > 0 ? b->op->aside_wait(b) : GMV_OK);
    }
    GMV_TRY(b->op->sequence_end(b));
    feed->ahead_row = ahead > 0 ? start[1] : -1;
    return GMV_OK;
}

/* `reduction: exact`: integers do not mind the order of additions, nor the number of ranks. */
static gmv_status exact_step(gmv_trainer *trainer, gmv_step *values)
{
    gmv_backend *b = trainer->backend;
    gmv_params *params = &trainer->model->params;
    gmv_vec grad = gmv_vec_of(params->extra, GMV_GRAD_EXTRA + params->total);
    int mine = trainer->end_piece - trainer->first_piece;
    const int64_t *start = trainer->order.start + (trainer->progress.batch - trainer->order.first) * mine;
    bool known;
    GMV_TRY(b->op->clear(b, trainer->fixed, (grad.n + 1) * (int64_t)sizeof(int64_t)));
    for (int p = 0; p < mine; p++) {
        int n = (int)(start[p + 1] - start[p]);
        values->first_row = start[p];
        GMV_TRY(gmv_model_set_step(trainer->model, values));
        GMV_TRY(b->op->sequence_begin(b, n, &known));
        if (!known) {
            GMV_TRY(fetch(trainer, n));
            GMV_TRY(gradient_of(trainer, n));
            GMV_TRY(b->op->fixed_add(b, grad, trainer->pieces + 1, trainer->fixed, trainer->overflow));
        }
        GMV_TRY(b->op->sequence_end(b));
        values->stop = 0.0f; /* once is enough */
    }
    GMV_TRY(b->op->sequence_begin(b, key_of_update, &known));
    if (!known) {
        GMV_TRY(b->op->allreduce_i64(b, trainer->fixed, grad.n + 1));
        GMV_TRY(b->op->allreduce_wait(b));
        GMV_TRY(b->op->fixed_value(b, trainer->fixed, trainer->overflow, grad));
        GMV_TRY(update(trainer));
    }
    return b->op->sequence_end(b);
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
    gmv_status status = trainer->fixed != NULL ? exact_step(trainer, &values) : fast_step(trainer, &values);
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

/* The order of this rank's cells, and *most, the cells of its largest piece. */
static gmv_status plan_order(gmv_trainer *trainer, int *most)
{
    const gmv_sampler *sampler = &trainer->sampler;
    int mine = trainer->end_piece - trainer->first_piece, *shard = NULL;
    gmv_status status;
    GMV_GO(GMV_NEW(shard, mine + 1, "pieces of a batch"));
    for (int p = 0; p <= mine; p++) {
        /* the pieces of all ranks divide the shards evenly; a single piece is what this rank hosts */
        shard[p] = trainer->pieces > 1 ? (int)((int64_t)sampler->shards * (trainer->first_piece + p) / trainer->pieces)
                                       : (p == 0 ? sampler->first_shard : sampler->end_shard);
    }
    *most = GMV_EVAL_CELLS; /* the feed serves evaluation too */
    for (int p = 0; p < mine; p++) {
        int n = gmv_sampler_most(sampler, shard[p], shard[p + 1]);
        *most = n > *most ? n : *most;
    }
    GMV_GO(gmv_order_init(&trainer->order, sampler, shard, mine, gmv_stream_threads(trainer->backend->host_memory)));
done:
    gmv_free(shard);
    return status;
}

void gmv_train_take_up(gmv_trainer *trainer, const gmv_progress *progress)
{
    int64_t cells = trainer->progress.cells;
    trainer->progress = *progress;
    trainer->progress.cells = cells;
    trainer->last_norm = progress->norm;
    trainer->seen = (gmv_taken_step){.epoch = progress->epoch,
                                     .step = progress->step,
                                     .lr = gmv_learning_rate(trainer->config, progress->epoch),
                                     .kl_weight = kl_weight_at(trainer, progress->step - 1)};
}

gmv_status gmv_trainer_init(gmv_trainer *trainer, const gmv_config *config, const gmv_comm *comm, gmv_model *model,
                            const gmv_cells *cells)
{
    memset(trainer, 0, sizeof *trainer);
    trainer->config = config;
    trainer->comm = comm;
    trainer->model = model;
    trainer->backend = model->backend;
    trainer->cells = cells;
    trainer->progress.best = INFINITY;
    trainer->progress.terms = model->terms.n;
    trainer->lowest = NAN;
    trainer->order.epoch = -1;
    gmv_backend *b = model->backend;
    GMV_TRY(gmv_sampler_init(&trainer->sampler, comm, cells, (uint64_t)config->seed, config->train_batch_size,
                             config->data_window));
    trainer->progress.cells = trainer->sampler.total;
    trainer->progress.window = cells->stream != NULL ? config->data_window : 0;
    bool exact = config->train_reduction == GMV_REDUCTION_EXACT;
    trainer->pieces = exact ? (int)config->train_micro_batches : 1;
    if (exact && (trainer->pieces % comm->size != 0 || cells->shards % trainer->pieces != 0)) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "train.reduction: exact needs a number of ranks that divides train.micro_batches, which must "
                        "divide data.shards; there are %d ranks, %d micro-batches, %d shards",
                        comm->size, trainer->pieces, cells->shards);
    }
    trainer->first_piece = exact ? trainer->pieces / comm->size * comm->rank : 0;
    trainer->end_piece = exact ? trainer->pieces / comm->size * (comm->rank + 1) : 1;
    int most;
    GMV_TRY(plan_order(trainer, &most));
    GMV_TRY(gmv_model_reserve(model, most, (int)config->train_mc_samples, true));
    GMV_TRY(gmv_model_reserve(
        model, GMV_EVAL_CELLS,
        config->eval_epoch_samples < GMV_EVAL_DRAWS ? (int)config->eval_epoch_samples : GMV_EVAL_DRAWS, true));
    GMV_TRY(gmv_feed_open(&trainer->feed, b, cells, most, (int)config->data_residence, &trainer->order.slots));
    GMV_TRY(
        b->op->allocate(b, (void **)&trainer->cluster_mass, model->clusters * (int64_t)sizeof(float), "cluster mass"));
    GMV_TRY(b->op->allocate(b, (void **)&trainer->outcome, sizeof *trainer->outcome, "outcome of a step"));
    if (exact) {
        int64_t n = model->params.total + GMV_GRAD_EXTRA + 1;
        GMV_TRY(b->op->allocate(b, (void **)&trainer->fixed, n * (int64_t)sizeof(int64_t), "exact gradient sums"));
        trainer->overflow = trainer->fixed + n - 1;
    }
    trainer->planned_steps = config->train_epochs * trainer->sampler.batches;
    trainer->warmup_steps = config->train_kl_warmup_steps > 0
                                ? config->train_kl_warmup_steps
                                : (int64_t)llround(config->train_kl_warmup_fraction * (double)trainer->planned_steps);
    return GMV_OK;
}

void gmv_trainer_fini(gmv_trainer *trainer)
{
    if (trainer->backend != NULL) {
        gmv_backend *b = trainer->backend;
        b->op->release(b, trainer->fixed);
        b->op->release(b, trainer->cluster_mass);
        b->op->release(b, trainer->outcome);
    }
    gmv_feed_close(&trainer->feed);
    gmv_order_fini(&trainer->order);
    gmv_sampler_fini(&trainer->sampler);
    memset(trainer, 0, sizeof *trainer);
}
