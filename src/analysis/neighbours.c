/* Exact nearest neighbours, on the backend: each rank has its part of the points, some thousand at a time. */
#include "gmvae/neighbours.h"
#include "distances.h"

#include "gmvae/mem.h"
#include "gmvae/signals.h"
#include "gmvae/stage.h"
#include "gmvae/work.h"

#include <math.h>

static const int64_t pairs_at_once = 1 << 29; /* between looks for a signal: seconds on two cores */

/* What lies on the backend. */
typedef struct search {
    gmv_backend *b;
    gmv_mat among, of; /* of: some points at a time, unless they are among the others */
    int32_t *index;
    float *squared;
    int at_once;
} search;

static gmv_status place(gmv_backend *b, gmv_mat *to, int rows, int dims, const char *what)
{
    *to = (gmv_mat){NULL, rows, dims, dims};
    return b->op->allocate(b, (void **)&to->at, (int64_t)rows * dims * (int64_t)sizeof(float), what);
}

static gmv_status put_points(search *s, const gmv_points *among, const gmv_points *of, int k)
{
    static const char what[] = "neighbours of cells";
    int64_t entries = (int64_t)s->at_once * k;
    GMV_TRY(place(s->b, &s->among, among->n, among->dims, what));
    GMV_TRY(s->b->op->upload(s->b, s->among.at, among->at, (int64_t)among->n * among->dims * (int64_t)sizeof(float)));
    GMV_TRY(of != NULL ? place(s->b, &s->of, s->at_once, among->dims, what) : GMV_OK);
    GMV_TRY(s->b->op->allocate(s->b, (void **)&s->index, entries * (int64_t)sizeof *s->index, what));
    return s->b->op->allocate(s->b, (void **)&s->squared, entries * (int64_t)sizeof *s->squared, what);
}

static void free_points(search *s)
{
    void *const blocks[] = {s->among.at, s->of.at, s->index, s->squared};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        if (blocks[i] != NULL) {
            s->b->op->release(s->b, blocks[i]);
        }
    }
}

/* Points [first, first + n). */
static gmv_status search_some(search *s, const gmv_points *of, gmv_neighbours *found, int first, int n)
{
    gmv_backend *b = s->b;
    int dims = s->among.cols;
    int64_t at = (int64_t)first * found->k, entries = (int64_t)n * found->k;
    gmv_nearest_args args = {s->among, s->of, -1, found->k, s->index, s->squared};
    if (of == NULL) {
        args.of = (gmv_mat){s->among.at + (int64_t)first * dims, n, dims, dims};
        args.own = first;
    } else {
        args.of.rows = n;
        GMV_TRY(
            b->op->upload(b, args.of.at, of->at + (int64_t)first * dims, (int64_t)n * dims * (int64_t)sizeof(float)));
    }
    GMV_TRY(b->op->nearest(b, &args));
    GMV_TRY(b->op->download(b, found->index + at, s->index, entries * (int64_t)sizeof *s->index));
    GMV_TRY(b->op->download(b, found->distance + at, s->squared, entries * (int64_t)sizeof *s->squared));
    for (int64_t i = at; i < at + entries; i++) {
        found->distance[i] = sqrtf(found->distance[i]);
    }
    return GMV_OK;
}

static gmv_status search_part(gmv_neighbours *found, const gmv_points *among, const gmv_points *of, gmv_part mine,
                              gmv_backend *b)
{
    int64_t at_once = pairs_at_once / (among->n + 1) + 1;
    search s = {.b = b, .at_once = (int)(at_once < mine.end - mine.first ? at_once : mine.end - mine.first)};
    gmv_work shown = gmv_work_begin(mine.end - mine.first, "%s", gmv_stage_text());
    gmv_status status;
    GMV_GO(put_points(&s, among, of, found->k));
    for (int first = mine.first; first < mine.end; first += s.at_once) {
        GMV_GO(gmv_stop_check());
        gmv_work_at(&shown, first - mine.first);
        int left = mine.end - first;
        GMV_GO(search_some(&s, of, found, first, left < s.at_once ? left : s.at_once));
    }
done:
    free_points(&s);
    return status;
}

gmv_status gmv_find_neighbours(gmv_neighbours *found, const gmv_points *among, const gmv_points *of, int k,
                               gmv_backend *backend)
{
    const gmv_comm *comm = backend->comm;
    int n = of != NULL ? of->n : among->n;
    gmv_part mine = gmv_part_of_rank(comm, n);
    int64_t bytes = k * (int64_t)sizeof(int32_t);
    *found = (gmv_neighbours){.n = n, .k = k};
    if (k == 0) {
        return GMV_OK;
    }
    gmv_status status;
    GMV_GO(GMV_NEW(found->index, (int64_t)n * k, "neighbours of cells"));
    GMV_GO(GMV_NEW(found->distance, (int64_t)n * k, "neighbours of cells"));
    GMV_GO(mine.end > mine.first ? search_part(found, among, of, mine, backend) : GMV_OK);
done:
    GMV_TRY(gmv_comm_agree(comm, status));
    GMV_TRY(gmv_share_parts(comm, n, found->index, bytes));
    return gmv_share_parts(comm, n, found->distance, bytes);
}

void gmv_neighbours_fini(gmv_neighbours *found)
{
    GMV_FREE(found->index);
    GMV_FREE(found->distance);
}
