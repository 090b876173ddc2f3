/* Dots by two numbers, such as genes by what was observed and what was expected. They are pixels: genes are thousands. */
#include "axes.h"
#include "palette.h"

#include "gmvae/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const gmv_box data = {84.0, 44.0, 400.0, 400.0};
static const double radius = 1.8, legend = 150.0, below = 48.0, margin = 24.0;
enum { most_spots = 100 };

/* Where a dot is on the scales; false: nowhere. */
static bool place_of(const gmv_dots *dots, int i, gmv_scales scales, gmv_point *at)
{
    bool logarithmic = scales == GMV_SCALES_LOGARITHMIC;
    if (logarithmic && !(dots->x[i] > 0.0 && dots->y[i] > 0.0)) {
        return false;
    }
    *at = logarithmic ? (gmv_point){log10(dots->x[i]), log10(dots->y[i])} : (gmv_point){dots->x[i], dots->y[i]};
    return isfinite(at->x) && isfinite(at->y);
}

static gmv_axes fit(gmv_scales scales, int sets, const gmv_dots *set)
{
    gmv_axes axes = {data, HUGE_VAL, -HUGE_VAL, HUGE_VAL, -HUGE_VAL, scales == GMV_SCALES_LOGARITHMIC};
    gmv_point at;
    for (int s = 0; s < sets; s++) {
        for (int i = 0; i < set[s].n; i++) {
            if (place_of(&set[s], i, scales, &at)) {
                axes.left = fmin(axes.left, at.x);
                axes.right = fmax(axes.right, at.x);
                axes.bottom = fmin(axes.bottom, at.y);
                axes.top = fmax(axes.top, at.y);
            }
        }
    }
    if (!(axes.left <= axes.right)) {
        axes.left = axes.bottom = 0.0;
        axes.right = axes.top = 1.0;
    }
    if (scales == GMV_SCALES_EQUAL) {
        axes.left = axes.bottom = fmin(axes.left, axes.bottom);
        axes.right = axes.top = fmax(axes.right, axes.top);
    }
    axes.right += axes.right > axes.left ? 0.02 * (axes.right - axes.left) : 1.0;
    axes.top += axes.top > axes.bottom ? 0.0 : 1.0;
    axes.left -= 0.02 * (axes.right - axes.left);
    return axes;
}

static void draw_dots(gmv_canvas *canvas, const gmv_axes *axes, gmv_scales scales, const gmv_dots *dots,
                      gmv_color color)
{
    gmv_point at;
    color.alpha = 0.55;
    for (int i = 0; i < dots->n; i++) {
        if (place_of(dots, i, scales, &at)) {
            gmv_canvas_pixel_disc(canvas, gmv_axes_at(axes, at.x, at.y), radius, color);
        }
    }
}

static void draw_line(gmv_canvas *canvas, const gmv_axes *axes)
{
    double from = fmax(axes->left, axes->bottom), to = fmin(axes->right, axes->top);
    const gmv_point line[2] = {gmv_axes_at(axes, from, from), gmv_axes_at(axes, to, to)};
    gmv_canvas_path(canvas, 2, line, 1.2, gmv_ink, true);
}

typedef struct apart {
    double by;
    int dot;
} apart;

static int farthest_first(const void *a, const void *b)
{
    const apart *x = a, *y = b;
    return x->by != y->by ? (x->by < y->by) - (x->by > y->by) : x->dot - y->dot;
}

static gmv_status add_spots(gmv_canvas *canvas, const gmv_axes *axes, const char *x, const char *y,
                            const gmv_dots *dots)
{
    apart *order = NULL;
    int n = 0;
    GMV_TRY(GMV_NEW(order, dots->n, "dots of a figure"));
    for (int i = 0; i < dots->n; i++) {
        double by = fabs(dots->x[i] - dots->y[i]);
        if (isfinite(by)) {
            order[n++] = (apart){by, i};
        }
    }
    if (n > 0) {
        qsort(order, (size_t)n, sizeof *order, farthest_first);
    }
    for (int k = (n < most_spots ? n : most_spots) - 1; k >= 0; k--) {
        char text[400];
        int i = order[k].dot;
        gmv_point at = gmv_axes_at(axes, dots->x[i], dots->y[i]);
        snprintf(text, sizeof text, "%.120s\n%.80s: %.4g\n%.80s: %.4g", dots->label[i], x, dots->x[i], y, dots->y[i]);
        gmv_canvas_spot(canvas, (gmv_box){at.x - 3.0, at.y - 3.0, 6.0, 6.0}, text);
    }
    gmv_free(order);
    return GMV_OK;
}

gmv_status gmv_draw_scatter(gmv_gallery *gallery, const char *name, const char *title, const char *x, const char *y,
                            gmv_scales scales, int sets, const gmv_dots *set)
{
    gmv_canvas *canvas = NULL;
    gmv_axes axes = fit(scales, sets, set);
    double right = data.x + data.width + margin;
    gmv_status status;
    GMV_GO(gmv_canvas_begin(&canvas, right + (sets > 1 ? legend : 0.0), data.y + data.height + below));
    gmv_axes_draw(canvas, &axes, title, x, y);
    if (scales == GMV_SCALES_EQUAL) {
        draw_line(canvas, &axes);
    }
    gmv_canvas_pixels_begin(canvas, data);
    for (int s = 0; s < sets; s++) {
        draw_dots(canvas, &axes, scales, &set[s], gmv_category_color(s));
    }
    gmv_canvas_pixels_end(canvas);
    for (int s = 0; s < sets && sets > 1; s++) {
        gmv_point at = {right, data.y + 10.0 + 18.0 * s};
        gmv_canvas_disc(canvas, at, 4.0, gmv_category_color(s));
        gmv_canvas_text(canvas, (gmv_point){at.x + 10.0, at.y}, GMV_TEXT, GMV_ANCHOR_START, false, gmv_ink,
                        set[s].name);
    }
    for (int s = 0; s < sets && scales == GMV_SCALES_EQUAL; s++) {
        GMV_GO(set[s].label != NULL ? add_spots(canvas, &axes, x, y, &set[s]) : GMV_OK);
    }
done:
    return gmv_canvas_end(&canvas, gallery, name, status);
}
