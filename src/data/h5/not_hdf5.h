/* What a path is that HDF5 cannot open, and what to do with it. */
#pragma once

#include "gmvae/status.h"

/* A folder instead of a file. Records a message and returns GMV_ERR_DATA, as the next. */
gmv_status gmv_refuse_folder(const char *path);

/* A regular file without HDF5's signature. */
gmv_status gmv_refuse_other_format(const char *path);
