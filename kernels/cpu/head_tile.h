/* The likelihood over one tile of genes: zero part of every entry, then what the non-zeros add, value and gradient.
 * Included by head.c alone; everything is inlined there, so that each likelihood gets vectorised loops of its own. */
#pragma once

#include "cpu.h"

#include "gmvae/likelihoods.h"

#include <string.h>

/* A likelihood has at most three heads and a parameter of the gene, written out as p0 to p3 below: in arrays they would
 * stay in memory. That is enough where predictors are a few numbers of a gene in a cell (with zero inflation: mean,
 * dispersion, and the inflation's logit); unused ones are constants that the compiler drops, so one text serves every row
 * of likelihoods.def. What wants more, such as a probability for each of the first counts, or has few genes, such as
 * proteins, needs no tiles: its predictors are one product, and an operation of its own takes them. */
_Static_assert(GMV_MAX_HEADS == 3, "p0 to p3");

/* Larger blocks are no faster, and what is kept of one grows with them. */
enum { block_rows = 256, tile_genes = 192, max_groups = 32 };

typedef float zero_function(const float *p, float *g);
typedef float count_function(float y, const float *p, float *g);
typedef float few_function(float y, int most, const float *p, float *g);

/* A likelihood's functions and shape; constant wherever it is used, so that each gets loops of its own. */
typedef struct likelihood_functions {
    zero_function *zero;
    count_function *count;
    few_function *few;
    int heads;
    bool gene_param;
} likelihood_functions;

#define INLINED static inline __attribute__((always_inline))

/* Where one row block stands. Arrays [groups, rows] are per-group partial sums. */
typedef struct head_work {
    const gmv_head_args *args;
    int heads;
    bool gene_param; /* the likelihood has a per-gene parameter */
    bool normalised; /* softmax over genes with the observed library */
    bool gradients;
    int first_cell, rows; /* rows of this block, cells first_cell .. */
    int groups, tiles;
    gmv_mat hidden;   /* [rows, H] of this block */
    float *top, *sum; /* [groups, rows] largest logit, sum of exp(logit - top) */
    double *ll, *e;   /* [groups, rows] log-likelihood, E */
    float *shift;     /* [rows] log library - log normaliser: log mean = logit + shift */
    float *log_norm;  /* [rows] */
    float *total_e;   /* [rows] */
    float *d_hidden;  /* [groups, rows, H] */
    float *tile;      /* [threads, tile_floats] arrays of a tile */
    int64_t tile_floats;
    float *kept; /* normalised: [heads, tiles, rows, genes of the tile] logits, then the same of gradients */
} head_work;

/* Bounds of a tile, and its arrays. */
typedef struct head_tile {
    int first, genes;            /* genes first .. first + genes */
    float *value[GMV_MAX_HEADS]; /* [rows, genes] predictors of the heads */
    float *grad[GMV_MAX_HEADS];  /* [rows, genes] */
    float *d_gene;               /* [genes] */
} head_tile;

/* One entry's zero part and its gradient. A function of its own because arrays declared inside a simd loop would
 * stay in memory and keep the loop from vectorising; so does one_count. */
INLINED float one_zero(likelihood_functions f, float p0, float p1, float p2, float p3, float *g0, float *g1, float *g2,
                       float *g3)
{
    float p[GMV_MAX_HEADS + 1] = {p0, p1, p2, p3}, g[GMV_MAX_HEADS + 1] = {0.0f, 0.0f, 0.0f, 0.0f};
    float value = f.zero(p, g);
    *g0 = g[0];
    *g1 = g[1];
    *g2 = g[2];
    *g3 = g[3];
    return value;
}

/* Zero part of row r of the tile: the sum of values, gradients to the tile. masked: `present` [genes] says which of the
 * genes the row has; the others get gradients of 0. */
