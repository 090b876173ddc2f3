/* The numbers of a one-dimensional dataset, read past HDF5: the library says where the chunks lie, and their bytes are
 * read and decoded here, outside its lock, by as many threads as there are. */
#pragma once

#include "chunk_index.h"

typedef enum gmv_number_kind { GMV_NUMBER_INT, GMV_NUMBER_UINT, GMV_NUMBER_FLOAT } gmv_number_kind;

enum { GMV_STORED_FILTERS = 4 };

typedef struct gmv_h5_array {
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
} gmv_h5_array;

/* One thread's place in a dataset. */
typedef struct gmv_h5_array_cursor {
    const gmv_h5_array *stored;
    int64_t decoded; /* chunk in `values`, -1 for none */
    unsigned char *values, *spare;
    unsigned char *bytes; /* [room] of the file from `at` on, `held` of them */
    int64_t room, at, held;
    unsigned char *span; /* elements that cross the end of a chunk */
    int64_t span_room;
    struct libdeflate_decompressor *inflate;
} gmv_h5_array_cursor;

/* Looks up where elements [first, end) are. Collective for a shared file, every rank with its own range.
 * @param[out] can  false: this layout, type or filter takes HDF5 itself, and nothing is open
 * Ownership: gmv_h5_array_close, also when it is not open. */
gmv_status gmv_h5_array_open(gmv_h5_array *stored, const gmv_h5 *file, hid_t dataset, int64_t first, int64_t end,
                             bool *can);
void gmv_h5_array_close(gmv_h5_array *stored);

/* Ownership: gmv_h5_array_cursor_fini, also after an error. */
gmv_status gmv_h5_array_cursor_init(gmv_h5_array_cursor *cursor, const gmv_h5_array *stored);
void gmv_h5_array_cursor_fini(gmv_h5_array_cursor *cursor);

/* Elements [first, first + n) as they are stored, valid until the next call; chunks up to `end` may be read along.
 * NULL when they cannot be read or decoded: ask HDF5, which has the words for it. */
const void *gmv_h5_array_span(gmv_h5_array_cursor *cursor, int64_t first, int64_t n, int64_t end);
