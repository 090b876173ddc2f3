/* What a training will do, in words. */
#include "training.h"

#include "gmvae/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Below so many optimiser steps clusters were worse than those of principal components (docs/quality.md). */
enum { few_steps = 300 };

static void show_memory(const gmv_training *t)
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

void gmv_training_show_plan(const gmv_training *t)
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
    if (config->sweep_over.n > 0) {
        gmv_log("note    this is one training; the section sweep is for gmvae_dist sweep");
    }
}
