/* Paths and small file work shared by reading and writing checkpoints. */
#pragma once

#include "gmvae/checkpoint.h"

enum { GMV_PATH_ROOM = 4200, GMV_CHECKPOINT_NAME = 32, GMV_CHECKPOINT_VERSION = 1 };

/* output.dir/checkpoints. @param[out] folder  GMV_PATH_ROOM bytes */
void gmv_checkpoint_folder(const gmv_config *config, char *folder);

/* Epoch of a file name epoch-NNNNNN.h5, -1 for other names. */
int64_t gmv_checkpoint_epoch_of(const char *name);

/* Copies a file through a temporary name. */
gmv_status gmv_checkpoint_copy(const char *from, const char *to);
