/* k-means. Every rank chooses the first centres and sums up the new ones; what takes the time, which centre is nearest to
 * each point, is divided. */
#include "distances.h"

#include "gmvae/mem.h"
#include "gmvae/metrics.h"
#include "gmvae/rng.h"
#include "gmvae/signals.h"

#include <math.h>
#include <string.h>

enum { most_steps = 300 };
static const double tolerance = 1e-4; /* of the mean variance of the dimensions */

typedef struct kmeans {
    const gmv_points *points;
    int k;
    const gmv_distance_loops *loops;
    gmv_blocks blocks;
    float *centre;    /* [k, dims] */
    double *sum;      /* [k, dims] */
    int *count;       /* [k] */
    int32_t *cluster; /* [n rounded up] */
    float *nearest;   /* [n rounded up] squared distance to the centre */
    float *trial;     /* [trials, n rounded up] the same to a candidate, where it is nearer */
    double tolerated; /* squared shifts of all centres together */
} kmeans;

/* ---- the first centres ---- */

static double uniform(uint64_t seed, int k, int centre, int trial)
{
    gmv_philox block = gmv_random_block(seed, GMV_STREAM_KMEANS, (uint32_t)k, centre, 0, (uint32_t)trial);
    return ((double)(block.word[0] >> 6) * 0x1p27 + (double)(block.word[1] >> 5)) * 0x1p-53;
}

static double total_of(const float *value, int n)
{
    double total = 0.0;
    for (int i = 0; i < n; i++) {
        total += (double)value[i];
    }
    return total;
}

/* The point at which the running sum of squared distances exceeds `wanted`. */
static int point_at(const float *nearest, int n, double wanted)
{
    double total = 0.0;
    int last = 0;
    for (int i = 0; i < n; i++) {
        total += (double)nearest[i];
        last = nearest[i] > 0.0f ? i : last;
        if (total > wanted) {
            return i;
        }
    }
    return last;
}

/* Squared distance of each point to the nearest of the centres and this point. */
static void try_point(const kmeans *m, int point, float *trial)
{
    const float *at = m->points->at + (int64_t)point * m->points->dims;
#pragma omp parallel for
    for (int b = 0; b < m->blocks.blocks; b++) {
        float *to = trial + b * GMV_LANES;
        m->loops->squared(m->points->dims, at, gmv_block_at(&m->blocks, b), to);
        for (int j = 0; j < GMV_LANES; j++) {
            float before = m->nearest[b * GMV_LANES + j];
            to[j] = before < to[j] ? before : to[j];
        }
    }
}

static void take_centre(kmeans *m, int centre, int point)
{
    int dims = m->points->dims;
    memcpy(m->centre + (int64_t)centre * dims, m->points->at + (int64_t)point * dims, (size_t)dims * sizeof(float));
}

/* k-means++: of several points drawn by their squared distance to the nearest centre, the one that leaves least of it. */
static gmv_status choose_centres(kmeans *m, uint64_t seed)
{
    int n = m->points->n, trials = 2 + (int)log((double)m->k);
    int64_t padded = (int64_t)m->blocks.blocks * GMV_LANES;
    for (int64_t i = 0; i < padded; i++) {
        m->nearest[i] = INFINITY;
    }
    for (int c = 0; c < m->k; c++) {
        double all = total_of(m->nearest, n), least = INFINITY;
        float *trial = m->trial, *best = m->trial + padded;
        GMV_TRY(gmv_stop_check());
        for (int t = 0; t < (c > 0 ? trials : 1); t++) {
            double u = uniform(seed, m->k, c, t);
            int point = c > 0 ? point_at(m->nearest, n, u * all) : (int)(u * n);
            try_point(m, point, trial);
            double left = total_of(trial, n);
            if (left < least) {
                float *other = best;
                best = trial;
                trial = other;
                least = left;
                take_centre(m, c, point);
            }
        }
        memcpy(m->nearest, best, (size_t)padded * sizeof *best);
    }
    return GMV_OK;
}

/* ---- steps ---- */

static void assign_blocks(void *context, int thread, int first, int n)
{
    (void)thread;
    kmeans *m = context;
    float squared[GMV_LANES];
    for (int b = first; b < first + n; b++) {
        int32_t *cluster = m->cluster + b * GMV_LANES;
        float *nearest = m->nearest + b * GMV_LANES;
        for (int c = 0; c < m->k; c++) {
            const float *centre = m->centre + (int64_t)c * m->points->dims;
            m->loops->squared(m->points->dims, centre, gmv_block_at(&m->blocks, b), squared);
            for (int j = 0; j < GMV_LANES; j++) {
                bool nearer = c == 0 || squared[j] < nearest[j];
                cluster[j] = nearer ? c : cluster[j];
                nearest[j] = nearer ? squared[j] : nearest[j];
            }
        }
    }
}

