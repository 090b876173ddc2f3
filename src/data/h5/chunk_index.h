/* Where the chunks of a one-dimensional dataset lie in the file. */
#pragma once

#include "h5.h"

typedef struct gmv_chunk_place {
    int64_t at;       /* in the file; -1: never written, all elements have the fill value */
    uint32_t bytes;   /* as stored */
    uint32_t skipped; /* bit i: filter i was not applied */
} gmv_chunk_place;

/* Finds chunks [first, end) of `chunk` elements each. Collective for a shared file, every rank with its own range.
 * @param[in]  fd     the same file, open for reading
 * @param[out] place  [end - first]
 * @return  false: the index is of a kind that is not read here, or damaged */
bool gmv_chunk_index_read(const gmv_h5 *file, hid_t dataset, int fd, int64_t chunk, int64_t first, int64_t end,
                          gmv_chunk_place *place);
