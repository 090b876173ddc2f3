/* Epochs: steps, progress, metrics, evaluation, checkpoints. */
#include "gmvae/checkpoint.h"
#include "gmvae/clock.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/stage.h"
#include "gmvae/train.h"
#include "gmvae/work.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Clock of a run: speed of the epoch, and time left. */
typedef struct pace {
    double start, epoch_start;
    int64_t first_step, epoch_first_step;
    gmv_work epoch;
} pace;

static double cells_per_second(const gmv_trainer *trainer, const pace *clock)
{
    const gmv_progress *progress = &trainer->progress;
    double seconds = gmv_clock() - clock->epoch_start;
    double cells = (double)(progress->step - clock->epoch_first_step) * (double)trainer->sampler.batch_size;
    if (progress->batch == trainer->sampler.batches && cells > 0.0) {
        cells +=
            (double)(gmv_sampler_batch_cells(&trainer->sampler, progress->batch - 1) - trainer->sampler.batch_size);
    }
    return seconds > 0.0 ? cells / seconds : 0.0;
}

/* Of all epochs, with their evaluations and checkpoints as they were so far. */
static double seconds_left(const gmv_trainer *trainer, const pace *clock)
{
    int64_t end = trainer->until > 0 ? trainer->until * trainer->sampler.batches : trainer->planned_steps;
    double done = (double)(trainer->progress.step - clock->first_step);
    return (double)(end - trainer->progress.step) * (gmv_clock() - clock->start) / done;
}

static void show_progress(const gmv_trainer *trainer, pace *clock)
{
    const gmv_progress *progress = &trainer->progress;
    char left[24];
    if (gmv_work_due(&clock->epoch, (double)progress->batch)) {
        gmv_work_say("epoch %" PRId64 "/%" PRId64 "  step %" PRId64 "/%" PRId64 "  -ELBO %.2f  %.0f cells/s  %s left",
                     progress->epoch + 1, trainer->config->train_epochs, progress->batch, trainer->sampler.batches,
                     gmv_terms_bound(&trainer->model->terms, trainer->last), cells_per_second(trainer, clock),
                     gmv_duration(seconds_left(trainer, clock), left, sizeof left));
    }
}

static const char *components_in_use(const gmv_evaluation *e, char *text, size_t size)
{
    text[0] = '\0';
    if (e->components > 0) {
        snprintf(text, size, "  components in use %d/%d", e->active_components, e->components);
    }
    return text;
}

/* Means of the epoch just finished, from the statistics of its steps. */
static gmv_status epoch_statistics(gmv_trainer *trainer, gmv_evaluation *e)
{
    gmv_backend *b = trainer->backend;
    int components = gmv_components_of(&trainer->model->outputs)->cols;
    float *mass = NULL;
    double *share = trainer->component_share, total = 0.0;
    memset(e, 0, sizeof *e);
    e->terms = &trainer->model->terms;
    e->components = components;
    e->cells = trainer->sampler.total;
    for (int i = 0; i < e->terms->n; i++) {
        e->term[i] = trainer->progress.sum[i] / (double)e->cells;
    }
    e->neg_elbo = gmv_terms_bound(e->terms, e->term);
    e->objective = gmv_terms_objective(e->terms, e->term);
    gmv_status status;
    GMV_GO(GMV_NEW(mass, components, "mass of components"));
    GMV_GO(b->op->download(b, mass, trainer->cluster_mass, components * (int64_t)sizeof(float)));
    GMV_GO(b->op->clear(b, trainer->cluster_mass, components * (int64_t)sizeof(float)));
    for (int k = 0; k < components; k++) {
        share[k] = (double)mass[k];
    }
done:
    status = gmv_comm_agree(trainer->comm, status);
    if (status == GMV_OK) {
        gmv_comm_sum_f64(trainer->comm, share, components);
    }
    for (int k = 0; status == GMV_OK && k < components; k++) {
        total += share[k];
    }
    for (int k = 0; status == GMV_OK && k < components; k++) {
        e->active_components += share[k] > 0.005 * total ? 1 : 0;
        share[k] /= total;
    }
    gmv_free(mass);
    return status;
}

