/* Evaluation and embedding of the local rows.
 *
 * Batches are taken within a logical shard, in row order and of a fixed size, and totals are kept per shard
 * and added in shard order: the figures are the same for every number of ranks. */
#include "gmvae/mem.h"
#include "gmvae/train.h"

#include <math.h>
#include <string.h>

/* Sums over the cells of one shard. */
typedef struct shard_sums {
    double cells;
    double term[GMV_TERMS], term_square[GMV_TERMS];
    double neg_elbo, neg_elbo_square, objective, objective_square;
} shard_sums;

typedef struct evaluator {
    gmv_model *model;
    gmv_feed *feed;
    const gmv_cells *cells;
    const gmv_row_output *output;
    int samples;
    float *terms; /* host [GMV_EVAL_CELLS, GMV_TERMS] */
    double *mean; /* host [GMV_EVAL_CELLS, GMV_TERMS]: means over draws */
    float *probability; /* host [GMV_EVAL_CELLS, K] */
    double *mass;       /* [K] */
} evaluator;

/* Exact bound of a cell from its terms. */
static double neg_elbo_of(const double *term)
{
    return term[GMV_TERM_RECONSTRUCTION] + term[GMV_TERM_KL_W] + term[GMV_TERM_KL_Z] + term[GMV_TERM_KL_X];
}

static double objective_of(const double *term)
{
    return term[GMV_TERM_RECONSTRUCTION] + term[GMV_TERM_KL_W] + term[GMV_TERM_PRIOR];
}

static void add_cell(shard_sums *sums, const double *term)
{
    double bound = neg_elbo_of(term), objective = objective_of(term);
    sums->cells += 1.0;
    for (int i = 0; i < GMV_TERMS; i++) {
        sums->term[i] += term[i];
        sums->term_square[i] += term[i] * term[i];
    }
    sums->neg_elbo += bound;
    sums->neg_elbo_square += bound * bound;
    sums->objective += objective;
    sums->objective_square += objective * objective;
}

/* Terms of `n` rows, means over all draws, which are taken a few at a time to bound the memory. */
static gmv_status evaluate_rows(evaluator *e, const int64_t *rows, int n)
{
    gmv_backend *b = e->model->backend;
    GMV_TRY(gmv_feed_fetch(e->feed, rows, n, e->model->input));
    memset(e->mean, 0, (size_t)n * GMV_TERMS * sizeof *e->mean);
    for (int first = 0; first < e->samples; first += GMV_EVAL_DRAWS) {
        int draws = e->samples - first < GMV_EVAL_DRAWS ? e->samples - first : GMV_EVAL_DRAWS;
        gmv_pass pass = {.batch = &e->feed->batch, .draws = draws, .first_draw = (uint32_t)first,
                         .probability = first == 0};
        GMV_TRY(gmv_model_run(e->model, &pass));
        GMV_TRY(b->op->download(b, e->terms, e->model->terms, (int64_t)n * GMV_TERMS * (int64_t)sizeof(float)));
        for (int i = 0; i < n * GMV_TERMS; i++) {
            e->mean[i] += (double)e->terms[i] * draws / e->samples;
        }
        if (first == 0) {
            int clusters = e->model->clusters;
            GMV_TRY(b->op->download(b, e->probability, e->model->probability,
                                    (int64_t)n * clusters * (int64_t)sizeof(float)));
            for (int i = 0; i < n * clusters; i++) {
                e->mass[i % clusters] += (double)e->probability[i];
            }
        }
    }
    return GMV_OK;
}

static gmv_status evaluate_shard(evaluator *e, int shard, gmv_which_cells which, shard_sums *sums)
{
    const gmv_cells *cells = e->cells;
    int64_t rows[GMV_EVAL_CELLS];
    int64_t end = cells->shard_start[shard + 1];
    int n = 0;
    for (int64_t at = cells->shard_start[shard]; at < end || n > 0; at++) {
        if (at < end) {
            int64_t row = at - cells->first;
            bool empty = cells->packed.indptr[row + 1] == cells->packed.indptr[row];
            if (!empty && (which == GMV_CELLS_ALL || gmv_split_holds_out(&cells->split, at))) {
                rows[n++] = row;
            }
        }
        if (n < GMV_EVAL_CELLS && at < end) {
            continue;
        }
        if (n > 0) {
            GMV_TRY(evaluate_rows(e, rows, n));
        }
        for (int i = 0; i < n; i++) {
            add_cell(sums, e->mean + (size_t)i * GMV_TERMS);
            if (e->output != NULL && e->output->neg_elbo != NULL) {
                e->output->neg_elbo[rows[i]] = (float)neg_elbo_of(e->mean + (size_t)i * GMV_TERMS);
            }
        }
        n = 0;
    }
    return GMV_OK;
}

/* Standard error of a mean from sums over n values. */
static double standard_error(double sum, double squares, double n)
{
    double variance = n > 1.0 ? (squares - sum * sum / n) / (n - 1.0) : 0.0;
    return variance > 0.0 ? sqrt(variance / n) : 0.0;
}

