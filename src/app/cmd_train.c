/* train: from files to checkpoints, metrics, embedding and evaluation. */
#include "run_folder.h"
#include "same_cells.h"
#include "session.h"

#include "gmvae/files.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Below so many optimiser steps clusters were worse than those of principal components (docs/quality.md). */
enum { few_steps = 300 };

/* Everything a training run holds. */
typedef struct training {
    gmv_run *run;
    gmv_run_folder folder;
    char *resume_path; /* "" when the run starts anew */
    gmv_checkpoint resume;
    gmv_cells *cells, *validation; /* validation: of data.validation paths, else NULL */
    gmv_backend *backend;
    gmv_model *model;
    gmv_trainer trainer;
} training;

/* The checkpoint to continue from, if any; refused when it belongs to another model. */
static gmv_status find_start(training *t)
{
    const gmv_config *config = &t->run->config;
    const gmv_comm *comm = &t->run->comm;
    if (config->checkpoint_resume == GMV_RESUME_NEVER) {
        return GMV_NEW(t->resume_path, 1, "a path");
    }
    GMV_TRY(gmv_checkpoint_find_newest(config, comm, &t->resume_path));
    if (t->resume_path[0] == '\0') {
        return config->checkpoint_resume == GMV_RESUME_AUTO
                   ? GMV_OK
                   : GMV_FAIL(GMV_ERR_DATA,
                              "%s/checkpoints: there is no good checkpoint to resume from; "
                              "checkpoint.resume=auto starts anew",
                              config->output_dir);
    }
    GMV_TRY(gmv_checkpoint_read(t->resume_path, comm, &t->resume));
    gmv_config theirs;
    char *differences = NULL;
    GMV_TRY(gmv_comm_agree(comm, gmv_checkpoint_config(&t->resume, t->resume_path, &theirs)));
    gmv_status status = gmv_config_differences(&theirs, config, &differences);
    gmv_config_fini(&theirs);
    if (status == GMV_OK && differences[0] != '\0') {
        char joined[1024];
        gmv_join_lines(differences, joined, sizeof joined);
        status = GMV_FAIL(GMV_ERR_CONFIG,
                          "%s belongs to another model or order of cells (%s); set another output.dir, or "
                          "checkpoint.resume=never to replace it",
                          t->resume_path, joined);
    }
    GMV_FREE(differences);
    return status;
}

static gmv_status read_data(training *t)
{
    const gmv_config *config = &t->run->config;
    const gmv_comm *comm = &t->run->comm;
    bool resumed = t->resume_path[0] != '\0';
    gmv_config reading = *config; /* borrows all of it */
    if (resumed && config->data_residence == GMV_RESIDENCE_AUTO) {
        /* as the run began: memory must not change the order of the cells */
        reading.data_residence = t->resume.progress.window > 0 ? GMV_RESIDENCE_STREAM : GMV_RESIDENCE_HOST;
    }
    gmv_known known = gmv_checkpoint_known(&t->resume);
    gmv_reading how = {.paths = &config->data_train,
                       .held_out = &config->data_validation,
                       .known = resumed ? &known : NULL,
                       .training = true};
    GMV_TRY(gmv_cells_load(&t->cells, comm, &reading, &how));
    if (config->data_validation.paths.n == 0) {
        return GMV_OK;
    }
    known = gmv_cells_known(t->cells);
    how = (gmv_reading){.paths = &config->data_validation.paths, .known = &known};
    GMV_TRY(gmv_cells_load(&t->validation, comm, config, &how));
    t->cells->fingerprint.validation = t->validation->fingerprint.counts;
    return GMV_OK;
}

/* A run goes on with the cells with which it began, or not at all; also one that is complete. */
static gmv_status check_same_cells(training *t)
{
    gmv_cells_difference difference;
    if (t->resume_path[0] == '\0') {
        return GMV_OK;
    }
    gmv_compare_cells(&t->resume, t->resume_path, t->cells, &t->run->comm,
                      GMV_COMPARE_HELD_OUT | GMV_COMPARE_NAMED_GENES, &difference);
    if (t->cells->fingerprint.genes == 0) { /* their list is gone, but was not changed as far as anybody knows */
        t->cells->fingerprint.genes = t->resume.data.genes;
    }
    if (difference.validation) {
        gmv_warn("%s: the cells of data.validation were others: held-out losses before and after do not compare, and "
                 "best.h5 may be best for the others only",
                 t->resume_path);
    }
    return difference.what[0] == '\0'
               ? GMV_OK
               : GMV_FAIL(GMV_ERR_DATA,
                          "%s was trained on other data: %s; set another output.dir, or checkpoint.resume=never to "
                          "replace it; or bring back what was in data.train",
                          t->resume_path, difference.what);
}