/* A finite loss can be lost, too: no checkpoint may take the place of one from before that. */
static gmv_status check_divergence(gmv_trainer *trainer, double neg_elbo)
{
    const double growth = 1000.0, least = 100.0; /* nats per cell: a first step may be of few small cells */
    double before = trainer->lowest;
    if (neg_elbo > growth * (fabs(before) + least)) {
        return GMV_FAIL(GMV_ERR_NUMERIC,
                        "epoch %" PRId64 ", step %" PRId64 ": -ELBO has grown from %.4g to %.4g nats per cell, the run "
                        "diverges; checkpoints from before stay. Lower train.lr or train.clip_norm",
                        trainer->progress.epoch + 1, trainer->progress.step, before, neg_elbo);
    }
    trainer->lowest = fmin(before, neg_elbo); /* of a number and NaN the number */
    return GMV_OK;
}

typedef struct held_out {
    const gmv_cells *cells; /* NULL: no held-out cells */
    gmv_feed *feed;
    gmv_which_cells which;
} held_out;

/* Whether the loop ends after the epochs that are completed. */
static bool at_end(const gmv_trainer *trainer)
{
    int64_t epoch = trainer->progress.epoch;
    return epoch >= trainer->config->train_epochs || (trainer->until > 0 && epoch >= trainer->until);
}

/* Evaluates the held-out cells when it is time; *better tells whether this is the best so far. */
static gmv_status evaluate_held_out(gmv_trainer *trainer, const held_out *held, gmv_evaluation *e, bool *better)
{
    const gmv_config *config = trainer->config;
    *better = false;
    e->cells = 0;
    bool last = at_end(trainer);
    if (held->cells == NULL || (!last && trainer->progress.epoch % config->eval_every != 0)) {
        return GMV_OK;
    }
    if (trainer->stop) {
        return GMV_STOPPED;
    }
    gmv_stage before = gmv_stage_enter(GMV_STAGE_EVALUATION);
    gmv_status status = gmv_evaluate(trainer->model, held->feed, held->cells, trainer->comm, held->which,
                                     (gmv_draws){(int)config->eval_epoch_samples, false}, NULL, e);
    gmv_stage_enter(before);
    GMV_TRY(status);
    if (e->cells > 0 && e->neg_elbo < trainer->progress.best) {
        trainer->progress.best = e->neg_elbo;
        *better = true;
    }
    return GMV_OK;
}

/* Writes a checkpoint. One in the course of training may fail: the next is tried when it is due, and a best one that is
 * not on disk does not count. */
static gmv_status keep(gmv_trainer *trainer, unsigned as, double best_before)
{
    const gmv_progress *progress = &trainer->progress;
    gmv_status status = gmv_checkpoint_save(trainer, as);
    char reason[1024];
    if (status == GMV_OK && trainer->kept != NULL && trainer->comm->rank == 0) {
        trainer->kept(trainer->kept_context, progress->epoch);
    }
    if (status != GMV_ERR_ENVIRONMENT || (progress->epoch == trainer->config->train_epochs && !trainer->stop)) {
        return status;
    }
    snprintf(reason, sizeof reason, "%s", gmv_error_message());
    gmv_error_clear();
    if (trainer->stop) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "stopped by a signal in epoch %" PRId64 ", step %" PRId64 ", but %s",
                        progress->epoch + 1, progress->step, reason);
    }
    gmv_warn("%s; training goes on", reason);
    trainer->progress.best = best_before;
    return GMV_OK;
}

/* For a run that ends because its files are not as they were, as the message says that is recorded: what was learned
 * before is kept. */
