/* Room for an h5ad file, and closing it whole or not at all. Not collective, but for the two functions that say so. */
#pragma once

#include "h5ad_write.h"

/* Blocks on the disk for all that HDF5 has given places so far, and for `more` bytes behind. A full disk must show here:
 * once a write of its own has failed, HDF5 1.10 can neither close the file nor end the program without a crash. For a
 * file that is open without MPI-IO. */
gmv_status gmv_h5ad_reserve(const gmv_h5ad *out, int64_t more);

/* Flushes, when `status` is GMV_OK: a closed file proves nothing when the disk is full. Collective on a shared file. */
gmv_status gmv_h5ad_flush(const gmv_h5ad *out, gmv_status status);

/* Closes; `status` is that of the work so far, and is returned when closing succeeds. Collective on a shared file. */
gmv_status gmv_h5ad_close(const gmv_h5ad *out, gmv_status status);

/* Flushes and closes a file that is open without MPI-IO, also one that has failed or fails now; gives back what was
 * reserved and is not used. */
gmv_status gmv_h5ad_finish(const gmv_h5ad *out, gmv_status status);
