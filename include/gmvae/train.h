/* Training: order of the cells, batches, the step, the loop, evaluation. */
#pragma once

#include "gmvae/data.h"
#include "gmvae/model.h"
#include "gmvae/stream.h"

#include <pthread.h>

/* ---- sampler: which cells make up which batch ---- */

/* Order of the training cells. Every global batch takes from every logical shard in proportion (Webster's
 * apportionment), from each in its own shuffled order, so batch t of an epoch holds the same cells for
 * every number of ranks; every eligible cell comes once an epoch; only the last batch is shorter. Of cells that are
 * streamed all this holds within each window of an epoch. */
typedef struct gmv_sampler {
    const gmv_cells *cells;     /* borrowed */
    int shards;                 /* S */
    int first_shard, end_shard; /* hosted here */
    int64_t *count;             /* [S] eligible cells of each shard, all shards */
    int64_t total;              /* sum of count */
    int64_t batch_size, batches;
    uint64_t seed;
    int64_t *start;               /* [hosted + 1] where each hosted shard starts in `row` */
    int64_t *row;                 /* local rows of eligible cells, ascending; NULL when they are streamed */
    int64_t *taken, *taken_after; /* [S] scratch: cells of each shard before and after a batch */
    /* of cells that are streamed: blocks of `block_rows` rows of a shard, those with eligible cells */
    int64_t windows; /* of an epoch; 1 for cells in memory */
    int64_t block_rows;
    int64_t *block_start;  /* [S + 1] where each shard's begin in the next two, all shards */
    int32_t *block;        /* number within the shard */
    int32_t *block_cells;  /* eligible cells */
    int64_t fewest;        /* cells that a window has at least */
    int64_t window, whole; /* sizes of a window and of an epoch, in the same unit */
} gmv_sampler;

/* Eligible are local rows with counts that are not held out. Collective.
 * @param[in] window  cells that are in memory together, of all ranks, when they are streamed
 * Errors: GMV_ERR_DATA when no cell is left. */
gmv_status gmv_sampler_init(gmv_sampler *sampler, const gmv_comm *comm, const gmv_cells *cells, uint64_t seed,
                            int64_t batch_size, int64_t window);
void gmv_sampler_fini(gmv_sampler *sampler);

/* Whether a local row is eligible. */
bool gmv_sampler_wants(const gmv_sampler *sampler, gmv_gidx row);

/* Cells of batch t, all ranks together. */
int64_t gmv_sampler_batch_cells(const gmv_sampler *sampler, int64_t t);

/* Local rows of batch t of an epoch that lie in shards [first, end), a part of those hosted here. Cells in memory.
 * @param[out] rows  room for gmv_sampler_most(sampler, first, end)
 * @return number of rows */
int gmv_sampler_rows(const gmv_sampler *sampler, int64_t epoch, int64_t t, int first, int end, int64_t *rows);

/* Largest number of rows that shards [first, end) give to any batch. */
int gmv_sampler_most(const gmv_sampler *sampler, int first, int end);

/* A bijection of 0 .. n-1 that depends on (seed, epoch, unit): where the i-th visited cell of a shard is. */
int64_t gmv_permute(int64_t i, int64_t n, uint64_t seed, int64_t epoch, int64_t unit);

/* Cells of each shard among the first `cells` of `total`: Webster's (Sainte-Lague's) apportionment, which is
 * unique and never takes a cell back as `cells` grows. */
void gmv_apportion(const int64_t *count, int shards, int64_t total, int64_t cells, int64_t *taken);

/* ---- windows: the parts of an epoch of streamed cells ---- */

typedef struct gmv_windows {
    int64_t epoch;  /* -1 before the first */
    int64_t *start; /* [W + 1] cells of the epoch before each window, all ranks together */
    int64_t *count; /* [W, S] eligible cells of each shard in each window */
} gmv_windows;

/* Largest numbers that any window of any epoch has on this rank. */
typedef struct gmv_window_room {
    int64_t rows, values, large;
    int64_t spans, most_spans; /* of all its shards, and of one */
} gmv_window_room;

