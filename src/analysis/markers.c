/* Differential expression as scvi-tools' mode "change" (Boyeau et al. 2019, Gayoso et al. 2022): draws of expected
 * expression of a cell of the cluster beside draws of a cell of the rest.
 *
 * Draw d of every cluster is decoded together, and compared with draw d of every other cluster, weighted by how many of the
 * rest are its cells: so all pairs of clusters share the decoded rows. Sums are of whole numbers, and are the same for every
 * number of ranks. */
#include "gmvae/markers.h"
#include "cluster_cells.h"

#include "gmvae/expression.h"
#include "gmvae/math/special.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"
#include "gmvae/stage.h"
#include "gmvae/work.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows that are decoded together; combinations of levels that are averaged over. */
enum { most_rows = 256, most_combinations = 32 };

static const double per = 1e4;         /* means are counts of so many */
static const double few_counts = 0.05; /* of a cell of mean size: the pseudocount */
static const double unit_of_logs = 0x1p40, unit_of_means = 0x1p45, unit_of_weights = 0x1p30;

typedef struct search {
    gmv_markers *markers;
    gmv_model *model;
    gmv_cluster_cells found;
    gmv_level_mix mix;
    gmv_expression expression;
    int draws, draws_at_once;
    float delta, pseudocount; /* the latter a fraction */
    float *latent;            /* [draws, C, D] */
    float *row;               /* [draws_at_once, C, G] fractions, then their logarithms */
    int32_t *weight;          /* [C, C] of a cluster in the rest of another */
    int64_t *logs, *means;    /* [C, G] sums over draws */
    int64_t *over;            /* [C, G] sums over draws of the weights of clusters from which it differs */
    int32_t *over_now;        /* [C, G] of one draw */
} search;

const char *gmv_marker_name(gmv_marker_figure figure)
{
    static const char *const name[] = {GMV_MARKER_FIGURES(GMV_MARKER_NAME)};
    return name[figure];
}

/* ---- sums over draws ---- */

/* Adds the draws of a cluster to its sums, and takes their logarithms. */
static void add_draws(search *s, int cluster, int n)
{
    int64_t genes = s->markers->genes;
    int64_t *GMV_RESTRICT means = s->means + cluster * genes, *GMV_RESTRICT logs = s->logs + cluster * genes;
    for (int d = 0; d < n; d++) {
        float *GMV_RESTRICT row = s->row + ((int64_t)d * s->found.clusters + cluster) * genes;
        for (int64_t g = 0; g < genes; g++) {
            means[g] += (int64_t)((double)row[g] * unit_of_means);
            row[g] = gmv_logf(row[g] + s->pseudocount) * 1.44269504f;
            logs[g] += (int64_t)((double)row[g] * unit_of_logs);
        }
    }
}

/* Adds the weights of the clusters from whose draws those of a cluster differ. */
static void add_differences(search *s, int cluster, int n)
{
    int64_t genes = s->markers->genes;
    int clusters = s->found.clusters;
    const int32_t *weight = s->weight + (int64_t)cluster * clusters;
    int32_t *GMV_RESTRICT now = s->over_now + cluster * genes;
    int64_t *GMV_RESTRICT over = s->over + cluster * genes;
    for (int d = 0; d < n; d++) {
        const float *GMV_RESTRICT row = s->row + (int64_t)d * clusters * genes;
        const float *GMV_RESTRICT mine = row + cluster * genes;
        memset(now, 0, (size_t)genes * sizeof *now);
        for (int c = 0; c < clusters; c++) {
            const float *GMV_RESTRICT other = row + c * genes;
            for (int64_t g = 0; g < genes && weight[c] > 0; g++) {
                now[g] += fabsf(mine[g] - other[g]) > s->delta ? weight[c] : 0;
            }
        }
        for (int64_t g = 0; g < genes; g++) {
            over[g] += now[g];
        }
    }
}

static gmv_status check_finite(const search *s, int rows)
{
    int64_t n = (int64_t)rows * s->markers->genes;
    for (int64_t i = 0; i < n; i++) {
        if (!(s->row[i] <= 1.0f)) {
            return GMV_FAIL(
                GMV_ERR_NUMERIC,
                "expected expression is not finite under this checkpoint; take an earlier one, or train anew");
        }
    }
    return GMV_OK;
}

/* Draws [first, first + n) of all clusters. */
static gmv_status take_draws(search *s, int first, int n)
{
    int clusters = s->found.clusters, rows = n * clusters;
    const gmv_decoding how = {.cells = rows, .draws = 1, .weight = 1.0f};
    const float *latent = s->latent + (int64_t)first * clusters * s->model->latent_dim;
    GMV_TRY(gmv_expression_set_latents(&s->expression, latent, rows));
    GMV_TRY(gmv_expression_clear(&s->expression, rows));
    GMV_TRY(gmv_expression_add_mix(&s->expression, &how, &s->mix));
    GMV_TRY(gmv_expression_take(&s->expression, rows, s->row));
    GMV_TRY(check_finite(s, rows));
#pragma omp parallel for schedule(dynamic, 1)
    for (int c = 0; c < clusters; c++) {
        add_draws(s, c, n);
    }
#pragma omp parallel for schedule(dynamic, 1)
    for (int c = 0; c < clusters; c++) {
        add_differences(s, c, n);
    }
    return GMV_OK;
}

