/* Rows of a CSR matrix read past HDF5: by any thread, and without a call to the library, which is not made for several
 * threads. */
#pragma once

#include "../h5/h5_array.h"
#include "pack.h"

/* The arrays of a CSR matrix as they can be read past HDF5. */
typedef struct gmv_csr_arrays {
    gmv_h5_array column, value;
    gmv_h5_array pointer; /* only when it was asked for */
    bool is_open;         /* all of them */
    double round;         /* as data.round */
} gmv_csr_arrays;

/* For rows [first, end) of the matrix. Collective for a shared file; a store that is not open is no error.
 * @param[in] pointers  also of the starts of the rows, for gmv_csr_reader_pointers
 * Ownership: gmv_csr_arrays_close. */
gmv_status gmv_csr_arrays_open(gmv_csr_arrays *store, const gmv_matrix *matrix, int64_t first, int64_t end,
                               bool pointers);
void gmv_csr_arrays_close(gmv_csr_arrays *store);

/* One thread's reader. */
typedef struct gmv_csr_reader {
    const gmv_csr_arrays *store;
    int64_t cols;       /* stored columns */
    const int32_t *map; /* [cols] gene in use or -1; NULL: the same */
    gmv_h5_array_cursor column, value, pointer;
    bool in_order; /* genes in use are in the order of the columns */
    const gmv_fast_rows *narrow;
    int32_t *columns; /* [room] of a row that is not in order */
    uint32_t *counts;
    int64_t room;
    unsigned char *whole; /* [whole_bytes] values of a row that were rounded */
    int64_t whole_bytes;
    int64_t *start; /* [start_room] */
    int64_t start_room;
} gmv_csr_reader;

/* From the columns as they are stored to genes in use, in one step: [stored columns], NULL when they are the same; -1
 * where the gene is not in use, -2 where the column is none of the matrix.
 * Ownership: gmv_free. */
gmv_status gmv_csr_reader_map(const gmv_row_source *source, int32_t **map);

/* `store`, which must be open, and `map` are borrowed. Ownership: gmv_csr_reader_fini, also after an error. */
gmv_status gmv_csr_reader_init(gmv_csr_reader *reader, const gmv_csr_arrays *store, int64_t cols, const int32_t *map);
void gmv_csr_reader_fini(gmv_csr_reader *reader);

/* Appends the row of the n values from place `at` on; values up to place `end` will be wanted too.
 * @return  false when it is not as it should be; nothing was appended */
bool gmv_csr_reader_add(gmv_csr_reader *reader, gmv_packer *packer, int64_t at, int64_t n, int64_t end);

/* Where rows [first, first + n) start and the last ends, as far as they make sense; else NULL.
 * @return  [n + 1], valid until the next call */
const int64_t *gmv_csr_reader_pointers(gmv_csr_reader *reader, int64_t first, int64_t n);