/* Cells that would be trained on twice, or judged although they are trained on. */
static gmv_status look_for_repeats(const training *t)
{
    gmv_status status = gmv_cells_warn_of_repeats(t->cells);
    if (status == GMV_OK && t->validation != NULL) {
        status = gmv_cells_warn_of_shared(t->cells, t->validation, "data.validation");
    }
    return gmv_comm_agree(&t->run->comm, status);
}

/* Scalars of `input: standardize`: the checkpoint's, else those of the training cells. */
static gmv_status input_of(training *t, gmv_input *input)
{
    const gmv_config *config = &t->run->config;
    double mean = t->resume.input_mean, std = t->resume.input_std;
    if (t->resume_path[0] == '\0') {
        mean = 0.0;
        std = 1.0;
        if (config->model_input == GMV_INPUT_STANDARDIZE) {
            GMV_TRY(gmv_cells_scalar_statistics(t->cells, &t->run->comm, &mean, &std));
        }
    }
    *input = (gmv_input){(gmv_input_kind)config->model_input, (float)mean, (float)std};
    return GMV_OK;
}

static void describe_order(int64_t window, char *text, size_t size)
{
    if (window > 0) {
        snprintf(text, size, "streamed (data.residence) in windows of %" PRId64 " (data.window)", window);
    } else {
        snprintf(text, size, "in memory (data.residence)");
    }
}

/* Parameters and position of the checkpoint. */
static gmv_status take_up(training *t)
{
    const gmv_progress *progress = &t->resume.progress;
    int64_t cells = t->trainer.sampler.total, window = t->trainer.progress.window;
    if (progress->window != window) {
        char theirs[100], ours[100];
        describe_order(progress->window, theirs, sizeof theirs);
        describe_order(window, ours, sizeof ours);
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "%s comes from a run with cells %s, here they are %s: the order of cells is another; keep it, "
                        "set another output.dir, or checkpoint.resume=never to replace it",
                        t->resume_path, theirs, ours);
    }
    if (progress->cells != cells) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "%s was trained on %" PRId64 " cells, but data.train has %" PRId64
                        " training cells here; set another "
                        "output.dir, or checkpoint.resume=never to replace it",
                        t->resume_path, progress->cells, cells);
    }
    if (progress->terms != t->model->terms.n) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: damaged or foreign checkpoint: sums of %d terms, its model has %d",
                        t->resume_path, progress->terms, t->model->terms.n);
    }
    if (progress->batch > t->trainer.sampler.batches) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: damaged or foreign checkpoint: batch %" PRId64 " of an epoch of %" PRId64,
                        t->resume_path, progress->batch, t->trainer.sampler.batches);
    }
    GMV_TRY(gmv_checkpoint_load_params(t->resume_path, &t->run->comm, t->model, true));
    gmv_train_take_up(&t->trainer, progress);
    return GMV_OK;
}

static gmv_status build(training *t)
{
    const gmv_config *config = &t->run->config;
    const gmv_comm *comm = &t->run->comm;
    gmv_input input;
    GMV_TRY(input_of(t, &input));
    gmv_backend_options options = gmv_backend_options_of(config);
    GMV_TRY(gmv_comm_agree(comm, gmv_backend_open(&t->backend, &options, comm)));
    GMV_TRY(gmv_comm_agree(comm,
                           gmv_model_create(&t->model, config, t->backend, t->cells->genes, t->cells->levels, input)));
    GMV_TRY(gmv_trainer_init(&t->trainer, config, comm, t->model, t->cells));
    return t->resume_path[0] != '\0' ? take_up(t) : GMV_OK;
}

