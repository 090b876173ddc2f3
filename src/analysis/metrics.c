/* One function for each row of metrics.def: from the cells to the figure. */
#include "measures.h"

#include "gmvae/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- clusters of the model ---- */

gmv_status gmv_measure_ari(gmv_measures *m, gmv_figure *figure)
{
    figure->value = m->of->agreement->ari;
    return GMV_OK;
}

gmv_status gmv_measure_nmi(gmv_measures *m, gmv_figure *figure)
{
    figure->value = m->of->agreement->nmi;
    return GMV_OK;
}

gmv_status gmv_measure_accuracy(gmv_measures *m, gmv_figure *figure)
{
    figure->value = m->of->agreement->accuracy;
    return GMV_OK;
}

/* ---- k-means ---- */

gmv_status gmv_compare_with_labels(const gmv_embedded *cells, const int32_t *cluster, int clusters,
                                   gmv_agreement *agreement)
{
    gmv_census census = {.clusters = clusters, .levels = cells->labels};
    GMV_TRY(GMV_NEW(census.table, (int64_t)clusters * cells->labels, "cells of clusters and labels"));
    for (int i = 0; i < cells->n; i++) {
        census.table[(int64_t)cells->label[i] * clusters + cluster[i]]++;
    }
    gmv_status status = gmv_agreement_of(&census, agreement);
    gmv_census_fini(&census);
    return status;
}

static int fewer(int a, int b)
{
    return a < b ? a : b;
}

/* Agreement of k-means with the labels. Collective. */
static gmv_status kmeans_at(gmv_measures *m, int k, gmv_agreement *agreement)
{
    gmv_view *view = m->at;
    int32_t *cluster = NULL;
    gmv_status status = GMV_OK;
    if (view->kmeans == NULL) {
        view->most_k = view->cells.labels > m->of->k_max ? view->cells.labels : m->of->k_max;
        status = GMV_NEW(view->kmeans, view->most_k + 1, "k-means");
    }
    if (status == GMV_OK && view->kmeans[k].clusters == 0) {
        status = GMV_NEW(cluster, view->cells.n, "clusters of cells");
        status = gmv_comm_agree(m->comm, status);
        status = status == GMV_OK ? gmv_kmeans(&view->points, k, m->of->seed, m->comm, cluster) : status;
        status = status == GMV_OK ? gmv_compare_with_labels(&view->cells, cluster, k, &view->kmeans[k]) : status;
    }
    GMV_FREE(cluster);
    GMV_TRY(gmv_comm_agree(m->comm, status));
    *agreement = view->kmeans[k];
    return GMV_OK;
}

gmv_status gmv_measure_kmeans_ari(gmv_measures *m, gmv_figure *figure)
{
    gmv_agreement agreement;
    GMV_TRY(kmeans_at(m, m->at->cells.labels, &agreement));
    figure->value = agreement.ari;
    return GMV_OK;
}

gmv_status gmv_measure_kmeans_nmi(gmv_measures *m, gmv_figure *figure)
{
    gmv_agreement agreement;
    GMV_TRY(kmeans_at(m, m->at->cells.labels, &agreement));
    figure->value = agreement.nmi;
    return GMV_OK;
}

static void keep_best(gmv_figure *figure, double value, int k)
{
    if (figure->k == 0 || value > figure->value) {
        figure->value = value;
        figure->k = k;
    }
}

static gmv_status best_kmeans(gmv_measures *m, gmv_figure *figure, bool of_nmi)
{
    int most = fewer(m->of->k_max, m->at->cells.n);
    for (int k = 1; k <= most; k++) {
        gmv_agreement agreement;
        GMV_TRY(kmeans_at(m, k, &agreement));
        keep_best(figure, of_nmi ? agreement.nmi : agreement.ari, k);
    }
    snprintf(figure->note, sizeof figure->note, "k = %d of 1 to %d", figure->k, most);
    return GMV_OK;
}

