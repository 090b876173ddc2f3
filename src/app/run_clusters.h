/* Clusters of a run. */
#pragma once

#include "session.h"

#include "gmvae/clusters.h"

/* Finds clusters of all cells, as output.clusters wants them, says how many there are and which were close, warns of those
 * that are mostly of one level of a covariate, and compares them with the label. Collective.
 * Ownership: gmv_clustering_fini, also after an error. */
gmv_status gmv_find_clusters(const gmv_config *config, const gmv_comm *comm, gmv_model *model, gmv_feed *feed,
                             const gmv_cells *cells, gmv_clustering *clustering, gmv_agreement *agreement);

/* Compares clusters with the label, of all or the held-out cells. Collective. */
gmv_status gmv_compare_clusters(const gmv_clustering *clustering, gmv_model *model, gmv_feed *feed,
                                const gmv_cells *cells, const gmv_comm *comm, gmv_which_cells which,
                                gmv_agreement *agreement);

/* The clusters of the session's checkpoint, cut as output.clusters wants; of the cells at hand, with a note, where the
 * checkpoint is from before training ended. Collective. */
gmv_status gmv_take_clusters(gmv_session *session, const gmv_run *run);

/* ", 30 components, 11 clusters", or nothing where a model has none. @return text */
const char *gmv_clusters_text(const gmv_clustering *clustering, char *text, size_t size);
