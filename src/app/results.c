/* What a run leaves besides checkpoints: embeddings and evaluations. */
#include "result_files.h"
#include "run_layout.h"
#include "run_metrics.h"
#include "session.h"

#include "gmvae/embedding.h"
#include "gmvae/files.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/stage.h"
#include "gmvae/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gmv_status put_rows(void *file, const gmv_row_results *results)
{
    GMV_TRY(gmv_embedding_put(file, results->n, results->row, results->output));
    return gmv_embedding_put_figures(file, results->n, results->row, results->neg_elbo, results->counts);
}

static gmv_status write_embedding(const gmv_config *config, const gmv_comm *comm, gmv_model *model, gmv_feed *feed,
                                  const gmv_cells *cells, const gmv_result *result, gmv_evaluation *evaluation)
{
    gmv_embedding_file *file = NULL;
    char *text = NULL;
    gmv_cell_outputs outputs = gmv_clustering_outputs(result->clustering, &model->outputs);
    gmv_embedding embedding = {.outputs = &outputs,
                               .clustering = result->clustering,
                               .checkpoint = result->checkpoint,
                               .epoch = result->epoch};
    gmv_cluster_sink merge = {0};
    gmv_layout layout = {0};
    gmv_row_sink put = {put_rows, NULL};
    gmv_layout_sink place = {&layout, outputs.n, &put, 0};
    gmv_row_sink placed = {gmv_layout_sink_take, &place}, sink = {gmv_cluster_sink_take, &merge};
    gmv_status status = gmv_config_text(config, &text);
    status = status == GMV_OK ? gmv_cluster_sink_init(&merge, result->clustering, &model->outputs, &placed) : status;
    status = gmv_comm_agree(comm, status);
    status = status == GMV_OK ? gmv_find_layout(&layout, config, comm, model, feed, cells) : status;
    if (status == GMV_OK) {
        gmv_layout_output(&outputs, &layout);
        embedding.config = text;
        status = gmv_embedding_begin(&file, result->path, cells, comm, &embedding);
    }
    if (status == GMV_OK) {
        put.context = file;
        status = gmv_evaluate(model, feed, cells, comm, GMV_CELLS_ALL, (gmv_draws){(int)config->eval_samples, false},
                              &sink, evaluation);
    }
    status = gmv_embedding_end(&file, comm, status);
    gmv_cluster_sink_fini(&merge);
    gmv_layout_fini(&layout);
    GMV_FREE(text);
    return status;
}

gmv_status gmv_write_embedding(const gmv_config *config, const gmv_comm *comm, gmv_model *model, gmv_feed *feed,
                               const gmv_cells *cells, const gmv_result *result, gmv_evaluation *evaluation)
{
    gmv_stage before = gmv_stage_enter(GMV_STAGE_EMBEDDING);
    gmv_status status = write_embedding(config, comm, model, feed, cells, result, evaluation);
    gmv_stage_enter(before);
    return status;
}

const char *gmv_error_text(double error, int digits, char *text, size_t size)
{
    text[0] = '\0';
    if (isfinite(error)) {
        snprintf(text, size, " +- %.*f", digits, error);
    }
    return text;
}

static void put_term(FILE *out, const char *name, double mean, double error)
{
    gmv_put_number(out, name, "", "%.10g", mean);
    gmv_put_number(out, name, "_se", "%.6g", error);
}

static gmv_status write_json(const gmv_config *config, const gmv_cells *cells, const gmv_result *result,
                             const gmv_evaluation *e, const gmv_figures *figures)
{
    gmv_output output;
    GMV_TRY(gmv_output_begin(&output, result->path));
    FILE *out = output.stream;
    fprintf(out, "{\n  \"cells\": %" PRId64 ",\n  \"samples\": %" PRId64 ",\n", e->cells, e->samples);
    put_term(out, "neg_elbo", e->neg_elbo, e->neg_elbo_se);
    put_term(out, "neg_elbo_objective", e->objective, e->objective_se);
    put_term(out, "neg_log_p", e->neg_log_p, e->neg_log_p_se);
    for (int i = 0; i < e->terms->n; i++) {
        if (e->terms->at[i].in_bound) {
            put_term(out, e->terms->at[i].name, e->term[i], e->term_se[i]);
        }
    }
    bool compared = result->clustering->clusters > 0 && config->data_label_key[0] != '\0';
    gmv_put_figures(out, compared, figures);
    gmv_put_files(out, cells);
    if (e->components > 0) {
        fprintf(out, "  \"components\": %d,\n  \"clusters\": %d,\n  \"active_clusters\": %d,\n", e->components,
                result->clustering->clusters, e->active_components);
    }
    fprintf(out, "  \"epoch\": %" PRId64 ",\n  \"checkpoint\": ", result->epoch);
    gmv_print_json_text(out, result->checkpoint);
    fprintf(out, "\n}\n");
    return gmv_output_end(&output, GMV_OK);
}

gmv_status gmv_write_evaluation(const gmv_config *config, const gmv_comm *comm, const gmv_cells *cells,
                                const gmv_result *result, const gmv_evaluation *evaluation, const gmv_figures *figures)
{
    gmv_status status = comm->rank == 0 ? write_json(config, cells, result, evaluation, figures) : GMV_OK;
    return gmv_comm_agree(comm, status);
}
