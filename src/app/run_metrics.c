#include "run_metrics.h"

#include "run_clusters.h"

#include "gmvae/log.h"
#include "gmvae/stage.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Whether output.metrics names this figure, or all. */
static bool wants(const gmv_config *config, const char *metric)
{
    for (int i = 0; i < config->output_metrics.n; i++) {
        const char *name = config->output_metrics.at[i];
        if (strcmp(name, metric) == 0 || strcmp(name, "all") == 0) {
            return true;
        }
    }
    return false;
}

static bool is_of_clusters(int metric)
{
    return (gmv_metrics[metric].needs & GMV_OF_CLUSTERS) != 0;
}

static gmv_status measure_cells(const gmv_config *config, const gmv_comm *comm, gmv_model *model, gmv_feed *feed,
                                const gmv_cells *cells, gmv_which_cells which, const gmv_clustering *clustering,
                                gmv_agreement *agreement, gmv_figures *figures)
{
    gmv_measured of = {.model = model,
                       .feed = feed,
                       .cells = cells,
                       .which = which,
                       .agreement = agreement,
                       .seed = (uint64_t)config->seed,
                       .most_cells = config->eval_metric_cells,
                       .k_max = (int)config->eval_k_max};
    memset(figures, 0, sizeof *figures);
    for (int i = 0; i < GMV_METRICS; i++) {
        figures->at[i].wanted = wants(config, gmv_metrics[i].name);
    }
    GMV_TRY(gmv_compare_clusters(clustering, model, feed, cells, comm, which, agreement));
    return gmv_measure(&of, comm, figures);
}

gmv_status gmv_measure_cells(const gmv_config *config, const gmv_comm *comm, gmv_model *model, gmv_feed *feed,
                             const gmv_cells *cells, gmv_which_cells which, const gmv_clustering *clustering,
                             gmv_agreement *agreement, gmv_figures *figures)
{
    gmv_stage before = gmv_stage_enter(GMV_STAGE_METRICS);
    gmv_status status = measure_cells(config, comm, model, feed, cells, which, clustering, agreement, figures);
    gmv_stage_enter(before);
    return status;
}

void gmv_show_agreement(const gmv_config *config, const gmv_agreement *agreement)
{
    const struct {
        const char *metric, *text;
        double value;
    } shown[] = {
        {"ari", "ARI", agreement->ari}, {"nmi", "NMI", agreement->nmi}, {"accuracy", "accuracy", agreement->accuracy}};
    char text[96] = "";
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        size_t used = strlen(text);
        if (wants(config, shown[i].metric)) {
            snprintf(text + used, sizeof text - used, " %s %.3f", shown[i].text, shown[i].value);
        }
    }
    if (agreement->clusters == 0 || config->data_label_key[0] == '\0' || config->output_metrics.n == 0) {
        return;
    }
    if (agreement->cells == 0 || agreement->labels == 1) {
        gmv_log("clusters against %s: no figure, as %s", config->data_label_key,
                agreement->cells == 0 ? "no cell with counts has a label" : "all cells have the same label");
    } else if (text[0] != '\0') {
        gmv_log("clusters against %s on %" PRId64 " labelled cells:%s", config->data_label_key, agreement->cells, text);
    }
}

static void show_figure(const gmv_metric *metric, const gmv_figure *figure)
{
    char number[32] = "     -";
    if (isfinite(figure->value)) {
        snprintf(number, sizeof number, "%6.3f", figure->value);
    }
    gmv_log("  %-18s %s %7.1f s  %s%s%s", metric->name, number, figure->seconds, metric->help,
            figure->note[0] != '\0' ? "; " : "", figure->note);
}

static void show_heading(const gmv_cells *cells, const gmv_figures *figures)
{
    bool labels = cells->label != NULL, batches = cells->covariates > 0;
    gmv_log("embedding of %" PRId64 " cell%s%s%s%s%s%s:", figures->cells, figures->cells == 1 ? "" : "s",
            figures->cells < figures->of ? " of more, a sample (eval.metric_cells)" : "", labels ? ", labels " : "",
            labels ? cells->label->key : "", batches ? ", batches " : "", batches ? cells->covariate[0].key : "");
}

void gmv_show_figures(const gmv_cells *cells, const gmv_figures *figures)
{
    bool begun = false;
    for (int i = 0; i < GMV_METRICS; i++) {
        if (!figures->at[i].wanted || is_of_clusters(i)) {
            continue;
        }
        if (!begun) {
            show_heading(cells, figures);
        }
        begun = true;
        show_figure(&gmv_metrics[i], &figures->at[i]);
    }
}

void gmv_put_number(FILE *out, const char *name, const char *suffix, const char *format, double value)
{
    fprintf(out, "  \"%s%s\": ", name, suffix);
    if (isfinite(value)) {
        fprintf(out, format, value);
    } else {
        fputs("null", out);
    }
    fputs(",\n", out);
}

void gmv_put_figures(FILE *out, bool compared, const gmv_figures *figures)
{
    for (int i = 0; i < GMV_METRICS; i++) {
        const gmv_figure *figure = &figures->at[i];
        if (!figure->wanted || (is_of_clusters(i) && !compared)) {
            continue;
        }
        gmv_put_number(out, gmv_metrics[i].name, "", "%.6f", figure->value);
        if (figure->k > 0) {
            fprintf(out, "  \"%s_k\": %d,\n", gmv_metrics[i].name, figure->k);
        }
        if (figure->resolution > 0.0) {
            fprintf(out, "  \"%s_resolution\": %.1f,\n", gmv_metrics[i].name, figure->resolution);
        }
    }
    if (figures->of > 0) {
        fprintf(out, "  \"metric_cells\": %" PRId64 ",\n  \"metric_cells_of\": %" PRId64 ",\n", figures->cells,
                figures->of);
    }
}
