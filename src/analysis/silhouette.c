/* Silhouettes: sums of distances from each point to every group, whose points lie side by side. */
#include "distances.h"

#include "gmvae/mem.h"
#include "gmvae/metrics.h"

#include <math.h>
#include <string.h>

typedef struct silhouettes {
    const gmv_points *points;
    const int32_t *group;
    int groups;
    gmv_blocks blocks; /* of the points, group by group */
    int32_t *start;    /* [groups + 1] */
    int32_t *order;    /* [n] */
    int32_t *group_at; /* [blocks] group that the first point of a block is of */
    double *sum;       /* [threads, GMV_TILE, groups] of the points at work */
    const gmv_distance_loops *loops;
    double *silhouette;
} silhouettes;

/* Points by group, those of a group in their order. */
static void sort_by_group(silhouettes *s)
{
    int n = s->points->n;
    for (int i = 0; i < n; i++) {
        s->start[s->group[i] + 1]++;
    }
    for (int g = 0; g < s->groups; g++) {
        s->start[g + 1] += s->start[g];
    }
    for (int i = 0; i < n; i++) {
        s->order[s->start[s->group[i]]++] = i;
    }
    for (int g = s->groups; g > 0; g--) {
        s->start[g] = s->start[g - 1];
    }
    s->start[0] = 0;
    for (int b = 0; b < (n + GMV_LANES - 1) / GMV_LANES; b++) {
        s->group_at[b] = s->group[s->order[b * GMV_LANES]];
    }
}

/* Adds distances to the points of a block to the sums of their groups. */
static void add_block(const silhouettes *s, int b, const float *squared, double *sum)
{
    int first = b * GMV_LANES, end = first + GMV_LANES < s->points->n ? first + GMV_LANES : s->points->n;
    for (int g = s->group_at[b]; g < s->groups && s->start[g] < end; g++) {
        int from = s->start[g] > first ? s->start[g] : first, to = s->start[g + 1] < end ? s->start[g + 1] : end;
        sum[g] += s->loops->sum_roots(squared + (from - first), to - from);
    }
}

static double finish(const silhouettes *s, int i, const double *sum)
{
    int own = s->group[i], others = s->start[own + 1] - s->start[own] - 1;
    double nearest = INFINITY;
    for (int g = 0; g < s->groups; g++) {
        double mean = sum[g] / (s->start[g + 1] - s->start[g]);
        nearest = g != own && mean < nearest ? mean : nearest;
    }
    double inside = others > 0 ? sum[own] / others : 0.0, larger = inside > nearest ? inside : nearest;
    return others > 0 && larger > 0.0 ? (nearest - inside) / larger : 0.0;
}

static void take_tile(void *context, int thread, int first, int n)
{
    silhouettes *s = context;
    float squared[GMV_LANES];
    int dims = s->points->dims;
    double *sums = s->sum + (int64_t)thread * GMV_TILE * s->groups;
    memset(sums, 0, (size_t)n * (size_t)s->groups * sizeof *sums);
    for (int b = 0; b < s->blocks.blocks; b++) {
        for (int i = 0; i < n; i++) {
            s->loops->squared(dims, s->points->at + (int64_t)(first + i) * dims, gmv_block_at(&s->blocks, b), squared);
            add_block(s, b, squared, sums + (int64_t)i * s->groups);
        }
    }
    for (int i = 0; i < n; i++) {
        s->silhouette[first + i] = finish(s, first + i, sums + (int64_t)i * s->groups);
    }
}

gmv_status gmv_silhouettes(const gmv_points *points, const int32_t *group, int groups, const gmv_comm *comm,
                           double *silhouette)
{
    silhouettes s = {points, group, groups, .loops = gmv_distance_loops_best(), .silhouette = silhouette};
    int n = points->n;
    gmv_status status;
    GMV_GO(GMV_NEW(s.start, groups + 1, "groups of cells"));
    GMV_GO(GMV_NEW(s.order, n, "groups of cells"));
    GMV_GO(GMV_NEW(s.group_at, n / GMV_LANES + 1, "groups of cells"));
    GMV_GO(GMV_NEW(s.sum, (int64_t)gmv_tile_threads() * GMV_TILE * groups, "distances to groups"));
    sort_by_group(&s);
    GMV_GO(gmv_blocks_init(&s.blocks, n, points->dims, points->at, s.order));
done:
    status = gmv_comm_agree(comm, status);
    if (status == GMV_OK) {
        void *const arrays[] = {silhouette};
        int64_t bytes[] = {sizeof *silhouette};
        status = gmv_work_and_share(comm, n, take_tile, &s, arrays, bytes, 1);
    }
    gmv_blocks_fini(&s.blocks);
    GMV_FREE(s.start);
    GMV_FREE(s.order);
    GMV_FREE(s.group_at);
    GMV_FREE(s.sum);
    return status;
}
