/* Evaluation and embedding of the local rows. Totals are kept per logical shard and added in shard order: the figures are
 * the same for every number of ranks. */
#include "gmvae/evaluate.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct evaluator {
    gmv_model *model;
    gmv_feed *feed;
    const gmv_cells *cells;
    const gmv_row_sink *sink;
    int samples;
    float *loss;  /* host [GMV_EVAL_CELLS, terms] */
    double *mean; /* host [GMV_EVAL_CELLS, terms]: means over draws */
    const gmv_cell_output *clusters;
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

/* Sums over the cells of a shard: how many there are, and each figure and its square; the figures of a cell are its terms
 * and two sums of them. */
enum { more_figures = 2, most_figures = GMV_MAX_TERMS + more_figures };

static int figures_of(const gmv_terms *terms)
{
    return terms->n + more_figures;
}

static int columns_of(const gmv_terms *terms)
{
    return 1 + 2 * figures_of(terms);
}

static void add_cell(double *sums, const gmv_terms *terms, const double *value)
{
    double figure[most_figures];
    memcpy(figure, value, (size_t)terms->n * sizeof *figure);
    figure[terms->n] = gmv_terms_bound(terms, value);
    figure[terms->n + 1] = gmv_terms_objective(terms, value);
    sums[0] += 1.0;
    for (int i = 0; i < figures_of(terms); i++) {
        sums[1 + 2 * i] += figure[i];
        sums[2 + 2 * i] += figure[i] * figure[i];
    }
}

/* Terms of the batch at hand, means over all draws, which are taken a few at a time to bound the memory. */
static gmv_status evaluate_batch(evaluator *e, int n)
{
    gmv_backend *b = e->model->backend;
    int terms = e->model->terms.n;
    memset(e->mean, 0, (size_t)(n * terms) * sizeof *e->mean);
    for (int first = 0; first < e->samples; first += GMV_EVAL_DRAWS) {
        GMV_TRY(gmv_stop_check());
        int draws = e->samples - first < GMV_EVAL_DRAWS ? e->samples - first : GMV_EVAL_DRAWS;
        gmv_pass pass = {
            .batch = &e->feed->batch, .draws = draws, .first_draw = (uint32_t)first, .probability = first == 0};
        GMV_TRY(gmv_model_run(e->model, &pass));
        GMV_TRY(b->op->download(b, e->loss, e->model->loss, (int64_t)n * terms * (int64_t)sizeof(float)));
        for (int i = 0; i < n * terms; i++) {
            e->mean[i] += (double)e->loss[i] * draws / e->samples;
        }
        if (first == 0) {
            int clusters = e->clusters->cols;
            GMV_TRY(b->op->download(b, e->probability, *e->clusters->value,
                                    (int64_t)n * clusters * (int64_t)sizeof(float)));
            for (int i = 0; i < n * clusters; i++) {
                e->mass[i % clusters] += (double)e->probability[i];
            }
        }
    }
    return GMV_OK;
}