/* Parts of gmv_sampler_init: the blocks of all shards, collective; and the number of windows. */
gmv_status gmv_sampler_find_blocks(gmv_sampler *sampler, const gmv_comm *comm, const gmv_cells *cells);
gmv_status gmv_sampler_cut_windows(gmv_sampler *sampler, int64_t window);

gmv_status gmv_windows_init(gmv_windows *windows, const gmv_sampler *sampler);
void gmv_windows_fini(gmv_windows *windows);
void gmv_windows_plan(gmv_windows *windows, const gmv_sampler *sampler, int64_t epoch);

/* First batch that has its last cell in a window, W: one past the last; whether that batch has cells of the window
 * before, too. */
int64_t gmv_windows_first_batch(const gmv_windows *windows, const gmv_sampler *sampler, int64_t window);
bool gmv_windows_reaches_back(const gmv_windows *windows, const gmv_sampler *sampler, int64_t window);

/* The blocks of this rank in a window, shard after shard and ascending.
 * @param[in] scratch  [most_spans] @param[out] span  [spans] @return how many */
int64_t gmv_windows_spans(const gmv_sampler *sampler, const gmv_cells *cells, int64_t epoch, int64_t window,
                          int64_t *scratch, gmv_span *span);

/* Rows of batch t, which belongs to the window, that lie in shards [first, end) of those hosted here. The wanted rows
 * of the spans follow each other in memory from base[1] on, those of the window before from base[0] on. */
int64_t gmv_windows_rows(const gmv_sampler *sampler, const gmv_windows *windows, int64_t window, int64_t t, int first,
                         int end, const int64_t base[2], int64_t *rows);

/* Blocks that any window has of a shard at most. */
int64_t gmv_windows_most_blocks(const gmv_sampler *sampler, int shard);

/* gmv_sampler_most of streamed cells. */
int gmv_windows_most(const gmv_sampler *sampler, int first, int end);

gmv_status gmv_windows_room(const gmv_sampler *sampler, const gmv_cells *cells, gmv_window_room *room);

/* ---- order: the cells of an epoch, or of a window of it, batch after batch ---- */

typedef struct gmv_order {
    const gmv_sampler *sampler; /* borrowed; its scratch arrays are the order's while it exists */
    int pieces;
    int *shard;                  /* [pieces + 1] shards of each piece of a batch */
    int64_t room;                /* of row */
    int64_t epoch;               /* of row and start, -1 before the first */
    int64_t first, end;          /* batches that they hold */
    int64_t *row;                /* rows of the packed matrix, or of the slots */
    int64_t *start;              /* [(end - first) pieces + 1] where each batch's pieces start in row */
    struct gmv_order_next *next; /* being made */
    gmv_slots slots;             /* of streamed cells: what the rows are of */
    pthread_t thread;
    bool running;
} gmv_order;

/* @param[in] shard    [pieces + 1], copied: piece p of a batch takes from shards [shard[p], shard[p + 1])
 * @param[in] threads  that read streamed cells ahead, at least 1 */
gmv_status gmv_order_init(gmv_order *order, const gmv_sampler *sampler, const int *shard, int pieces, int threads);
void gmv_order_fini(gmv_order *order);

/* Makes row and start those that hold a batch. No work on the batches before it may be under way.
 * Errors: GMV_ERR_DATA when streamed cells cannot be read. */
gmv_status gmv_order_take(gmv_order *order, int64_t epoch, int64_t batch);

/* Begins with what comes after it, in a thread. Of streamed cells the first batch must have been fetched: it may lie in
 * the slot that is filled. Does nothing when it was begun. */
void gmv_order_prepare(gmv_order *order);

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

/* Fills feed->batch with rows *first .. *first + n - 1 of the order. @param[in] first  backend memory */
gmv_status gmv_feed_next(gmv_feed *feed, const int64_t *first, int n, gmv_input input);