static gmv_status assign(kmeans *m, const gmv_comm *comm)
{
    void *const arrays[] = {m->cluster, m->nearest};
    const int64_t bytes[] = {GMV_LANES * sizeof *m->cluster, GMV_LANES * sizeof *m->nearest};
    return gmv_work_and_share(comm, m->blocks.blocks, assign_blocks, m, arrays, bytes, 2);
}

/* Centres without points take those farthest from theirs. */
static void fill_empty(kmeans *m)
{
    for (int c = 0; c < m->k; c++) {
        int farthest = -1;
        for (int i = 0; m->count[c] == 0 && i < m->points->n; i++) {
            bool farther = farthest < 0 || m->nearest[i] > m->nearest[farthest];
            farthest = m->count[m->cluster[i]] > 1 && farther ? i : farthest;
        }
        if (farthest >= 0) {
            m->count[m->cluster[farthest]]--;
            m->cluster[farthest] = c;
            m->nearest[farthest] = 0.0f;
            m->count[c] = 1;
        }
    }
}

/* Means of clusters. @return the sum of the squares of all shifts */
static double move_centres(kmeans *m)
{
    int dims = m->points->dims;
    double shift = 0.0;
    memset(m->sum, 0, (size_t)m->k * (size_t)dims * sizeof *m->sum);
    memset(m->count, 0, (size_t)m->k * sizeof *m->count);
    for (int i = 0; i < m->points->n; i++) {
        m->count[m->cluster[i]]++;
    }
    fill_empty(m);
    for (int i = 0; i < m->points->n; i++) {
        const float *at = m->points->at + (int64_t)i * dims;
        double *sum = m->sum + (int64_t)m->cluster[i] * dims;
        for (int d = 0; d < dims; d++) {
            sum[d] += (double)at[d];
        }
    }
    for (int c = 0; c < m->k; c++) {
        for (int d = 0; m->count[c] > 0 && d < dims; d++) {
            float *centre = m->centre + (int64_t)c * dims + d,
                  mean = (float)(m->sum[(int64_t)c * dims + d] / m->count[c]);
            shift += (double)(mean - *centre) * (double)(mean - *centre);
            *centre = mean;
        }
    }
    return shift;
}

static void set_tolerance(kmeans *m)
{
    int n = m->points->n, dims = m->points->dims;
    double variance = 0.0;
    for (int d = 0; d < dims; d++) {
        double mean = 0.0, square = 0.0;
        for (int i = 0; i < n; i++) {
            mean += (double)m->points->at[(int64_t)i * dims + d];
        }
        mean /= n;
        for (int i = 0; i < n; i++) {
            double x = (double)m->points->at[(int64_t)i * dims + d] - mean;
            square += x * x;
        }
        variance += square / n;
    }
    m->tolerated = tolerance * variance / dims;
}

gmv_status gmv_kmeans(const gmv_points *points, int k, uint64_t seed, const gmv_comm *comm, int32_t *cluster)
{
    kmeans m = {.points = points, .k = k, .loops = gmv_distance_loops_best()};
    int64_t padded = (int64_t)(points->n / GMV_LANES + 1) * GMV_LANES;
    gmv_status status;
    GMV_GO(GMV_NEW(m.centre, (int64_t)k * points->dims, "centres"));
    GMV_GO(GMV_NEW(m.sum, (int64_t)k * points->dims, "centres"));
    GMV_GO(GMV_NEW(m.count, k, "centres"));
    GMV_GO(GMV_NEW(m.cluster, padded, "clusters of cells"));
    GMV_GO(GMV_NEW(m.nearest, padded, "clusters of cells"));
    GMV_GO(GMV_NEW(m.trial, 2 * padded, "clusters of cells"));
    GMV_GO(gmv_blocks_init(&m.blocks, points->n, points->dims, points->at, NULL));
    set_tolerance(&m);
    GMV_GO(choose_centres(&m, seed));
done:
    status = gmv_comm_agree(comm, status);
    for (int step = 0; status == GMV_OK && step < most_steps; step++) {
        status = assign(&m, comm);
        if (status == GMV_OK && move_centres(&m) <= m.tolerated) {
            break;
        }
    }
    status = status == GMV_OK ? assign(&m, comm) : status;
    if (status == GMV_OK) {
        memcpy(cluster, m.cluster, (size_t)points->n * sizeof *cluster);
    }
    gmv_blocks_fini(&m.blocks);
    GMV_FREE(m.centre);
    GMV_FREE(m.sum);
    GMV_FREE(m.count);
    GMV_FREE(m.cluster);
    GMV_FREE(m.nearest);
    GMV_FREE(m.trial);
    return status;
}
