/* The metrics that are wanted, one after the other, each on the cells that have what it needs. */
#include "measures.h"

#include "gmvae/clock.h"
#include "gmvae/mem.h"
#include "gmvae/stage.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const gmv_metric gmv_metrics[GMV_METRICS] = {
#define GMV_METRIC(name, title, needs, k, help) {#name, help, needs, k, gmv_measure_##name},
#include "gmvae/metrics.def"
#undef GMV_METRIC
};

/* ---- views ---- */

static gmv_status make_view(gmv_view *view, const gmv_embedded *all, unsigned conditions)
{
    if (view->made) {
        return GMV_OK;
    }
    view->made = true;
    GMV_TRY(gmv_embedded_with(all, conditions, &view->cells));
    view->points = (gmv_points){view->cells.n, view->cells.dims, view->cells.latent};
    return gmv_embedded_number_anew(&view->cells);
}

static void view_fini(gmv_view *view)
{
    gmv_embedded_fini(&view->cells);
    gmv_neighbours_fini(&view->neighbours);
    GMV_FREE(view->silhouette);
    GMV_FREE(view->kmeans);
    gmv_graph_fini(&view->graph);
    GMV_FREE(view->leiden);
}

gmv_status gmv_view_neighbours(gmv_measures *m, const gmv_neighbours **neighbours)
{
    gmv_view *view = m->at;
    int most = 0;
    *neighbours = &view->neighbours;
    for (int i = 0; i < GMV_METRICS; i++) {
        most = gmv_metrics[i].k - 1 > most ? gmv_metrics[i].k - 1 : most;
    }
    most = most < view->cells.n ? most : view->cells.n - 1;
    return view->neighbours.k > 0
               ? GMV_OK
               : gmv_find_neighbours(&view->neighbours, &view->points, NULL, most, m->of->model->backend);
}

/* ---- whether a metric applies ---- */

static void say_why_not(const gmv_metric *metric, const gmv_view *view, gmv_figure *figure)
{
    const gmv_embedded *cells = &view->cells;
    if (cells->n == 0) {
        snprintf(figure->note, sizeof figure->note, "no cell has a %s",
                 (metric->needs & GMV_OF_LABELS) == 0    ? "batch"
                 : (metric->needs & GMV_OF_BATCHES) == 0 ? "label"
                                                         : "label and a batch");
    } else if ((metric->needs & GMV_OF_LABELS) != 0 && cells->labels < 2) {
        snprintf(figure->note, sizeof figure->note, "all cells have the same label");
    } else if ((metric->needs & GMV_OF_BATCHES) != 0 && cells->batches < 2) {
        snprintf(figure->note, sizeof figure->note, "all cells are of one batch");
    } else if (cells->n < metric->k) {
        snprintf(figure->note, sizeof figure->note, "%d cell%s, and it takes %d", cells->n, cells->n == 1 ? "" : "s",
                 metric->k);
    }
}

static void say_what_is_missing(const gmv_metric *metric, const gmv_measured *of, gmv_figure *figure)
{
    if ((metric->needs & GMV_OF_CLUSTERS) != 0 && of->agreement->clusters == 0) {
        snprintf(figure->note, sizeof figure->note, "the model has no clusters");
    } else if ((metric->needs & GMV_OF_LABELS) != 0 && of->cells->label == NULL) {
        snprintf(figure->note, sizeof figure->note, "data.label_key is not set");
    } else if ((metric->needs & GMV_OF_BATCHES) != 0 && of->cells->covariates == 0) {
        snprintf(figure->note, sizeof figure->note, "the model has no data.batch_keys");
    }
}

static gmv_status measure_one(gmv_measures *m, const gmv_metric *metric, gmv_figure *figure)
{
    double begun = gmv_clock();
    figure->value = NAN;
    say_what_is_missing(metric, m->of, figure);
    if (figure->note[0] == '\0' && (metric->needs & GMV_OF_CLUSTERS) == 0) {
        unsigned conditions = gmv_embedded_conditions(&m->all, metric->needs);
        m->at = &m->view[conditions];
        GMV_TRY(gmv_comm_agree(m->comm, make_view(m->at, &m->all, conditions)));
        say_why_not(metric, m->at, figure);
    }
    if (figure->note[0] == '\0') {
        gmv_stage_detail(metric->name);
        GMV_RANGE(metric->name, metric->measure(m, figure));
    }
    figure->seconds = gmv_clock() - begun;
    return GMV_OK;
}

gmv_status gmv_measure(const gmv_measured *of, const gmv_comm *comm, gmv_figures *figures)
{
    gmv_measures m = {.of = of, .comm = comm};
    bool embeds = false;
    gmv_status status = GMV_OK;
    for (int i = 0; i < GMV_METRICS; i++) {
        embeds = embeds || (figures->at[i].wanted && (gmv_metrics[i].needs & GMV_OF_CLUSTERS) == 0);
    }
    if (embeds) {
        status = gmv_gather_embedded(&m.all, of->model, of->feed, of->cells, comm, of->which, of->seed, of->most_cells);
        figures->cells = m.all.n;
        figures->of = m.all.of;
    }
    for (int i = 0; status == GMV_OK && i < GMV_METRICS; i++) {
        status = figures->at[i].wanted ? measure_one(&m, &gmv_metrics[i], &figures->at[i]) : GMV_OK;
    }
    for (int v = 0; v < 4; v++) {
        view_fini(&m.view[v]);
    }
    gmv_embedded_fini(&m.all);
    return status;
}