/* Makes feed->ahead feed->batch when it starts at `row` of the order; true if so. */
bool gmv_feed_turn(gmv_feed *feed, int64_t row);

/* Fills feed->ahead with rows *first .. *first + n - 1 of the order, beside the operations up to aside_wait. */
gmv_status gmv_feed_ahead(gmv_feed *feed, const int64_t *first, int n, gmv_input input);

/* Cells of a batch of evaluation and embedding: feeds for them need room for so many. */
enum { GMV_EVAL_CELLS = 128, GMV_EVAL_DRAWS = 16 };

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

/* ---- evaluation ---- */

/* Means over cells and standard errors of the means (NaN for a single cell), nats per cell; the same for every number of
 * ranks. */
typedef struct gmv_evaluation {
    int64_t cells, samples;
    double neg_elbo, neg_elbo_se; /* exact (marginal) bound */
    double objective, objective_se;
    const gmv_terms *terms; /* the model's */
    double term[GMV_MAX_TERMS], term_se[GMV_MAX_TERMS];
    int clusters;        /* K of the model, 0: it has none */
    int active_clusters; /* those with more than 0.5 % of the mass */
} gmv_evaluation;

/* What was computed for some local rows; NULL parts were not. Host memory. */
typedef struct gmv_row_results {
    int n;
    const gmv_gidx *row;      /* [n] global rows, ascending */
    const float *latent;      /* [n, D] posterior means */
    const float *probability; /* [n, K] p(z | x, w) at the posterior means */
    const float *neg_elbo;    /* [n] exact bound */
} gmv_row_results;

/* Takes results as they come, in row order. */
typedef struct gmv_row_sink {
    gmv_status (*take)(void *context, const gmv_row_results *results);
    void *context;
} gmv_row_sink;

typedef enum gmv_which_cells { GMV_CELLS_ALL, GMV_CELLS_HELD_OUT } gmv_which_cells;

/* Evaluates local rows (with counts), `samples` draws each: all, or those that cells->split holds out. Collective.
 * @param[in] sink  takes the bounds of the cells; may be NULL */
gmv_status gmv_evaluate(gmv_model *model, gmv_feed *feed, const gmv_cells *cells, const gmv_comm *comm,
                        gmv_which_cells which, int samples, const gmv_row_sink *sink, gmv_evaluation *evaluation);

/* Posterior means and cluster probabilities of the local rows with counts. Not collective. */
gmv_status gmv_embed_rows(gmv_model *model, gmv_feed *feed, const gmv_cells *cells, const gmv_row_sink *sink);

/* ", 9 of 20 clusters in use", or nothing where a model has none. @return text */
const char *gmv_clusters_text(const gmv_evaluation *evaluation, char *text, size_t size);

/* How well the model's own clusters (most probable component at the posterior means) agree with labels. */
typedef struct gmv_agreement {
    int clusters;    /* K, 0: the model has none */
    int64_t cells;   /* labelled cells compared; 0: no labels */
    int labels;      /* that these have */
    double ari, nmi; /* NaN with fewer than two labels */
} gmv_agreement;

/* Over local rows with counts and a label. Collective; the same for every number of ranks. */
gmv_status gmv_label_agreement(gmv_model *model, gmv_feed *feed, const gmv_cells *cells, const gmv_comm *comm,
                               gmv_which_cells which, gmv_agreement *agreement);

/* ---- training ---- */

/* Position and statistics of a run; saved in checkpoints. */
typedef struct gmv_progress {
    int64_t epoch;             /* completed epochs */
    int64_t batch;             /* batches done of the epoch under way; all of them: its evaluation was not done */
    int64_t step;              /* optimiser steps done */
    int terms;                 /* of the model */
    double sum[GMV_MAX_TERMS]; /* of the epoch under way: sums over cells of the terms */
    double best;               /* lowest held-out -ELBO so far, +infinity before the first */
    double norm;               /* of the last step's gradient; NaN: not known */
    int64_t cells;             /* of an epoch: a position inside one means nothing among other cells */
    int64_t window;            /* cells of a window when they are streamed, else 0: their order is another */
} gmv_progress;