static gmv_status keep_and_end(gmv_trainer *trainer, unsigned as)
{
    const gmv_progress *progress = &trainer->progress;
    char reason[1024], unwritten[900];
    if (progress->step == 0) {
        return GMV_ERR_DATA;
    }
    snprintf(reason, sizeof reason, "%s", gmv_error_message());
    gmv_error_clear();
    gmv_status status = gmv_checkpoint_save(trainer, as);
    if (status == GMV_ERR_ENVIRONMENT) {
        snprintf(unwritten, sizeof unwritten, "%s", gmv_error_message());
        gmv_error_clear();
        return GMV_FAIL(status, "%s; but %s", reason, unwritten);
    }
    GMV_TRY(status);
    return GMV_FAIL(GMV_ERR_DATA, "%s; a checkpoint of epoch %" PRId64 ", step %" PRId64 " was written", reason,
                    progress->epoch, progress->step);
}

/* Steps to the end of the epoch under way, or to a signal. */
static gmv_status run_steps(gmv_trainer *trainer, pace *clock)
{
    clock->epoch_start = gmv_clock();
    clock->epoch = gmv_work_begin((double)trainer->sampler.batches, "epoch");
    clock->epoch_first_step = trainer->progress.step;
    while (trainer->progress.batch < trainer->sampler.batches && !trainer->stop) {
        gmv_status status = gmv_train_step(trainer);
        if (status == GMV_ERR_DATA) {
            return keep_and_end(trainer, trainer->progress.batch > 0 ? GMV_CHECKPOINT_LAST : GMV_CHECKPOINT_EPOCH);
        }
        if (status != GMV_STOPPED) {
            GMV_TRY(status);
            show_progress(trainer, clock);
        }
    }
    return gmv_train_settle(trainer);
}

/* Whether the files of training and evaluation are as they were: what was learned is of these. Collective. */
static gmv_status look_at_files(const gmv_trainer *trainer, const held_out *held)
{
    const gmv_cells *of[2] = {trainer->cells, held->cells != trainer->cells ? held->cells : NULL};
    for (int i = 0; i < 2 && of[i] != NULL; i++) {
        int changed;
        GMV_TRY(gmv_cells_look_at_files(of[i], trainer->comm, &changed));
        if (changed >= 0) {
            return GMV_FAIL(GMV_ERR_DATA,
                            "%s: the file has changed while it was in use; put it back as it was and run the same "
                            "command again to continue, or set another output.dir to train on it as it is",
                            of[i]->file[changed]);
        }
    }
    return GMV_OK;
}

/* Keeps what an epoch has led to as the config asks, and in any case when the files are not as they were. */
static gmv_status keep_epoch(gmv_trainer *trainer, const held_out *held, bool better, double best_before)
{
    int64_t epoch = trainer->progress.epoch, every = trainer->config->checkpoint_every;
    bool last = at_end(trainer), due = every > 0 && epoch % every == 0;
    unsigned as = (last || due || trainer->stop ? GMV_CHECKPOINT_EPOCH : 0u) | (better ? GMV_CHECKPOINT_BEST : 0u);
    gmv_status status = look_at_files(trainer, held);
    if (status == GMV_ERR_DATA) {
        return keep_and_end(trainer, as | GMV_CHECKPOINT_EPOCH);
    }
    GMV_TRY(status);
    return as != 0 ? keep(trainer, as, best_before) : GMV_OK;
}

/* Everything after the last step of an epoch. GMV_STOPPED: the position is before the evaluation, and nothing else is
 * left of it. */
