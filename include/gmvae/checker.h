/* The process that looks at files before they are opened. */
#pragma once

#include "gmvae/status.h"

#include <stdbool.h>
#include <stdint.h>

/* Reads a checkpoint and drops what it read. @param[in] at  called with each object's name before it is touched; may be
 * NULL. See h5_check.h. */
typedef gmv_status gmv_checkpoint_reader(const char *path, bool whole, void (*at)(const char *object), int64_t *step);

/* Call first in main, before MPI starts. A program that does can be started by itself as the process that looks at
 * files before they are opened: then this does that work and does not return. In other programs check_seconds counts
 * as 0. @param[in] reader  of checkpoints (checkpoint.h); NULL for programs that read none */
void gmv_checker_main(int argc, char **argv, gmv_checkpoint_reader *reader);