/* All chosen cells, added to the sums of their shards. */
static gmv_status evaluate_cells(evaluator *e, const choice *chosen, double *sums)
{
    const gmv_terms *terms = &e->model->terms;
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
            const double *value = e->mean + (size_t)i * (size_t)terms->n;
            add_cell(sums + (size_t)visit.shard * (size_t)columns_of(terms), terms, value);
            e->bound[i] = (float)gmv_terms_bound(terms, value);
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

static void finish(gmv_evaluation *evaluation, const double *all, int shards)
{
    const gmv_terms *terms = evaluation->terms;
    double total[1 + 2 * most_figures] = {0}, mean[most_figures], error[most_figures];
    for (int s = 0; s < shards; s++) {
        for (int i = 0; i < columns_of(terms); i++) {
            total[i] += all[(size_t)s * (size_t)columns_of(terms) + (size_t)i];
        }
    }
    double n = total[0], safe = n > 0.0 ? n : 1.0;
    for (int i = 0; i < figures_of(terms); i++) {
        mean[i] = total[1 + 2 * i] / safe;
        error[i] = standard_error(total[1 + 2 * i], total[2 + 2 * i], n);
    }
    evaluation->cells = (int64_t)n;
    memcpy(evaluation->term, mean, (size_t)terms->n * sizeof *mean);
    memcpy(evaluation->term_se, error, (size_t)terms->n * sizeof *error);
    evaluation->neg_elbo = mean[terms->n];
    evaluation->neg_elbo_se = error[terms->n];
    evaluation->objective = mean[terms->n + 1];
    evaluation->objective_se = error[terms->n + 1];
}

gmv_status gmv_evaluate(gmv_model *model, gmv_feed *feed, const gmv_cells *cells, const gmv_comm *comm,
                        gmv_which_cells which, int samples, const gmv_row_sink *sink, gmv_evaluation *evaluation)
{
    evaluator e = {.model = model, .feed = feed, .cells = cells, .sink = sink, .samples = samples};
    e.clusters = gmv_clusters_of(&model->outputs);
    choice chosen = {cells, which};
    double *sums = NULL;
    int64_t columns = columns_of(&model->terms);
    int clusters = e.clusters->cols;
    gmv_status status;
    memset(evaluation, 0, sizeof *evaluation);
    evaluation->terms = &model->terms;
    evaluation->clusters = clusters;
    evaluation->samples = samples;
    GMV_GO(GMV_NEW(sums, cells->shards * columns, "sums of evaluation"));
    GMV_GO(GMV_NEW(e.loss, GMV_EVAL_CELLS * model->terms.n, "terms"));
    GMV_GO(GMV_NEW(e.mean, GMV_EVAL_CELLS * model->terms.n, "terms"));
    GMV_GO(GMV_NEW(e.probability, (int64_t)GMV_EVAL_CELLS * clusters, "cluster probabilities"));
    GMV_GO(GMV_NEW(e.mass, clusters, "cluster mass"));
    GMV_GO(gmv_model_reserve(model, GMV_EVAL_CELLS, samples < GMV_EVAL_DRAWS ? samples : GMV_EVAL_DRAWS,
                             model->gradients));
    gmv_step always = {.scale = 1.0f, .kl_scale = 1.0f}; /* the same noise in every evaluation */
    GMV_GO(gmv_model_set_step(model, &always));
    GMV_GO(evaluate_cells(&e, &chosen, sums));
done:
    status = gmv_comm_agree(comm, status);
    if (status == GMV_OK) {
        gmv_comm_share_f64(comm, sums, cells->shards * columns);
        gmv_comm_sum_f64(comm, e.mass, clusters);
        finish(evaluation, sums, cells->shards);
        for (int k = 0; k < clusters; k++) {
            evaluation->active_clusters += e.mass[k] > 0.005 * (double)evaluation->cells ? 1 : 0;
        }
    }
    GMV_FREE(sums);
    GMV_FREE(e.loss);
    GMV_FREE(e.mean);
    GMV_FREE(e.probability);
    GMV_FREE(e.mass);
    return status;
}

const char *gmv_clusters_text(const gmv_evaluation *e, char *text, size_t size)
{
    text[0] = '\0';
    if (e->clusters > 0) {
        snprintf(text, size, ", %d of %d clusters in use", e->active_clusters, e->clusters);
    }
    return text;
}

gmv_status gmv_embed_rows(gmv_model *model, gmv_feed *feed, const gmv_cells *cells, const gmv_row_sink *sink)
{
    gmv_backend *b = model->backend;
    const gmv_cell_outputs *outputs = &model->outputs;
    gmv_visit visit = {0};
    float *value[GMV_MAX_OUTPUTS] = {NULL};
    gmv_status status;
    GMV_GO(gmv_model_reserve(model, GMV_EVAL_CELLS, 1, model->gradients));
    for (int i = 0; i < outputs->n; i++) {
        GMV_GO(GMV_NEW(value[i], (int64_t)GMV_EVAL_CELLS * outputs->at[i].cols, "the embedding"));
    }
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
        for (int i = 0; i < outputs->n; i++) {
            GMV_GO(b->op->download(b, value[i], *outputs->at[i].value, (int64_t)visit.n * outputs->at[i].cols * 4));
        }
        gmv_row_results results = {.n = visit.n, .row = visit.row, .output = (const float *const *)value};
        GMV_GO(sink->take(sink->context, &results));
    }
done:
    gmv_visit_end(&visit);
    for (int i = 0; i < outputs->n; i++) {
        gmv_free(value[i]);
    }
    return status;
}
