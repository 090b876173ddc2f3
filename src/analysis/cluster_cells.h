/* The cells of each cluster: how many, which genes they have counts of, and draws of their latents. */
#pragma once

#include "gmvae/clusters.h"

typedef struct gmv_cluster_cells {
    int clusters;        /* C */
    int32_t genes;       /* G */
    int sets;            /* of genes; at least 1 */
    int16_t *of;         /* [local rows] cluster; -1: no counts */
    int64_t *here;       /* [C] local rows */
    int64_t *before;     /* [C] those of the ranks before this one */
    int64_t *cells;      /* [C] of all ranks */
    int64_t *of_set;     /* [C, sets] of all ranks */
    int64_t *with_count; /* [C, G] cells with a count of the gene, of all ranks */
    int64_t counts;      /* all counts of all cells */
} gmv_cluster_cells;

/* Assigns and counts all cells with counts. Collective. Ownership: gmv_cluster_cells_fini, also after an error. */
gmv_status gmv_count_cluster_cells(gmv_cluster_cells *found, const gmv_clustering *clustering, gmv_model *model,
                                   gmv_feed *feed, const gmv_cells *cells, const gmv_comm *comm);
void gmv_cluster_cells_fini(gmv_cluster_cells *found);

/* Cells of a cluster that were measured for a gene. */
int64_t gmv_cells_measured(const gmv_cluster_cells *found, const gmv_cells *cells, int cluster, int32_t gene);

/* Draws of q(x|y) of `draws` cells of each cluster, which are drawn with replacement. Collective; the same for every
 * number of ranks. Clusters without cells get zeros.
 * @param[out] latent  [draws, C, D] on every rank */
gmv_status gmv_draw_cluster_latents(const gmv_cluster_cells *found, int draws, gmv_model *model, gmv_feed *feed,
                                    const gmv_cells *cells, const gmv_comm *comm, float *latent);
