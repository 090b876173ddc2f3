/* What the metrics of one evaluation share, made when the first of them asks for it. */
#pragma once

#include "gmvae/metrics.h"
#include "gmvae/umap.h"

/* The cells that have what some metrics need. */
typedef struct gmv_view {
    bool made;
    gmv_embedded cells; /* levels of labels and batches numbered without gaps */
    gmv_points points;
    gmv_neighbours neighbours; /* k = 0: not searched yet */
    double *silhouette;        /* [n] of labels; NULL: not computed yet */
    gmv_agreement *kmeans;     /* [most_k + 1] by k; clusters == 0: not computed yet */
    int most_k;
    gmv_graph graph;       /* of the 14 nearest others; made with `leiden` */
    gmv_agreement *leiden; /* by resolution; clusters == 0: not computed yet */
} gmv_view;

struct gmv_measures {
    const gmv_measured *of;
    const gmv_comm *comm;
    gmv_embedded all;
    gmv_view view[4]; /* by the conditions on cells */
    gmv_view *at;     /* that of the metric at work */
};

#define GMV_METRIC(name, title, needs, k, help)                                                                        \
    gmv_status gmv_measure_##name(gmv_measures *measures, gmv_figure *figure);
#include "gmvae/metrics.def"
#undef GMV_METRIC

/* A partition of the cells against their labels. Not collective. @param[in] cluster  [n] 0 .. clusters - 1 */
gmv_status gmv_compare_with_labels(const gmv_embedded *cells, const int32_t *cluster, int clusters,
                                   gmv_agreement *agreement);

/* The nearest others, as many as any metric looks at. Collective. */
gmv_status gmv_view_neighbours(gmv_measures *measures, const gmv_neighbours **neighbours);