INLINED float zero_row(likelihood_functions f, bool gradients, bool masked, const head_work *work,
                       const head_tile *tile, int r, const uint8_t *GMV_RESTRICT present)
{
    const float *gene_raw = f.gene_param ? work->args->gene_param.at + tile->first : NULL;
    size_t row = (size_t)r * (size_t)tile->genes;
    const float *GMV_RESTRICT p0 = tile->value[0] + row;
    const float *GMV_RESTRICT p1 = f.heads > 1 ? tile->value[1] + row : gene_raw;
    const float *GMV_RESTRICT p2 = f.heads > 2 ? tile->value[2] + row : gene_raw;
    float *GMV_RESTRICT g0 = tile->grad[0] + row;
    float *GMV_RESTRICT g1 = tile->grad[f.heads > 1 ? 1 : 0] + row;
    float *GMV_RESTRICT g2 = tile->grad[f.heads > 2 ? 2 : 0] + row;
    float *GMV_RESTRICT d_gene = tile->d_gene;
    float shift = work->shift[r], total = 0.0f;
    int predictors = f.heads + (f.gene_param ? 1 : 0);
#pragma omp simd reduction(+ : total)
    for (int t = 0; t < tile->genes; t++) {
        float q1 = predictors > 1 ? p1[t] : 0.0f, q2 = predictors > 2 ? p2[t] : 0.0f;
        float q3 = predictors > 3 ? gene_raw[t] : 0.0f, e0, e1, e2, e3;
        float value = one_zero(f, p0[t] + shift, q1, q2, q3, &e0, &e1, &e2, &e3);
        bool there = !masked || present[t] != 0;
        total += there ? value : 0.0f;
        if (gradients) {
            g0[t] = there ? e0 : 0.0f;
        }
        if (gradients && f.heads > 1) {
            g1[t] = there ? e1 : 0.0f;
        }
        if (gradients && f.heads > 2) {
            g2[t] = there ? e2 : 0.0f;
        }
        if (gradients && f.gene_param) {
            float e = f.heads == 1 ? e1 : (f.heads == 2 ? e2 : e3);
            d_gene[t] += there ? e : 0.0f;
        }
    }
    return total;
}

/* Which of the tile's genes row r has; NULL: all of them. */
static inline const uint8_t *present_in_tile(const head_work *work, const head_tile *tile, int r)
{
    const gmv_batch *batch = work->args->batch;
    if (batch->present == NULL) {
        return NULL;
    }
    size_t set = (size_t)batch->set[work->first_cell + r / work->args->draws];
    const uint8_t *present = batch->present + set * (size_t)batch->genes + tile->first;
    return memchr(present, 0, (size_t)tile->genes) != NULL ? present : NULL;
}

/* Zero part of every entry of the tile: values to `ll`, gradients to the tile. */
INLINED void zero_part(likelihood_functions f, bool gradients, const head_work *work, const head_tile *tile, double *ll)
{
    for (int r = 0; r < work->rows; r++) {
        const uint8_t *present = present_in_tile(work, tile, r);
        ll[r] += (double)(present == NULL ? zero_row(f, gradients, false, work, tile, r, NULL)
                                          : zero_row(f, gradients, true, work, tile, r, present));
    }
}

/* Non-zeros of a tile waiting to be worked on together. */
enum { list_room = 256, few_most = 4 };
typedef struct count_list {
    int n;
    int32_t row[list_room], gene[list_room]; /* within the block and the tile */
    float y[list_room];
} count_list;

/* One count's part and its gradient. A function of its own because arrays declared inside a simd loop would stay
 * in memory and keep the loop from vectorising. */
INLINED float one_count(likelihood_functions f, int most, float y, float p0, float p1, float p2, float p3, float *g0,
                        float *g1, float *g2, float *g3)
{
    float p[GMV_MAX_HEADS + 1] = {p0, p1, p2, p3}, g[GMV_MAX_HEADS + 1] = {0.0f, 0.0f, 0.0f, 0.0f};
    float value = most > 0 ? f.few(y, most, p, g) : f.count(y, p, g);
    *g0 = g[0];
    *g1 = g[1];
    *g2 = g[2];
    *g3 = g[3];
    return value;
}

/* Adds what the listed non-zeros have beyond their zero part. most: 1 or few_most for counts up to it, 0 for
 * any count. */
