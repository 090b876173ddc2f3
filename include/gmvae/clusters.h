/* Clusters: components of a mixture that the cells do not tell apart, merged (docs/clusters.md). */
#pragma once

#include "gmvae/evaluate.h"

/* How the components of a model become clusters. */
typedef struct gmv_clustering {
    int components;  /* K; 0: there are none, and no clusters */
    int clusters;    /* C <= K */
    int64_t cells;   /* that the overlaps are sums over */
    double *overlap; /* [K, K] S_ab = sum over cells of p_a p_b, symmetric */
    double *tree;    /* [K - 1, 4] a linkage matrix as scipy's: two nodes, their height, components below */
    double cut;      /* nodes above this height are not merged */
    int *cluster;    /* [K] of each component, from 0 */
} gmv_clustering;

void gmv_clustering_fini(gmv_clustering *clustering);

/* ---- the rule: the same numbers on every rank, not collective ---- */

/* How often cells are of both rather than by chance, sum_i p_ia p_ib N / (n_a n_b), is the lift of two components or
 * clusters; the height of the node that merges them is 1 / (1 + lift), so that 0.5 is chance. The pair of largest lift is
 * merged until one is left. Components without half a cell go first, at 0, to the one that they overlap with most. Heights
 * are made to rise.
 * @param[in]  overlap  [K, K] as above
 * @param[out] tree     [K - 1, 4] */
gmv_status gmv_merge_tree(int components, const double *overlap, double *tree);

/* How many merges to make: up to the widest gap, by the ratio of lifts, between a lift of 0.8 and one of 0.2 (docs/clusters.md). */
int gmv_widest_gap(int components, const double *tree);

/* Half way between the last of so many merges and the next. */
double gmv_cut_height(int components, const double *tree, int merges);

/* Clusters after so many merges, in the order of their first components.
 * @param[out] cluster  [K]
 * @return their number */
int gmv_cut_tree(int components, const double *tree, int merges, int *cluster);

/* Cells of each cluster, together and by the levels of a factor. */
typedef struct gmv_census {
    int clusters, levels; /* C; L, 0 without a factor */
    int64_t cells;        /* with counts */
    int64_t *of_cluster;  /* [C] */
    int64_t *table;       /* [L, C]; cells whose level is missing are left out */
} gmv_census;

/* ---- clusters of cells ---- */

/* Sums up the overlaps of the components over the local rows with counts, of all ranks, and cuts their tree: clusters in
 * the order of the cells whose most probable cluster they are, which are counted. The same for every number of ranks.
 * Collective.
 * @param[in]  wanted  output.clusters: auto, components, or a number
 * @param[in]  factor  [factors] what to count by, as in gmv_take_census
 * @param[out] census  [factors]
 * Ownership: gmv_clustering_fini, gmv_census_fini, also after an error.
 * Errors: as gmv_clustering_cut. */
gmv_status gmv_clustering_find(gmv_clustering *clustering, gmv_model *model, gmv_feed *feed, const gmv_cells *cells,
                               const gmv_comm *comm, const char *wanted, int factors, const gmv_factor *const *factor,
                               gmv_census *census);

/* Clusters of the overlaps that it has, for `wanted`; in the order of their mass, sum_b S_ab. Not collective.
 * Errors: GMV_ERR_CONFIG for more clusters than components. */
gmv_status gmv_clustering_cut(gmv_clustering *clustering, const char *wanted);

/* What a checkpoint does not hold of the clusters that it has: tree, cut and their number. Not collective. */
gmv_status gmv_clustering_restore(gmv_clustering *clustering);

/* Probabilities of clusters: sums of those of their components.
 * @param[in] component  [n, K]   @param[out] cluster  [n, C] */
void gmv_clustering_merge(const gmv_clustering *clustering, int n, const float *component, float *cluster);

/* The outputs of a model, with the clusters before their components. */
gmv_cell_outputs gmv_clustering_outputs(const gmv_clustering *clustering, const gmv_cell_outputs *of_model);

/* Passes on results with those outputs. */
typedef struct gmv_cluster_sink {
    const gmv_clustering *clustering;
    const gmv_cell_outputs *of_model;
    const gmv_row_sink *next;
    float *merged; /* [GMV_EVAL_CELLS, C] */
} gmv_cluster_sink;

/* Ownership: gmv_cluster_sink_fini, also after an error. */
gmv_status gmv_cluster_sink_init(gmv_cluster_sink *sink, const gmv_clustering *clustering,
                                 const gmv_cell_outputs *of_model, const gmv_row_sink *next);
void gmv_cluster_sink_fini(gmv_cluster_sink *sink);
gmv_status gmv_cluster_sink_take(void *sink, const gmv_row_results *results);

/* Index of the first largest of n numbers. */
int gmv_largest_of(const float *value, int n);

/* ---- what the clusters are made of ---- */

/* Counts local rows with counts, of all ranks, by their most probable cluster and the levels of factors. Collective; the
 * same for every number of ranks.
 * @param[in]  factor  [factors], at least one; NULL for a census without levels
 * @param[out] census  [factors]; ownership: gmv_census_fini each, also after an error */
gmv_status gmv_take_census(gmv_census *census, int factors, const gmv_factor *const *factor,
                           const gmv_clustering *clustering, gmv_model *model, gmv_feed *feed, const gmv_cells *cells,
                           const gmv_comm *comm, gmv_which_cells which);
void gmv_census_fini(gmv_census *census);

/* Gives clusters other numbers. @param[in] number  [C] of each, a permutation. Not collective. */
gmv_status gmv_census_renumber(gmv_census *census, const int *number);

/* How well clusters agree with the labels that a census is by. */
typedef struct gmv_agreement {
    int clusters;              /* C, 0: the model has none */
    int64_t cells;             /* labelled cells compared; 0: no labels */
    int labels;                /* that these have */
    double ari, nmi, accuracy; /* NaN with fewer than two labels */
} gmv_agreement;

/* Adjusted Rand index (Hubert and Arabie 1985) and normalised mutual information with the arithmetic mean, as
 * scikit-learn and scib compute them; and the share of cells in matched pairs of a cluster and a label, when these are matched
 * one to one so that most cells are. Not collective. */
gmv_status gmv_agreement_of(const gmv_census *census, gmv_agreement *agreement);
