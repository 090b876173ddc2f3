/* The numbers of a one-dimensional dataset, read past HDF5: the library says where the chunks lie, and their bytes are
 * read and decoded here, outside its lock, by as many threads as there are. */
#pragma once

#include "chunk_index.h"

typedef enum gmv_number_kind { GMV_NUMBER_INT, GMV_NUMBER_UINT, GMV_NUMBER_FLOAT } gmv_number_kind;

enum { GMV_STORED_FILTERS = 4 };

typedef struct gmv_stored {
    int fd;              /* -1: not open */
    int64_t first, end;  /* elements that can be had */
    int64_t length;      /* of the dataset */
    int64_t chunk;       /* elements of a chunk */
    int64_t first_chunk; /* of place[0] */
    gmv_chunk_place *place;
    int64_t contiguous_at; /* place == NULL: where element 0 lies */
    int size;              /* bytes of an element */
    gmv_number_kind kind;
    int filters, filter[GMV_STORED_FILTERS]; /* in the order in which they were applied */
    unsigned char fill[8];
} gmv_stored;

/* One thread's place in a dataset. */
typedef struct gmv_stored_cursor {
    const gmv_stored *stored;
    int64_t decoded; /* chunk in `values`, -1 for none */
    unsigned char *values, *spare;
    unsigned char *bytes; /* [room] of the file from `at` on, `held` of them */
    int64_t room, at, held;
    unsigned char *span; /* elements that cross the end of a chunk */
    int64_t span_room;
    struct libdeflate_decompressor *inflate;
} gmv_stored_cursor;

/* Looks up where elements [first, end) are. Collective for a shared file, every rank with its own range.
 * @param[out] can  false: this layout, type or filter takes HDF5 itself, and nothing is open
 * Ownership: gmv_stored_close, also when it is not open. */
gmv_status gmv_stored_open(gmv_stored *stored, const gmv_h5 *file, hid_t dataset, int64_t first, int64_t end,
                           bool *can);
void gmv_stored_close(gmv_stored *stored);

/* Ownership: gmv_stored_cursor_fini, also after an error. */
gmv_status gmv_stored_cursor_init(gmv_stored_cursor *cursor, const gmv_stored *stored);
void gmv_stored_cursor_fini(gmv_stored_cursor *cursor);

/* Elements [first, first + n) as they are stored, valid until the next call; chunks up to `end` may be read along.
 * NULL when they cannot be read or decoded: ask HDF5, which has the words for it. */
const void *gmv_stored_span(gmv_stored_cursor *cursor, int64_t first, int64_t n, int64_t end);