INLINED void add_counts(likelihood_functions f, int most, bool gradients, const head_work *work, const head_tile *tile,
                        count_list *list, double *ll)
{
    float p0[list_room], p1[list_room], p2[list_room], p3[list_room];
    float g0[list_room], g1[list_room], g2[list_room], g3[list_room], value[list_room];
    float *p[GMV_MAX_HEADS + 1] = {p0, p1, p2, p3}, *g[GMV_MAX_HEADS + 1] = {g0, g1, g2, g3};
    const float *GMV_RESTRICT y = list->y;
    int n = list->n, predictors = f.heads + (f.gene_param ? 1 : 0);
    for (int e = 0; e < n; e++) {
        size_t entry = (size_t)list->row[e] * (size_t)tile->genes + (size_t)list->gene[e];
        for (int h = 0; h < f.heads; h++) {
            p[h][e] = tile->value[h][entry];
        }
        p0[e] += work->shift[list->row[e]];
        if (f.gene_param) {
            p[f.heads][e] = work->args->gene_param.at[tile->first + list->gene[e]];
        }
    }
    if (most > 0) {
#pragma omp simd
        for (int e = 0; e < n; e++) {
            float q1 = predictors > 1 ? p1[e] : 0.0f, q2 = predictors > 2 ? p2[e] : 0.0f;
            float q3 = predictors > 3 ? p3[e] : 0.0f;
            value[e] = one_count(f, most, y[e], p0[e], q1, q2, q3, &g0[e], &g1[e], &g2[e], &g3[e]);
        }
    } else {
        for (int e = 0; e < n; e++) {
            float q1 = predictors > 1 ? p1[e] : 0.0f, q2 = predictors > 2 ? p2[e] : 0.0f;
            float q3 = predictors > 3 ? p3[e] : 0.0f;
            value[e] = one_count(f, 0, y[e], p0[e], q1, q2, q3, &g0[e], &g1[e], &g2[e], &g3[e]);
        }
    }
    for (int e = 0; e < list->n; e++) {
        size_t entry = (size_t)list->row[e] * (size_t)tile->genes + (size_t)list->gene[e];
        ll[list->row[e]] += (double)value[e];
        for (int h = 0; gradients && h < f.heads; h++) {
            tile->grad[h][entry] += g[h][e];
        }
        if (gradients && f.gene_param) {
            tile->d_gene[list->gene[e]] += g[f.heads][e];
        }
    }
    list->n = 0;
}

/* What the non-zeros of the tile's genes add to the zero part, in three lists by size of the count: most counts
 * are small, and lists of small counts vectorise. */
INLINED void count_part(likelihood_functions f, bool gradients, const head_work *work, const head_tile *tile,
                        double *ll)
{
    const gmv_batch *batch = work->args->batch;
    int draws = work->args->draws, end_cell = work->first_cell + work->rows / draws;
    count_list ones, few, many;
    ones.n = few.n = many.n = 0;
    for (int t = 0; t < tile->genes; t++) {
        int gene = tile->first + t;
        for (int32_t at = batch->colptr[gene]; at < batch->colptr[gene + 1]; at++) {
            int cell = batch->cell[at];
            if (cell < work->first_cell || cell >= end_cell) {
                continue;
            }
            float y = batch->col_count[at];
            count_list *list = y > (float)few_most ? &many : (y > 1.0f ? &few : &ones);
            for (int m = 0; m < draws; m++) {
                list->row[list->n] = (cell - work->first_cell) * draws + m;
                list->gene[list->n] = t;
                list->y[list->n++] = y;
                if (list->n < list_room) {
                    continue;
                }
                if (list == &ones) {
                    add_counts(f, 1, gradients, work, tile, list, ll);
                } else if (list == &few) {
                    add_counts(f, few_most, gradients, work, tile, list, ll);
                } else {
                    add_counts(f, 0, gradients, work, tile, list, ll);
                }
            }
        }
    }
    add_counts(f, 1, gradients, work, tile, &ones, ll);
    add_counts(f, few_most, gradients, work, tile, &few, ll);
    add_counts(f, 0, gradients, work, tile, &many, ll);
}

/* Two functions for each likelihood, so that all of it is known to the compiler. */
#define GMV_LIKELIHOOD(name, head_count, softmax, gene_params, names, description)                                     \
    static void name##_tile(bool gradients, const head_work *work, const head_tile *tile, double *ll)                  \
    {                                                                                                                  \
        const likelihood_functions f = {gmv_lik_##name##_zero, gmv_lik_##name##_count, gmv_lik_##name##_few,           \
                                        head_count, (gene_params) != 0};                                               \
        if (gradients) {                                                                                               \
            zero_part(f, true, work, tile, ll);                                                                        \
            count_part(f, true, work, tile, ll);                                                                       \
        } else {                                                                                                       \
            zero_part(f, false, work, tile, ll);                                                                       \
            count_part(f, false, work, tile, ll);                                                                      \
        }                                                                                                              \
    }
#include "gmvae/likelihoods.def"
#undef GMV_LIKELIHOOD

static void likelihood_tile(const head_work *work, const head_tile *tile, double *ll)
{
    gmv_cpu_zero(tile->d_gene, (size_t)tile->genes);
    switch (work->args->likelihood) {
#define GMV_LIKELIHOOD(name, heads, softmax, gene_params, names, description)                                          \
    case GMV_LIKELIHOOD_##name:                                                                                        \
        name##_tile(work->gradients, work, tile, ll);                                                                  \
        break;
#include "gmvae/likelihoods.def"
#undef GMV_LIKELIHOOD
    case GMV_LIKELIHOODS:
        break;
    }
}
