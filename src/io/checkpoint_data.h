/* The parts of a checkpoint that say what was trained on, and which clusters there are. Rank 0. */
#pragma once

#include "gmvae/checkpoint.h"
#include "gmvae/files.h"

#include <hdf5.h>

/* Makes the group /data from the fingerprint of the cells. */
gmv_status gmv_checkpoint_write_data(hid_t file, const gmv_cells *cells);

/* Reads it; older checkpoints have none. The covariates have been read.
 * Errors: GMV_ERR_DATA when it is damaged. */
gmv_status gmv_checkpoint_read_data(hid_t file, gmv_checkpoint *checkpoint);

/* Reads the group /clusters, if there is one. Errors: GMV_ERR_DATA when it is damaged. */
gmv_status gmv_checkpoint_read_clusters(hid_t file, gmv_checkpoint *checkpoint);

/* A checkpoint in memory, to be changed there. Ownership: H5Fclose. */
gmv_status gmv_checkpoint_open_image(const char *path, hid_t *file);

/* Writes a checkpoint that HDF5 has in memory, sealed. Errors: GMV_ERR_ENVIRONMENT. */
gmv_status gmv_checkpoint_write_image(hid_t file, gmv_output *out);

/* Reads all of what was written. Errors: GMV_ERR_ENVIRONMENT when it does not come back. */
gmv_status gmv_checkpoint_read_back(const gmv_output *out);