gmv_status gmv_measure_kmeans_best_ari(gmv_measures *m, gmv_figure *figure)
{
    return best_kmeans(m, figure, false);
}

gmv_status gmv_measure_kmeans_best_nmi(gmv_measures *m, gmv_figure *figure)
{
    return best_kmeans(m, figure, true);
}

/* ---- silhouettes ---- */

/* Of labels, of every cell. Collective. */
static gmv_status label_silhouettes(gmv_measures *m)
{
    gmv_view *view = m->at;
    if (view->silhouette != NULL) {
        return GMV_OK;
    }
    GMV_TRY(gmv_comm_agree(m->comm, GMV_NEW(view->silhouette, view->cells.n, "silhouettes of cells")));
    return gmv_silhouettes(&view->points, view->cells.label, view->cells.labels, m->comm, view->silhouette);
}

gmv_status gmv_measure_asw(gmv_measures *m, gmv_figure *figure)
{
    double sum = 0.0;
    GMV_TRY(label_silhouettes(m));
    for (int i = 0; i < m->at->cells.n; i++) {
        sum += m->at->silhouette[i];
    }
    figure->value = 0.5 * (sum / m->at->cells.n + 1.0);
    return GMV_OK;
}

/* How many batches each label is in. @param[out] in  [labels] */
static gmv_status count_batches(const gmv_embedded *cells, int *in)
{
    uint8_t *seen = NULL;
    GMV_TRY(GMV_NEW(seen, (int64_t)cells->labels * cells->batches, "batches of labels"));
    for (int i = 0; i < cells->n; i++) {
        uint8_t *at = &seen[(int64_t)cells->label[i] * cells->batches + cells->batch[i]];
        in[cells->label[i]] += *at == 0 ? 1 : 0;
        *at = 1;
    }
    GMV_FREE(seen);
    return GMV_OK;
}

/* Means over the cells of a label, and their mean over the labels that are in no more than `most` batches. */
static gmv_status mean_of_isolated(const gmv_view *view, const int *in, int most, double *mean)
{
    double *sum = NULL, total = 0.0;
    int *count = NULL, labels = 0;
    gmv_status status;
    GMV_GO(GMV_NEW(sum, view->cells.labels, "silhouettes of labels"));
    GMV_GO(GMV_NEW(count, view->cells.labels, "silhouettes of labels"));
    for (int i = 0; i < view->cells.n; i++) {
        sum[view->cells.label[i]] += 0.5 * (view->silhouette[i] + 1.0);
        count[view->cells.label[i]]++;
    }
    for (int l = 0; l < view->cells.labels; l++) {
        total += in[l] <= most ? sum[l] / count[l] : 0.0;
        labels += in[l] <= most ? 1 : 0;
    }
    *mean = total / labels;
done:
    GMV_FREE(sum);
    GMV_FREE(count);
    return status;
}

gmv_status gmv_measure_isolated_labels(gmv_measures *m, gmv_figure *figure)
{
    const gmv_embedded *cells = &m->at->cells;
    int *in = NULL, fewest = cells->batches, labels = 0;
    GMV_TRY(label_silhouettes(m));
    gmv_status status = GMV_NEW(in, cells->labels, "batches of labels");
    status = status == GMV_OK ? count_batches(cells, in) : status;
    for (int l = 0; status == GMV_OK && l < cells->labels; l++) {
        labels = in[l] < fewest ? 1 : labels + (in[l] == fewest ? 1 : 0);
        fewest = fewer(in[l], fewest);
    }
    status = status == GMV_OK ? mean_of_isolated(m->at, in, fewest, &figure->value) : status;
    snprintf(figure->note, sizeof figure->note, "%d label%s in %d batch%s", labels, labels == 1 ? "" : "s", fewest,
             fewest == 1 ? "" : "es");
    GMV_FREE(in);
    return gmv_comm_agree(m->comm, status);
}

