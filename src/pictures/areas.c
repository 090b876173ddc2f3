/* Shares of a whole as areas on top of each other. */
#include "axes.h"
#include "palette.h"

#include "gmvae/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const gmv_box page = {0.0, 0.0, 720.0, 360.0};
static const gmv_box data = {84.0, 44.0, 480.0, 264.0};
enum { most_told = 16 };

static gmv_color color_of(const gmv_band *band)
{
    return band->color >= 0 ? gmv_category_color(band->color) : gmv_faint_ink;
}

/* The first band behind those of a group. */
static int end_of_group(int bands, const gmv_band *band, int first)
{
    int end = first + 1;
    while (end < bands && band[end].color == band[first].color) {
        end++;
    }
    return end;
}

static double share_of_group(const gmv_band *band, int first, int end, int at)
{
    double sum = 0.0;
    for (int b = first; b < end; b++) {
        sum += (double)band[b].share[at];
    }
    return sum;
}

/* Each band between the line below it, which is kept, and its own. */
static gmv_status draw_bands(gmv_canvas *canvas, const gmv_axes *axes, int points, const double *x, int bands,
                             const gmv_band *band)
{
    gmv_point *outline = NULL; /* there above, and back below */
    double *height = NULL;
    gmv_status status;
    GMV_GO(GMV_NEW(outline, 2 * (int64_t)points, "points of a figure"));
    GMV_GO(GMV_NEW(height, points, "points of a figure"));
    for (int b = 0; b < bands; b++) {
        for (int i = 0; i < points; i++) {
            outline[2 * points - 1 - i] = gmv_axes_at(axes, x[i], height[i]);
            height[i] += (double)band[b].share[i];
            outline[i] = gmv_axes_at(axes, x[i], height[i]);
        }
        gmv_canvas_polygon(canvas, 2 * points, outline, color_of(&band[b]));
        gmv_canvas_path(canvas, points, outline, 0.6, gmv_paper, false);
    }
done:
    gmv_free(outline);
    gmv_free(height);
    return status;
}

/* Groups beside their ends, but for those that are lower than a line of text. */
static void draw_groups(gmv_canvas *canvas, const gmv_axes *axes, int points, int bands, const gmv_band *band)
{
    double below = 0.0, right = axes->box.x + axes->box.width + 10.0;
    for (int first = 0, end; first < bands; first = end) {
        end = end_of_group(bands, band, first);
        double share = share_of_group(band, first, end, points - 1), y = gmv_axes_at(axes, 0.0, below + 0.5 * share).y;
        if (share * axes->box.height > GMV_TEXT) {
            char text[96];
            snprintf(text, sizeof text, "%.60s: %.1f %%", band[first].group, 100.0 * share);
            gmv_canvas_disc(canvas, (gmv_point){right, y}, 4.0, color_of(&band[first]));
            gmv_canvas_text(canvas, (gmv_point){right + 10.0, y}, GMV_TEXT, GMV_ANCHOR_START, false, gmv_ink, text);
        }
        below += share;
    }
}

static void add_spots(gmv_canvas *canvas, const gmv_axes *axes, const char *of_x, int points, const double *x,
                      int bands, const gmv_band *band)
{
    for (int i = 0; i < points; i++) {
        char text[1024];
        size_t used = (size_t)snprintf(text, sizeof text, "%s %.6g", of_x, x[i]);
        int told = 0;
        for (int first = 0, end; first < bands && told < most_told && used < sizeof text; first = end, told++) {
            end = end_of_group(bands, band, first);
            used += (size_t)snprintf(text + used, sizeof text - used, "\n%.40s: %.1f %%", band[first].group,
                                     100.0 * share_of_group(band, first, end, i));
        }
        double from = gmv_axes_at(axes, i > 0 ? 0.5 * (x[i - 1] + x[i]) : x[i], 0.0).x,
               to = gmv_axes_at(axes, i + 1 < points ? 0.5 * (x[i] + x[i + 1]) : x[i], 0.0).x;
        gmv_canvas_spot(canvas, (gmv_box){from, axes->box.y, to - from, axes->box.height}, text);
    }
}

gmv_status gmv_draw_areas(gmv_gallery *gallery, const char *name, const char *title, const char *of_x, const char *of_y,
                          int points, const double *x, int bands, const gmv_band *band)
{
    gmv_canvas *canvas = NULL;
    gmv_axes axes = {.box = data, .left = x[0], .right = x[points - 1], .bottom = 0.0, .top = 1.0};
    gmv_status status;
    GMV_GO(gmv_canvas_begin(&canvas, page.width, page.height));
    gmv_axes_draw(canvas, &axes, title, of_x, of_y);
    gmv_canvas_clip(canvas, &axes.box);
    GMV_GO(draw_bands(canvas, &axes, points, x, bands, band));
    gmv_canvas_clip(canvas, NULL);
    draw_groups(canvas, &axes, points, bands, band);
    add_spots(canvas, &axes, of_x, points, x, bands, band);
done:
    return gmv_canvas_end(&canvas, gallery, name, status);
}
