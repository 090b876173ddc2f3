/* Paths and small file work shared by reading and writing checkpoints. */
#pragma once

#include "gmvae/checkpoint.h"
#include "gmvae/files.h"

enum { GMV_CHECKPOINT_NAME = 32, GMV_CHECKPOINT_VERSION = 1 };

/* output.dir/checkpoints. @param[out] folder  GMV_PATH_ROOM bytes */
void gmv_checkpoint_folder(const gmv_config *config, char *folder);

/* Epoch of a file name epoch-NNNNNN.h5, -1 for other names. */
int64_t gmv_checkpoint_epoch_of(const char *name);

/* Writes the bytes and, behind them, their checksum, to the disk. HDF5 ignores what follows its own end. A file with a
 * damaged byte is found by it before HDF5, which can crash on such files, reads any of it. */
gmv_status gmv_checkpoint_write_sealed(gmv_output *out, const void *bytes, int64_t count);

/* Errors: GMV_ERR_DATA when it is no file or cannot be read, or the checksum is missing or does not match. */
gmv_status gmv_checkpoint_check_seal(const char *path);

/* Checks that, and has another process read the file. @param[in] whole  all of it, or its step alone
 * @param[out] step  optimiser steps done. Errors: GMV_ERR_DATA without the path. */
gmv_status gmv_checkpoint_check(const char *path, bool whole, double seconds, int64_t *step);
