/* Marker genes of a run's clusters. */
#pragma once

#include "session.h"

#include "gmvae/markers.h"

enum {
    GMV_TRAINED_MARKERS = 100
}; /* clusters that are compared when a training ends: the time goes with their square */

/* Compares the clusters, with the keys of `markers`, and writes result->path, an anndata file, and the table beside it.
 * Where fewer than two clusters have cells, nothing is written, and markers->compared says so. Collective.
 * @param[out] markers  ownership: gmv_markers_fini, also after an error
 * Errors: as gmv_find_markers; GMV_ERR_ENVIRONMENT. */
gmv_status gmv_make_markers(gmv_markers *markers, const gmv_config *config, const gmv_comm *comm, gmv_model *model,
                            gmv_feed *feed, const gmv_cells *cells, const gmv_result *result);

/* The same at the end of a training, where markers that cannot be are left out, with a line in the log. Collective.
 * Errors: GMV_STOPPED; GMV_ERR_ENVIRONMENT. */
gmv_status gmv_make_trained_markers(const gmv_config *config, const gmv_comm *comm, gmv_model *model, gmv_feed *feed,
                                    const gmv_cells *cells, const gmv_result *result);

/* The table's path, beside PATH.h5ad. @param[out] table  GMV_RESULT_ROOM bytes */
void gmv_marker_table_path(const char *path, char *table);
