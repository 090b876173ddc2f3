/* What training works with: numbers of the config, the order of the cells, memory for steps. */
#include "gmvae/mem.h"
#include "gmvae/train.h"

#include <math.h>
#include <string.h>

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

/* The order of this rank's cells, and *most, the cells of the largest piece on any rank. */
static gmv_status plan_order(gmv_trainer *trainer, int *most)
{
    const gmv_sampler *sampler = &trainer->sampler;
    int mine = trainer->end_piece - trainer->first_piece, *shard = NULL;
    gmv_status status;
    GMV_GO(GMV_NEW(shard, trainer->pieces + 1, "pieces of a batch"));
    for (int p = 0; p <= trainer->pieces; p++) { /* they divide the shards evenly */
        shard[p] = (int)((int64_t)sampler->shards * p / trainer->pieces);
    }
    *most = GMV_EVAL_CELLS; /* the feed serves evaluation too */
    for (int p = 0; p < trainer->pieces; p++) {
        int n = gmv_sampler_most(sampler, shard[p], shard[p + 1]);
        *most = n > *most ? n : *most;
    }
    GMV_GO(gmv_order_init(&trainer->order, sampler, shard + trainer->first_piece, mine,
                          gmv_stream_threads(trainer->backend->host_memory)));
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
    trainer->pieces = exact ? (int)config->train_micro_batches : comm->size;
    if (exact && (trainer->pieces % comm->size != 0 || cells->shards % trainer->pieces != 0)) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "train.reduction: exact needs a number of ranks that divides train.micro_batches, which must "
                        "divide data.shards; there are %d ranks, %d micro-batches, %d shards",
                        comm->size, trainer->pieces, cells->shards);
    }
    trainer->first_piece = trainer->pieces / comm->size * comm->rank;
    trainer->end_piece = trainer->pieces / comm->size * (comm->rank + 1);
    int most;
    GMV_TRY(plan_order(trainer, &most));
    GMV_TRY(gmv_model_reserve(model, most, (int)config->train_mc_samples, true));
    GMV_TRY(gmv_model_reserve(
        model, GMV_EVAL_CELLS,
        config->eval_epoch_samples < GMV_EVAL_DRAWS ? (int)config->eval_epoch_samples : GMV_EVAL_DRAWS, true));
    GMV_TRY(gmv_feed_open(&trainer->feed, b, cells, most, (int)config->data_residence, &trainer->order.slots));
    GMV_TRY(b->op->allocate(b, (void **)&trainer->cluster_mass,
                            gmv_components_of(&model->outputs)->cols * (int64_t)sizeof(float), "cluster mass"));
    GMV_TRY(GMV_NEW(trainer->component_share, gmv_components_of(&model->outputs)->cols, "mass of components"));
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
    GMV_FREE(trainer->component_share);
    gmv_feed_close(&trainer->feed);
    gmv_order_fini(&trainer->order);
    gmv_sampler_fini(&trainer->sampler);
    memset(trainer, 0, sizeof *trainer);
}
