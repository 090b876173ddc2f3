/* The state of a file: what tells one from another. Calls nothing of HDF5. */
#pragma once

#include "gmvae/data.h"

#include <sys/stat.h>

gmv_file_stamp gmv_file_stamp_of(const struct stat *info);

/* Whether a file is as it was: by size and times. */
bool gmv_file_stamp_same(const gmv_file_stamp *a, const gmv_file_stamp *b);

/* Of the file behind a descriptor; as no file is, when there is none. */
gmv_file_stamp gmv_file_stamp_behind(int fd);

/* Whether the file of a path still is as it was: counts of two states must not be mixed. Not collective.
 * Errors: GMV_ERR_DATA when it was written to, replaced or removed since. */
gmv_status gmv_file_unchanged(const char *path, const gmv_file_stamp *stamp);

/* Records that it is not. Returns GMV_ERR_DATA. */
gmv_status gmv_file_has_changed(const char *path);
