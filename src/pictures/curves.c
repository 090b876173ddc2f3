/* Curves over epochs, such as losses. */
#include "axes.h"
#include "palette.h"

#include "gmvae/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const gmv_box page = {0.0, 0.0, 720.0, 360.0};
static const gmv_box data = {84.0, 44.0, 480.0, 264.0};
static const double shown = 0.95; /* of the values: the first of a training would leave no room for the others */
enum { most_curves = 16, most_spots = 200 };

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Bounds of what is shown. */
static gmv_status find_bounds(gmv_axes *axes, int curves, const gmv_curve *curve)
{
    double *all = NULL;
    int n = 0, room = 0;
    axes->left = HUGE_VAL;
    axes->right = -HUGE_VAL;
    for (int c = 0; c < curves; c++) {
        room += curve[c].points;
    }
    GMV_TRY(GMV_NEW(all, room, "points of a figure"));
    for (int c = 0; c < curves; c++) {
        for (int i = 0; i < curve[c].points; i++) {
            if (isfinite(curve[c].y[i])) {
                all[n++] = curve[c].y[i];
                axes->left = fmin(axes->left, curve[c].x[i]);
                axes->right = fmax(axes->right, curve[c].x[i]);
            }
        }
    }
    if (n == 0) {
        *axes = (gmv_axes){.box = axes->box, .right = 1.0, .top = 1.0};
    } else {
        qsort(all, (size_t)n, sizeof *all, ascending);
        axes->bottom = all[0];
        axes->top = all[(int)(shown * (n - 1))];
    }
    axes->right += axes->right > axes->left ? 0.0 : 1.0;
    double range = axes->top > axes->bottom ? axes->top - axes->bottom : fmax(1e-9, 0.5 * fabs(axes->bottom));
    axes->bottom -= axes->top > axes->bottom ? 0.0 : range;
    axes->top += 0.05 * range;
    gmv_free(all);
    return GMV_OK;
}

static gmv_status draw_curve(gmv_canvas *canvas, const gmv_axes *axes, const gmv_curve *curve, gmv_color color)
{
    gmv_point *point = NULL;
    GMV_TRY(GMV_NEW(point, curve->points, "points of a figure"));
    for (int i = 0; i < curve->points; i++) {
        point[i] = gmv_axes_at(axes, curve->x[i], curve->y[i]);
    }
    gmv_canvas_clip(canvas, &axes->box);
    gmv_canvas_path(canvas, curve->points, point, 1.8, color, false);
    gmv_canvas_clip(canvas, NULL);
    gmv_free(point);
    return GMV_OK;
}

/* The last finite value; NaN when there is none. */
static double last_of(const gmv_curve *curve)
{
    double last = NAN;
    for (int i = 0; i < curve->points; i++) {
        last = isfinite(curve->y[i]) ? curve->y[i] : last;
    }
    return last;
}

/* Names beside the ends, moved apart, with the last values. */
static void draw_names(gmv_canvas *canvas, const gmv_axes *axes, int curves, const gmv_curve *curve)
{
    double y[most_curves], right = axes->box.x + axes->box.width + 10.0;
    int order[most_curves];
    for (int c = 0; c < curves; c++) {
        double last = last_of(&curve[c]);
        double place = isfinite(last) ? gmv_axes_at(axes, axes->right, last).y : axes->box.y + axes->box.height;
        y[c] = fmin(fmax(place, axes->box.y), axes->box.y + axes->box.height);
        int at = c;
        for (; at > 0 && y[order[at - 1]] > y[c]; at--) {
            order[at] = order[at - 1];
        }
        order[at] = c;
    }
    for (int i = 1; i < curves; i++) {
        y[order[i]] = fmax(y[order[i]], y[order[i - 1]] + 1.3 * GMV_TEXT);
    }
    for (int c = 0; c < curves; c++) {
        char text[96];
        snprintf(text, sizeof text, "%.60s %.5g", curve[c].name, last_of(&curve[c]));
        gmv_canvas_disc(canvas, (gmv_point){right, y[c]}, 4.0, gmv_category_color(c));
        gmv_canvas_text(canvas, (gmv_point){right + 10.0, y[c]}, GMV_TEXT, GMV_ANCHOR_START, false, gmv_ink, text);
    }
}

/* For every x of the first curve a strip that tells all values there. */
static void add_spots(gmv_canvas *canvas, const gmv_axes *axes, const char *x, int curves, const gmv_curve *curve)
{
    int points = curve[0].points, every = points / most_spots + 1;
    double width = axes->box.width * every / (points > 1 ? points - 1 : 1);
    for (int i = 0; i < points; i += every) {
        char text[512];
        size_t used = (size_t)snprintf(text, sizeof text, "%s %.6g", x, curve[0].x[i]);
        for (int c = 0; c < curves; c++) {
            for (int j = 0; j < curve[c].points && used < sizeof text; j++) {
                if (curve[c].x[j] >= curve[0].x[i] && curve[c].x[j] <= curve[0].x[i] && isfinite(curve[c].y[j])) {
                    used += (size_t)snprintf(text + used, sizeof text - used, "\n%.60s: %.6g", curve[c].name,
                                             curve[c].y[j]);
                    break;
                }
            }
        }
        double at = gmv_axes_at(axes, curve[0].x[i], axes->top).x;
        gmv_canvas_spot(canvas, (gmv_box){at - 0.5 * width, axes->box.y, width, axes->box.height}, text);
    }
}

gmv_status gmv_draw_curves(gmv_gallery *gallery, const char *name, const char *title, const char *x, const char *y,
                           int curves, const gmv_curve *curve)
{
    gmv_canvas *canvas = NULL;
    gmv_axes axes = {.box = data};
    curves = curves < most_curves ? curves : most_curves;
    gmv_status status;
    GMV_GO(gmv_canvas_begin(&canvas, page.width, page.height));
    GMV_GO(find_bounds(&axes, curves, curve));
    gmv_axes_draw(canvas, &axes, title, x, y);
    for (int c = 0; c < curves; c++) {
        GMV_GO(draw_curve(canvas, &axes, &curve[c], gmv_category_color(c)));
    }
    draw_names(canvas, &axes, curves, curve);
    if (curves > 0) {
        add_spots(canvas, &axes, x, curves, curve);
    }
done:
    return gmv_canvas_end(&canvas, gallery, name, status);
}
