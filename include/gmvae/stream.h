/* Cells that stay on disk: what is kept of them in memory, and reading any of them.
 *
 * A pass over the files when they are opened checks every value and takes a census; afterwards rows are read when
 * they are wanted, past HDF5 or from a packed copy that the pass has made, into slots of a fixed size. In memory stay a
 * bit for every local row and a few numbers for every block of rows.
 */
#pragma once

#include "gmvae/data.h"

/* Rows that are read together lie in blocks: `block_rows` consecutive rows of a shard, the last one of a shard fewer.
 * Blocks are what is shuffled over a shard in training, so they are part of the order of the cells. */
struct gmv_stream_file;
struct gmv_cell_cache;
struct gmv_stream {
    int64_t block_rows;
    int64_t *block_start;         /* [hosted shards + 1] where the blocks of each begin in the next two */
    int64_t *values;              /* [blocks] stored values in the genes in use */
    int64_t *large;               /* [blocks] those of 255 and more */
    uint8_t *filled;              /* bits of the local rows: has a count */
    int64_t *rows_of;             /* [genes + 1] local rows with so many values */
    int64_t nnz;                  /* of the local rows */
    int64_t most_large;           /* values of 255 and more in a row, at most */
    double *shard_sums;           /* [shards, 3] of the rows in training: entries, sum, squares; this rank's shards */
    struct gmv_stream_file *file; /* [files] */
    int files;
    struct gmv_cell_cache *cache; /* packed rows of the files that are read from it; NULL: of none */
};

/* The census, taken in row order. `genes` as in gmv_cells; the rows and shards of `cells` are known.
 * Ownership: gmv_stream_destroy. */
gmv_status gmv_stream_create(gmv_stream **stream, const gmv_cells *cells, int64_t block_rows);
void gmv_stream_destroy(gmv_stream **stream);

/* The block that a local row lies in, by its place in `values`, and the row at which it ends. */
int64_t gmv_stream_block(const gmv_cells *cells, gmv_gidx row, gmv_gidx *end);

/* Takes note of rows; row 0 of `packed` is global row packed->first_cell. cells->split is known. */
void gmv_stream_count(gmv_stream *stream, const gmv_cells *cells, const gmv_packed *packed);

/* Values that the `most` fullest local rows have together. */
int64_t gmv_stream_fullest(const gmv_stream *stream, int32_t genes, int64_t most);

/* ---- reading ---- */

/* Consecutive global rows, all local. */
typedef struct gmv_span {
    gmv_gidx first, end;
} gmv_span;

/* Which rows of a span are read. */
typedef struct gmv_row_filter {
    bool (*wants)(const void *context, gmv_gidx row);
    const void *context;
} gmv_row_filter;

/* Two slots for rows, filled in turns. What operations read has fixed places and lengths. */
typedef struct gmv_slots {
    int64_t rows, values, large; /* room of one slot */
    int64_t bytes;               /* of both */
    gmv_packed view;             /* row i of slot h is its row h * (rows + 1) + i */
    gmv_nnz *indptr;             /* [2 (rows + 1)], as all that follow a part of `view` */
    uint16_t *gene16;
    uint32_t *gene32;
    uint8_t *count8;
    gmv_nnz *overflow_at;
    uint32_t *overflow_count;
    int32_t *level;
    gmv_gidx *cell;
    int32_t *set;
    uint8_t *present;                 /* its own copy */
    char *block;                      /* all of them */
    struct gmv_stream_worker *worker; /* [workers] memory of the threads that read */
    int workers;
} gmv_slots;

/* Ownership: gmv_slots_fini. */
gmv_status gmv_slots_init(gmv_slots *slots, const gmv_cells *cells, int64_t rows, int64_t values, int64_t large);
void gmv_slots_fini(gmv_slots *slots);

/* Threads that read ahead: a few beside a step on these cores, beside a device's all but the one that feeds it. */
int gmv_stream_threads(bool host_computes);

/* Reads the wanted rows of the spans, each of them within a block, into slot `half`, in order, by `threads` threads.
 * Does not call HDF5 or MPI: may run beside everything else. Not collective.
 * @return  -1, or the row at which it failed: gmv_stream_fail has the words */
gmv_gidx gmv_stream_read(const gmv_cells *cells, const gmv_span *span, int64_t spans, gmv_row_filter filter,
                         int threads, gmv_slots *slots, int half);

/* Records what became of the file with this row. Returns GMV_ERR_DATA; GMV_ERR_ENVIRONMENT for the cache; GMV_STOPPED when
 * reading was given up after a signal. */
gmv_status gmv_stream_fail(const gmv_cells *cells, gmv_gidx row);

/* Whether a local row has a count, and how many values the local rows have, wherever the cells are. */
bool gmv_cells_has_counts(const gmv_cells *cells, gmv_gidx row);
int64_t gmv_cells_values(const gmv_cells *cells);
