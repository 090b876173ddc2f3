/* train: from files to checkpoints, metrics, embedding and evaluation. */
#include "same_cells.h"
#include "training.h"

#include "gmvae/files.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/stage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The checkpoint to continue from, if any; refused when it belongs to another model. */
static gmv_status find_start(gmv_training *t)
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

static gmv_status read_data(gmv_training *t)
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
static gmv_status check_same_cells(gmv_training *t)
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
static gmv_status look_for_repeats(const gmv_training *t)
{
    gmv_status status = gmv_cells_warn_of_repeats(t->cells);
    if (status == GMV_OK && t->validation != NULL) {
        status = gmv_cells_warn_of_shared(t->cells, t->validation, "data.validation");
    }
    return gmv_comm_agree(&t->run->comm, status);
}

/* Scalars of `input: standardize`: the checkpoint's, else those of the training cells. */
static gmv_status input_of(gmv_training *t, gmv_input *input)
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
static gmv_status take_up(gmv_training *t)
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

static gmv_status build(gmv_training *t)
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

/* Makes the run's folder ready: resolved config, metrics up to where the run starts. */
static gmv_status prepare_output(gmv_training *t)
{
    const gmv_config *config = &t->run->config;
    if (t->run->comm.rank != 0) {
        return GMV_OK;
    }
    char path[GMV_PATH_ROOM];
    gmv_output out;
    if (t->resume_path[0] == '\0') {
        GMV_TRY(gmv_checkpoint_remove_all(config));
        gmv_run_folder_drop(config);
    }
    GMV_TRY(gmv_metrics_begin(&t->trainer, t->resume_path[0] != '\0' ? t->trainer.progress.step : -1));
    snprintf(path, sizeof path, "%.4000s/config.resolved.yaml", config->output_dir);
    GMV_TRY(gmv_output_begin(&out, path));
    return gmv_output_end(&out, gmv_config_write(config, out.stream));
}

/* From files to a model that is ready to be trained. */
static gmv_status prepare(gmv_training *t)
{
    GMV_TRY(gmv_run_folder_open(&t->folder, t->run));
    GMV_TRY(find_start(t));
    GMV_TRY(read_data(t));
    GMV_TRY(check_same_cells(t));
    GMV_TRY(look_for_repeats(t));
    return gmv_comm_agree(&t->run->comm, build(t));
}

static void keep_record(void *context, int64_t epoch)
{
    gmv_run_record_keep(context, epoch);
}

static gmv_status run_training(gmv_training *t)
{
    const gmv_comm *comm = &t->run->comm;
    GMV_TRY(gmv_name_stop(prepare(t), "before training: there is nothing new to keep"));
    gmv_training_show_plan(t);
    GMV_TRY(gmv_check_room(&t->run->config, comm, t->model, t->cells));
    if (t->run->dry_run) {
        gmv_log("dry run: config, data, memory and output.dir are in order; nothing was trained or written");
        return GMV_OK;
    }
    GMV_TRY(gmv_comm_agree(comm, prepare_output(t)));
    GMV_TRY(gmv_run_record_begin(&t->record, t->run, t->backend, t->resume_path[0] != '\0', t->trainer.progress.epoch));
    if (t->resume_path[0] != '\0') {
        gmv_log("resuming from %s: epoch %" PRId64 ", step %" PRId64, t->resume_path, t->trainer.progress.epoch,
                t->trainer.progress.step);
    }
    t->trainer.until = t->run->until;
    t->trainer.kept = keep_record;
    t->trainer.kept_context = &t->record;
    GMV_TRY(gmv_train_loop(&t->trainer, t->validation));
    if (t->trainer.progress.epoch < t->run->config.train_epochs) {
        gmv_log("paused after epoch %" PRId64 " of %" PRId64, t->trainer.progress.epoch, t->run->config.train_epochs);
        return GMV_OK;
    }
    return gmv_name_stop(gmv_training_write_results(t),
                         "after training: its checkpoints are there, its results not yet");
}

gmv_status gmv_cmd_train(gmv_run *run)
{
    gmv_training t = {.run = run};
    gmv_stage_restart();
    gmv_status status = run_training(&t);
    gmv_trainer_fini(&t.trainer);
    gmv_model_destroy(&t.model);
    gmv_backend_close(&t.backend);
    gmv_cells_destroy(&t.cells);
    gmv_cells_destroy(&t.validation);
    gmv_clustering_fini(&t.clustering);
    gmv_checkpoint_fini(&t.resume);
    gmv_run_record_fini(&t.record);
    GMV_FREE(t.resume_path);
    gmv_run_folder_close(&t.folder);
    return status;
}
