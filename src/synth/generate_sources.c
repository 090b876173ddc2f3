/* Each rank finds out which of its rows are wanted, and by which generated cells, and goes through these rows once. */
#include "generate_sources.h"

#include "gmvae/math/latent_gaussian.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A generated cell and the number, among the cells with counts, of the one that it is made from. */
typedef struct wish {
    int64_t number, cell;
} wish;

static int by_number(const void *a, const void *b)
{
    const wish *x = a, *y = b;
    return x->number != y->number ? (x->number < y->number ? -1 : 1) : (x->cell > y->cell) - (x->cell < y->cell);
}

typedef struct gathering {
    const gmv_generation *how;
    gmv_model *model;
    const gmv_cells *cells;
    gmv_sources *from;
    uint8_t *wanted; /* [local rows] */
    wish *wish;      /* [wishes] ascending */
    int64_t wishes, next;
    int64_t number; /* of the next row with counts */
    gmv_gidx row;   /* where it is looked for */
} gathering;

static bool is_wanted(const void *context, gmv_gidx row)
{
    const gathering *g = context;
    return g->wanted[row - g->cells->first] != 0;
}

static int64_t number_of(const gmv_generation *how, uint64_t seed, int64_t cell, int64_t there)
{
    if (how->origin == GMV_FROM_CELLS) {
        return cell % there;
    }
    if (how->origin == GMV_FROM_SAMPLE) {
        return cell * there / how->cells;
    }
    gmv_philox block = gmv_random_block(seed, GMV_STREAM_GENERATE, how->seed, cell, 0, 0);
    double unit = (double)(((uint64_t)block.word[0] << 32 | block.word[1]) >> 11) * 0x1p-53;
    int64_t number = (int64_t)(unit * (double)there);
    return number < there ? number : there - 1;
}

/* Which local rows are wanted, and by whom. Collective. */
static gmv_status make_wishes(gathering *g, const gmv_comm *comm)
{
    const gmv_cells *cells = g->cells;
    int64_t here = 0, *of_ranks = NULL, before = 0, there = 0;
    gmv_status status = GMV_NEW(g->wanted, cells->count, "cells to generate from");
    status = status == GMV_OK ? GMV_NEW(g->wish, g->how->cells, "cells to generate") : status;
    status = status == GMV_OK ? GMV_NEW(of_ranks, comm->size, "cells of ranks") : status;
    GMV_TRY(gmv_comm_agree(comm, status));
    for (int64_t i = 0; i < cells->count; i++) {
        here += gmv_is_chosen(cells, GMV_CELLS_ALL, cells->first + i);
    }
    gmv_comm_allgather(comm, &here, of_ranks, sizeof here);
    for (int rank = 0; rank < comm->size; rank++) {
        before += rank < comm->rank ? of_ranks[rank] : 0;
        there += of_ranks[rank];
    }
    GMV_FREE(of_ranks);
    if (there == 0) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: no cell has counts in the genes in use", cells->file[0]);
    }
    for (int64_t cell = 0; cell < g->how->cells; cell++) {
        int64_t number = number_of(g->how, g->model->seed, cell, there);
        if (number >= before && number < before + here) {
            g->wish[g->wishes++] = (wish){number, cell};
        }
    }
    if (g->wishes > 0) {
        qsort(g->wish, (size_t)g->wishes, sizeof *g->wish, by_number);
    }
    g->number = before;
    g->row = cells->first;
    return GMV_OK;
}

/* The wishes of a row with counts, which comes behind those asked for before: [*first, returned end). */
static int64_t wishes_of(gathering *g, gmv_gidx row, int64_t *first)
{
    for (; g->row < row; g->row++) {
        g->number += gmv_is_chosen(g->cells, GMV_CELLS_ALL, g->row);
    }
    while (g->next < g->wishes && g->wish[g->next].number < g->number) {
        g->next++;
    }
    int64_t end = g->next;
    *first = end;
    while (end < g->wishes && g->wish[end].number == g->number) {
        end++;
    }
    return end;
}

static void mark_rows(gathering *g)
{
    int64_t number = g->number, first;
    for (int64_t i = 0; i < g->cells->count; i++) {
        gmv_gidx row = g->cells->first + i;
        g->wanted[i] = gmv_is_chosen(g->cells, GMV_CELLS_ALL, row) && wishes_of(g, row, &first) > first;
    }
    g->number = number;
    g->row = g->cells->first;
    g->next = 0;
}

void gmv_draw_normals(const gmv_model *model, const gmv_generation *how, uint32_t stream, int64_t cell, int n,
                      float *normal)
{
    for (int j = 0; j < n; j += 4) {
        float four[4];
        gmv_normals(gmv_random_block(model->seed, stream, how->seed, cell, 0, (uint32_t)(j / 4)), four);
        memcpy(normal + j, four, (size_t)(n - j < 4 ? n - j : 4) * sizeof *four);
    }
}

