#include "sweep_rows.h"

#include "gmvae/history.h"
#include "gmvae/mem.h"

#include <math.h>

const gmv_sweep_column gmv_sweep_columns[GMV_COLUMNS] = {
    [GMV_COLUMN_neg_elbo] = {"neg_elbo", "-ELBO", 2},
    [GMV_COLUMN_neg_log_p] = {"neg_log_p", "-log p", 2},
    [GMV_COLUMN_reconstruction] = {"reconstruction", "reconstruction", 2},
    [GMV_COLUMN_kl_w] = {"kl_w", "KL w", 3},
    [GMV_COLUMN_kl_z] = {"kl_z", "KL z", 3},
    [GMV_COLUMN_kl_x] = {"kl_x", "KL x", 3},
    [GMV_COLUMN_active_clusters] = {"active_clusters", "components in use", 1},
    [GMV_COLUMN_clusters] = {"clusters", "clusters", 1},
#define GMV_METRIC(name, title, needs, k, help) [GMV_COLUMN_##name] = {#name, title, 3},
#include "gmvae/metrics.def"
#undef GMV_METRIC
    [GMV_COLUMN_seconds] = {"seconds", "seconds", 1},
};

static void take_figures(const cJSON *object, gmv_sweep_row *r)
{
    for (int c = 0; c < GMV_COLUMN_seconds; c++) {
        r->value[c] = gmv_number_in(object, gmv_sweep_columns[c].key);
    }
}

/* Epochs and seconds of training; with `figures` also those of the last evaluation. */
static gmv_status read_metrics(const gmv_config *config, bool figures, gmv_sweep_row *r)
{
    gmv_history history;
    double seconds = 0.0;
    gmv_status status = gmv_history_read(&history, config->output_dir);
    for (int i = 0; i < history.lines; i++) {
        const cJSON *line = history.line[i];
        if (gmv_history_is_of(line, "train")) {
            double speed = gmv_number_in(line, "cells_per_s"), epoch = gmv_number_in(line, "epoch");
            r->epochs = isfinite(epoch) ? (int64_t)epoch : r->epochs;
            seconds += speed > 0.0 ? gmv_number_in(line, "cells") / speed : 0.0;
        } else if (figures && gmv_history_is_of(line, "validation")) {
            take_figures(line, r);
        }
    }
    gmv_history_fini(&history);
    r->value[GMV_COLUMN_seconds] = seconds > 0.0 ? seconds : (double)NAN;
    return status;
}

double gmv_trial_bound(const gmv_config *config, int64_t epoch)
{
    double bound = (double)NAN;
    gmv_history history = {0};
    cJSON *evaluation = NULL;
    gmv_status status = epoch > 0 ? gmv_history_read(&history, config->output_dir)
                                  : gmv_evaluation_read(&evaluation, config->output_dir);
    for (int i = 0; i < history.lines; i++) {
        bool wanted = gmv_history_is_of(history.line[i], "validation") &&
                      (int64_t)gmv_number_in(history.line[i], "epoch") == epoch;
        bound = wanted ? gmv_number_in(history.line[i], "neg_elbo") : bound;
    }
    bound = epoch > 0 ? bound : gmv_number_in(evaluation, "neg_elbo");
    gmv_history_fini(&history);
    cJSON_Delete(evaluation);
    if (status != GMV_OK) { /* a file that cannot be read has none */
        gmv_error_clear();
    }
    return bound;
}

static gmv_status read_row(const gmv_sweep_plan *plan, const gmv_trial_outcome *outcome, int i, gmv_sweep_row *r)
{
    gmv_config config;
    cJSON *evaluation = NULL;
    for (int c = 0; c < GMV_COLUMNS; c++) {
        r->value[c] = (double)NAN;
    }
    gmv_status status;
    GMV_GO(gmv_trial_config(plan, &plan->trial[i], &config));
    r->seed = config.seed;
    GMV_GO(read_metrics(&config, outcome->state == GMV_TRIAL_LEFT, r));
    if (outcome->state != GMV_TRIAL_DONE && outcome->state != GMV_TRIAL_LEFT) {
        r->value[GMV_COLUMN_seconds] = (double)NAN;
    }
    if (outcome->state == GMV_TRIAL_DONE) {
        GMV_GO(gmv_evaluation_read(&evaluation, config.output_dir));
        take_figures(evaluation, r);
    }
done:
    cJSON_Delete(evaluation);
    gmv_config_fini(&config);
    return status;
}

gmv_status gmv_sweep_rows_read(gmv_sweep_rows *rows, const gmv_sweep_plan *plan, const gmv_trial_outcome *outcome)
{
    *rows = (gmv_sweep_rows){.plan = plan, .over = &plan->run->config.sweep_over, .outcome = outcome};
    rows->repeats = plan->n / plan->combinations;
    GMV_TRY(GMV_NEW(rows->row, plan->n, "rows of a sweep"));
    for (int i = 0; i < plan->n; i++) {
        GMV_TRY(read_row(plan, &outcome[i], i, &rows->row[i]));
        for (int c = 0; c < GMV_COLUMNS; c++) {
            rows->shown[c] = rows->shown[c] || isfinite(rows->row[i].value[c]);
        }
    }
    return GMV_OK;
}

void gmv_sweep_rows_fini(gmv_sweep_rows *rows)
{
    GMV_FREE(rows->row);
}
