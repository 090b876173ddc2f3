/* The graph of neighbours that UMAP lays out, and that scanpy clusters: how far each is a neighbour of the other. */
#include "gmvae/umap.h"

#include "gmvae/mem.h"

#include <math.h>

enum { bisections = 64 };

/* exp(-(d - nearest) / scale), with a scale for which those of a point add up to log2 of their number. */
static void weigh(const float *d, int k, float *weight)
{
    double nearest = 0.0, low = 0.0, high = HUGE_VAL, scale = 1.0, mean = 0.0, wanted = log2(k + 1.0);
    for (int j = k - 1; j >= 0; j--) {
        nearest = d[j] > 0.0f ? (double)d[j] : nearest;
        mean += (double)d[j] / k;
    }
    for (int t = 0; t < bisections; t++) {
        double sum = 0.0;
        for (int j = 0; j < k; j++) {
            sum += exp(-fmax(0.0, (double)d[j] - nearest) / scale);
        }
        low = sum > wanted ? low : scale;
        high = sum > wanted ? scale : high;
        scale = isfinite(high) ? 0.5 * (low + high) : 2.0 * scale;
    }
    scale = fmax(scale, 1e-3 * mean);
    for (int j = 0; j < k; j++) {
        double over = (double)d[j] - nearest;
        weight[j] = over <= 0.0 || scale <= 0.0 ? 1.0f : (float)exp(-over / scale);
    }
}

/* Weights of the k nearest of each point, one way. */
typedef struct one_way {
    const gmv_neighbours *near;
    int k;
    float *weight; /* [n, k] */
} one_way;

/* Of i to its neighbour j; 0 when it is none. */
static float weight_of(const one_way *w, int64_t i, int64_t j)
{
    for (int e = 0; e < w->k; e++) {
        if (w->near->index[i * w->near->k + e] == j) {
            return w->weight[i * w->k + e];
        }
    }
    return 0.0f;
}

static void add_edge(gmv_graph *g, int64_t *end, int64_t i, int64_t j, float weight)
{
    g->to[end[i]] = (int32_t)j;
    g->weight[end[i]++] = weight;
}

/* Edges of a point are its neighbours, and those points that it is a neighbour of and that are none of its own. A neighbour so
 * far that its weight is 0 is none. */
static void fill(gmv_graph *g, const one_way *w, int64_t *end)
{
    for (int64_t i = 0; i < g->n; i++) {
        for (int e = 0; e < w->k; e++) {
            int64_t j = w->near->index[i * w->near->k + e];
            float ours = w->weight[i * w->k + e], theirs = weight_of(w, j, i);
            float both = ours + theirs - ours * theirs; /* one of the two holds */
            if (ours > 0.0f) {
                add_edge(g, end, i, j, both);
            }
            if (ours > 0.0f && theirs <= 0.0f) {
                add_edge(g, end, j, i, both);
            }
        }
    }
}

/* Where the edges of each point begin. */
static void count(gmv_graph *g, const one_way *w)
{
    for (int64_t i = 0; i < g->n; i++) {
        for (int e = 0; e < w->k; e++) {
            int64_t j = w->near->index[i * w->near->k + e];
            bool ours = w->weight[i * w->k + e] > 0.0f, theirs = weight_of(w, j, i) > 0.0f;
            g->start[i + 1] += ours ? 1 : 0;
            g->start[j + 1] += ours && !theirs ? 1 : 0;
        }
    }
    for (int64_t i = 0; i < g->n; i++) {
        g->start[i + 1] += g->start[i];
    }
}

gmv_status gmv_fuzzy_graph(gmv_graph *graph, const gmv_neighbours *near, int k)
{
    one_way w = {near, k, NULL};
    int64_t n = near->n, *end = NULL;
    gmv_status status;
    *graph = (gmv_graph){.n = near->n};
    GMV_GO(GMV_ROOM(w.weight, n * k, "weights of neighbours"));
    GMV_GO(GMV_NEW(graph->start, n + 1, "a graph of neighbours"));
    GMV_GO(GMV_NEW(end, n, "a graph of neighbours"));
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        weigh(near->distance + i * near->k, k, w.weight + i * k);
    }
    count(graph, &w);
    for (int64_t i = 0; i < n; i++) {
        end[i] = graph->start[i];
    }
    GMV_GO(GMV_ROOM(graph->to, graph->start[n], "a graph of neighbours"));
    GMV_GO(GMV_ROOM(graph->weight, graph->start[n], "a graph of neighbours"));
    fill(graph, &w, end);
done:
    GMV_FREE(w.weight);
    GMV_FREE(end);
    return status;
}

void gmv_graph_fini(gmv_graph *graph)
{
    GMV_FREE(graph->start);
    GMV_FREE(graph->to);
    GMV_FREE(graph->weight);
}
