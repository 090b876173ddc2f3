/* Posterior predictive checks of a run. */
#pragma once

#include "session.h"

/* Draws counts for a sample of the cells and writes what they and the cells' own counts come to, as predictive.json of the
 * run, which the report takes it from. Where what the model predicts is not finite, a note, and no file. Collective.
 * Errors: GMV_ERR_ENVIRONMENT. */
gmv_status gmv_check_predictive(const gmv_config *config, const gmv_comm *comm, gmv_model *model, gmv_feed *feed,
                                const gmv_cells *cells);
