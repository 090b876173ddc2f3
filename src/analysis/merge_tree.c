/* From overlaps of components to a tree, and from the tree to clusters. */
#include "gmvae/clusters.h"
#include "gmvae/mem.h"

#include <math.h>
#include <string.h>

/* Clusters while they are merged: a merged pair lives on in the place of the first. */
typedef struct merger {
    int n;            /* K */
    double *overlap;  /* [K, K] S */
    double *mass;     /* [K] n_a */
    double total;     /* N */
    int *node, *size; /* [K] number in the tree, 0: merged into another; components in it */
    int *partner;     /* [K] that it overlaps with most */
    double *height;   /* [K] of the two */
} merger;

enum { gone = -1 };

static const double too_few = 0.5; /* cells */

/* Where one has no cells to speak of: 0, less than any other pair's. */
static double height_of(const merger *m, int a, int b)
{
    if (m->mass[a] < too_few || m->mass[b] < too_few) {
        return 0.0;
    }
    return 1.0 / (1.0 + m->overlap[(int64_t)a * m->n + b] * m->total / (m->mass[a] * m->mass[b]));
}

/* Whether b rather than c is merged with a: the height, then the overlap itself, then the mass. */
static bool is_better(const merger *m, int a, int b, int c)
{
    double hb = height_of(m, a, b), hc = height_of(m, a, c);
    double sb = m->overlap[(int64_t)a * m->n + b], sc = m->overlap[(int64_t)a * m->n + c];
    if (hb < hc || hb > hc) {
        return hb < hc;
    }
    return sb < sc || sb > sc ? sb > sc : m->mass[b] > m->mass[c];
}

static void find_partner(merger *m, int a)
{
    m->partner[a] = gone;
    for (int b = 0; b < m->n; b++) {
        if (b != a && m->node[b] != gone && (m->partner[a] == gone || is_better(m, a, b, m->partner[a]))) {
            m->partner[a] = b;
        }
    }
    m->height[a] = m->partner[a] != gone ? height_of(m, a, m->partner[a]) : 2.0;
}

/* The cluster of the lowest height to its partner; among equal ones, that of the least mass: those without cells first. */
static int next_pair(const merger *m)
{
    int best = gone;
    for (int a = 0; a < m->n; a++) {
        bool better = m->node[a] != gone && (best == gone || m->height[a] < m->height[best] ||
                                             (m->height[a] <= m->height[best] && m->mass[a] < m->mass[best]));
        best = better ? a : best;
    }
    return best;
}

/* b into a, which becomes node `node`. */
static void merge(merger *m, int a, int b, int node)
{
    int n = m->n;
    double *s = m->overlap;
    s[(int64_t)a * n + a] += 2.0 * s[(int64_t)a * n + b] + s[(int64_t)b * n + b];
    m->mass[a] += m->mass[b];
    m->size[a] += m->size[b];
    m->node[a] = node;
    m->node[b] = gone;
    for (int c = 0; c < n; c++) {
        if (c != a && m->node[c] != gone) {
            s[(int64_t)a * n + c] += s[(int64_t)b * n + c];
            s[(int64_t)c * n + a] = s[(int64_t)a * n + c];
        }
    }
    for (int c = 0; c < n; c++) {
        if (c != a && m->node[c] != gone) {
            if (m->partner[c] == a || m->partner[c] == b) {
                find_partner(m, c);
            } else if (is_better(m, c, a, m->partner[c])) {
                m->partner[c] = a;
                m->height[c] = height_of(m, c, a);
            }
        }
    }
    find_partner(m, a);
}

static gmv_status begin(merger *m, int components, const double *overlap)
{
    int64_t n = components;
    m->n = components;
    GMV_TRY(GMV_NEW(m->overlap, n * n, "overlaps of components"));
    GMV_TRY(GMV_NEW(m->mass, 2 * n, "components"));
    GMV_TRY(GMV_NEW(m->node, 3 * n, "components"));
    m->height = m->mass + n;
    m->size = m->node + n;
    m->partner = m->size + n;
    memcpy(m->overlap, overlap, (size_t)(n * n) * sizeof *overlap);
    for (int a = 0; a < components; a++) {
        m->node[a] = a;
        m->size[a] = 1;
        for (int b = 0; b < components; b++) {
            m->mass[a] += overlap[(int64_t)a * n + b];
        }
        m->total += m->mass[a];
    }
    for (int a = 0; a < components; a++) {
        find_partner(m, a);
    }
    return GMV_OK;
}

gmv_status gmv_merge_tree(int components, const double *overlap, double *tree)
{
    merger m = {0};
    gmv_status status;
    double highest = 0.0;
    GMV_GO(begin(&m, components, overlap));
    for (int i = 0; i + 1 < components; i++) {
        int a = next_pair(&m), b = m.partner[a];
        highest = m.height[a] > highest ? m.height[a] : highest;
        bool ordered = m.node[a] < m.node[b];
        tree[4 * i] = ordered ? m.node[a] : m.node[b];
        tree[4 * i + 1] = ordered ? m.node[b] : m.node[a];
        tree[4 * i + 2] = highest;
        tree[4 * i + 3] = m.size[a] + m.size[b];
        merge(&m, a, b, components + i);
    }
done:
    GMV_FREE(m.overlap);
    GMV_FREE(m.mass);
    GMV_FREE(m.node);
    return status;
}

/* ---- the cut ---- */

static const double together = 0.8, apart = 0.2; /* lifts: what is above the first is merged, below the second is not */

static double lift_at(double height)
{
    return height > 0.0 ? 1.0 / height - 1.0 : INFINITY;
}

/* The lift of the node behind `merges` of them, within the bounds; there is nothing behind the last. */
static double lift_behind(int components, const double *tree, int merges)
{
    double lift = merges + 1 < components ? lift_at(tree[4 * merges + 2]) : 0.0;
    return fmin(fmax(lift, apart), together);
}

int gmv_widest_gap(int components, const double *tree)
{
    int best = 0;
    double widest = 0.0, before = together;
    for (int merges = 0; merges < components; merges++) {
        double behind = lift_behind(components, tree, merges), gap = before / behind;
        if (gap > widest) {
            widest = gap;
            best = merges;
        }
        before = behind;
    }
    return best;
}

double gmv_cut_height(int components, const double *tree, int merges)
{
    double below = merges > 0 ? tree[4 * (merges - 1) + 2] : 0.0;
    double above = merges + 1 < components ? tree[4 * merges + 2] : 1.0;
    return 0.5 * (below + above);
}

int gmv_cut_tree(int components, const double *tree, int merges, int *cluster)
{
    int clusters = 0;
    for (int k = 0; k < components; k++) {
        cluster[k] = k; /* the highest node above it */
    }
    for (int i = 0; i < merges; i++) {
        for (int k = 0; k < components; k++) {
            bool below = cluster[k] == (int)tree[4 * i] || cluster[k] == (int)tree[4 * i + 1];
            cluster[k] = below ? components + i : cluster[k];
        }
    }
    for (int k = 0; k < components; k++) {
        int node = cluster[k];
        for (int j = k; j < components && node >= 0; j++) {
            cluster[j] = cluster[j] == node ? -1 - clusters : cluster[j];
        }
        clusters += node >= 0 ? 1 : 0;
    }
    for (int k = 0; k < components; k++) {
        cluster[k] = -1 - cluster[k];
    }
    return clusters;
}