/* The ranks take the blocks of draws in turn. */
static gmv_status take_all_draws(search *s, const gmv_comm *comm)
{
    gmv_work work = gmv_work_begin(s->draws, "%s", gmv_stage_text());
    for (int first = 0, block = 0; first < s->draws; first += s->draws_at_once, block++) {
        int left = s->draws - first;
        GMV_TRY(gmv_stop_check());
        gmv_work_at(&work, first);
        if (block % comm->size == comm->rank) {
            GMV_TRY(take_draws(s, first, left < s->draws_at_once ? left : s->draws_at_once));
        }
    }
    return GMV_OK;
}

/* ---- from sums to figures ---- */

/* Weights of the clusters in the rest of each. */
static void weigh(search *s)
{
    int clusters = s->found.clusters;
    int64_t all = 0;
    for (int c = 0; c < clusters; c++) {
        all += s->found.cells[c];
    }
    for (int c = 0; c < clusters; c++) {
        for (int other = 0; other < clusters; other++) {
            double share = (double)s->found.cells[other] / (double)(all - s->found.cells[c]);
            s->weight[c * clusters + other] = c == other ? 0 : (int32_t)(share * unit_of_weights);
        }
    }
}

/* Mean over the rest of a cluster of what its other clusters have. */
static double rest_of(const search *s, int cluster, const int64_t *sums, int64_t gene, double unit)
{
    double value = 0.0, weights = 0.0;
    for (int c = 0; c < s->found.clusters; c++) {
        double weight = s->weight[(int64_t)cluster * s->found.clusters + c];
        value += weight * (double)sums[c * (int64_t)s->markers->genes + gene];
        weights += weight;
    }
    return value / weights / unit / s->draws;
}

/* Share of the cells that were measured for a gene, in a cluster or in all others, with a count of it. */
static double share_with_count(const search *s, const gmv_cells *cells, int cluster, bool others, int32_t gene)
{
    int64_t with = 0, measured = 0;
    for (int c = 0; c < s->found.clusters; c++) {
        if ((c == cluster) != others) {
            with += s->found.with_count[(int64_t)c * s->found.genes + gene];
            measured += gmv_cells_measured(&s->found, cells, c, gene);
        }
    }
    return measured > 0 ? (double)with / (double)measured : NAN;
}

static void finish_gene(const search *s, const gmv_cells *cells, int cluster, int32_t gene)
{
    gmv_markers *m = s->markers;
    int64_t at = (int64_t)cluster * m->genes + gene;
    double weights = 0.0, value[GMV_MARKERS];
    for (int c = 0; c < m->clusters; c++) {
        weights += s->weight[cluster * m->clusters + c];
    }
    value[GMV_MARKER_LOG2_FOLD_CHANGE] =
        (double)s->logs[at] / unit_of_logs / s->draws - rest_of(s, cluster, s->logs, gene, unit_of_logs);
    value[GMV_MARKER_PROBABILITY] = (double)s->over[at] / weights / s->draws;
    value[GMV_MARKER_MEAN_IN] = per * (double)s->means[at] / unit_of_means / s->draws;
    value[GMV_MARKER_MEAN_OUT] = per * rest_of(s, cluster, s->means, gene, unit_of_means);
    value[GMV_MARKER_FRACTION_IN] = share_with_count(s, cells, cluster, false, gene);
    value[GMV_MARKER_FRACTION_OUT] = share_with_count(s, cells, cluster, true, gene);
    for (int f = 0; f < GMV_MARKERS; f++) {
        m->value[f][at] = m->cells[cluster] > 0 ? (float)value[f] : NAN;
    }
}

/* A gene with what it is ranked by. */
typedef struct ranked_gene {
    float change;
    int32_t gene;
} ranked_gene;

static int by_change(const void *a, const void *b)
{
    const ranked_gene *x = a, *y = b;
    return x->change > y->change ? -1 : x->change < y->change ? 1 : (x->gene > y->gene) - (x->gene < y->gene);
}

static gmv_status rank_genes(gmv_markers *m)
{
    ranked_gene *gene = NULL;
    GMV_TRY(GMV_NEW(gene, m->genes, "genes of clusters"));
    for (int c = 0; c < m->clusters; c++) {
        int64_t at = (int64_t)c * m->genes;
        for (int32_t g = 0; g < m->genes; g++) {
            float change = m->value[GMV_MARKER_LOG2_FOLD_CHANGE][at + g];
            gene[g] = (ranked_gene){isnan(change) ? -INFINITY : change, g};
        }
        qsort(gene, (size_t)m->genes, sizeof *gene, by_change);
        for (int32_t g = 0; g < m->genes; g++) {
            m->ranked[at + g] = gene[g].gene;
        }
    }
    GMV_FREE(gene);
    return GMV_OK;
}

