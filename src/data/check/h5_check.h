/* A look at input files by another process, before this one opens them: HDF5 can crash, or loop for ever, on damaged
 * metadata. What ends that process becomes an error here.
 *
 * The process is the program itself, started anew (posix_spawn, not fork: MPI and OpenMP have threads and memory that a
 * copy must not touch), with limits on time and memory; gmv_checker_main in data.h is its main. It takes one path after
 * the other and names each object before it looks at it. */
#pragma once

#include "gmvae/checker.h"
#include "gmvae/comm.h"
#include "gmvae/config.h"
#include "gmvae/data.h"

/* Looks at files, all of them by one process, on this rank alone; 0 seconds, or a program without gmv_checker_main:
 * does nothing. A file that HDF5 refuses in order is no error here: whoever opens it says why.
 * @param[in] seconds  most for one file
 * Errors: GMV_ERR_DATA naming file and object where HDF5 crashes or does not end; GMV_ERR_ENVIRONMENT when the process
 * cannot be started. */
gmv_status gmv_h5_check(char *const *path, int n, double seconds);

/* Exit status of the process when HDF5 asks for memory that no structure needs. */
enum { GMV_WALK_NO_MEMORY = 4 };

/* Has a checkpoint read by the process, which does what this one will do with it afterwards; without one, reads it here.
 * @param[in]  whole  all of it, or the step alone
 * @param[out] step   optimiser steps done
 * Errors: as above, and GMV_ERR_DATA with what the reader says, without the path. */
gmv_status gmv_h5_check_checkpoint(gmv_checkpoint_reader *reader, const char *path, bool whole, double seconds,
                                   int64_t *step);

/* What the process does with an input file: `at` is called with the name of each object before it is touched. Touches all that
 * reading metadata may touch: every link (external ones are never followed), object header, attribute, type, filter and
 * chunk index; the values of datasets up to 4 MiB in the file (and 2^24 values) and of names up to 2^20; of larger ones
 * an even sample. @param[in] inspect  as in gmv_checker_readers */
void gmv_h5_walk(const char *path, void (*at)(const char *object), bool (*inspect)(const struct gmv_h5 *file));
