/* UMAP: a layout in which what is near in the graph is near.
 *
 * umap-learn moves two points at a time, one pair after the other. Here every point moves by what pulls and pushes it, and all
 * move at once, so that the result does not depend on threads; a point's pairs are spread over several rounds of an epoch,
 * as many moves at once would carry it too far.
 */
#include "gmvae/umap.h"

#include "gmvae/mem.h"
#include "gmvae/rng.h"
#include "gmvae/signals.h"
#include "gmvae/stage.h"
#include "gmvae/work.h"

#include <math.h>
#include <string.h>

enum { rounds = 8, negatives = 5, few_points = 10000, power_iterations = 200 };
/* 1 / (1 + a d^(2 b)) nearest to the curve of spread 1 and min_dist 0.3. */
static const float curve_a = 0.99217562f, curve_b = 1.11225338f;
static const float most_move = 4.0f, start_size = 10.0f;

/* The graph, and the epochs from one sample of an edge to the next. */
typedef struct sampled_graph {
    gmv_graph of;
    float *every;
} sampled_graph;

/* Edges that are sampled less than once in all epochs are left out. */
static gmv_status plan_samples(sampled_graph *sampled, int epochs)
{
    gmv_graph *g = &sampled->of;
    float largest = 0.0f;
    int64_t kept = 0, first = 0;
    GMV_TRY(GMV_ROOM(sampled->every, g->start[g->n], "a graph of neighbours"));
    for (int64_t e = 0; e < g->start[g->n]; e++) {
        largest = fmaxf(largest, g->weight[e]);
    }
    for (int i = 0; i < g->n; i++) {
        int64_t end = g->start[i + 1];
        for (int64_t e = first; e < end; e++) {
            if (g->weight[e] * (float)epochs >= largest) {
                g->to[kept] = g->to[e];
                sampled->every[kept++] = largest / g->weight[e];
            }
        }
        first = end;
        g->start[i + 1] = kept;
    }
    return GMV_OK;
}

/* ---- where points start ---- */

/* The direction of the largest variance that is left, by power iteration. @param[in] covariance  [dims, dims] */
static void find_direction(int dims, const double *covariance, const double *other, double *direction, double *next)
{
    for (int d = 0; d < dims; d++) {
        direction[d] = 1.0 + 0.1 * d;
    }
    for (int t = 0; t < power_iterations; t++) {
        double along = 0.0, length = 0.0;
        for (int d = 0; d < dims; d++) {
            next[d] = 0.0;
            for (int e = 0; e < dims; e++) {
                next[d] += covariance[d * dims + e] * direction[e];
            }
            along += other != NULL ? next[d] * other[d] : 0.0;
        }
        for (int d = 0; d < dims; d++) {
            next[d] -= other != NULL ? along * other[d] : 0.0;
            length += next[d] * next[d];
        }
        for (int d = 0; d < dims && length > 0.0; d++) {
            direction[d] = next[d] / sqrt(length);
        }
    }
}

static void find_covariance(const gmv_umap_input *input, double *mean, double *covariance)
{
    int dims = input->dims;
    for (int64_t i = 0; i < input->near->n; i++) {
        for (int d = 0; d < dims; d++) {
            mean[d] += (double)input->at[i * dims + d] / input->near->n;
        }
    }
    for (int64_t i = 0; i < input->near->n; i++) {
        for (int d = 0; d < dims; d++) {
            for (int e = 0; e < dims; e++) {
                covariance[d * dims + e] +=
                    ((double)input->at[i * dims + d] - mean[d]) * ((double)input->at[i * dims + e] - mean[e]);
            }
        }
    }
}

/* The two first principal components, and a little noise for points that are the same. */
static gmv_status place(const gmv_umap_input *input, float *layout)
{
    int64_t dims = input->dims;
    double *covariance = NULL, *mean = NULL, largest = 0.0;
    gmv_status status;
    GMV_GO(GMV_NEW(covariance, dims * dims, "a covariance"));
    GMV_GO(GMV_NEW(mean, 4 * dims, "principal components"));
    double *first = mean + dims, *second = first + dims, *next = second + dims;
    find_covariance(input, mean, covariance);
    find_direction(input->dims, covariance, NULL, first, next);
    find_direction(input->dims, covariance, first, second, next);
    for (int64_t i = 0; i < input->near->n; i++) {
        double x = 0.0, y = 0.0;
        for (int d = 0; d < dims; d++) {
            double value = (double)input->at[i * dims + d] - mean[d];
            x += value * first[d];
            y += dims > 1 ? value * second[d] : 0.0;
        }
        layout[2 * i] = (float)x;
        layout[2 * i + 1] = (float)y;
        largest = fmax(largest, fmax(fabs(x), fabs(y)));
    }
    for (int64_t i = 0; i < input->near->n; i++) {
        gmv_philox noise = gmv_random_block(input->seed, GMV_STREAM_LAYOUT, 0, i, 0, 0);
        for (int c = 0; c < 2; c++) {
            layout[2 * i + c] = (largest > 0.0 ? layout[2 * i + c] * start_size / (float)largest : 0.0f) +
                                1e-3f * (gmv_uniform(noise.word[c]) - 0.5f);
        }
    }
done:
    GMV_FREE(covariance);
    GMV_FREE(mean);
    return status;
}

