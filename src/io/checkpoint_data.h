/* The part of a checkpoint that says what was trained on. Rank 0. */
#pragma once

#include "gmvae/checkpoint.h"

#include <hdf5.h>

/* Makes the group /data from the fingerprint of the cells. */
gmv_status gmv_checkpoint_write_data(hid_t file, const gmv_cells *cells);

/* Reads it; older checkpoints have none. The covariates have been read.
 * Errors: GMV_ERR_DATA when it is damaged. */
gmv_status gmv_checkpoint_read_data(hid_t file, gmv_checkpoint *checkpoint);
