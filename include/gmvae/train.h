/* Training: the step, the loop, metrics.jsonl. */
#pragma once

#include "gmvae/evaluate.h"
#include "gmvae/feed.h"
#include "gmvae/sampler.h"

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
    int pieces, first_piece, end_piece; /* of a batch: micro-batches, or one for each rank; and those of this rank */
    int rows;                          /* of every piece of the order at hand on a device; 0: as many as it has cells */
    gmv_order order;                   /* of this rank's batches and pieces */
    int64_t *fixed;                    /* backend [P + extra] fixed-point gradient sums, NULL for fast */
    int64_t *overflow;                 /* backend */
    float *cluster_mass;               /* backend [K]: sum of probabilities of the epoch, this rank */
    double *component_share;           /* [K] of the cells of the last epoch, all ranks */
    gmv_outcome *outcome;              /* backend */
    gmv_taken_step taken[GMV_REPORTS]; /* steps under way, by number modulo GMV_REPORTS */
    int64_t steps_taken, steps_seen;   /* steps started, and those whose outcome the host has seen */
    int64_t steps_of_order;            /* steps started before the order at hand was taken */
    gmv_taken_step seen;               /* the last one seen, and of it: */
    double last[GMV_MAX_TERMS];        /* terms, means over its cells */
    double last_norm;                  /* norm of the gradient */
    double lowest;                     /* -ELBO of the first step or an epoch since; NaN: not known yet */
    int64_t until;                     /* completed epochs after which gmv_train_loop returns; 0: the last one */
    void (*kept)(void *context, int64_t epoch); /* called when a checkpoint was written; NULL: nobody is told. Rank 0 */
    void *kept_context;
    int64_t events; /* number in the name of the run's event file (output.logs) */
    bool stop;      /* a signal reached some rank; all ranks see it after the same step */
} gmv_trainer;

/* Everything a step needs, of the config: order of the cells, feed, memory on the backend; nothing is allocated in steps.
 * `config`, `comm`, `model` and `cells` are borrowed. Collective.
 * Ownership: gmv_trainer_fini, also after an error, before the model is destroyed.
 * Errors: GMV_ERR_CONFIG for exact sums that the ranks cannot divide among them; GMV_ERR_DATA without a cell. */
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

/* Appends one line to output.dir/metrics.jsonl, and what it says to the logs of output.logs (rank 0). What cannot be
 * written is warned about, once. */
void gmv_metrics_append(const gmv_trainer *trainer, const char *split, const gmv_evaluation *evaluation,
                        double cells_per_s);

/* The same for the last step seen (split: step). */
void gmv_metrics_step(const gmv_trainer *trainer);

/* Drops lines of metrics.jsonl that lie behind `step` (rank 0), which a resumed run writes again, and begins the logs of
 * output.logs with those that are left. Errors: GMV_ERR_ENVIRONMENT. */
gmv_status gmv_metrics_begin(gmv_trainer *trainer, int64_t step);
