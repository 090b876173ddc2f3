/* A file whose rows are read again and again. */
#pragma once

#include "../rows/csr_reader.h"

#include "gmvae/data.h"

struct gmv_stream_file {
    char *path;
    gmv_csr_arrays store;
    int32_t *map;         /* [cols] gene in use or -1; NULL: the same */
    int64_t cols;         /* stored columns */
    bool cached;          /* its rows are in stream->cache, and nothing of it is open */
    gmv_gidx start;       /* global row of its row 0 */
    gmv_gidx first, end;  /* its local rows, as global rows; first == end: none, and nothing is open */
    gmv_file_stamp stamp; /* before it was opened */
};

/* Takes the store over, which was opened for local rows [first, end) of source's file; not of a cached one. */
gmv_status gmv_stream_take_file(struct gmv_stream_file *file, const gmv_row_source *source, gmv_csr_arrays *store,
                                gmv_gidx start, gmv_gidx first, gmv_gidx end, bool cached);
