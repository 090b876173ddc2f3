/* Generated cells: their latents and counts are made by the rank whose cells they are, in blocks that are the same for all
 * numbers of ranks. */
#include "draw_counts.h"
#include "generate_sources.h"

#include "gmvae/expression.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"
#include "gmvae/work.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { block_cells = GMV_EVAL_CELLS };

typedef struct generator {
    const gmv_generation *how;
    gmv_model *model;
    const gmv_cells *cells; /* at hand */
    gmv_sources from;
    gmv_generated *to;
    gmv_expression expression;
    double *chance;    /* [K] */
    float *log_weight; /* [K] */
    float *component;  /* [block, 2, K, D] */
    float *w, *x;      /* [block, W], [block, D] */
    int32_t *level;    /* [block, C] */
    float *predictor;  /* [heads, block, G] */
    float *gene_param; /* [G]; NULL: none */
    int32_t *count;    /* [block, G] */
} generator;

/* ---- latents ---- */

static int draw_component(const generator *at, int64_t cell)
{
    gmv_philox block = gmv_random_block(at->model->seed, GMV_STREAM_GENERATE, at->how->seed, cell, 0, 1);
    double left = (double)gmv_uniform(block.word[0]);
    int last = 0;
    for (int k = 0; k < at->model->clusters; k++) {
        last = at->chance[k] > 0.0 ? k : last;
        if (left < at->chance[k]) {
            return k;
        }
        left -= at->chance[k];
    }
    return last;
}

/* x of components of the prior. */
static gmv_status draw_from_components(generator *at, int64_t first, int n)
{
    gmv_model *model = at->model;
    int64_t dim = model->latent_dim, size = model->clusters * dim;
    for (int i = 0; i < n; i++) {
        gmv_draw_normals(model, at->how, GMV_STREAM_GENERATE_W, first + i, model->w_dim,
                         at->w + (int64_t)i * model->w_dim);
    }
    GMV_TRY(gmv_model_components(model, at->w, n, at->component, at->log_weight));
    for (int i = 0; i < n; i++) {
        int k = draw_component(at, first + i);
        const float *mean = at->component + (model->w_dim > 0 ? (int64_t)i * 2 * size : 0) + k * dim;
        gmv_draw_x(model, at->how, first + i, mean, mean + size, at->x + i * dim);
        at->to->component[first + i - at->to->first] = k;
    }
    return GMV_OK;
}

static gmv_status draw_latents(generator *at, int64_t first, int n)
{
    int dim = at->model->latent_dim;
    if (at->from.latent != NULL) {
        memcpy(at->x, at->from.latent + first * dim, (size_t)n * (size_t)dim * sizeof *at->x);
        return GMV_OK;
    }
    if (at->model->clusters > 0) {
        return draw_from_components(at, first, n);
    }
    for (int i = 0; i < n; i++) {
        gmv_draw_normals(at->model, at->how, GMV_STREAM_GENERATE_X, first + i, dim, at->x + (int64_t)i * dim);
    }
    return GMV_OK;
}

/* ---- counts ---- */

/* Genes that the cell at hand was measured for, where that matters; NULL: all. */
static const uint8_t *genes_of(const generator *at, gmv_gidx row)
{
    const gmv_cells *cells = at->cells;
    return at->how->origin == GMV_FROM_SAMPLE ? gmv_genes_measured(cells, row) : NULL;
}

/* Counts of generated cells first .. first + n. */
static gmv_status draw_block(generator *at, int64_t first, int n)
{
    const gmv_count_drawing drawing = {.model = at->model, .gene_param = at->gene_param, .seed = at->how->seed};
    const gmv_generated *to = at->to;
    int64_t genes = at->model->genes;
    int infinite = 0;
#pragma omp parallel for schedule(dynamic, 1) reduction(+ : infinite)
    for (int i = 0; i < n; i++) {
        int64_t here = first + i - to->first;
        infinite += gmv_draw_counts(&drawing, first + i, at->predictor + i * genes, n * genes, to->library[here],
                                    genes_of(at, to->source[here]), at->count + i * genes)
                        ? 0
                        : 1;
    }
    return infinite == 0
               ? GMV_OK
               : GMV_FAIL(GMV_ERR_NUMERIC, "what the model predicts is not finite under this checkpoint; take "
                                           "an earlier one, or train anew");
}

