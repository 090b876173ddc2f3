/* Connectivity of labels in the graph of nearest neighbours: strong components by Tarjan's algorithm, without recursion. */
#include "gmvae/mem.h"
#include "gmvae/metrics.h"

typedef struct walk {
    const gmv_neighbours *neighbours;
    int others;
    const int32_t *label;
    int32_t *found; /* [n] when a point was met, from 1; 0: not yet */
    int32_t *low;   /* [n] the earliest point on the stack that it leads to */
    int32_t *edge;  /* [n] next neighbour to look at */
    int32_t *from;  /* [n] point that led to it; -1: none */
    int32_t *stack; /* [n] */
    uint8_t *on_stack;
    int depth, met;
    int32_t *largest; /* [labels] */
} walk;

static void meet(walk *w, int32_t point, int32_t from)
{
    w->found[point] = w->low[point] = ++w->met;
    w->from[point] = from;
    w->stack[w->depth++] = point;
    w->on_stack[point] = 1;
}

/* All its neighbours were looked at: a component ends here, or what it leads to counts for the point that led to it. */
static void leave(walk *w, int32_t point)
{
    int32_t from = w->from[point], size = 0, last;
    if (w->low[point] == w->found[point]) {
        do {
            last = w->stack[--w->depth];
            w->on_stack[last] = 0;
            size++;
        } while (last != point);
        int32_t *largest = &w->largest[w->label[point]];
        *largest = size > *largest ? size : *largest;
    }
    if (from >= 0 && w->low[point] < w->low[from]) {
        w->low[from] = w->low[point];
    }
}

static void walk_from(walk *w, int32_t start)
{
    int32_t point = start;
    meet(w, start, -1);
    while (point >= 0) {
        if (w->edge[point] == w->others) {
            leave(w, point);
            point = w->from[point];
            continue;
        }
        int32_t next = w->neighbours->index[(int64_t)point * w->neighbours->k + w->edge[point]++];
        if (w->label[next] != w->label[point]) {
            continue;
        }
        if (w->found[next] == 0) {
            meet(w, next, point);
            point = next;
        } else if (w->on_stack[next] && w->found[next] < w->low[point]) {
            w->low[point] = w->found[next];
        }
    }
}

gmv_status gmv_connectivity(const gmv_neighbours *neighbours, int k, const int32_t *label, int labels, double *mean)
{
    walk w = {neighbours, k - 1, label, .depth = 0};
    int n = neighbours->n;
    int32_t *size = NULL;
    gmv_status status;
    GMV_GO(GMV_NEW(w.found, n, "components of cells"));
    GMV_GO(GMV_NEW(w.low, n, "components of cells"));
    GMV_GO(GMV_NEW(w.edge, n, "components of cells"));
    GMV_GO(GMV_NEW(w.from, n, "components of cells"));
    GMV_GO(GMV_NEW(w.stack, n, "components of cells"));
    GMV_GO(GMV_NEW(w.on_stack, n, "components of cells"));
    GMV_GO(GMV_NEW(w.largest, labels, "components of labels"));
    GMV_GO(GMV_NEW(size, labels, "components of labels"));
    for (int32_t i = 0; i < n; i++) {
        size[label[i]]++;
        if (w.found[i] == 0) {
            walk_from(&w, i);
        }
    }
    *mean = 0.0;
    for (int l = 0; l < labels; l++) {
        *mean += (double)w.largest[l] / (double)size[l] / labels;
    }
done:
    GMV_FREE(w.found);
    GMV_FREE(w.low);
    GMV_FREE(w.edge);
    GMV_FREE(w.from);
    GMV_FREE(w.stack);
    GMV_FREE(w.on_stack);
    GMV_FREE(w.largest);
    GMV_FREE(size);
    return status;
}