static void finish(gmv_evaluation *evaluation, const shard_sums *all, int shards)
{
    shard_sums total;
    memset(&total, 0, sizeof total);
    double *to = (double *)(void *)&total;
    for (int s = 0; s < shards; s++) {
        const double *from = (const double *)(const void *)&all[s];
        for (size_t i = 0; i < sizeof total / sizeof(double); i++) {
            to[i] += from[i];
        }
    }
    double n = total.cells, safe = n > 0.0 ? n : 1.0;
    evaluation->cells = (int64_t)n;
    evaluation->neg_elbo = total.neg_elbo / safe;
    evaluation->neg_elbo_se = standard_error(total.neg_elbo, total.neg_elbo_square, n);
    evaluation->objective = total.objective / safe;
    evaluation->objective_se = standard_error(total.objective, total.objective_square, n);
    for (int i = 0; i < GMV_TERMS; i++) {
        evaluation->term[i] = total.term[i] / safe;
        evaluation->term_se[i] = standard_error(total.term[i], total.term_square[i], n);
    }
}

gmv_status gmv_evaluate(gmv_model *model, gmv_feed *feed, const gmv_cells *cells, const gmv_comm *comm,
                        gmv_which_cells which, int samples, const gmv_row_output *output,
                        gmv_evaluation *evaluation)
{
    evaluator e = {.model = model, .feed = feed, .cells = cells, .output = output, .samples = samples};
    shard_sums *sums = NULL;
    gmv_status status;
    memset(evaluation, 0, sizeof *evaluation);
    evaluation->samples = samples;
    GMV_GO(GMV_NEW(sums, cells->shards, "sums of evaluation"));
    GMV_GO(GMV_NEW(e.terms, GMV_EVAL_CELLS * GMV_TERMS, "terms"));
    GMV_GO(GMV_NEW(e.mean, GMV_EVAL_CELLS * GMV_TERMS, "terms"));
    GMV_GO(GMV_NEW(e.probability, (int64_t)GMV_EVAL_CELLS * model->clusters, "cluster probabilities"));
    GMV_GO(GMV_NEW(e.mass, model->clusters, "cluster mass"));
    GMV_GO(gmv_model_reserve(model, GMV_EVAL_CELLS, samples < GMV_EVAL_DRAWS ? samples : GMV_EVAL_DRAWS, model->gradients));
    for (int64_t i = 0; output != NULL && output->neg_elbo != NULL && i < cells->count; i++) {
        output->neg_elbo[i] = NAN;
    }
    gmv_step always = {.scale = 1.0f, .kl_scale = 1.0f}; /* the same noise in every evaluation */
    GMV_GO(gmv_model_set_step(model, &always));
    for (int s = cells->first_shard; s < cells->end_shard; s++) {
        GMV_GO(evaluate_shard(&e, s, which, &sums[s]));
    }
done:
    status = gmv_comm_agree(comm, status);
    if (status == GMV_OK) {
        gmv_comm_share_f64(comm, (double *)(void *)sums, (int64_t)cells->shards * (int64_t)(sizeof *sums / sizeof(double)));
        gmv_comm_sum_f64(comm, e.mass, model->clusters);
        finish(evaluation, sums, cells->shards);
        for (int k = 0; k < model->clusters; k++) {
            evaluation->active_clusters += e.mass[k] > 0.005 * (double)evaluation->cells ? 1 : 0;
        }
    }
    GMV_FREE(sums);
    GMV_FREE(e.terms);
    GMV_FREE(e.mean);
    GMV_FREE(e.probability);
    GMV_FREE(e.mass);
    return status;
}

gmv_status gmv_embed_rows(gmv_model *model, gmv_feed *feed, const gmv_cells *cells, const gmv_row_output *output)
{
    gmv_backend *b = model->backend;
    int dim = model->latent_dim, clusters = model->clusters;
    int64_t rows[GMV_EVAL_CELLS];
    GMV_TRY(gmv_model_reserve(model, GMV_EVAL_CELLS, 1, model->gradients));
    for (int64_t first = 0; first < cells->count; first += GMV_EVAL_CELLS) {
        int n = cells->count - first < GMV_EVAL_CELLS ? (int)(cells->count - first) : GMV_EVAL_CELLS;
        for (int i = 0; i < n; i++) {
            rows[i] = first + i;
        }
        GMV_TRY(gmv_feed_fetch(feed, rows, n, model->input));
        gmv_pass pass = {.batch = &feed->batch, .draws = 1, .probability = true, .mean_latents = true,
                         .encode_only = true};
        GMV_TRY(gmv_model_run(model, &pass));
        if (output->latent != NULL) {
            GMV_TRY(b->op->download(b, output->latent + first * dim, model->x, (int64_t)n * dim * 4));
        }
        if (output->probability != NULL) {
            GMV_TRY(b->op->download(b, output->probability + first * clusters, model->probability,
                                    (int64_t)n * clusters * 4));
        }
    }
    return GMV_OK;
}
