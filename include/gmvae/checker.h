/* The process that looks at files before they are opened. */
#pragma once

#include "gmvae/status.h"

#include <stdbool.h>
#include <stdint.h>

/* Reads a checkpoint and drops what it read. @param[in] at  called with each object's name before it is touched; may be
 * NULL. See h5_check.h. */
typedef gmv_status gmv_checkpoint_reader(const char *path, bool whole, void (*at)(const char *object), int64_t *step);

/* How the process reads what only those above know; NULL: there is nothing like it. */
struct gmv_h5;
typedef struct gmv_checker_readers {
    gmv_checkpoint_reader *checkpoint;
    bool (*inspect)(const struct gmv_h5 *file); /* an open file, if it is one of theirs (inspect.h) */
} gmv_checker_readers;

/* Call first in main, before MPI starts. A program that does can be started by itself as the process that looks at
 * files before they are opened: then this does that work and does not return. In other programs check_seconds counts
 * as 0. */
void gmv_checker_main(int argc, char **argv, gmv_checker_readers readers);
