/* The pictures of a run. */
#include "report.h"

#include "gmvae/mem.h"

#include <math.h>
#include <string.h>

enum { gene_room = 400 };

/* A row of the table of curves: the same key of both splits, or keys of one. */
typedef struct gmv_chart {
    const char *file, *title, *label;
    int curves;
    struct {
        const char *name, *split, *key;
    } curve[4];
} gmv_chart;

static const gmv_chart charts[] = {
    {"loss",
     "Loss",
     "-ELBO, nats per cell",
     2,
     {{"training", "train", "neg_elbo"}, {"held out", "validation", "neg_elbo"}}},
    {"reconstruction",
     "Reconstruction",
     "nats per cell",
     2,
     {{"training", "train", "reconstruction"}, {"held out", "validation", "reconstruction"}}},
    {"divergences",
     "KL divergences of held-out cells",
     "nats per cell",
     3,
     {{"KL w", "validation", "kl_w"}, {"KL z", "validation", "kl_z"}, {"KL x", "validation", "kl_x"}}},
    {"components", "Components in use", "components", 1, {{"in use", "train", "active_clusters"}}},
};
enum { chart_count = sizeof charts / sizeof charts[0], most_curves = 4 };

static gmv_status draw_chart(gmv_gallery *gallery, const gmv_history *history, const gmv_chart *chart)
{
    gmv_curve curve[most_curves] = {{0}};
    int n = 0;
    gmv_status status = GMV_OK;
    for (int c = 0; c < chart->curves && status == GMV_OK; c++) {
        status = gmv_history_curve(history, chart->curve[c].split, chart->curve[c].key, &curve[n]);
        curve[n].name = chart->curve[c].name;
        if (status == GMV_OK && curve[n].points > 0) {
            n++;
        } else {
            gmv_curve_fini(&curve[n]);
        }
    }
    if (status == GMV_OK && n > 0) {
        status = gmv_draw_curves(gallery, chart->file, chart->title, "epoch", chart->label, n, curve);
    }
    for (int c = 0; c < n; c++) {
        gmv_curve_fini(&curve[c]);
    }
    return status;
}

static gmv_status draw_pairs(gmv_gallery *gallery, const gmv_result_cells *result, const gmv_column *rows,
                             const char *file)
{
    int64_t *count = NULL;
    char title[300];
    if (rows->levels == 0 || result->cluster.levels == 0) {
        return GMV_OK;
    }
    GMV_TRY(gmv_count_pairs(result->cells, rows, &result->cluster, &count));
    snprintf(title, sizeof title, "Clusters of each %.200s, percent of its cells", rows->key);
    gmv_status status = gmv_draw_shares(gallery, file, title, rows->key, "cluster", rows->levels, rows->level,
                                        result->cluster.levels, result->cluster.level, count);
    gmv_free(count);
    return status;
}

static gmv_status draw_tree(gmv_gallery *gallery, const gmv_result_cells *result, const gmv_result_markers *markers)
{
    int64_t *size = NULL;
    char(*genes)[gene_room] = NULL, **beside = NULL;
    int components = result->component.levels;
    if (result->tree == NULL || components < 2) {
        return GMV_OK;
    }
    gmv_status status;
    GMV_GO(GMV_NEW(size, components, "sizes of components"));
    for (int64_t i = 0; i < result->cells; i++) {
        if (result->component.code[i] >= 0) {
            size[result->component.code[i]]++;
        }
    }
    if (markers->clusters > 0) {
        GMV_GO(GMV_NEW(genes, components, "genes of clusters"));
        GMV_GO(GMV_NEW(beside, components, "genes of clusters"));
    }
    for (int c = 0; c < components && genes != NULL; c++) {
        beside[c] = genes[c];
        if (c < markers->clusters) {
            gmv_marker_names(markers, c, GMV_SHOWN_MARKERS, genes[c], gene_room);
        }
    }
    status = gmv_draw_tree(gallery, "tree", "Components, and where their tree was cut", components, result->tree,
                           result->cut, result->cluster_of, size, beside);
done:
    gmv_free(size);
    gmv_free(genes);
    gmv_free((void *)beside);
    return status;
}

