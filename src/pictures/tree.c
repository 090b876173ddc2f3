/* A tree of merges: leaves on the right, the root on the left. */
#include "axes.h"
#include "palette.h"

#include "gmvae/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double usual_step = 17.0, tallest = 6000.0; /* of a leaf, and of all of them */
static const double narrow = 740.0, wide = 980.0, left = 24.0, right = 520.0, top = 48.0, small = 11.0;

typedef struct dendrogram {
    int leaves;
    const double *tree;
    double cut, step;
    const int *cluster;
    const int64_t *size;
    char *const *beside;
    double *y;  /* [2 leaves] of each node */
    int *leaf;  /* [2 leaves] the first below it */
    int *order; /* [leaves] from the top */
    int placed; /* leaves that have a place */
} dendrogram;

static double x_of(const dendrogram *d, int node)
{
    double height = node < d->leaves ? 0.0 : d->tree[4 * (node - d->leaves) + 2];
    return right - (right - left) * height;
}

/* Gives leaves places from the top, and nodes one between their two. The tree is as deep as it has leaves, at most. */
static void place(dendrogram *d, int node)
{
    if (node < d->leaves) {
        d->order[d->placed] = node;
        d->y[node] = top + d->step * (0.5 + d->placed++);
        d->leaf[node] = node;
        return;
    }
    int one = (int)d->tree[4 * (node - d->leaves)], other = (int)d->tree[4 * (node - d->leaves) + 1];
    place(d, one);
    place(d, other);
    d->y[node] = 0.5 * (d->y[one] + d->y[other]);
    d->leaf[node] = d->leaf[one];
}

static void draw_node(gmv_canvas *canvas, const dendrogram *d, int node)
{
    const double *row = d->tree + 4 * (node - d->leaves);
    int child[2] = {(int)row[0], (int)row[1]};
    bool merged = row[2] <= d->cut;
    gmv_color color = merged ? gmv_category_color(d->cluster[d->leaf[node]]) : gmv_ink;
    double x = x_of(d, node);
    for (int i = 0; i < 2; i++) {
        bool below = child[i] < d->leaves || d->tree[4 * (child[i] - d->leaves) + 2] <= d->cut;
        gmv_color of_child = below ? gmv_category_color(d->cluster[d->leaf[child[i]]]) : gmv_ink;
        gmv_canvas_line(canvas, (gmv_point){x, d->y[child[i]]}, (gmv_point){x_of(d, child[i]), d->y[child[i]]}, 1.8,
                        of_child);
    }
    gmv_canvas_line(canvas, (gmv_point){x, d->y[child[0]]}, (gmv_point){x, d->y[child[1]]}, 1.8, color);
    char text[120];
    snprintf(text, sizeof text, "lift %.3g: %.0f components, %s", 1.0 / fmax(row[2], 1e-12) - 1.0, row[3],
             merged ? "merged" : "kept apart");
    double y = fmin(d->y[child[0]], d->y[child[1]]);
    gmv_canvas_spot(canvas, (gmv_box){x - 5.0, y, 10.0, fabs(d->y[child[0]] - d->y[child[1]])}, text);
}

/* Leaves that are too many for texts have none. @return where the text ends */
static double draw_leaf(gmv_canvas *canvas, const dendrogram *d, int leaf)
{
    const double x = right + 8.0;
    char text[96];
    if (d->step < small) {
        return x;
    }
    snprintf(text, sizeof text, "component %d, cluster %d: %lld cells", leaf, d->cluster[leaf],
             (long long)d->size[leaf]);
    gmv_canvas_text(canvas, (gmv_point){x, d->y[leaf]}, small, GMV_ANCHOR_START, false, gmv_ink, text);
    return x + gmv_canvas_text_width(canvas, small, text);
}

/* A list that is cut to a width, behind one of its items. */
static void fit_list(gmv_canvas *canvas, double width, const char *list, char *cut, int room)
{
    gmv_canvas_fit(canvas, small, width, list, cut, room);
    char *last = strcmp(cut, list) != 0 ? strrchr(cut, ',') : NULL;
    if (last != NULL) {
        snprintf(last, (size_t)(room - (last - cut)), ", ...");
    }
}