/* The cells of one label. */
static gmv_status cells_of_label(const gmv_embedded *all, int label, gmv_embedded *some)
{
    gmv_embedded masked = *all;
    masked.label = NULL;
    gmv_status status;
    GMV_GO(GMV_NEW(masked.label, all->n, "cells of a label"));
    for (int i = 0; i < all->n; i++) {
        masked.label[i] = all->label[i] == label ? 0 : -1;
    }
    GMV_GO(gmv_embedded_with(&masked, GMV_NEEDS_LABEL, some));
    GMV_GO(gmv_embedded_number_anew(some));
done:
    GMV_FREE(masked.label);
    return status;
}

/* Mean of 1 - |silhouette of batches| of a label's cells; NaN where these are of one batch, or each of its own. Collective. */
static gmv_status mixing_of_label(gmv_measures *m, int label, double *mean)
{
    gmv_embedded cells = {0};
    double *silhouette = NULL, sum = 0.0;
    gmv_status status = cells_of_label(&m->at->cells, label, &cells);
    status = status == GMV_OK ? GMV_NEW(silhouette, cells.n, "silhouettes of batches") : status;
    status = gmv_comm_agree(m->comm, status);
    *mean = NAN;
    if (status == GMV_OK && cells.batches > 1 && cells.batches < cells.n) {
        gmv_points points = {cells.n, cells.dims, cells.latent};
        status = gmv_silhouettes(&points, cells.batch, cells.batches, m->comm, silhouette);
        for (int i = 0; i < cells.n; i++) {
            sum += 1.0 - fabs(silhouette[i]);
        }
        *mean = sum / cells.n;
    }
    GMV_FREE(silhouette);
    gmv_embedded_fini(&cells);
    return status;
}

gmv_status gmv_measure_batch_asw(gmv_measures *m, gmv_figure *figure)
{
    double sum = 0.0;
    int labels = 0;
    for (int l = 0; l < m->at->cells.labels; l++) {
        double mean;
        GMV_TRY(mixing_of_label(m, l, &mean));
        sum += isnan(mean) ? 0.0 : mean;
        labels += isnan(mean) ? 0 : 1;
    }
    figure->value = labels > 0 ? sum / labels : NAN;
    snprintf(figure->note, sizeof figure->note,
             labels > 0 ? "%d of %d labels" : "no label has several cells of several batches", labels,
             m->at->cells.labels);
    return GMV_OK;
}

/* ---- neighbours ---- */

enum { voters = 15 };

gmv_status gmv_measure_clisi(gmv_measures *m, gmv_figure *figure)
{
    const gmv_neighbours *neighbours;
    const gmv_embedded *cells = &m->at->cells;
    double median;
    GMV_TRY(gmv_view_neighbours(m, &neighbours));
    GMV_TRY(
        gmv_median_lisi(neighbours, gmv_metrics[GMV_METRIC_clisi].k, cells->label, cells->labels, m->comm, &median));
    figure->value = (cells->labels - median) / (cells->labels - 1.0);
    return GMV_OK;
}

gmv_status gmv_measure_ilisi(gmv_measures *m, gmv_figure *figure)
{
    const gmv_neighbours *neighbours;
    const gmv_embedded *cells = &m->at->cells;
    double median;
    GMV_TRY(gmv_view_neighbours(m, &neighbours));
    GMV_TRY(
        gmv_median_lisi(neighbours, gmv_metrics[GMV_METRIC_ilisi].k, cells->batch, cells->batches, m->comm, &median));
    figure->value = (median - 1.0) / (cells->batches - 1.0);
    return GMV_OK;
}

gmv_status gmv_measure_kbet(gmv_measures *m, gmv_figure *figure)
{
    const gmv_neighbours *neighbours;
    const gmv_embedded *cells = &m->at->cells;
    GMV_TRY(gmv_view_neighbours(m, &neighbours));
    int k = gmv_metrics[GMV_METRIC_kbet].k;
    return gmv_comm_agree(m->comm, gmv_kbet(neighbours, k, cells->batch, cells->batches, &figure->value));
}

