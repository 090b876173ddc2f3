/* Evaluation and embedding of the local rows. Totals are kept per logical shard and added in shard order: the figures are
 * the same for every number of ranks. */
#include "gmvae/mem.h"
#include "gmvae/signals.h"
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
    const gmv_row_sink *sink;
    int samples;
    float *terms;       /* host [GMV_EVAL_CELLS, GMV_TERMS] */
    double *mean;       /* host [GMV_EVAL_CELLS, GMV_TERMS]: means over draws */
    float *probability; /* host [GMV_EVAL_CELLS, K] */
    double *mass;       /* [K] */
    float bound[GMV_EVAL_CELLS];
} evaluator;

/* Which cells are evaluated. */
typedef struct choice {
    const gmv_cells *cells;
    gmv_which_cells which;
} choice;

static bool is_chosen(const void *context, gmv_gidx row)
{
    const choice *c = context;
    return gmv_cells_has_counts(c->cells, row) &&
           (c->which == GMV_CELLS_ALL || gmv_split_holds_out(&c->cells->split, row));
}

static bool has_counts(const void *context, gmv_gidx row)
{
    return gmv_cells_has_counts(context, row);
}

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

/* Terms of the batch at hand, means over all draws, which are taken a few at a time to bound the memory. */
static gmv_status evaluate_batch(evaluator *e, int n)
{
    gmv_backend *b = e->model->backend;
    memset(e->mean, 0, (size_t)n * GMV_TERMS * sizeof *e->mean);
    for (int first = 0; first < e->samples; first += GMV_EVAL_DRAWS) {
        GMV_TRY(gmv_stop_check());
        int draws = e->samples - first < GMV_EVAL_DRAWS ? e->samples - first : GMV_EVAL_DRAWS;
        gmv_pass pass = {
            .batch = &e->feed->batch, .draws = draws, .first_draw = (uint32_t)first, .probability = first == 0};
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

/* All chosen cells, added to the sums of their shards. */
static gmv_status evaluate_cells(evaluator *e, const choice *chosen, shard_sums *sums)
{
    gmv_visit visit;
    gmv_status status;
    GMV_GO(gmv_visit_begin(&visit, e->feed, e->cells, (gmv_row_filter){is_chosen, chosen}));
    for (;;) {
        GMV_GO(gmv_visit_next(&visit, e->model->input));
        if (visit.n == 0) {
            break;
        }
        GMV_GO(evaluate_batch(e, visit.n));
        for (int i = 0; i < visit.n; i++) {
            const double *term = e->mean + (size_t)i * GMV_TERMS;
            add_cell(&sums[visit.shard], term);
            e->bound[i] = (float)neg_elbo_of(term);
        }
        if (e->sink != NULL) {
            gmv_row_results results = {.n = visit.n, .row = visit.row, .neg_elbo = e->bound};
            GMV_GO(e->sink->take(e->sink->context, &results));
        }
    }
done:
    gmv_visit_end(&visit);
    return status;
}

/* Standard error of a mean from sums over n values; NaN for a single one. */
static double standard_error(double sum, double squares, double n)
{
    double variance = n > 1.0 ? (squares - sum * sum / n) / (n - 1.0) : NAN;
    return variance <= 0.0 ? 0.0 : sqrt(variance / n);
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
                        gmv_which_cells which, int samples, const gmv_row_sink *sink, gmv_evaluation *evaluation)
{
    evaluator e = {.model = model, .feed = feed, .cells = cells, .sink = sink, .samples = samples};
    choice chosen = {cells, which};
    shard_sums *sums = NULL;
    gmv_status status;
    memset(evaluation, 0, sizeof *evaluation);
    evaluation->samples = samples;
    GMV_GO(GMV_NEW(sums, cells->shards, "sums of evaluation"));
    GMV_GO(GMV_NEW(e.terms, GMV_EVAL_CELLS * GMV_TERMS, "terms"));
    GMV_GO(GMV_NEW(e.mean, GMV_EVAL_CELLS * GMV_TERMS, "terms"));
    GMV_GO(GMV_NEW(e.probability, (int64_t)GMV_EVAL_CELLS * model->clusters, "cluster probabilities"));
    GMV_GO(GMV_NEW(e.mass, model->clusters, "cluster mass"));
    GMV_GO(gmv_model_reserve(model, GMV_EVAL_CELLS, samples < GMV_EVAL_DRAWS ? samples : GMV_EVAL_DRAWS,
                             model->gradients));
    gmv_step always = {.scale = 1.0f, .kl_scale = 1.0f}; /* the same noise in every evaluation */
    GMV_GO(gmv_model_set_step(model, &always));
    GMV_GO(evaluate_cells(&e, &chosen, sums));
done:
    status = gmv_comm_agree(comm, status);
    if (status == GMV_OK) {
        gmv_comm_share_f64(comm, (double *)(void *)sums,
                           (int64_t)cells->shards * (int64_t)(sizeof *sums / sizeof(double)));
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

gmv_status gmv_embed_rows(gmv_model *model, gmv_feed *feed, const gmv_cells *cells, const gmv_row_sink *sink)
{
    gmv_backend *b = model->backend;
    int dim = model->latent_dim, clusters = model->clusters;
    gmv_visit visit = {0};
    float *latent = NULL, *probability = NULL;
    gmv_status status;
    GMV_GO(gmv_model_reserve(model, GMV_EVAL_CELLS, 1, model->gradients));
    GMV_GO(GMV_NEW(latent, (int64_t)GMV_EVAL_CELLS * dim, "the embedding"));
    GMV_GO(GMV_NEW(probability, (int64_t)GMV_EVAL_CELLS * clusters, "cluster probabilities"));
    GMV_GO(gmv_visit_begin(&visit, feed, cells, (gmv_row_filter){has_counts, cells}));
    for (;;) {
        GMV_GO(gmv_stop_check());
        GMV_GO(gmv_visit_next(&visit, model->input));
        if (visit.n == 0) {
            break;
        }
        gmv_pass pass = {
            .batch = &feed->batch, .draws = 1, .probability = true, .mean_latents = true, .encode_only = true};
        GMV_GO(gmv_model_run(model, &pass));
        GMV_GO(b->op->download(b, latent, model->latent, (int64_t)visit.n * dim * 4));
        GMV_GO(b->op->download(b, probability, model->probability, (int64_t)visit.n * clusters * 4));
        gmv_row_results results = {.n = visit.n, .row = visit.row, .latent = latent, .probability = probability};
        GMV_GO(sink->take(sink->context, &results));
    }
done:
    gmv_visit_end(&visit);
    GMV_FREE(latent);
    GMV_FREE(probability);
    return status;
}
