/* Evaluation and embedding of the local rows. Totals are kept per logical shard and added in shard order: the figures are
 * the same for every number of ranks. */
#include "gmvae/evaluate.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"
#include "gmvae/stage.h"
#include "gmvae/work.h"

#include <math.h>
#include <string.h>

/* The outputs of a model in host memory. */
typedef struct outputs_here {
    const gmv_cell_outputs *of;
    float *value[GMV_MAX_OUTPUTS]; /* [GMV_EVAL_CELLS, cols] */
    float *strided;                /* [GMV_EVAL_CELLS, widest stride] */
} outputs_here;

typedef struct evaluator {
    gmv_model *model;
    gmv_feed *feed;
    const gmv_cells *cells;
    const gmv_row_sink *sink;
    gmv_draws draws;
    float *loss;  /* host [GMV_EVAL_CELLS, terms] */
    double *mean; /* host [GMV_EVAL_CELLS, terms]: means over draws */
    outputs_here outputs;
    int components; /* which of the outputs; -1: none */
    double *mass;   /* [K] */
    float bound[GMV_EVAL_CELLS], counts[GMV_EVAL_CELLS];
    double more[GMV_EVAL_CELLS]; /* of a draw */
    double largest[GMV_EVAL_CELLS],
        weights[GMV_EVAL_CELLS]; /* log weight so far, and the sum of weights over its own */
} evaluator;

/* Which cells are evaluated. */
typedef struct choice {
    const gmv_cells *cells;
    gmv_which_cells which;
} choice;

bool gmv_is_chosen(const gmv_cells *cells, gmv_which_cells which, gmv_gidx row)
{
    bool held_out = which == GMV_CELLS_HELD_OUT;
    return gmv_cells_has_counts(cells, row) &&
           (which == GMV_CELLS_ALL || gmv_split_holds_out(&cells->split, row) == held_out);
}

static bool is_chosen(const void *context, gmv_gidx row)
{
    const choice *c = context;
    return gmv_is_chosen(c->cells, c->which, row);
}

static int draws_at_once(gmv_draws draws, int left)
{
    return draws.weighted ? 1 : left < GMV_EVAL_DRAWS ? left : GMV_EVAL_DRAWS;
}

/* The same noise in every evaluation. */
static gmv_status set_noise(gmv_model *model)
{
    gmv_step always = {.scale = 1.0f, .kl_scale = 1.0f};
    return gmv_model_set_step(model, &always);
}

static gmv_status outputs_init(outputs_here *outputs, const gmv_cell_outputs *of)
{
    int widest = 0;
    outputs->of = of;
    for (int o = 0; o < of->n; o++) {
        GMV_TRY(GMV_NEW(outputs->value[o], (int64_t)GMV_EVAL_CELLS * of->at[o].cols, "outputs of cells"));
        widest = of->at[o].stride > widest ? of->at[o].stride : widest;
    }
    return GMV_NEW(outputs->strided, (int64_t)GMV_EVAL_CELLS * widest, "outputs of cells");
}

static void outputs_fini(outputs_here *outputs)
{
    for (int o = 0; outputs->of != NULL && o < outputs->of->n; o++) {
        GMV_FREE(outputs->value[o]);
    }
    GMV_FREE(outputs->strided);
}

/* Those of the pass that was run. */
static gmv_status outputs_take(outputs_here *outputs, gmv_backend *b, int n)
{
    for (int o = 0; o < outputs->of->n; o++) {
        const gmv_cell_output *output = &outputs->of->at[o];
        int64_t row = (int64_t)output->stride, bytes = row * n * (int64_t)sizeof(float);
        GMV_TRY(b->op->download(b, outputs->strided, *output->value, bytes));
        for (int i = 0; i < n; i++) {
            memcpy(outputs->value[o] + (int64_t)i * output->cols, outputs->strided + i * row,
                   (size_t)output->cols * sizeof(float));
        }
    }
    return GMV_OK;
}

/* Sums over the cells of a shard: how many there are, and each figure and its square; the figures of a cell are its terms
 * two sums of them, and -log p. */
enum { more_figures = 3, most_figures = GMV_MAX_TERMS + more_figures };

static int figures_of(const gmv_terms *terms)
{
    return terms->n + more_figures;
}

static int columns_of(const gmv_terms *terms)
{
    return 1 + 2 * figures_of(terms);
}

