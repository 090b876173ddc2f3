/* Paths and small file work shared by reading and writing checkpoints. */
#pragma once

#include "gmvae/checkpoint.h"

enum { GMV_PATH_ROOM = 4200, GMV_CHECKPOINT_NAME = 32, GMV_CHECKPOINT_VERSION = 1 };

/* output.dir/checkpoints. @param[out] folder  GMV_PATH_ROOM bytes */
void gmv_checkpoint_folder(const gmv_config *config, char *folder);

/* Epoch of a file name epoch-NNNNNN.h5, -1 for other names. */
int64_t gmv_checkpoint_epoch_of(const char *name);

/* Writes a new file: the bytes and, behind them, their checksum. HDF5 ignores what follows its own end. A file
 * with a damaged byte is found by it before HDF5, which can crash on such files, reads any of it. */
gmv_status gmv_checkpoint_write_sealed(const char *path, const void *bytes, int64_t count);

/* Errors: GMV_ERR_DATA when the file cannot be read, or the checksum is missing or does not match. */
gmv_status gmv_checkpoint_check_seal(const char *path);

/* Copies a file through a temporary name. */
gmv_status gmv_checkpoint_copy(const char *from, const char *to);
