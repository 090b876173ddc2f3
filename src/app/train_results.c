/* What a training leaves besides checkpoints and metrics. */
#include "run_clusters.h"
#include "run_heat_map.h"
#include "run_markers.h"
#include "run_metrics.h"
#include "run_predictive.h"
#include "training.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/report.h"
#include "gmvae/stage.h"

#include <inttypes.h>
#include <stdio.h>

/* Evaluates the held-out cells, if there are any, and writes evaluation.json. */
static gmv_status write_evaluation(gmv_training *t, const char *path, int64_t epoch)
{
    const gmv_config *config = &t->run->config;
    const gmv_comm *comm = &t->run->comm;
    const gmv_cells *held = t->validation != NULL ? t->validation : t->cells;
    gmv_which_cells which = t->validation != NULL ? GMV_CELLS_ALL : GMV_CELLS_HELD_OUT;
    gmv_feed own = {0}, *feed = t->validation != NULL ? &own : &t->trainer.feed;
    gmv_evaluation e;
    gmv_agreement agreement;
    gmv_figures figures;
    char error[40];
    char file[GMV_RESULT_ROOM];
    gmv_result result = {file, path, epoch, &t->clustering};
    if (t->validation == NULL && t->cells->split.rows == 0) {
        return GMV_OK;
    }
    gmv_status status = t->validation != NULL
                            ? gmv_feed_open(&own, t->backend, held, GMV_EVAL_CELLS, (int)config->data_residence, NULL)
                            : GMV_OK;
    GMV_GO(gmv_comm_agree(comm, status));
    GMV_GO(gmv_evaluate(t->model, feed, held, comm, which, (gmv_draws){(int)config->eval_samples, true}, NULL, &e));
    GMV_GO(gmv_measure_cells(config, comm, t->model, feed, held, which, &t->clustering, &agreement, &figures));
    gmv_result_path(config, "evaluation", "", "json", file);
    GMV_GO(gmv_write_evaluation(config, comm, held, &result, &e, &figures));
    gmv_log("held-out -ELBO %.2f%s nats per cell on %" PRId64 " cell%s (best epoch %" PRId64 ")", e.neg_elbo,
            gmv_error_text(e.neg_elbo_se, 2, error, sizeof error), e.cells, e.cells == 1 ? "" : "s", epoch);
    gmv_show_figures(held, &figures);
done:
    gmv_feed_close(&own);
    return status;
}

/* Of every cell. */
static gmv_status write_embedding(gmv_training *t, const char *path, int64_t epoch)
{
    const gmv_config *config = &t->run->config;
    gmv_evaluation e;
    char file[GMV_RESULT_ROOM];
    gmv_result result = {file, path, epoch, &t->clustering};
    gmv_result_path(config, "embedding", "", "h5ad", file);
    return gmv_write_embedding(config, &t->run->comm, t->model, &t->trainer.feed, t->cells, &result, &e);
}

/* Genes of each cluster. */
static gmv_status write_markers(gmv_training *t, const char *path, int64_t epoch)
{
    const gmv_config *config = &t->run->config;
    char file[GMV_RESULT_ROOM];
    gmv_result result = {file, path, epoch, &t->clustering};
    gmv_result_path(config, "markers", "", "h5ad", file);
    return gmv_make_trained_markers(config, &t->run->comm, t->model, &t->trainer.feed, t->cells, &result);
}

/* Clusters of every cell, which the checkpoint keeps for others. */
static gmv_status find_clusters(gmv_training *t, const char *path, const gmv_checkpoint *checkpoint)
{
    const gmv_config *config = &t->run->config;
    const gmv_comm *comm = &t->run->comm;
    gmv_agreement agreement;
    GMV_TRY(gmv_find_clusters(config, comm, t->model, &t->trainer.feed, t->cells, &t->clustering, &agreement));
    gmv_show_agreement(config, &agreement);
    return t->clustering.components > 0
               ? gmv_checkpoint_add_clusters(path, checkpoint, comm, &t->clustering, config->output_clusters)
               : GMV_OK;
}

gmv_status gmv_training_write_results(gmv_training *t)
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
    GMV_GO(find_clusters(t, path, &best));
    gmv_stage before = gmv_stage_enter(GMV_STAGE_EVALUATION);
    status = write_evaluation(t, path, best.progress.epoch);
    gmv_stage_enter(before);
    GMV_GO(status);
    if (config->output_embedding) {
        GMV_GO(write_embedding(t, path, best.progress.epoch));
    }
    if (config->output_markers) {
        GMV_GO(write_markers(t, path, best.progress.epoch));
    }
    if (config->output_report) {
        GMV_GO(gmv_check_predictive(config, comm, t->model, &t->trainer.feed, t->cells));
        GMV_GO(gmv_write_heat_map(config, comm, t->model, &t->trainer.feed, t->cells));
    }
    gmv_run_record_keep(&t->record, t->trainer.progress.epoch);
    if (config->output_report) {
        GMV_GO(gmv_comm_agree(comm, comm->rank == 0 ? gmv_write_report(config) : GMV_OK));
    }
    status = gmv_run_folder_show(&t->folder, comm, config);
done:
    gmv_checkpoint_fini(&best);
    GMV_FREE(path);
    return status;
}