static gmv_status finish(search *s, const gmv_cells *cells)
{
    gmv_markers *m = s->markers;
    for (int c = 0; c < m->clusters; c++) {
        for (int32_t g = 0; g < m->genes; g++) {
            finish_gene(s, cells, c, g);
        }
    }
    return rank_genes(m);
}

/* ---- all of it ---- */

static gmv_status make_room(search *s)
{
    gmv_markers *m = s->markers;
    int64_t clusters = m->clusters, figures = clusters * m->genes;
    s->draws_at_once = m->clusters < most_rows ? most_rows / m->clusters : 1;
    GMV_TRY(GMV_NEW(s->latent, s->draws * clusters * s->model->latent_dim, "draws of latents"));
    GMV_TRY(GMV_NEW(s->row, s->draws_at_once * figures, "expected expression"));
    GMV_TRY(GMV_NEW(s->weight, clusters * clusters, "weights of clusters"));
    GMV_TRY(GMV_NEW(s->logs, figures, "sums over draws"));
    GMV_TRY(GMV_NEW(s->means, figures, "sums over draws"));
    GMV_TRY(GMV_NEW(s->over, figures, "sums over draws"));
    GMV_TRY(GMV_NEW(s->over_now, figures, "sums over draws"));
    GMV_TRY(GMV_NEW(m->ranked, figures, "genes of clusters"));
    for (int f = 0; f < GMV_MARKERS; f++) {
        GMV_TRY(GMV_NEW(m->value[f], figures, "figures of genes"));
    }
    return GMV_OK;
}

static void free_search(search *s)
{
    gmv_cluster_cells_fini(&s->found);
    gmv_level_mix_fini(&s->mix);
    gmv_expression_fini(&s->expression);
    GMV_FREE(s->latent);
    GMV_FREE(s->row);
    GMV_FREE(s->weight);
    GMV_FREE(s->logs);
    GMV_FREE(s->means);
    GMV_FREE(s->over);
    GMV_FREE(s->over_now);
}

/* The cells of each cluster, and how many have any. Collective. */
static gmv_status count_cells(search *s, const gmv_clustering *clustering, gmv_feed *feed, const gmv_cells *cells,
                              const gmv_comm *comm)
{
    gmv_markers *m = s->markers;
    GMV_TRY(gmv_comm_agree(comm, GMV_NEW(m->cells, m->clusters, "cells of clusters")));
    GMV_TRY(gmv_count_cluster_cells(&s->found, clustering, s->model, feed, cells, comm));
    for (int c = 0; c < m->clusters; c++) {
        m->cells[c] = s->found.cells[c];
        m->compared += m->cells[c] > 0;
    }
    return GMV_OK;
}

/* Everything else up to the decoding. Collective. */
static gmv_status prepare(search *s, gmv_feed *feed, const gmv_cells *cells, const gmv_comm *comm)
{
    gmv_markers *m = s->markers;
    GMV_TRY(gmv_comm_agree(comm, make_room(s)));
    weigh(s);
    GMV_TRY(gmv_level_mix_find(&s->mix, cells, comm, most_combinations));
    GMV_TRY(gmv_draw_cluster_latents(&s->found, s->draws, s->model, feed, cells, comm, s->latent));
    int64_t all = 0;
    for (int c = 0; c < m->clusters; c++) {
        all += s->found.cells[c];
    }
    m->combinations = s->mix.n;
    m->left_out = s->mix.left_out;
    s->pseudocount = (float)(few_counts * (double)all / (double)s->found.counts);
    m->pseudocount = per * (double)s->pseudocount;
    return gmv_comm_agree(
        comm, gmv_expression_init(&s->expression, s->model, s->draws_at_once * m->clusters, 1, s->mix.covariates));
}

gmv_status gmv_find_markers(gmv_markers *markers, const gmv_clustering *clustering, gmv_model *model, gmv_feed *feed,
                            const gmv_cells *cells, const gmv_comm *comm, const gmv_marker_options *options)
{
    *markers = (gmv_markers){.clusters = clustering->clusters, .genes = cells->genes};
    int64_t figures = (int64_t)clustering->clusters * cells->genes;
    search s = {.markers = markers, .model = model, .draws = options->draws, .delta = (float)options->delta};
    gmv_status status;
    GMV_GO(count_cells(&s, clustering, feed, cells, comm));
    if (markers->compared < 2) {
        goto done;
    }
    GMV_GO(prepare(&s, feed, cells, comm));
    GMV_GO(gmv_comm_agree(comm, take_all_draws(&s, comm)));
    gmv_comm_sum_i64(comm, s.logs, figures);
    gmv_comm_sum_i64(comm, s.means, figures);
    gmv_comm_sum_i64(comm, s.over, figures);
    GMV_GO(gmv_comm_agree(comm, finish(&s, cells)));
done:
    free_search(&s);
    return status;
}

void gmv_markers_fini(gmv_markers *markers)
{
    GMV_FREE(markers->cells);
    GMV_FREE(markers->ranked);
    for (int f = 0; f < GMV_MARKERS; f++) {
        GMV_FREE(markers->value[f]);
    }
}
