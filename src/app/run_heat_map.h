/* Counts of a run's cells for a picture. */
#pragma once

#include "session.h"

/* Writes counts of a sample of the cells in the genes that vary most as heatmap.json of the run, which the report takes them
 * from. Collective. Errors: GMV_ERR_ENVIRONMENT. */
gmv_status gmv_write_heat_map(const gmv_config *config, const gmv_comm *comm, const gmv_model *model, gmv_feed *feed,
                              const gmv_cells *cells);