static gmv_status keep_counts(generator *at, int64_t first, int n)
{
    gmv_generated *to = at->to;
    int64_t genes = at->model->genes, most = to->nonzeros + n * genes;
    if (most > to->room) {
        int64_t room = most > 2 * to->room ? most : 2 * to->room;
        GMV_TRY(GMV_GROW(to->gene, to->room, room, "generated counts"));
        GMV_TRY(GMV_GROW(to->value, to->room, room, "generated counts"));
        to->room = room;
    }
    for (int i = 0; i < n; i++) {
        for (int64_t g = 0; g < genes; g++) {
            int32_t count = at->count[i * genes + g];
            if (count > 0) {
                to->gene[to->nonzeros] = (int32_t)g;
                to->value[to->nonzeros++] = count;
            }
        }
        to->end[first + i - to->first] = to->nonzeros;
    }
    return GMV_OK;
}

static gmv_status generate_block(generator *at, int64_t first, int n)
{
    int keys = at->from.covariates;
    gmv_decoding how = {.cells = n, .draws = 1, .level = at->level, .stride = keys, .weight = 1.0f};
    GMV_TRY(draw_latents(at, first, n));
    for (int i = 0; i < n; i++) {
        int64_t cell = first + i, here = cell - at->to->first;
        at->to->source[here] = at->from.row[cell];
        at->to->library[here] = !gmv_takes_library(at->model) ? NAN
                                : at->how->library > 0.0      ? (float)at->how->library
                                                              : at->from.library[cell];
        for (int c = 0; c < keys; c++) {
            at->level[i * keys + c] = c == at->how->key ? at->how->column : (int32_t)at->from.level[cell * keys + c];
            at->to->level[here * keys + c] = at->level[i * keys + c];
        }
    }
    GMV_TRY(gmv_expression_set_latents(&at->expression, at->x, n));
    GMV_TRY(gmv_expression_predict(&at->expression, &how, at->predictor));
    GMV_TRY(draw_block(at, first, n));
    return keep_counts(at, first, n);
}

/* ---- all of it ---- */

static gmv_status reserve(generator *at)
{
    const gmv_model *model = at->model;
    gmv_generated *to = at->to;
    int64_t genes = model->genes, keys = at->cells->covariates;
    int64_t components = 2 * (int64_t)model->clusters * model->latent_dim;
    GMV_TRY(GMV_NEW(to->level, to->count * keys, "generated cells"));
    GMV_TRY(GMV_NEW(to->library, to->count, "generated cells"));
    GMV_TRY(GMV_NEW(to->component, to->count, "generated cells"));
    GMV_TRY(GMV_NEW(to->source, to->count, "generated cells"));
    GMV_TRY(GMV_NEW(to->end, to->count, "generated cells"));
    GMV_TRY(GMV_NEW(at->chance, model->clusters, "components"));
    GMV_TRY(GMV_NEW(at->log_weight, model->clusters, "components"));
    GMV_TRY(GMV_NEW(at->component, block_cells * components, "components"));
    GMV_TRY(GMV_NEW(at->w, (int64_t)block_cells * model->w_dim, "latents"));
    GMV_TRY(GMV_NEW(at->x, (int64_t)block_cells * model->latent_dim, "latents"));
    GMV_TRY(GMV_NEW(at->level, block_cells * keys, "levels"));
    GMV_TRY(GMV_NEW(at->predictor, model->likelihood.heads * block_cells * genes, "predictions of the heads"));
    GMV_TRY(GMV_NEW(at->count, block_cells * genes, "counts"));
    return gmv_expression_init(&at->expression, at->model, block_cells, 1, (int)keys);
}