/* A step that was started: position after it, and the numbers it was taken with. */
typedef struct gmv_taken_step {
    int64_t epoch, step; /* epochs completed before it; number of the update, from 1 */
    int64_t cells;       /* of the global batch */
    double lr, kl_weight;
} gmv_taken_step;

typedef struct gmv_trainer {
    const gmv_config *config;
    const gmv_comm *comm;
    gmv_backend *backend;
    gmv_model *model;
    const gmv_cells *cells;
    gmv_sampler sampler;
    gmv_feed feed;
    gmv_progress progress;
    int64_t planned_steps, warmup_steps;
    int pieces, first_piece, end_piece; /* micro-batches, and those of this rank */
    gmv_order order;                    /* of this rank's batches and pieces */
    int64_t *fixed;                     /* backend [P + extra] fixed-point gradient sums, NULL for fast */
    int64_t *overflow;                  /* backend */
    float *cluster_mass;                /* backend [K]: sum of probabilities of the epoch, this rank */
    gmv_outcome *outcome;               /* backend */
    gmv_taken_step taken[GMV_REPORTS];  /* steps under way, by number modulo GMV_REPORTS */
    int64_t steps_taken, steps_seen;    /* steps started, and those whose outcome the host has seen */
    int64_t steps_of_order;             /* steps started before the order at hand was taken */
    gmv_taken_step seen;                /* the last one seen, and of it: */
    double last[GMV_MAX_TERMS];         /* terms, means over its cells */
    double last_norm;                   /* norm of the gradient */
    double lowest;                      /* -ELBO of the first step or an epoch since; NaN: not known yet */
    bool stop;                          /* a signal reached some rank; all ranks see it after the same step */
} gmv_trainer;

gmv_status gmv_trainer_init(gmv_trainer *trainer, const gmv_config *config, const gmv_comm *comm, gmv_model *model,
                            const gmv_cells *cells);
void gmv_trainer_fini(gmv_trainer *trainer);

/* Goes on from a checkpoint's position, with what it knows of the step before; `cells` stays the trainer's. */
void gmv_train_take_up(gmv_trainer *trainer, const gmv_progress *progress);

/* One optimiser step on the next batch of the epoch under way. Collective. It may return while the device still works
 * on it: `last` and the sums of `progress` can be one step behind until gmv_train_settle.
 * Errors: GMV_ERR_NUMERIC when the loss or a gradient was not finite, of this step or the one before; parameters are
 * then as they were before that; GMV_STOPPED when a signal came while streamed cells were read, and no step was taken. */
gmv_status gmv_train_step(gmv_trainer *trainer);

/* Waits for the steps under way. Errors: as gmv_train_step. */
gmv_status gmv_train_settle(gmv_trainer *trainer);

/* From trainer->progress to the last epoch: steps, metrics, evaluation, checkpoints.
 * @param[in] validation  cells of data.validation paths, NULL when some of the training files' cells are held out, or none
 * Errors: GMV_STOPPED after a signal, with a checkpoint written. */
gmv_status gmv_train_loop(gmv_trainer *trainer, const gmv_cells *validation);

/* Learning rate and KL weight in force at a step. */
double gmv_learning_rate(const gmv_config *config, int64_t epoch);
double gmv_kl_weight(const gmv_trainer *trainer);

/* Appends one line to output.dir/metrics.jsonl (rank 0). A line that cannot be written is warned about, once. */
void gmv_metrics_append(const gmv_trainer *trainer, const char *split, const gmv_evaluation *evaluation,
                        double cells_per_s);

/* The same for the last step seen (split: step). */
void gmv_metrics_step(const gmv_trainer *trainer);

/* Drops lines of metrics.jsonl that lie behind `step` (rank 0): a resumed run writes them again. */
gmv_status gmv_metrics_rewind(const gmv_config *config, int64_t step);
