/* The page and the pictures of a run. */
#pragma once

#include "gmvae/config.h"

/* Writes output.dir/report.html, which needs nothing else, and output.dir/pictures, from the files that a run has left.
 * Rank 0, not collective.
 * Errors: GMV_ERR_DATA when the folder holds no run or a file of it is damaged; GMV_ERR_ENVIRONMENT. */
gmv_status gmv_write_report(const gmv_config *config);