void gmv_draw_x(const gmv_model *model, const gmv_generation *how, int64_t cell, const float *mean, const float *raw,
                float *x)
{
    gmv_draw_normals(model, how, GMV_STREAM_GENERATE_X, cell, model->latent_dim, x);
    for (int j = 0; j < model->latent_dim; j++) {
        x[j] = mean[j] + sqrtf(gmv_variance(raw[j])) * x[j];
    }
}

/* What the wishes of the rows at hand get of them. */
typedef struct taken {
    float library[GMV_EVAL_CELLS];
    int32_t *level;   /* [GMV_EVAL_CELLS, C] */
    float *posterior; /* [GMV_EVAL_CELLS, 2 D] */
} taken;

static gmv_status take_rows(gathering *g, taken *t, const gmv_visit *visit)
{
    gmv_backend *b = g->model->backend;
    const gmv_batch *batch = &visit->feed->batch;
    gmv_sources *from = g->from;
    int keys = from->covariates, dim = g->model->latent_dim;
    GMV_TRY(b->op->download(b, t->library, batch->library, visit->n * (int64_t)sizeof *t->library));
    GMV_TRY(b->op->download(b, t->level, batch->level, (int64_t)visit->n * keys * (int64_t)sizeof *t->level));
    if (from->latent != NULL) {
        gmv_pass pass = {.batch = batch, .draws = 1, .encode_only = true};
        GMV_TRY(gmv_model_run(g->model, &pass));
        GMV_TRY(b->op->download(b, t->posterior, *g->model->posterior,
                                (int64_t)visit->n * 2 * dim * (int64_t)sizeof(float)));
    }
    for (int i = 0; i < visit->n; i++) {
        int64_t first, end = wishes_of(g, visit->row[i], &first);
        for (int64_t w = first; w < end; w++) {
            int64_t cell = g->wish[w].cell;
            const float *mean = t->posterior + (int64_t)i * 2 * dim;
            from->row[cell] = visit->row[i];
            from->library[cell] = t->library[i];
            for (int c = 0; c < keys; c++) {
                from->level[cell * keys + c] = t->level[i * keys + c];
            }
            if (from->latent != NULL) {
                gmv_draw_x(g->model, g->how, cell, mean, mean + dim, from->latent + cell * dim);
            }
        }
    }
    return GMV_OK;
}

static gmv_status visit_rows(gathering *g, gmv_feed *feed)
{
    gmv_visit visit = {0};
    taken t = {.level = NULL};
    gmv_status status;
    mark_rows(g);
    GMV_GO(GMV_NEW(t.level, (int64_t)GMV_EVAL_CELLS * g->from->covariates, "levels of cells"));
    GMV_GO(GMV_NEW(t.posterior, (int64_t)GMV_EVAL_CELLS * 2 * g->model->latent_dim, "latents of cells"));
    GMV_GO(gmv_visit_begin(&visit, feed, g->cells, (gmv_row_filter){is_wanted, g}));
    for (;;) {
        GMV_GO(gmv_stop_check());
        GMV_GO(gmv_visit_next(&visit, g->model->input));
        if (visit.n == 0) {
            break;
        }
        GMV_GO(take_rows(g, &t, &visit));
    }
done:
    gmv_visit_end(&visit);
    GMV_FREE(t.level);
    GMV_FREE(t.posterior);
    return status;
}

static gmv_status reserve(gmv_sources *from, int64_t n, int dim)
{
    GMV_TRY(GMV_NEW(from->row, n, "generated cells"));
    GMV_TRY(GMV_NEW(from->level, n * from->covariates, "generated cells"));
    GMV_TRY(GMV_NEW(from->library, n, "generated cells"));
    return dim > 0 ? GMV_NEW(from->latent, n * dim, "generated cells") : GMV_OK;
}

gmv_status gmv_sources_gather(gmv_sources *from, const gmv_generation *how, gmv_model *model, gmv_feed *feed,
                              const gmv_cells *cells, const gmv_comm *comm)
{
    gathering g = {.how = how, .model = model, .cells = cells, .from = from};
    int64_t n = how->cells;
    int dim = how->origin != GMV_FROM_PRIOR ? model->latent_dim : 0;
    *from = (gmv_sources){.covariates = cells->covariates};
    GMV_TRY(gmv_comm_agree(comm, reserve(from, n, dim)));
    gmv_status status = make_wishes(&g, comm);
    status = gmv_comm_agree(comm, status == GMV_OK ? visit_rows(&g, feed) : status);
    GMV_FREE(g.wanted);
    GMV_FREE(g.wish);
    GMV_TRY(status);
    /* each rank has what its rows give, and zeros for the rest */
    gmv_comm_sum_i64(comm, from->row, n);
    gmv_comm_sum_i64(comm, from->level, n * from->covariates);
    gmv_comm_sum_f32(comm, from->library, n);
    if (dim > 0) {
        gmv_comm_sum_f32(comm, from->latent, n * dim);
    }
    return GMV_OK;
}

void gmv_sources_fini(gmv_sources *from)
{
    GMV_FREE(from->row);
    GMV_FREE(from->level);
    GMV_FREE(from->library);
    GMV_FREE(from->latent);
}
