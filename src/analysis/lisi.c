/* Local inverse Simpson index. */
#include "distances.h"

#include "gmvae/mem.h"
#include "gmvae/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { most_tries = 50 };
static const double close_enough = 1e-5; /* of the logarithm of the perplexity */

typedef struct lisi {
    const gmv_neighbours *neighbours;
    int others; /* neighbours that count */
    const int32_t *level;
    int levels;
    double log_perplexity;
    double *weight; /* [threads, others] */
    double *mass;   /* [threads, levels] */
    double *value;  /* [n] */
} lisi;

/* Weights exp(-beta distance), which sum to one. @return their entropy in nats */
static double weigh(const float *distance, int n, double beta, double *weight)
{
    double sum = 0.0, mean = 0.0;
    for (int j = 0; j < n; j++) {
        double away = (double)distance[j] - (double)distance[0]; /* of the nearest: no sum vanishes */
        weight[j] = exp(-beta * away);
        sum += weight[j];
        mean += away * weight[j];
    }
    for (int j = 0; j < n; j++) {
        weight[j] /= sum;
    }
    return log(sum) + beta * mean / sum;
}

static void weigh_for_perplexity(const lisi *l, const float *distance, double *weight)
{
    double beta = 1.0, low = 0.0, high = INFINITY, over;
    for (int t = 0; t <= most_tries; t++) {
        over = weigh(distance, l->others, beta, weight) - l->log_perplexity;
        if (fabs(over) < close_enough) {
            return;
        }
        if (over > 0.0) {
            low = beta;
            beta = isinf(high) ? 2.0 * beta : 0.5 * (beta + high);
        } else {
            high = beta;
            beta = 0.5 * (beta + low);
        }
    }
}

static void take_tile(void *context, int thread, int first, int n)
{
    lisi *l = context;
    double *weight = l->weight + (int64_t)thread * l->others, *mass = l->mass + (int64_t)thread * l->levels;
    for (int i = first; i < first + n; i++) {
        const int32_t *index = l->neighbours->index + (int64_t)i * l->neighbours->k;
        double simpson = 0.0;
        weigh_for_perplexity(l, l->neighbours->distance + (int64_t)i * l->neighbours->k, weight);
        memset(mass, 0, (size_t)l->levels * sizeof *mass);
        for (int j = 0; j < l->others; j++) {
            mass[l->level[index[j]]] += weight[j];
        }
        for (int g = 0; g < l->levels; g++) {
            simpson += mass[g] * mass[g];
        }
        l->value[i] = 1.0 / simpson;
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

gmv_status gmv_median_lisi(const gmv_neighbours *neighbours, int k, const int32_t *level, int levels,
                           const gmv_comm *comm, double *median)
{
    int n = neighbours->n, threads = gmv_tile_threads();
    lisi l = {neighbours, k - 1, level, levels, .log_perplexity = log(floor(k / 3.0))};
    gmv_status status;
    GMV_GO(GMV_NEW(l.weight, (int64_t)threads * l.others, "weights of neighbours"));
    GMV_GO(GMV_NEW(l.mass, (int64_t)threads * levels, "weights of neighbours"));
    GMV_GO(GMV_NEW(l.value, n, "LISI of cells"));
done:
    status = gmv_comm_agree(comm, status);
    if (status == GMV_OK) {
        void *const arrays[] = {l.value};
        const int64_t bytes[] = {sizeof *l.value};
        status = gmv_work_and_share(comm, n, take_tile, &l, arrays, bytes, 1);
    }
    if (status == GMV_OK) {
        qsort(l.value, (size_t)n, sizeof *l.value, by_value);
        *median = 0.5 * (l.value[(n - 1) / 2] + l.value[n / 2]);
    }
    GMV_FREE(l.weight);
    GMV_FREE(l.mass);
    GMV_FREE(l.value);
    return status;
}