static gmv_status finish_epoch(gmv_trainer *trainer, const held_out *held, const pace *clock)
{
    const gmv_config *config = trainer->config;
    gmv_progress *progress = &trainer->progress, before = *progress;
    gmv_evaluation train, validation;
    double speed = cells_per_second(trainer, clock), best_before = progress->best;
    bool better;
    GMV_TRY(epoch_statistics(trainer, &train));
    GMV_TRY(check_divergence(trainer, train.neg_elbo));
    if (progress->step - clock->epoch_first_step == trainer->sampler.batches) { /* else they are of its last steps */
        train.share = trainer->component_share;
    }
    progress->epoch++;
    progress->batch = 0;
    memset(progress->sum, 0, sizeof progress->sum);
    if (progress->step > clock->epoch_first_step) { /* else a stopped run has written it */
        gmv_metrics_append(trainer, "train", &train, speed);
    }
    gmv_status status = evaluate_held_out(trainer, held, &validation, &better);
    if (status == GMV_STOPPED || status == GMV_ERR_DATA) {
        *progress = before;
        trainer->stop = trainer->stop || status == GMV_STOPPED;
    }
    GMV_TRY(status == GMV_ERR_DATA ? keep_and_end(trainer, GMV_CHECKPOINT_LAST) : status);
    char text[64] = "", in_use[64];
    const gmv_evaluation *shown = validation.cells > 0 ? &validation : &train;
    if (validation.cells > 0) {
        gmv_metrics_append(trainer, "validation", &validation, NAN);
        snprintf(text, sizeof text, "  held-out %.2f", validation.neg_elbo);
    }
    gmv_log("epoch %" PRId64 "/%" PRId64 "  step %" PRId64 "  -ELBO %.2f%s%s  %.0f cells/s", progress->epoch,
            config->train_epochs, progress->step, train.neg_elbo, text, components_in_use(shown, in_use, sizeof in_use),
            speed);
    return keep_epoch(trainer, held, better, best_before);
}

static gmv_status train_epochs(gmv_trainer *trainer, const held_out *held)
{
    pace clock = {.start = gmv_clock(), .first_step = trainer->progress.step};
    while (!at_end(trainer)) {
        GMV_RANGE("epoch", run_steps(trainer, &clock));
        if (trainer->progress.batch == trainer->sampler.batches) {
            gmv_status status = finish_epoch(trainer, held, &clock);
            GMV_TRY(status == GMV_STOPPED ? GMV_OK : status);
        }
        if (trainer->stop && !at_end(trainer)) {
            if (trainer->progress.batch > 0) {
                GMV_TRY(keep(trainer, GMV_CHECKPOINT_LAST, trainer->progress.best));
            }
            gmv_error_clear();
            return GMV_FAIL(GMV_STOPPED,
                            "stopped by a signal in epoch %" PRId64 ", step %" PRId64
                            "; a checkpoint was written, run the same command again to continue",
                            trainer->progress.epoch + 1, trainer->progress.step);
        }
    }
    return GMV_OK;
}

gmv_status gmv_train_loop(gmv_trainer *trainer, const gmv_cells *validation)
{
    gmv_feed feed = {0};
    held_out held = {0};
    gmv_status status = GMV_OK;
    if (trainer->warmup_steps > trainer->planned_steps) {
        gmv_warn("the KL warm-up of %" PRId64 " steps cannot finish: only %" PRId64
                 " steps are planned, so the KL terms "
                 "reach weight %.2f; lower train.kl_warmup.steps",
                 trainer->warmup_steps, trainer->planned_steps,
                 (double)trainer->planned_steps / (double)trainer->warmup_steps);
    }
    if (validation != NULL || trainer->cells->split.rows > 0) {
        held.cells = validation != NULL ? validation : trainer->cells;
        held.which = validation != NULL ? GMV_CELLS_ALL : GMV_CELLS_HELD_OUT;
        held.feed = validation != NULL ? &feed : &trainer->feed;
    }
    if (validation != NULL) {
        status = gmv_feed_open(&feed, trainer->backend, validation, GMV_EVAL_CELLS,
                               (int)trainer->config->data_residence, NULL);
    }
    status = gmv_comm_agree(trainer->comm, status);
    if (status == GMV_OK) {
        gmv_stage before = gmv_stage_enter(GMV_STAGE_TRAINING);
        status = train_epochs(trainer, &held);
        gmv_stage_enter(before);
    }
    gmv_feed_close(&feed);
    return status;
}
