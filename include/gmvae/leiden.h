/* Leiden clustering of a graph (Traag, Waltman and van Eck 2019, Sci. Rep. 9:5233) by igraph. That library is under the GPL,
 * so that it comes as a plug-in, libgmvae_leiden.so, which is loaded where somebody asks for it and has it. */
#pragma once

#include "gmvae/umap.h"

/* What the plug-in defines as gmv_leiden_plugin. */
typedef struct gmv_leiden {
    const char *version; /* of gmvae_dist, of both the same */
    const char *library; /* "igraph 0.10.2" */
    /* The partition of largest modularity that is found, at this resolution, from the edges' weights: Leiden's steps until
     * nothing changes any more, the same for the same seed.
     * @param[out] cluster  [graph->n] 0 .. *clusters - 1
     * @return NULL, or igraph's words for what failed */
    const char *(*partition)(const gmv_graph *graph, double resolution, uint64_t seed, int32_t *cluster, int *clusters);
} gmv_leiden;

/* The plug-in, which stays loaded. Not collective.
 * Errors: GMV_ERR_ENVIRONMENT where it was not built, cannot be loaded or is of another version. */
gmv_status gmv_leiden_load(const gmv_leiden **leiden);