gmv_status gmv_measure_graph_connectivity(gmv_measures *m, gmv_figure *figure)
{
    const gmv_neighbours *neighbours;
    const gmv_embedded *cells = &m->at->cells;
    GMV_TRY(gmv_view_neighbours(m, &neighbours));
    int k = gmv_metrics[GMV_METRIC_graph_connectivity].k;
    return gmv_comm_agree(m->comm, gmv_connectivity(neighbours, k, cells->label, cells->labels, &figure->value));
}

/* By the labels of other cells than these: levels are those of the files in both. Collective. */
static gmv_status vote_of_trained(gmv_measures *m, const gmv_embedded *trained, gmv_figure *figure)
{
    gmv_embedded ours = {0}, theirs = {0};
    gmv_neighbours neighbours = {0};
    int32_t *votes = NULL;
    gmv_status status = gmv_embedded_with(&m->all, GMV_NEEDS_LABEL, &ours);
    status = status == GMV_OK ? gmv_embedded_with(trained, GMV_NEEDS_LABEL, &theirs) : status;
    status = status == GMV_OK ? GMV_NEW(votes, ours.labels, "votes of neighbours") : status;
    status = gmv_comm_agree(m->comm, status);
    if (status == GMV_OK && theirs.n < voters) {
        snprintf(figure->note, sizeof figure->note, "%d labelled training cell%s, and it takes %d", theirs.n,
                 theirs.n == 1 ? "" : "s", voters);
    } else if (status == GMV_OK) {
        gmv_points of = {ours.n, ours.dims, ours.latent}, among = {theirs.n, theirs.dims, theirs.latent};
        status = gmv_find_neighbours(&neighbours, &among, &of, voters, m->of->model->backend);
        snprintf(figure->note, sizeof figure->note, "by %d labelled training cells", theirs.n);
        if (status == GMV_OK) {
            figure->value = gmv_vote_accuracy(&neighbours, voters, ours.label, theirs.label, ours.labels, votes);
        }
    }
    gmv_neighbours_fini(&neighbours);
    gmv_embedded_fini(&ours);
    gmv_embedded_fini(&theirs);
    GMV_FREE(votes);
    return status;
}

static gmv_status vote_of_others(gmv_measures *m, gmv_figure *figure)
{
    const gmv_neighbours *neighbours;
    const gmv_embedded *cells = &m->at->cells;
    int32_t *votes = NULL;
    if (cells->n <= voters) {
        snprintf(figure->note, sizeof figure->note, "%d cells, and it takes %d", cells->n, voters + 1);
        return GMV_OK;
    }
    GMV_TRY(gmv_view_neighbours(m, &neighbours));
    GMV_TRY(gmv_comm_agree(m->comm, GMV_NEW(votes, cells->labels, "votes of neighbours")));
    figure->value = gmv_vote_accuracy(neighbours, voters, cells->label, cells->label, cells->labels, votes);
    snprintf(figure->note, sizeof figure->note, "by the other cells");
    GMV_FREE(votes);
    return GMV_OK;
}

gmv_status gmv_measure_knn_accuracy(gmv_measures *m, gmv_figure *figure)
{
    const gmv_measured *of = m->of;
    gmv_embedded trained = {0};
    if (of->which != GMV_CELLS_HELD_OUT) {
        return vote_of_others(m, figure);
    }
    gmv_status status = gmv_gather_embedded(&trained, of->model, of->feed, of->cells, m->comm, GMV_CELLS_TRAINED,
                                            of->seed, of->most_cells);
    status = status == GMV_OK ? vote_of_trained(m, &trained, figure) : status;
    gmv_embedded_fini(&trained);
    return status;
}

/* ---- variance ---- */

gmv_status gmv_measure_pcr_batch(gmv_measures *m, gmv_figure *figure)
{
    const gmv_embedded *cells = &m->at->cells;
    return gmv_comm_agree(m->comm, gmv_share_between(&m->at->points, cells->batch, cells->batches, &figure->value));
}