/* In latent space, and where there is such a layout by counts alone. */
static gmv_status draw_layout_by(gmv_gallery *gallery, const gmv_result_cells *result, const gmv_column *column,
                                 const char *file)
{
    gmv_point_colors colors = {.code = column->code, .levels = column->levels, .level = column->level};
    char title[300], other[100];
    if (column->levels == 0) {
        return GMV_OK;
    }
    snprintf(title, sizeof title, "UMAP of the embedding, by %.200s", column->key);
    GMV_TRY(gmv_draw_points(gallery, file, title, result->cells, result->layout, &colors));
    snprintf(title, sizeof title, "UMAP of the counts, without the model, by %.200s", column->key);
    snprintf(other, sizeof other, "counts-%.80s", file);
    return result->by_counts != NULL ? gmv_draw_points(gallery, other, title, result->cells, result->by_counts, &colors)
                                     : GMV_OK;
}

/* By the logarithm of each cell's counts. */
static gmv_status draw_layout_by_counts(gmv_gallery *gallery, const gmv_result_cells *result)
{
    gmv_point_colors colors = {.low = HUGE_VAL, .high = -HUGE_VAL};
    float *value = NULL;
    gmv_status status = GMV_OK;
    if (result->counts == NULL) {
        return GMV_OK;
    }
    GMV_GO(GMV_NEW(value, result->cells, "colors of cells"));
    for (int64_t i = 0; i < result->cells; i++) {
        value[i] = result->counts[i] > 0.0f ? log10f(result->counts[i]) : NAN;
        colors.low = fmin(colors.low, (double)value[i]);
        colors.high = fmax(colors.high, (double)value[i]);
    }
    colors.value = value;
    GMV_GO(gmv_draw_points(gallery, "umap-counts", "UMAP of the embedding, by log10 of the counts of a cell",
                           result->cells, result->layout, &colors));
    GMV_GO(result->by_counts != NULL
               ? gmv_draw_points(gallery, "counts-umap-counts", "UMAP of the counts, without the model, by their log10",
                                 result->cells, result->by_counts, &colors)
               : GMV_OK);
done:
    gmv_free(value);
    return status;
}

static gmv_status draw_layouts(gmv_gallery *gallery, const gmv_result_cells *result)
{
    gmv_point_colors certainty = {.value = result->certainty, .low = 0.0, .high = 1.0};
    if (result->layout == NULL) {
        return GMV_OK;
    }
    GMV_TRY(draw_layout_by(gallery, result, &result->cluster, "umap-cluster"));
    GMV_TRY(draw_layout_by(gallery, result, &result->label, "umap-label"));
    for (int b = 0; b < result->batches; b++) {
        char file[80];
        snprintf(file, sizeof file, "umap-batch-%d", b + 1);
        GMV_TRY(draw_layout_by(gallery, result, &result->batch[b], file));
    }
    GMV_TRY(draw_layout_by_counts(gallery, result));
    return result->certainty != NULL && result->cluster.levels > 0
               ? gmv_draw_points(gallery, "umap-certainty", "UMAP of the embedding, by certainty", result->cells,
                                 result->layout, &certainty)
               : GMV_OK;
}

gmv_status gmv_write_figures(gmv_gallery *gallery, const gmv_run_files *run)
{
    const gmv_result_cells *result = &run->result;
    GMV_TRY(draw_layouts(gallery, result));
    GMV_TRY(draw_tree(gallery, result, &run->markers));
    GMV_TRY(draw_pairs(gallery, result, &result->label, "clusters-of-label"));
    for (int b = 0; b < result->batches; b++) {
        char file[80];
        snprintf(file, sizeof file, "clusters-of-batch-%d", b + 1);
        GMV_TRY(draw_pairs(gallery, result, &result->batch[b], file));
    }
    GMV_TRY(gmv_draw_heat_map(gallery, result, run->heat_map));
    GMV_TRY(gmv_draw_checks(gallery, run->predictive));
    for (int c = 0; c < chart_count; c++) {
        GMV_TRY(draw_chart(gallery, &run->history, &charts[c]));
    }
    return gmv_draw_mass(gallery, &run->history, result);
}
