#include "loess.h"

#include "gmvae/mem.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

typedef struct loess {
    const double *x, *y; /* [n] x ascending */
    int64_t n;
    int64_t near; /* points of a neighbourhood */
    int64_t cell; /* a cell of more points is cut */
    double *at;   /* [vertices] ascending */
    double *value, *slope;
    int64_t vertices;
    double *basis;  /* [3, n] weighted 1, u, u^2 of a neighbourhood, made orthonormal */
    double *target; /* [n] weighted y */
} loess;

/* Where to cut cell [low, high] of points: after the middle, or after the nearest point to it whose neighbour differs,
 * so that equal points stay together. Looks right, then left, one further each time, until a side ends. */
static int64_t cut_after(const double *x, int64_t low, int64_t high)
{
    int64_t middle = (low + high) / 2;
    for (int64_t offset = 0; middle + offset < high && middle + offset >= low;) {
        if (x[middle + offset] < x[middle + offset + 1]) {
            return middle + offset;
        }
        offset = -offset;
        offset += offset >= 0 ? 1 : 0;
    }
    return middle;
}

/* Cuts cells in two until each has at most `cell` points; left before right, so that vertices come in order.
 * @param[in] left, right  vertices of the cell */
static void cut(loess *l, int64_t low, int64_t high, double left, double right)
{
    if (high - low + 1 <= l->cell) {
        return;
    }
    int64_t at = cut_after(l->x, low, high);
    double vertex = l->x[at];
    if (!(vertex > left && vertex < right)) {
        return;
    }
    cut(l, low, at, left, vertex);
    l->at[l->vertices++] = vertex;
    cut(l, at + 1, high, vertex, right);
}

/* The nearest points [*first, *end) of a vertex, more than `near` while all of them are at one place. Returns the
 * distance of the farthest. */
static double neighbourhood(const loess *l, double vertex, int64_t *first, int64_t *end)
{
    int64_t low = 0, high = l->n;
    while (low < high) { /* first point not below the vertex */
        int64_t middle = low + (high - low) / 2;
        if (l->x[middle] < vertex) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *first = *end = low;
    double farthest = 0.0;
    while (*end - *first < l->n && (*end - *first < l->near || !(farthest > 0.0))) {
        double before = *first > 0 ? vertex - l->x[*first - 1] : INFINITY;
        double after = *end < l->n ? l->x[*end] - vertex : INFINITY;
        farthest = fmax(farthest, fmin(before, after));
        if (before < after) {
            (*first)--;
        } else {
            (*end)++;
        }
    }
    return farthest;
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

/* Weighted quadratic around a vertex: its value and slope there. Gram-Schmidt, twice over for precision; a power that
 * the lower ones span (few different points) gets no coefficient. */
static void fit_vertex(const loess *l, int64_t v)
{
    int64_t first, end;
    double width = neighbourhood(l, l->at[v], &first, &end), r[3][3] = {{0}}, c[3] = {0};
    int64_t n = end - first;
    for (int64_t i = 0; i < n; i++) {
        double u = width > 0.0 ? (l->x[first + i] - l->at[v]) / width : 0.0, d = fabs(u);
        double weight = sqrt(pow(1.0 - fmin(d * d * d, 1.0), 3.0));
        l->target[i] = weight * l->y[first + i];
        for (int k = 0; k < 3; k++) {
            l->basis[k * l->n + i] = weight;
            weight *= u;
        }
    }
    for (int k = 0; k < 3; k++) {
        double *q = l->basis + k * l->n, whole = sqrt(dot(q, q, n));
        for (int j = 0; j < 2 * k; j++) {
            const double *p = l->basis + j % k * l->n;
            double share = dot(p, q, n);
            r[j % k][k] += share;
            for (int64_t i = 0; i < n; i++) {
                q[i] -= share * p[i];
            }
        }
        double left = sqrt(dot(q, q, n));
        bool own = left > 1e-10 * whole;
        r[k][k] = own ? left : 0.0;
        for (int64_t i = 0; i < n; i++) {
            q[i] = own ? q[i] / left : 0.0;
        }
    }
    for (int k = 2; k >= 0; k--) {
        double sum = dot(l->basis + k * l->n, l->target, n);
        for (int j = k + 1; j < 3; j++) {
            sum -= r[k][j] * c[j];
        }
        c[k] = r[k][k] > 0.0 ? sum / r[k][k] : 0.0;
    }
    l->value[v] = c[0];
    l->slope[v] = width > 0.0 ? c[1] / width : 0.0;
}

/* Cubics between vertices; a point on a vertex belongs to the cell on its left. */
static void interpolate(const loess *l, double *fit)
{
    int64_t cell = 0;
    for (int64_t i = 0; i < l->n; i++) {
        while (l->x[i] > l->at[cell + 1]) {
            cell++;
        }
        double width = l->at[cell + 1] - l->at[cell], h = (l->x[i] - l->at[cell]) / width, g = 1.0 - h;
        fit[i] = g * g * (1.0 + 2.0 * h) * l->value[cell] + h * h * (3.0 - 2.0 * h) * l->value[cell + 1] +
                 (h * g * g * l->slope[cell] - h * h * g * l->slope[cell + 1]) * width;
    }
}

gmv_status gmv_loess(const double *x, const double *y, int64_t n, double span, double *fit)
{
    loess l = {.x = x, .y = y, .n = n};
    gmv_status status = GMV_OK;
    if (n == 0) {
        return GMV_OK;
    }
    l.near = (int64_t)floor((double)n * span + 1e-5);
    l.near = l.near < 3 ? 3 : l.near;
    l.cell = (int64_t)floor((double)n * span * 0.2);
    l.cell = l.cell < 1 ? 1 : l.cell;
    GMV_GO(GMV_NEW(l.at, n + 2, "vertices of a regression"));
    GMV_GO(GMV_NEW(l.value, n + 2, "vertices of a regression"));
    GMV_GO(GMV_NEW(l.slope, n + 2, "vertices of a regression"));
    GMV_GO(GMV_NEW(l.basis, 3 * n, "a regression"));
    GMV_GO(GMV_NEW(l.target, n, "a regression"));
    double low = x[0], high = x[n - 1];
    double margin = 0.005 * fmax(high - low, 1e-10 * fmax(fabs(low), fabs(high)) + 1e-30);
    l.at[l.vertices++] = low - margin;
    cut(&l, 0, n - 1, low - margin, high + margin);
    l.at[l.vertices++] = high + margin;
    for (int64_t v = 0; v < l.vertices; v++) {
        fit_vertex(&l, v);
    }
    interpolate(&l, fit);
done:
    GMV_FREE(l.at);
    GMV_FREE(l.value);
    GMV_FREE(l.slope);
    GMV_FREE(l.basis);
    GMV_FREE(l.target);
    return status;
}
