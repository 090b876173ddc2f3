/* Rows of a file into packed counts. */
#pragma once

#include "pack.h"
#include "stored.h"

/* The arrays of a CSR matrix as they can be read past HDF5. */
typedef struct gmv_row_store {
    gmv_stored column, value;
    bool is_open; /* both */
} gmv_row_store;

/* For rows [first, end) of the matrix. Collective for a shared file; a store that is not open is no error.
 * Ownership: gmv_row_store_close. */
gmv_status gmv_row_store_open(gmv_row_store *store, const gmv_matrix *matrix, int64_t first, int64_t end);
void gmv_row_store_close(gmv_row_store *store);

/* Appends rows [first, end) of the file, by all threads of OpenMP where the store is open, through HDF5 where it is not.
 * Not collective. @param[in] whole  rows that count as 100 % in the progress line
 * Errors: GMV_ERR_DATA with file, row and gene. */
gmv_status gmv_read_rows(gmv_packer *packer, const gmv_row_source *source, const gmv_row_store *store, int64_t first,
                         int64_t end, int64_t whole);