static void add_cell(double *sums, const gmv_terms *terms, const double *value, double neg_log_p)
{
    double figure[most_figures];
    memcpy(figure, value, (size_t)terms->n * sizeof *figure);
    figure[terms->n] = gmv_terms_bound(terms, value);
    figure[terms->n + 1] = gmv_terms_objective(terms, value);
    figure[terms->n + 2] = neg_log_p;
    sums[0] += 1.0;
    for (int i = 0; i < figures_of(terms); i++) {
        sums[1 + 2 * i] += figure[i];
        sums[2 + 2 * i] += figure[i] * figure[i];
    }
}

static gmv_status outputs_compute(outputs_here *outputs, gmv_model *model, const gmv_batch *batch, int n)
{
    gmv_pass pass = {.batch = batch, .draws = GMV_EVAL_DRAWS, .probability = true, .encode_only = true};
    GMV_TRY(gmv_model_run(model, &pass));
    return outputs_take(outputs, model->backend, n);
}

static void add_mass(evaluator *e, int n)
{
    int components = e->components >= 0 ? e->outputs.of->at[e->components].cols : 0;
    for (int i = 0; i < n * components; i++) {
        e->mass[i % components] += (double)e->outputs.value[e->components][i];
    }
}

/* Adds the weights of a draw: their logarithm is minus the terms at the draw. */
static gmv_status weigh_draw(evaluator *e, int n, bool first)
{
    const gmv_terms *terms = &e->model->terms;
    GMV_TRY(gmv_model_of_draw(e->model, n, e->more));
    for (int i = 0; i < n; i++) {
        double value[GMV_MAX_TERMS];
        for (int t = 0; t < terms->n; t++) {
            value[t] = (double)e->loss[i * terms->n + t];
        }
        double log_weight = -gmv_terms_bound(terms, value) - e->more[i];
        double largest = first ? log_weight : fmax(e->largest[i], log_weight);
        e->weights[i] = (first ? 0.0 : e->weights[i] * exp(e->largest[i] - largest)) + exp(log_weight - largest);
        e->largest[i] = largest;
    }
    return GMV_OK;
}

static double neg_log_p_of(const evaluator *e, int i)
{
    return e->draws.weighted ? log((double)e->draws.samples) - e->largest[i] - log(e->weights[i]) : NAN;
}

/* Terms of the batch at hand, means over all draws, which are taken a few at a time to bound the memory. */
static gmv_status evaluate_batch(evaluator *e, int n)
{
    gmv_backend *b = e->model->backend;
    int terms = e->model->terms.n;
    int samples = e->draws.samples;
    bool few = e->draws.weighted || (e->sink != NULL && samples < GMV_EVAL_DRAWS); /* for the outputs */
    memset(e->mean, 0, (size_t)(n * terms) * sizeof *e->mean);
    GMV_TRY(few ? outputs_compute(&e->outputs, e->model, &e->feed->batch, n) : GMV_OK);
    for (int first = 0, draws; first < samples; first += draws) {
        GMV_TRY(gmv_stop_check());
        draws = draws_at_once(e->draws, samples - first);
        gmv_pass pass = {
            .batch = &e->feed->batch, .draws = draws, .first_draw = (uint32_t)first, .probability = first == 0};
        GMV_TRY(gmv_model_run(e->model, &pass));
        GMV_TRY(b->op->download(b, e->loss, e->model->loss, (int64_t)n * terms * (int64_t)sizeof(float)));
        for (int i = 0; i < n * terms; i++) {
            e->mean[i] += (double)e->loss[i] * draws / samples;
        }
        GMV_TRY(e->draws.weighted ? weigh_draw(e, n, first == 0) : GMV_OK);
        GMV_TRY(first == 0 && !few ? outputs_take(&e->outputs, b, n) : GMV_OK);
    }
    add_mass(e, n);
    return GMV_OK;
}

/* How far a visit has come. */
static void show(gmv_work *work, const gmv_visit *visit)
{
    gmv_work_at(work, (double)(visit->row[visit->n - 1] + 1 - visit->cells->first));
}

