/* Marker genes of clusters: what a model expects of their cells, beside what it expects of others (docs/expression.md). */
#pragma once

#include "gmvae/embedding.h"

/* Figures of a gene in a cluster, by their names in files. */
#define GMV_MARKER_FIGURES(F)                                                                                          \
    F(LOG2_FOLD_CHANGE, log2_fold_change)                                                                              \
    F(PROBABILITY, probability)                                                                                        \
    F(MEAN_IN, mean_in) F(MEAN_OUT, mean_out) F(FRACTION_IN, fraction_in) F(FRACTION_OUT, fraction_out)

#define GMV_MARKER_CONSTANT(constant, name) GMV_MARKER_##constant,
#define GMV_MARKER_NAME(constant, name)     #name,
typedef enum gmv_marker_figure { GMV_MARKER_FIGURES(GMV_MARKER_CONSTANT) GMV_MARKERS } gmv_marker_figure;

typedef struct gmv_marker_options {
    double delta; /* |log2 fold change| that counts as a change */
    int draws;    /* of each cluster */
} gmv_marker_options;

/* The same on every rank, and for every number of ranks. Clusters without cells have NaN. */
typedef struct gmv_markers {
    int clusters; /* C */
    int compared; /* of them, those with cells; fewer than two are not compared, and all but `cells` is empty */
    int32_t genes;
    int64_t *cells;            /* [C] with counts */
    float *value[GMV_MARKERS]; /* [C, G] each */
    int32_t *ranked;           /* [C, G] genes, the largest fold change first; NaN last */
    double pseudocount;        /* added to counts per 10,000 before the logarithm */
    int combinations;          /* of levels that were averaged over */
    double left_out;           /* share of the cells that have others */
} gmv_markers;

/* Compares each cluster with the cells of all others. Collective. Ownership: gmv_markers_fini, also after an error.
 * Errors: GMV_ERR_NUMERIC when a mean is not finite; GMV_STOPPED. */
gmv_status gmv_find_markers(gmv_markers *markers, const gmv_clustering *clustering, gmv_model *model, gmv_feed *feed,
                            const gmv_cells *cells, const gmv_comm *comm, const gmv_marker_options *options);
void gmv_markers_fini(gmv_markers *markers);

/* Writes PATH, an anndata file whose rows are clusters and whose columns genes, each figure a layer. Rank 0.
 * @param[in] genes  of each cluster in the table rank_genes_groups, the largest fold changes first; 0: all
 * @param[in] from   what uns says of where it is from; its outputs are not looked at
 * Errors: GMV_ERR_ENVIRONMENT; nothing is left behind. */
gmv_status gmv_write_markers(const char *path, const gmv_markers *markers, int64_t genes, const gmv_cells *cells,
                             const gmv_embedding *from);

/* "log2_fold_change", ... */
const char *gmv_marker_name(gmv_marker_figure figure);
