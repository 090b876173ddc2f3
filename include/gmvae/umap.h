/* A layout of cells in the plane by their nearest neighbours: UMAP (McInnes, Healy and Melville 2018, arXiv:1802.03426). */
#pragma once

#include "gmvae/neighbours.h"

/* A weighted graph of points, in host memory: the edges of point i are [start[i], start[i + 1]), each stands with both. */
typedef struct gmv_graph {
    int n;
    int64_t *start; /* [n + 1] */
    int32_t *to;
    float *weight; /* 0 .. 1 */
} gmv_graph;

/* The fuzzy union of each point's k nearest, the graph of umap-learn and of scanpy: of those distances that lie beyond the
 * nearest, the exponential with a scale of the point's own, and a + b - a b of both directions. Uses the threads of OpenMP.
 * Not collective. @param[in] k  at most near->k. Ownership: gmv_graph_fini, also after an error.
 * Errors: GMV_ERR_ENVIRONMENT without memory. */
gmv_status gmv_fuzzy_graph(gmv_graph *graph, const gmv_neighbours *near, int k);
void gmv_graph_fini(gmv_graph *graph);

/* What a layout is made of, in host memory. */
typedef struct gmv_umap_input {
    const gmv_neighbours *near; /* of each of n points, itself not among them */
    int dims;
    const float *at; /* [n, dims]: where points start, by the two first principal components */
    uint64_t seed;
    int epochs; /* 0: 500 of up to 10,000 points, else 200 */
} gmv_umap_input;

/* The same layout for the same input, whatever the number of threads. With the parameters of umap-learn: spread 1,
 * min_dist 0.3, 5 negative samples. Uses the threads of OpenMP. Not collective.
 * @param[out] layout  [n, 2]
 * Errors: GMV_ERR_ENVIRONMENT without memory; GMV_STOPPED. */
gmv_status gmv_umap_layout(const gmv_umap_input *input, float *layout);