static gmv_status take_parameters(generator *at)
{
    const gmv_params *params = &at->model->params;
    int theta = at->model->likelihood.gene_param ? gmv_params_find(params, "decoder.theta") : -1;
    double sum = 0.0;
    if (theta >= 0) {
        GMV_TRY(GMV_NEW(at->gene_param, at->model->genes, "parameters of genes"));
        GMV_TRY(gmv_params_download(params, params->value, theta, at->gene_param));
    }
    if (at->model->clusters == 0 || at->how->origin != GMV_FROM_PRIOR) {
        return GMV_OK;
    }
    if (at->how->chance != NULL) {
        memcpy(at->chance, at->how->chance, (size_t)at->model->clusters * sizeof *at->chance);
        return GMV_OK;
    }
    GMV_TRY(gmv_model_components(at->model, at->w, 1, at->component, at->log_weight));
    for (int pass = 0; pass < 2; pass++) {
        for (int k = 0; k < at->model->clusters; k++) {
            double weight = exp((double)(at->log_weight[k] - at->log_weight[0]));
            at->chance[k] = pass == 0 ? 0.0 : weight / sum;
            sum += pass == 0 ? weight : 0.0;
        }
    }
    return GMV_OK;
}

static gmv_status generate_all(generator *at)
{
    const gmv_generated *to = at->to;
    gmv_work work = gmv_work_begin((double)to->count, "drawing counts of cells");
    GMV_TRY(take_parameters(at));
    for (int64_t first = to->first; first < to->first + to->count; first += block_cells) {
        int64_t left = to->first + to->count - first;
        GMV_TRY(gmv_stop_check());
        gmv_work_at(&work, (double)(first - to->first));
        GMV_TRY(generate_block(at, first, left < block_cells ? (int)left : block_cells));
    }
    return GMV_OK;
}

static void free_generator(generator *at)
{
    gmv_expression_fini(&at->expression);
    gmv_sources_fini(&at->from);
    GMV_FREE(at->chance);
    GMV_FREE(at->log_weight);
    GMV_FREE(at->component);
    GMV_FREE(at->w);
    GMV_FREE(at->x);
    GMV_FREE(at->level);
    GMV_FREE(at->predictor);
    GMV_FREE(at->gene_param);
    GMV_FREE(at->count);
}

gmv_status gmv_generate(gmv_generated *generated, const gmv_generation *how, gmv_model *model, gmv_feed *feed,
                        const gmv_cells *cells, const gmv_comm *comm)
{
    int64_t blocks = (how->cells + block_cells - 1) / block_cells;
    int64_t first = blocks * comm->rank / comm->size * block_cells;
    int64_t end = blocks * (comm->rank + 1) / comm->size * block_cells;
    bool components = model->clusters > 0 && how->origin == GMV_FROM_PRIOR;
    *generated = (gmv_generated){.first = first < how->cells ? first : how->cells,
                                 .total = how->cells,
                                 .covariates = cells->covariates,
                                 .components = components ? model->clusters : 0};
    generated->count = (end < how->cells ? end : how->cells) - generated->first;
    generator at = {.how = how, .model = model, .cells = cells, .to = generated};
    gmv_status status = GMV_OK;
    if (model->genes > GMV_DRAWN_GENES) {
        return GMV_FAIL(GMV_ERR_CONFIG, "a model of %" PRId32 " genes; cells can be generated of %d at most",
                        model->genes, (int)GMV_DRAWN_GENES);
    }
    GMV_GO(gmv_comm_agree(comm, reserve(&at)));
    GMV_GO(gmv_sources_gather(&at.from, how, model, feed, cells, comm));
    GMV_GO(gmv_comm_agree(comm, generate_all(&at)));
done:
    free_generator(&at);
    return status;
}

void gmv_generated_fini(gmv_generated *generated)
{
    GMV_FREE(generated->level);
    GMV_FREE(generated->library);
    GMV_FREE(generated->component);
    GMV_FREE(generated->source);
    GMV_FREE(generated->end);
    GMV_FREE(generated->gene);
    GMV_FREE(generated->value);
}
