/* Packed rows of this rank on disk: of files that cannot be read row by row, or that are not to be decoded every epoch.
 *
 * They lie in records of consecutive rows of one file and one block (stream.h), in order, so that only the place of
 * each block is kept in memory. */
#pragma once

#include "../rows/pack.h"
#include "../rows/scratch.h"

#include "gmvae/data.h"

typedef struct gmv_cell_cache {
    gmv_scratch file;
    bool wide;          /* 32-bit genes */
    int64_t blocks;     /* local ones */
    int64_t *start;     /* [blocks + 1] where the records of each begin */
    int64_t known;      /* blocks whose start is known; blocks + 1: it is complete */
    unsigned char *out; /* [room] still to be written, `held` bytes */
    int64_t room, held;
} gmv_cell_cache;

/* Empty, in a directory. The stream of `cells` is there. Ownership: gmv_cell_cache_close, also after an error.
 * Errors: GMV_ERR_ENVIRONMENT. */
gmv_status gmv_cell_cache_open(gmv_cell_cache *cache, const gmv_cells *cells, const char *directory);
void gmv_cell_cache_close(gmv_cell_cache *cache);

/* Bytes that so many rows with so many values take, large counts aside. */
int64_t gmv_cell_cache_bytes(int64_t rows, int64_t values, bool wide);

/* Appends rows of one file, which lie behind all before; row 0 is global row packed->first_cell.
 * Errors: GMV_ERR_ENVIRONMENT when the disk is full. */
gmv_status gmv_cell_cache_add(gmv_cell_cache *cache, const gmv_cells *cells, const gmv_packed *packed);

/* After the last row. */
gmv_status gmv_cell_cache_finish(gmv_cell_cache *cache);

/* One thread's reader. */
typedef struct gmv_cache_reader {
    const gmv_cell_cache *cache;
    int64_t block;        /* in `bytes`, -1: none */
    unsigned char *bytes; /* [room], `held` of them */
    int64_t room, held;
    int64_t at;     /* the record at hand */
    gmv_gidx row;   /* the last one that was added */
    gmv_nnz *large; /* [large_room] places of large counts in a row */
    int64_t large_room;
} gmv_cache_reader;

/* Cannot fail. Ownership: gmv_cache_reader_fini. */
void gmv_cache_reader_init(gmv_cache_reader *reader, const gmv_cell_cache *cache);
void gmv_cache_reader_fini(gmv_cache_reader *reader);

/* Appends a global row of a block. Rows that ascend are read a block at a time.
 * @return  false when the file does not hold what was written, or there is no memory; nothing was appended */
bool gmv_cache_reader_add(gmv_cache_reader *reader, gmv_packer *packer, int64_t block, gmv_gidx row);
