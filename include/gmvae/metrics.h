/* Figures of merit of an embedding and of clusters, as scib, scib-metrics and scikit-learn define them (docs/metrics.md). */
#pragma once

#include "gmvae/clusters.h"
#include "gmvae/embedded.h"
#include "gmvae/neighbours.h"

/* ---- what they are made of; the same on every rank, for every number of ranks ---- */

/* Silhouette of each point: (b - a) / max(a, b), a the mean distance to the others of its group, b the smallest mean
 * distance to another group; 0 for a point alone in its group. Collective.
 * @param[in]  group       [n] 0 .. groups - 1, groups > 1, none empty
 * @param[out] silhouette  [n] */
gmv_status gmv_silhouettes(const gmv_points *points, const int32_t *group, int groups, const gmv_comm *comm,
                           double *silhouette);

/* k-means: k-means++ with 2 + ln k trials a centre, then Lloyd's steps until the centres move less than 1e-4 of the mean
 * variance, 300 at most. A centre that loses all points takes the one farthest from its own. Collective.
 * @param[in]  k        1 .. n
 * @param[out] cluster  [n] */
gmv_status gmv_kmeans(const gmv_points *points, int k, uint64_t seed, const gmv_comm *comm, int32_t *cluster);

/* The inverse of Simpson's index among the neighbours of each point, weighted by exp(-beta distance), beta by the perplexity
 * k / 3 of the k nearest, the point itself among them; the median over all points (Korsunsky et al. 2019). Collective.
 * @param[in] k      at most neighbours->k + 1
 * @param[in] level  [n] 0 .. levels - 1 */
gmv_status gmv_median_lisi(const gmv_neighbours *neighbours, int k, const int32_t *level, int levels,
                           const gmv_comm *comm, double *median);

/* Mean over labels of the share of a label's cells that are in its largest strongly connected component, in the directed
 * graph of the k - 1 nearest others. Not collective. */
gmv_status gmv_connectivity(const gmv_neighbours *neighbours, int k, const int32_t *label, int labels, double *mean);

/* Share of points whose label most of their first k neighbours have; equally many are decided for the lower label.
 * Not collective. @param[in] of_neighbour  labels of the points that neighbours are among */
double gmv_vote_accuracy(const gmv_neighbours *neighbours, int k, const int32_t *label, const int32_t *of_neighbour,
                         int labels, int32_t *votes);

/* Share of points whose k nearest, themselves among them, have levels as frequent as all points have them: by Pearson's
 * chi-square test, on the level of 5 % (Buettner et al. 2019). Not collective. @param[in] level  [n], none empty */
gmv_status gmv_kbet(const gmv_neighbours *neighbours, int k, const int32_t *level, int levels, double *accepted);

/* Probability of a larger chi-square statistic. */
double gmv_chi_square_tail(double statistic, int freedom);

/* Share of the variance of points that lies between groups: that of their principal components that a regression on the
 * group explains, weighted by the variances of the components. Not collective. */
gmv_status gmv_share_between(const gmv_points *points, const int32_t *group, int groups, double *share);

/* One-to-one assignment of the rows of a table to its columns, or the other way round, with the largest sum.
 * @param[in] table  [rows, cols]. Not collective. @param[out] sum */
gmv_status gmv_largest_assignment(const int64_t *table, int rows, int cols, int64_t *sum);

/* ---- the table ---- */

/* What a metric is of: labels and batches are more than one each. */
enum { GMV_OF_LABELS = GMV_NEEDS_LABEL, GMV_OF_BATCHES = GMV_NEEDS_BATCH, GMV_OF_CLUSTERS = 4 };

enum {
#define GMV_METRIC(name, title, needs, k, help) GMV_METRIC_##name,
#include "gmvae/metrics.def"
#undef GMV_METRIC
    GMV_METRICS
};

typedef struct gmv_measures gmv_measures;

/* A number, or why there is none. */
typedef struct gmv_figure {
    bool wanted;
    double value;      /* NaN: it does not apply */
    int k;             /* where it is the best of several; 0: it is not */
    double resolution; /* the same */
    double seconds;
    char note[120]; /* why it does not apply, or of what it is; "": nothing to say */
} gmv_figure;

typedef struct gmv_metric {
    const char *name, *help;
    unsigned needs;
    int k;
    gmv_status (*measure)(gmv_measures *measures, gmv_figure *figure);
} gmv_metric;

extern const gmv_metric gmv_metrics[GMV_METRICS];

/* All figures of one evaluation. */
typedef struct gmv_figures {
    gmv_figure at[GMV_METRICS];
    int64_t cells,
        of; /* that figures other than those of clusters are of, and how many there were; 0: no such figure */
} gmv_figures;

/* Of what. */
typedef struct gmv_measured {
    gmv_model *model;
    gmv_feed *feed;
    const gmv_cells *cells;
    gmv_which_cells which;
    const gmv_agreement *agreement; /* of the clusters of these cells */
    uint64_t seed;
    int64_t most_cells; /* of more, a sample (eval.metric_cells) */
    int k_max;
} gmv_measured;

/* Computes the figures that are wanted; the same for every number of ranks. Of cells that lack a label or a batch those
 * figures are that need none. Collective. Errors: as gmv_gather_embedded; GMV_STOPPED. */
gmv_status gmv_measure(const gmv_measured *of, const gmv_comm *comm, gmv_figures *figures);
