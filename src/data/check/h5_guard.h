/* Memory of HDF5 in which no access beyond a block goes unnoticed, for a process that is there to be ended by it. */
#pragma once

#include <stdbool.h>

/* From now on each block that HDF5 takes lies in pages of its own: behind its last byte, and where it was once it is given
 * back, is no memory. Fresh blocks hold 0xA5, as does what little is in front of them, which is compared when they are given
 * back. Only HDF5's calls of malloc are led here, so that nothing changes for the rest of the process. For a process
 * whose one thread calls HDF5; without HDF5's free lists (H5set_free_list_limits), whose blocks it hands out itself.
 * Of more than 2^13 blocks at a time (2^12 below 256 bytes, such as the texts of a dataset) the later ones are malloc's own.
 * Small ones of an odd number of four bytes, as parameters of filters may be, are four bytes longer.
 * @return false where it cannot be done, without effect: under a sanitizer, or where HDF5 is no shared library */
bool gmv_h5_guard_memory(void);
