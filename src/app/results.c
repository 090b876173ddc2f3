/* What a run leaves besides checkpoints: embeddings and evaluations. */
#include "result_files.h"
#include "session.h"

#include "gmvae/embedding.h"
#include "gmvae/files.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gmv_status put_rows(void *file, const gmv_row_results *results)
{
    return gmv_embedding_put(file, results->n, results->row, results->output);
}

static gmv_status put_bounds(void *file, const gmv_row_results *results)
{
    return gmv_embedding_put_bounds(file, results->n, results->row, results->neg_elbo);
}

gmv_status gmv_write_embedding(const gmv_config *config, const gmv_comm *comm, gmv_model *model, gmv_feed *feed,
                               const gmv_cells *cells, const gmv_result *result, gmv_evaluation *evaluation)
{
    gmv_embedding_file *file = NULL;
    char *text = NULL;
    gmv_embedding embedding = {.outputs = &model->outputs, .checkpoint = result->checkpoint, .epoch = result->epoch};
    gmv_status status;
    status = gmv_comm_agree(comm, gmv_config_text(config, &text));
    if (status == GMV_OK) {
        embedding.config = text;
        status = gmv_embedding_begin(&file, result->path, cells, comm, &embedding);
    }
    if (status == GMV_OK) {
        gmv_row_sink sink = {put_rows, file};
        status = gmv_comm_agree(comm, gmv_embed_rows(model, feed, cells, &sink));
    }
    if (status == GMV_OK) {
        gmv_row_sink sink = {put_bounds, file};
        status = gmv_evaluate(model, feed, cells, comm, GMV_CELLS_ALL, (int)config->eval_samples, &sink, evaluation);
    }
    status = gmv_embedding_end(&file, comm, status);
    GMV_FREE(text);
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

/* "NAME": VALUE, with null for what is not defined. */
static void put_number(FILE *out, const char *name, const char *suffix, const char *format, double value)
{
    fprintf(out, "  \"%s%s\": ", name, suffix);
    if (isfinite(value)) {
        fprintf(out, format, value);
    } else {
        fputs("null", out);
    }
    fputs(",\n", out);
}

static void put_term(FILE *out, const char *name, double mean, double error)
{
    put_number(out, name, "", "%.10g", mean);
    put_number(out, name, "_se", "%.6g", error);
}

/* Whether output.metrics names this figure. */
static bool wants(const gmv_config *config, const char *metric)
{
    for (int i = 0; i < config->output_metrics.n; i++) {
        if (strcmp(config->output_metrics.at[i], metric) == 0) {
            return true;
        }
    }
    return false;
}

void gmv_show_agreement(const gmv_config *config, const gmv_agreement *agreement)
{
    char text[64] = "";
    if (agreement->clusters == 0 || config->data_label_key[0] == '\0' || config->output_metrics.n == 0) {
        return;
    }
    if (agreement->cells == 0 || agreement->labels == 1) {
        gmv_log("clusters against %s: no figure, as %s", config->data_label_key,
                agreement->cells == 0 ? "no cell with counts has a label" : "all cells have the same label");
        return;
    }
    if (wants(config, "ari")) {
        snprintf(text, sizeof text, " ARI %.3f", agreement->ari);
    }
    if (wants(config, "nmi")) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, " NMI %.3f", agreement->nmi);
    }
    if (text[0] != '\0') {
        gmv_log("clusters against %s on %" PRId64 " labelled cells:%s", config->data_label_key, agreement->cells, text);
    }
}

static gmv_status write_json(const gmv_config *config, const gmv_cells *cells, const gmv_result *result,
                             const gmv_evaluation *e, const gmv_agreement *agreement)
{
    gmv_output output;
    GMV_TRY(gmv_output_begin(&output, result->path));
    FILE *out = output.stream;
    fprintf(out, "{\n  \"cells\": %" PRId64 ",\n  \"samples\": %" PRId64 ",\n", e->cells, e->samples);
    put_term(out, "neg_elbo", e->neg_elbo, e->neg_elbo_se);
    put_term(out, "neg_elbo_objective", e->objective, e->objective_se);
    for (int i = 0; i < e->terms->n; i++) {
        if (e->terms->at[i].in_bound) {
            put_term(out, e->terms->at[i].name, e->term[i], e->term_se[i]);
        }
    }
    bool compared = agreement->clusters > 0 && config->data_label_key[0] != '\0';
    if (compared && wants(config, "ari")) {
        put_number(out, "ari", "", "%.6f", agreement->ari);
    }
    if (compared && wants(config, "nmi")) {
        put_number(out, "nmi", "", "%.6f", agreement->nmi);
    }
    gmv_put_files(out, cells);
    if (e->clusters > 0) {
        fprintf(out, "  \"active_clusters\": %d,\n", e->active_clusters);
    }
    fprintf(out, "  \"epoch\": %" PRId64 ",\n  \"checkpoint\": ", result->epoch);
    gmv_print_json_text(out, result->checkpoint);
    fprintf(out, "\n}\n");
    return gmv_output_end(&output, GMV_OK);
}

gmv_status gmv_write_evaluation(const gmv_config *config, const gmv_comm *comm, const gmv_cells *cells,
                                const gmv_result *result, const gmv_evaluation *evaluation,
                                const gmv_agreement *agreement)
{
    gmv_status status = comm->rank == 0 ? write_json(config, cells, result, evaluation, agreement) : GMV_OK;
    return gmv_comm_agree(comm, status);
}