/* ---- layout ---- */

static float within(float x)
{
    return fminf(fmaxf(x, -most_move), most_move);
}

/* Adds the move of a point with the coefficient of its gradient along the line to another one. */
static void add_move(float coefficient, const float *from, const float *to, float factor, float *move)
{
    move[0] += factor * within(coefficient * (from[0] - to[0]));
    move[1] += factor * within(coefficient * (from[1] - to[1]));
}

static float square_of(const float *a, const float *b)
{
    float x = a[0] - b[0], y = a[1] - b[1];
    return x * x + y * y;
}

static void push(const float *layout, int n, int64_t i, uint64_t seed, int epoch, int edge, float *move)
{
    const float *here = layout + 2 * i;
    gmv_philox random = {{0}};
    for (int s = 0; s < negatives; s++) {
        if (s % 4 == 0) {
            random = gmv_random_block(seed, GMV_STREAM_LAYOUT, (uint32_t)epoch, i, (uint32_t)edge, (uint32_t)(s / 4));
        }
        uint32_t word = random.word[s % 4];
        int64_t other = (int64_t)(((uint64_t)word * (uint64_t)n) >> 32);
        float square = square_of(here, layout + 2 * other);
        if (other != i && square > 0.0f) {
            float pushed = 2.0f * curve_b / ((0.001f + square) * (1.0f + curve_a * powf(square, curve_b)));
            add_move(pushed, here, layout + 2 * other, 1.0f, move);
        }
    }
}

/* What moves point i in a round: those of its edges whose turn it is, in an epoch in which they are sampled. An edge stands in
 * the rows of both its points and is sampled twice, which pulls each of them twice. */
static void move_point(const sampled_graph *sampled, const float *layout, int64_t i, uint64_t seed, int epoch,
                       int round, float *move)
{
    const gmv_graph *g = &sampled->of;
    const float *every = sampled->every, *here = layout + 2 * i;
    int first = (round + rounds - epoch % rounds) % rounds;
    for (int64_t e = g->start[i] + first; e < g->start[i + 1]; e += rounds) {
        if (floorf((float)epoch / every[e]) <= floorf((float)(epoch - 1) / every[e])) {
            continue;
        }
        float square = square_of(here, layout + 2 * (int64_t)g->to[e]);
        if (square > 0.0f) {
            float power = powf(square, curve_b);
            float pulled = -2.0f * curve_a * curve_b * power / (square * (1.0f + curve_a * power));
            add_move(pulled, here, layout + 2 * (int64_t)g->to[e], 2.0f, move);
        }
        push(layout, g->n, i, seed, epoch, (int)(e - g->start[i]), move);
    }
}

static gmv_status arrange(const sampled_graph *g, uint64_t seed, int epochs, float *layout)
{
    float *next = NULL, *now = layout;
    int64_t bytes = 2 * (int64_t)g->of.n * (int64_t)sizeof *layout;
    GMV_TRY(GMV_NEW(next, 2 * (int64_t)g->of.n, "a layout"));
    float *other = next;
    gmv_work work = gmv_work_begin(epochs, "%s", gmv_stage_text());
    gmv_status status = GMV_OK;
    for (int epoch = 1; epoch <= epochs && status == GMV_OK; epoch++) {
        float rate = 1.0f - (float)(epoch - 1) / (float)epochs;
        for (int round = 0; round < rounds; round++) {
#pragma omp parallel for schedule(static)
            for (int64_t i = 0; i < g->of.n; i++) {
                float move[2] = {0.0f, 0.0f};
                move_point(g, now, i, seed, epoch, round, move);
                other[2 * i] = now[2 * i] + rate * move[0];
                other[2 * i + 1] = now[2 * i + 1] + rate * move[1];
            }
            float *swap = now;
            now = other;
            other = swap;
        }
        gmv_work_at(&work, epoch);
        status = gmv_stop_check();
    }
    if (now != layout) {
        memcpy(layout, now, (size_t)bytes);
    }
    GMV_FREE(next);
    return status;
}

gmv_status gmv_umap_layout(const gmv_umap_input *input, float *layout)
{
    sampled_graph g = {{0}, NULL};
    int epochs = input->epochs > 0 ? input->epochs : input->near->n <= few_points ? 500 : 200;
    gmv_status status;
    GMV_GO(gmv_fuzzy_graph(&g.of, input->near, input->near->k));
    GMV_GO(plan_samples(&g, epochs));
    GMV_GO(place(input, layout));
    status = arrange(&g, input->seed, epochs, layout);
done:
    gmv_graph_fini(&g.of);
    GMV_FREE(g.every);
    return status;
}
