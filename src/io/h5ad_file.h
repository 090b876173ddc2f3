/* The life of an h5ad file under a temporary name: closing it whole or not at all, and giving it its name. Not
 * collective, but for the two functions that say so. */
#pragma once

#include "h5ad_write.h"

/* Flushes, when `status` is GMV_OK: a closed file proves nothing when the disk is full. Collective on a shared file. */
gmv_status gmv_h5ad_flush(const gmv_h5ad *out, gmv_status status);

/* Closes; `status` is that of the work so far, and is returned when closing succeeds. Collective on a shared file. */
gmv_status gmv_h5ad_close(const gmv_h5ad *out, gmv_status status);

/* Flushes and closes a file that is open without MPI-IO, also one that has failed or fails now. */
gmv_status gmv_h5ad_finish(const gmv_h5ad *out, gmv_status status);

/* Gives a complete file its name, when all of it is on disk. */
gmv_status gmv_h5ad_publish(const char *temporary, const char *path);
