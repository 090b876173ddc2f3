/* A file whose rows are read again and again. */
#pragma once

#include "row_reader.h"

#include <sys/stat.h>

struct gmv_stream_file {
    char *path;
    gmv_row_store store;
    int32_t *map;            /* [cols] gene in use or -1; NULL: the same */
    int64_t cols;            /* stored columns */
    gmv_gidx start;          /* global row of its row 0 */
    gmv_gidx first, end;     /* its local rows, as global rows; first == end: none, and nothing is open */
    off_t bytes;             /* when it was opened, as the next */
    struct timespec changed; /* last modification */
};

/* Takes the store over; the file is `path`, opened for local rows [first, end). */
gmv_status gmv_stream_take_file(struct gmv_stream_file *file, const char *path, const gmv_row_source *source,
                                gmv_row_store *store, gmv_gidx start, gmv_gidx first, gmv_gidx end);
