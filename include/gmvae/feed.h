/* Local rows to batches in backend memory: those of an order, and all of them one after the other. */
#pragma once

#include "gmvae/model.h"
#include "gmvae/sampler.h"

/* ---- feed: local rows to batches in backend memory ---- */

/* A packed matrix as operations see it. */
typedef struct gmv_resident {
    gmv_packed packed;
    const gmv_packed *host; /* NULL: nothing is resident */
    bool on_device;         /* `packed` is a copy, else the host's arrays */
} gmv_resident;

typedef struct gmv_feed {
    gmv_backend *backend;
    const gmv_cells *cells;
    gmv_resident matrix; /* the local rows; of streamed cells the windows of training, if there is any */
    gmv_resident spans;  /* of streamed cells: what a visit goes through */
    gmv_slots slots;     /* and where that is in the host's memory */
    gmv_batch batch;
    gmv_batch ahead;   /* the next one, fetched beside the work on `batch`; has no arrays in host memory */
    int64_t ahead_row; /* where in the order `ahead` starts; -1: it is empty */
    int turn;          /* 0, 1: which arrays are those of `batch` */
    int64_t *rows;     /* backend memory [max_cells] */
    int64_t *zero;     /* backend memory: 0 */
    int64_t *order;    /* backend memory [ordered]: rows of an epoch, batch after batch; NULL without one */
    int64_t ordered;   /* room of it */
    int max_cells;
    void *block[2]; /* the batches' arrays */
} gmv_feed;

/* Makes the local rows of `cells` readable for operations and reserves batches of up to `max_cells`. `cells` must
 * outlive it. @param[in] residence  GMV_RESIDENCE_*; auto: on the device where that leaves half a gigabyte free.
 * Feeds on one backend are closed in the reverse of their order.
 * @param[in] windows  of streamed cells: the slots of their order, which must outlive it; NULL without training */
gmv_status gmv_feed_open(gmv_feed *feed, gmv_backend *backend, const gmv_cells *cells, int max_cells, int residence,
                         const gmv_slots *windows);
void gmv_feed_close(gmv_feed *feed);

/* Fills feed->batch with local rows (host array), of streamed cells with rows of the slots of a visit. Allocates nothing;
 * leaves feed->ahead alone. */
gmv_status gmv_feed_fetch(gmv_feed *feed, const int64_t *rows, int n, gmv_input input);

/* Sets the rows of an epoch or a window (host array). @param[in] room  the most there will be; allocates the first time */
gmv_status gmv_feed_set_order(gmv_feed *feed, const int64_t *rows, int64_t n, int64_t room);

/* Fills feed->batch with rows *first .. *first + *filled - 1 of the order, and up to `rows` with rows without cells.
 * @param[in] first, filled  backend memory; filled NULL: all `rows` are cells */
gmv_status gmv_feed_next(gmv_feed *feed, const int64_t *first, const int32_t *filled, int rows, gmv_input input);

/* Makes feed->ahead, which has `rows`, feed->batch when it starts at `row` of the order; true if so. */
bool gmv_feed_turn(gmv_feed *feed, int64_t row, int rows);

/* As gmv_feed_next, into feed->ahead, beside the operations up to aside_wait. */
gmv_status gmv_feed_ahead(gmv_feed *feed, const int64_t *first, const int32_t *filled, int rows, gmv_input input);

/* Cells of a batch of evaluation and embedding: feeds for them need room for so many; and draws that are taken at a time,
 * which are those that what a cell gets is a mean over. */
enum { GMV_EVAL_CELLS = 128, GMV_EVAL_DRAWS = 10 };

/* ---- visit: local rows in order, batch after batch ---- */

/* Batches lie within a shard and have GMV_EVAL_CELLS rows but for its last: they are the same for every number of
 * ranks. Streamed cells are read ahead in a thread. */
typedef struct gmv_visit {
    gmv_feed *feed; /* feed->batch is the batch at hand; feed->ahead is left alone */
    const gmv_cells *cells;
    gmv_row_filter filter;
    int n, shard;   /* rows of the batch, all of one shard; 0 at the end */
    gmv_gidx *row;  /* [n] global rows */
    int64_t *place; /* [n] where they are in the packed matrix */
    int next_shard; /* where to look for the rows to come */
    gmv_gidx next_row;
    struct gmv_span_reader *reader; /* of streamed cells */
} gmv_visit;

/* Ownership: gmv_visit_end, also after an error. Not collective. */
gmv_status gmv_visit_begin(gmv_visit *visit, gmv_feed *feed, const gmv_cells *cells, gmv_row_filter filter);
gmv_status gmv_visit_next(gmv_visit *visit, gmv_input input);
void gmv_visit_end(gmv_visit *visit);
