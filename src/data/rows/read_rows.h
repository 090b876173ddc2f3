/* Rows of a file into packed counts. */
#pragma once

#include "csr_reader.h"

#include "gmvae/work.h"

/* Appends rows [first, end) of the file, by all threads of OpenMP where the store is open, through HDF5 where it is not.
 * Not collective. @param[in] work  shown as the packer gets its rows; NULL: nothing is
 * Errors: GMV_ERR_DATA with file, row and gene. */
gmv_status gmv_read_rows(gmv_packer *packer, const gmv_row_source *source, const gmv_csr_arrays *store, int64_t first,
                         int64_t end, gmv_work *work);