static void show_memory(const training *t)
{
    const gmv_trainer *trainer = &t->trainer;
    const double megabyte = 1024.0 * 1024.0;
    char matrix[160];
    double model = (double)t->model->params.total * 16.0,
           activations = (double)gmv_model_workspace_bytes(t->model, t->model->max_cells,
                                                           t->model->max_rows / t->model->max_cells, true);
    if (t->cells->stream != NULL) {
        double bytes = (double)(trainer->order.slots.bytes + trainer->feed.slots.bytes);
        snprintf(matrix, sizeof matrix, "windows %.1f MB (%" PRId64 " an epoch; the matrix stays on disk)",
                 bytes / megabyte, trainer->sampler.windows);
    } else {
        int64_t of_value = t->cells->packed.gene16 != NULL ? 3 : 5;
        snprintf(matrix, sizeof matrix, "matrix %.1f MB%s", (double)(gmv_cells_values(t->cells) * of_value) / megabyte,
                 trainer->backend->host_memory    ? ""
                 : trainer->feed.matrix.on_device ? " on the device"
                                                  : " in host memory, which the device reads");
    }
    gmv_log("memory  of rank 0: %s, parameters with gradients and Adam %.1f MB, activations %.1f MB", matrix,
            model / megabyte, activations / megabyte);
}

static void show_plan(const training *t)
{
    const gmv_config *config = &t->run->config;
    const gmv_trainer *trainer = &t->trainer;
    char backend[128], others[64] = "";
    if (t->model->w_dim > 0) {
        snprintf(others, sizeof others, ", W %d", t->model->w_dim);
    }
    if (t->model->clusters > 0) {
        size_t used = strlen(others);
        snprintf(others + used, sizeof others - used, ", K %d", t->model->clusters);
    }
    gmv_backend_describe(t->backend, backend, sizeof backend);
    gmv_log("model   %s, %s objective, %s: %" PRId64 " parameters, D %d%s",
            gmv_config_choice("model.family", config->model_family),
            gmv_config_choice("model.objective", config->model_objective),
            gmv_config_choice("model.likelihood", config->model_likelihood), t->model->params.count,
            t->model->latent_dim, others);
    gmv_log("compute %d rank%s, %s", t->run->comm.size, t->run->comm.size == 1 ? "" : "s", backend);
    gmv_log("train   %" PRId64 " cells in batches of %" PRId64 ": %" PRId64 " step%s an epoch, %" PRId64
            " epoch%s; KL warm-up over %" PRId64 " step%s",
            trainer->sampler.total, config->train_batch_size, trainer->sampler.batches,
            trainer->sampler.batches == 1 ? "" : "s", config->train_epochs, config->train_epochs == 1 ? "" : "s",
            trainer->warmup_steps, trainer->warmup_steps == 1 ? "" : "s");
    if (trainer->planned_steps < few_steps) {
        gmv_log("note    only %" PRId64
                " optimiser steps are planned, few for a good model; for a small data set lower "
                "train.batch_size (64 to 256) or raise train.epochs",
                trainer->planned_steps);
    }
    show_memory(t);
}

/* Makes the run's folder ready: resolved config, metrics up to where the run starts. */
static gmv_status prepare_output(const training *t)
{
    const gmv_config *config = &t->run->config;
    if (t->run->comm.rank != 0) {
        return GMV_OK;
    }
    char path[GMV_PATH_ROOM];
    gmv_output out;
    if (t->resume_path[0] == '\0') {
        GMV_TRY(gmv_checkpoint_remove_all(config));
    }
    GMV_TRY(gmv_metrics_rewind(config, t->resume_path[0] != '\0' ? t->trainer.progress.step : -1));
    snprintf(path, sizeof path, "%.4000s/config.resolved.yaml", config->output_dir);
    GMV_TRY(gmv_output_begin(&out, path));
    return gmv_output_end(&out, gmv_config_write(config, out.stream));
}

/* Evaluates the held-out cells, if there are any, and writes evaluation.json. */
static gmv_status write_evaluation(training *t, const char *path, int64_t epoch)
{
    const gmv_config *config = &t->run->config;
    const gmv_comm *comm = &t->run->comm;
    const gmv_cells *held = t->validation != NULL ? t->validation : t->cells;
    gmv_which_cells which = t->validation != NULL ? GMV_CELLS_ALL : GMV_CELLS_HELD_OUT;
    gmv_feed own = {0}, *feed = t->validation != NULL ? &own : &t->trainer.feed;
    gmv_evaluation e;
    gmv_agreement agreement;
    char error[40], in_use[64];
    char file[GMV_RESULT_ROOM];
    gmv_result result = {file, path, epoch};
    if (t->validation == NULL && t->cells->split.rows == 0) {
        return GMV_OK;
    }
    gmv_status status = t->validation != NULL
                            ? gmv_feed_open(&own, t->backend, held, GMV_EVAL_CELLS, (int)config->data_residence, NULL)
                            : GMV_OK;
    GMV_GO(gmv_comm_agree(comm, status));
    GMV_GO(gmv_evaluate(t->model, feed, held, comm, which, (int)config->eval_samples, NULL, &e));
    GMV_GO(gmv_label_agreement(t->model, feed, held, comm, which, &agreement));
    gmv_result_path(config, "evaluation", "", "json", file);
    GMV_GO(gmv_write_evaluation(config, comm, held, &result, &e, &agreement));
    gmv_log("held-out -ELBO %.2f%s nats per cell on %" PRId64 " cell%s (best epoch %" PRId64 ")%s", e.neg_elbo,
            gmv_error_text(e.neg_elbo_se, 2, error, sizeof error), e.cells, e.cells == 1 ? "" : "s", epoch,
            gmv_clusters_text(&e, in_use, sizeof in_use));
done:
    gmv_feed_close(&own);
    return status;
}