/* Brackets around the leaves of a cluster, which follow one another, and what is said of it. */
static void draw_brackets(gmv_canvas *canvas, const dendrogram *d, double x)
{
    char cut[400];
    for (int first = 0, end; first < d->leaves; first = end) {
        int cluster = d->cluster[d->order[first]];
        for (end = first + 1; end < d->leaves && d->cluster[d->order[end]] == cluster; end++) {
        }
        double from = d->y[d->order[first]] - 0.38 * d->step, to = d->y[d->order[end - 1]] + 0.38 * d->step;
        const gmv_point bracket[4] = {{x, from}, {x + 4.0, from}, {x + 4.0, to}, {x, to}};
        gmv_canvas_path(canvas, 4, bracket, 1.6, gmv_category_color(cluster), false);
        if (to - from >= 0.7 * small) {
            fit_list(canvas, wide - left - x - 12.0, d->beside[cluster], cut, sizeof cut);
            gmv_canvas_text(canvas, (gmv_point){x + 12.0, 0.5 * (from + to)}, small, GMV_ANCHOR_START, false, gmv_ink,
                            cut);
        }
        gmv_canvas_spot(canvas, (gmv_box){x, from, wide - x, to - from}, d->beside[cluster]);
    }
}

/* Lifts on the axis below. */
static void draw_axis(gmv_canvas *canvas, double y)
{
    static const double lifts[] = {0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0};
    for (size_t i = 0; i < sizeof lifts / sizeof *lifts; i++) {
        char text[16];
        double x = right - (right - left) / (1.0 + lifts[i]);
        snprintf(text, sizeof text, "%g", lifts[i]);
        gmv_canvas_line(canvas, (gmv_point){x, y}, (gmv_point){x, y + 4.0}, 1.0, gmv_ink);
        gmv_canvas_text(canvas, (gmv_point){x, y + 14.0}, 11.0, GMV_ANCHOR_MIDDLE, false, gmv_ink, text);
    }
    gmv_canvas_line(canvas, (gmv_point){left, y}, (gmv_point){right, y}, 1.0, gmv_ink);
    gmv_canvas_text(canvas, (gmv_point){0.5 * (left + right), y + 32.0}, GMV_TEXT, GMV_ANCHOR_MIDDLE, false, gmv_ink,
                    "lift: how often cells are of both, 1 is chance");
}

gmv_status gmv_draw_tree(gmv_gallery *gallery, const char *name, const char *title, int leaves, const double *tree,
                         double cut, const int *cluster, const int64_t *size, char *const *beside)
{
    gmv_canvas *canvas = NULL;
    dendrogram d = {.leaves = leaves,
                    .tree = tree,
                    .cut = cut,
                    .step = fmin(usual_step, tallest / leaves),
                    .cluster = cluster,
                    .size = size,
                    .beside = beside};
    double bottom = top + d.step * leaves + 8.0, x = right - (right - left) * cut, end = right;
    gmv_status status;
    GMV_GO(GMV_NEW(d.y, 2 * (int64_t)leaves, "a tree"));
    GMV_GO(GMV_NEW(d.leaf, 2 * (int64_t)leaves, "a tree"));
    GMV_GO(GMV_NEW(d.order, leaves, "a tree"));
    GMV_GO(gmv_canvas_begin(&canvas, beside != NULL ? wide : narrow, bottom + 48.0));
    place(&d, 2 * leaves - 2);
    gmv_canvas_text(canvas, (gmv_point){left, 22.0}, GMV_TITLE, GMV_ANCHOR_START, false, gmv_ink, title);
    const gmv_point line[2] = {{x, top - 6.0}, {x, bottom}};
    gmv_canvas_path(canvas, 2, line, 1.2, gmv_ink, true);
    for (int node = leaves; node < 2 * leaves - 1; node++) {
        draw_node(canvas, &d, node);
    }
    for (int leaf = 0; leaf < leaves; leaf++) {
        end = fmax(end, draw_leaf(canvas, &d, leaf));
    }
    if (beside != NULL) {
        draw_brackets(canvas, &d, end + 10.0);
    }
    draw_axis(canvas, bottom);
done:
    GMV_FREE(d.y);
    GMV_FREE(d.leaf);
    GMV_FREE(d.order);
    return gmv_canvas_end(&canvas, gallery, name, status);
}
