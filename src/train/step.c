/* The main path: one optimiser step. */
#include "gmvae/mem.h"
#include "gmvae/train.h"

#include <math.h>
#include <string.h>

/* Floats that ride behind the gradient in its all-reduce. */
enum { extra_terms = 0, extra_stop = GMV_TERMS, extra_failed };

double gmv_learning_rate(const gmv_config *config, int64_t epoch)
{
    bool later = config->train_lr_schedule_after > 0 && epoch >= config->train_lr_schedule_after;
    return config->train_lr * (later ? config->train_lr_schedule_factor : 1.0);
}

double gmv_kl_weight(const gmv_trainer *trainer)
{
    int64_t step = trainer->progress.step;
    return step >= trainer->warmup_steps ? 1.0 : (double)step / (double)trainer->warmup_steps;
}

/* Gradients of one micro-batch of this rank, added to params.grad; its terms to the floats behind it. */
static gmv_status add_piece(gmv_trainer *trainer, int piece, double cells_of_batch)
{
    gmv_backend *b = trainer->backend;
    gmv_model *model = trainer->model;
    const gmv_sampler *sampler = &trainer->sampler;
    int shards = sampler->shards, pieces = trainer->pieces;
    int first = pieces > 1 ? (int)((int64_t)shards * piece / pieces) : sampler->first_shard;
    int end = pieces > 1 ? (int)((int64_t)shards * (piece + 1) / pieces) : sampler->end_shard;
    int n = gmv_sampler_rows(sampler, trainer->progress.epoch, trainer->progress.batch, first, end, trainer->rows);
    if (n == 0) {
        return GMV_OK;
    }
    GMV_TRY(gmv_feed_fetch(&trainer->feed, trainer->rows, n, model->input));
    gmv_pass pass = {.batch = &trainer->feed.batch,
                     .draws = (int)trainer->config->train_mc_samples,
                     .epoch = (uint32_t)trainer->progress.epoch,
                     .training = true,
                     .kl_weight = (float)trainer->kl_weight,
                     .scale = (float)(1.0 / cells_of_batch),
                     .probability = true};
    GMV_TRY(gmv_model_run(model, &pass));
    gmv_vec extra = gmv_vec_of(model->params.grad + model->params.total + extra_terms, GMV_TERMS);
    GMV_TRY(b->op->add_column_sums(b, gmv_mat_of(model->terms, n, GMV_TERMS), pass.scale, extra));
    return b->op->add_column_sums(b, gmv_mat_of(model->probability, n, model->clusters), 1.0f,
                                  gmv_vec_of(trainer->cluster_mass, model->clusters));
}

/* A rank that fails alone still takes part in the all-reduce, with this flag set: the others would wait for ever. */
static gmv_status flag_failure(gmv_trainer *trainer, gmv_status status)
{
    const gmv_params *params = &trainer->model->params;
    float failed = status != GMV_OK ? 1.0f : 0.0f;
    return trainer->backend->op->upload(trainer->backend, params->grad + params->total + extra_failed, &failed,
                                        sizeof failed);
}

/* `reduction: exact`: integers do not mind the order of additions, nor the number of ranks. */
static gmv_status reduce_exact(gmv_trainer *trainer, double cells_of_batch, gmv_status *local)
{
    gmv_backend *b = trainer->backend;
    gmv_params *params = &trainer->model->params;
    gmv_vec grad = gmv_vec_of(params->grad, params->total + GMV_GRAD_EXTRA);
    int64_t bytes = grad.n * (int64_t)sizeof(int64_t), overflow = 0;
    GMV_TRY(b->op->clear(b, trainer->fixed, bytes + (int64_t)sizeof(int64_t)));
    for (int piece = trainer->first_piece; piece < trainer->end_piece; piece++) {
        *local = *local == GMV_OK ? add_piece(trainer, piece, cells_of_batch) : *local;
        GMV_TRY(flag_failure(trainer, *local));
        GMV_TRY(b->op->fixed_add(b, grad, trainer->pieces + 1, trainer->fixed, trainer->overflow));
        GMV_TRY(b->op->clear(b, grad.at, grad.n * (int64_t)sizeof(float)));
    }
    GMV_TRY(b->op->allreduce_i64(b, trainer->fixed, grad.n + 1));
    GMV_TRY(b->op->download(b, &overflow, trainer->overflow, sizeof overflow));
    if (overflow != 0) {
        return GMV_FAIL(GMV_ERR_NUMERIC,
                        "epoch %lld, step %lld: a gradient is not finite or beyond the range of exact sums (%.1e a "
                        "micro-batch); lower train.lr or use train.reduction=fast",
                        (long long)trainer->progress.epoch + 1, (long long)trainer->progress.step + 1,
                        ldexp(1.0, 62 - GMV_FIXED_BITS) / (trainer->pieces + 1));
    }
    return b->op->fixed_value(b, trainer->fixed, grad);
}