/* Every cell: embedding.h5ad, and how the clusters agree with the labels. */
static gmv_status write_embedding(training *t, const char *path, int64_t epoch)
{
    const gmv_config *config = &t->run->config;
    const gmv_comm *comm = &t->run->comm;
    gmv_evaluation e;
    gmv_agreement agreement;
    char file[GMV_RESULT_ROOM];
    gmv_result result = {file, path, epoch};
    gmv_result_path(config, "embedding", "", "h5ad", file);
    GMV_TRY(gmv_write_embedding(config, comm, t->model, &t->trainer.feed, t->cells, &result, &e));
    GMV_TRY(gmv_label_agreement(t->model, &t->trainer.feed, t->cells, comm, GMV_CELLS_ALL, &agreement));
    gmv_show_agreement(config, &agreement);
    return GMV_OK;
}

/* After the last epoch: back to the best parameters, then what `output` asks for. */
static gmv_status write_results(training *t)
{
    const gmv_config *config = &t->run->config;
    const gmv_comm *comm = &t->run->comm;
    gmv_checkpoint best = {0};
    char *path;
    GMV_TRY(gmv_run_folder_agree(&t->folder, comm));
    GMV_TRY(gmv_checkpoint_choose(config, comm, &path));
    gmv_status status;
    GMV_GO(gmv_checkpoint_read(path, comm, &best));
    GMV_GO(gmv_checkpoint_load_params(path, comm, t->model, false));
    GMV_GO(write_evaluation(t, path, best.progress.epoch));
    if (config->output_embedding) {
        GMV_GO(write_embedding(t, path, best.progress.epoch));
    }
    status = gmv_run_folder_show(&t->folder, comm, config);
done:
    gmv_checkpoint_fini(&best);
    GMV_FREE(path);
    return status;
}

/* From files to a model that is ready to be trained. */
static gmv_status prepare(training *t)
{
    GMV_TRY(gmv_run_folder_open(&t->folder, t->run));
    GMV_TRY(find_start(t));
    GMV_TRY(read_data(t));
    GMV_TRY(check_same_cells(t));
    GMV_TRY(look_for_repeats(t));
    return gmv_comm_agree(&t->run->comm, build(t));
}

static gmv_status run_training(training *t)
{
    const gmv_comm *comm = &t->run->comm;
    GMV_TRY(gmv_name_stop(prepare(t), "before training: there is nothing new to keep"));
    show_plan(t);
    GMV_TRY(gmv_check_room(&t->run->config, comm, t->model, t->cells));
    if (t->run->dry_run) {
        gmv_log("dry run: config, data, memory and output.dir are in order; nothing was trained or written");
        return GMV_OK;
    }
    GMV_TRY(gmv_comm_agree(comm, prepare_output(t)));
    if (t->resume_path[0] != '\0') {
        gmv_log("resuming from %s: epoch %" PRId64 ", step %" PRId64, t->resume_path, t->trainer.progress.epoch,
                t->trainer.progress.step);
    }
    GMV_TRY(gmv_train_loop(&t->trainer, t->validation));
    return gmv_name_stop(write_results(t), "after training: its checkpoints are there, its results not yet");
}

gmv_status gmv_cmd_train(gmv_run *run)
{
    training t = {.run = run};
    gmv_status status = run_training(&t);
    gmv_trainer_fini(&t.trainer);
    gmv_model_destroy(&t.model);
    gmv_backend_close(&t.backend);
    gmv_cells_destroy(&t.cells);
    gmv_cells_destroy(&t.validation);
    gmv_checkpoint_fini(&t.resume);
    GMV_FREE(t.resume_path);
    gmv_run_folder_close(&t.folder);
    return status;
}
