/* Exact nearest points: some points at a time are compared with blocks of all, and keep a sorted list of the nearest. */
#include "cpu.h"

#include "gmvae/math/squared_distances.h"

#include <omp.h>

enum { together = 32 };

/* The nearest so far of one point, the nearest first. */
typedef struct list {
    int k;
    float *squared;
    int32_t *index;
} list;

/* Points come by their number, so one that is as near as another goes behind it. */
static void insert(const list *l, float squared, int32_t index)
{
    int at = l->k - 1;
    for (; at > 0 && l->squared[at - 1] > squared; at--) {
        l->squared[at] = l->squared[at - 1];
        l->index[at] = l->index[at - 1];
    }
    l->squared[at] = squared;
    l->index[at] = index;
}

/* Points [first, first + GMV_LANES) side by side; those behind the last are infinitely far. */
static void put_block(gmv_mat from, int first, float *GMV_RESTRICT block)
{
    for (int j = 0; j < GMV_LANES; j++) {
        const float *row = first + j < from.rows ? from.at + (size_t)(first + j) * (size_t)from.ld : NULL;
        for (int d = 0; d < from.cols; d++) {
            block[d * GMV_LANES + j] = row != NULL ? row[d] : INFINITY;
        }
    }
}

/* Compares a point with a block, whose first point has number `first`. */
static void compare(const gmv_nearest_args *args, int i, int first, const float *block, const list *l)
{
    float squared[GMV_LANES];
    float least = gmv_squared_distances(args->of.cols, args->of.at + (size_t)i * (size_t)args->of.ld, block, squared);
    int own = args->own < 0 ? -1 : args->own + i - first;
    int n = args->among.rows - first < GMV_LANES ? args->among.rows - first : GMV_LANES;
    for (int j = 0; least < l->squared[l->k - 1] && j < n; j++) {
        if (squared[j] < l->squared[l->k - 1] && j != own) {
            insert(l, squared[j], first + j);
        }
    }
}

static void search(const gmv_nearest_args *args, int first, int n, float *block)
{
    list nearest[together];
    for (int i = 0; i < n; i++) {
        size_t at = (size_t)(first + i) * (size_t)args->k;
        nearest[i] = (list){args->k, args->squared + at, args->index + at};
        for (int j = 0; j < args->k; j++) {
            nearest[i].squared[j] = INFINITY;
            nearest[i].index[j] = 0;
        }
    }
    for (int from = 0; from < args->among.rows; from += GMV_LANES) {
        put_block(args->among, from, block);
        for (int i = 0; i < n; i++) {
            compare(args, first + i, from, block, &nearest[i]);
        }
    }
}

gmv_status GMV_CPU(nearest)(gmv_backend *b, const gmv_nearest_args *args)
{
    int dims = args->among.cols, rows = args->of.rows, others = args->among.rows - (args->own >= 0 ? 1 : 0);
    void *scratch;
    GMV_CHECK(args->of.cols == dims && args->k >= 0 && args->k <= GMV_MOST_NEAREST);
    GMV_CHECK(rows == 0 || (args->k <= others && (args->own < 0 || args->own + rows <= args->among.rows)));
    int64_t floats = (int64_t)dims * GMV_LANES;
    GMV_TRY(GMV_CPU(scratch)(b, omp_get_max_threads() * floats * (int64_t)sizeof(float), &scratch));
    int pieces = args->k > 0 ? gmv_cpu_pieces(rows, together) : 0;
#pragma omp parallel for schedule(dynamic, 1)
    for (int p = 0; p < pieces; p++) {
        int first = p * together;
        search(args, first, rows - first < together ? rows - first : together,
               (float *)scratch + omp_get_thread_num() * floats);
    }
    return GMV_OK;
}