/* All chosen cells, added to the sums of their shards. */
static gmv_status evaluate_cells(evaluator *e, const choice *chosen, double *sums)
{
    const gmv_terms *terms = &e->model->terms;
    gmv_work work = gmv_work_begin((double)e->cells->count, "%s", gmv_stage_text());
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
            add_cell(sums + (size_t)visit.shard * (size_t)columns_of(terms), terms, value, neg_log_p_of(e, i));
            e->bound[i] = (float)gmv_terms_bound(terms, value);
        }
        if (e->sink != NULL) {
            gmv_row_results results = {.n = visit.n,
                                       .row = visit.row,
                                       .neg_elbo = e->bound,
                                       .counts = e->counts,
                                       .output = (const float *const *)e->outputs.value};
            gmv_backend *b = e->model->backend;
            GMV_GO(b->op->download(b, e->counts, e->feed->batch.library, visit.n * (int64_t)sizeof *e->counts));
            GMV_GO(e->sink->take(e->sink->context, &results));
        }
        show(&work, &visit);
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
    evaluation->neg_log_p = mean[terms->n + 2];
    evaluation->neg_log_p_se = error[terms->n + 2];
}

gmv_status gmv_evaluate(gmv_model *model, gmv_feed *feed, const gmv_cells *cells, const gmv_comm *comm,
                        gmv_which_cells which, gmv_draws draws, const gmv_row_sink *sink, gmv_evaluation *evaluation)
{
    evaluator e = {.model = model, .feed = feed, .cells = cells, .sink = sink, .draws = draws};
    choice chosen = {cells, which};
    double *sums = NULL;
    const gmv_cell_output *of_components = gmv_components_of(&model->outputs);
    int64_t columns = columns_of(&model->terms);
    int components = of_components->cols;
    e.components = components > 0 ? (int)(of_components - model->outputs.at) : -1;
    gmv_status status;
    memset(evaluation, 0, sizeof *evaluation);
    evaluation->terms = &model->terms;
    evaluation->components = components;
    evaluation->samples = draws.samples;
    GMV_GO(GMV_NEW(sums, cells->shards * columns, "sums of evaluation"));
    GMV_GO(GMV_NEW(e.loss, GMV_EVAL_CELLS * model->terms.n, "terms"));
    GMV_GO(GMV_NEW(e.mean, GMV_EVAL_CELLS * model->terms.n, "terms"));
    GMV_GO(outputs_init(&e.outputs, &model->outputs));
    GMV_GO(GMV_NEW(e.mass, components, "mass of components"));
    GMV_GO(gmv_model_reserve(model, GMV_EVAL_CELLS,
                             sink != NULL || draws.weighted ? GMV_EVAL_DRAWS : draws_at_once(draws, draws.samples),
                             model->gradients));
    GMV_GO(set_noise(model));
    GMV_GO(evaluate_cells(&e, &chosen, sums));
done:
    status = gmv_comm_agree(comm, status);
    if (status == GMV_OK) {
        gmv_comm_share_f64(comm, sums, cells->shards * columns);
        gmv_comm_sum_f64(comm, e.mass, components);
        finish(evaluation, sums, cells->shards);
        for (int k = 0; k < components; k++) {
            evaluation->active_components += e.mass[k] > 0.005 * (double)evaluation->cells ? 1 : 0;
        }
    }
    GMV_FREE(sums);
    GMV_FREE(e.loss);
    GMV_FREE(e.mean);
    outputs_fini(&e.outputs);
    GMV_FREE(e.mass);
    return status;
}

gmv_status gmv_embed_rows(gmv_model *model, gmv_feed *feed, const gmv_cells *cells, gmv_which_cells which,
                          const gmv_row_sink *sink)
{
    choice chosen = {cells, which};
    outputs_here outputs = {0};
    gmv_visit visit = {0};
    gmv_work work = gmv_work_begin((double)cells->count, "%s", gmv_stage_text());
    gmv_status status;
    GMV_GO(outputs_init(&outputs, &model->outputs));
    GMV_GO(gmv_model_reserve(model, GMV_EVAL_CELLS, GMV_EVAL_DRAWS, model->gradients));
    GMV_GO(set_noise(model));
    GMV_GO(gmv_visit_begin(&visit, feed, cells, (gmv_row_filter){is_chosen, &chosen}));
    for (;;) {
        GMV_GO(gmv_stop_check());
        GMV_GO(gmv_visit_next(&visit, model->input));
        if (visit.n == 0) {
            break;
        }
        GMV_GO(outputs_compute(&outputs, model, &feed->batch, visit.n));
        gmv_row_results results = {.n = visit.n, .row = visit.row, .output = (const float *const *)outputs.value};
        GMV_GO(sink->take(sink->context, &results));
        show(&work, &visit);
    }
done:
    gmv_visit_end(&visit);
    outputs_fini(&outputs);
    return status;
}