/* The whole gradient and its statistics, summed over all ranks. */
static gmv_status gradient(gmv_trainer *trainer, double cells_of_batch)
{
    gmv_backend *b = trainer->backend;
    gmv_params *params = &trainer->model->params;
    gmv_vec grad = gmv_vec_of(params->grad, params->total + GMV_GRAD_EXTRA);
    float stop = gmv_signal_seen() ? 1.0f : 0.0f, extra[GMV_GRAD_EXTRA];
    gmv_status local = GMV_OK; /* of this rank alone */
    GMV_TRY(b->op->clear(b, grad.at, grad.n * (int64_t)sizeof(float)));
    GMV_TRY(b->op->upload(b, grad.at + params->total + extra_stop, &stop, sizeof stop));
    if (trainer->fixed != NULL) {
        GMV_TRY(reduce_exact(trainer, cells_of_batch, &local));
    } else {
        local = add_piece(trainer, 0, cells_of_batch);
        GMV_TRY(flag_failure(trainer, local));
        GMV_TRY(b->op->allreduce_f32(b, grad));
    }
    GMV_TRY(b->op->download(b, extra, grad.at + params->total, sizeof extra));
    if (extra[extra_failed] != 0.0f) {
        return gmv_comm_agree(trainer->comm, local);
    }
    for (int i = 0; i < GMV_TERMS; i++) {
        trainer->last[i] = (double)extra[extra_terms + i];
    }
    trainer->stop = trainer->stop || extra[extra_stop] != 0.0f;
    return GMV_OK;
}

gmv_status gmv_train_step(gmv_trainer *trainer)
{
    gmv_backend *b = trainer->backend;
    gmv_params *params = &trainer->model->params;
    gmv_progress *progress = &trainer->progress;
    const gmv_config *config = trainer->config;
    double cells = (double)gmv_sampler_batch_cells(&trainer->sampler, progress->batch), squares, loss = 0.0;

    trainer->kl_weight = gmv_kl_weight(trainer);
    GMV_TRY(gradient(trainer, cells));
    GMV_TRY(b->op->sum_squares(b, gmv_vec_of(params->grad, params->total), &squares));
    trainer->last_norm = sqrt(squares);
    for (int i = 0; i < GMV_TERMS; i++) {
        loss += trainer->last[i];
    }
    if (!isfinite(loss) || !isfinite(squares)) {
        return GMV_FAIL(GMV_ERR_NUMERIC,
                        "epoch %lld, step %lld: the %s is not finite; parameters were left as they were. Lower "
                        "train.lr, or set train.clip_norm, and run again from the last checkpoint",
                        (long long)progress->epoch + 1, (long long)progress->step + 1,
                        isfinite(loss) ? "gradient" : "loss");
    }
    double limit = config->train_clip_norm;
    gmv_adam_args adam = {.value = gmv_vec_of(params->value, params->total),
                          .grad = gmv_vec_of(params->grad, params->total),
                          .m = gmv_vec_of(params->m, params->total),
                          .v = gmv_vec_of(params->v, params->total),
                          .lr = (float)gmv_learning_rate(config, progress->epoch),
                          .beta1 = (float)config->train_adam_beta1,
                          .beta2 = (float)config->train_adam_beta2,
                          .epsilon = (float)config->train_adam_epsilon,
                          .grad_scale = limit > 0.0 && trainer->last_norm > limit ? (float)(limit / trainer->last_norm) : 1.0f,
                          .step = progress->step + 1};
    GMV_TRY(b->op->adam(b, &adam));
    for (int i = 0; i < GMV_TERMS; i++) {
        progress->sum[i] += trainer->last[i] * cells;
    }
    progress->step++;
    progress->batch++;
    return GMV_OK;
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
    gmv_backend *b = model->backend;
    GMV_TRY(gmv_sampler_init(&trainer->sampler, comm, cells, (uint64_t)config->seed, config->data_validation.fraction,
                             config->train_batch_size));
    trainer->progress.cells = trainer->sampler.total;
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
    int most = 0;
    for (int p = trainer->first_piece; p < trainer->end_piece; p++) {
        int first = exact ? cells->shards / trainer->pieces * p : cells->first_shard;
        int end = exact ? cells->shards / trainer->pieces * (p + 1) : cells->end_shard;
        int n = gmv_sampler_most(&trainer->sampler, first, end);
        most = n > most ? n : most;
    }
    most = most < GMV_EVAL_CELLS ? GMV_EVAL_CELLS : most; /* the feed serves evaluation too */
    GMV_TRY(GMV_NEW(trainer->rows, most, "rows of a batch"));
    GMV_TRY(gmv_feed_open(&trainer->feed, b, cells, most));
    GMV_TRY(gmv_model_reserve(model, most, (int)config->train_mc_samples, true));
    GMV_TRY(gmv_model_reserve(model, GMV_EVAL_CELLS,
                              config->eval_epoch_samples < GMV_EVAL_DRAWS ? (int)config->eval_epoch_samples : GMV_EVAL_DRAWS,
                              true));
    GMV_TRY(b->op->allocate(b, (void **)&trainer->cluster_mass, model->clusters * (int64_t)sizeof(float), "cluster mass"));
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
    }
    gmv_feed_close(&trainer->feed);
    gmv_sampler_fini(&trainer->sampler);
    GMV_FREE(trainer->rows);
    memset(trainer, 0, sizeof *trainer);
}
