/* Cells in the plane, in the colors of what they are or of a number. Points are pixels: a hundred thousand shapes would be
 * no file to send around. */
#include "axes.h"
#include "palette.h"

#include "gmvae/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double plot = 520.0, left = 20.0, top = 44.0, gap = 24.0, legend_text = 11.5, row = 17.0;
static const double most_radius = 3.0, least_radius = 0.7, column = 220.0;
static const double least_height = 0.5, most_height = 1.2; /* of the plot, for its width */
enum { rows_of_legend = 28, most_named = 60 };

/* Of points that fill the plot: a tenth of it, all together. */
static double radius_for(int64_t n)
{
    double radius = sqrt(0.10 * plot * plot / (3.14159265 * (double)(n > 0 ? n : 1)));
    return fmin(fmax(radius, least_radius), most_radius);
}

/* The points' box, with a margin; as high as they are for their width, within reason. */
static gmv_axes fit(int64_t n, const float *at)
{
    double low[2] = {HUGE_VAL, HUGE_VAL}, high[2] = {-HUGE_VAL, -HUGE_VAL};
    for (int64_t i = 0; i < n; i++) {
        for (int c = 0; c < 2 && isfinite(at[2 * i]); c++) {
            low[c] = fmin(low[c], (double)at[2 * i + c]);
            high[c] = fmax(high[c], (double)at[2 * i + c]);
        }
    }
    if (!isfinite(low[0])) {
        return (gmv_axes){.box = {left, top, plot, plot}, .right = 1.0, .top = 1.0};
    }
    double wide = fmax(1e-6, high[0] - low[0]),
           tall = fmin(fmax(high[1] - low[1], least_height * wide), most_height * wide);
    double scale = fmax(1.0, (high[1] - low[1]) / tall); /* of points that are higher than that */
    double half_x = 0.5 * 1.06 * wide * scale, half_y = 0.5 * 1.06 * tall * scale;
    double x = 0.5 * (low[0] + high[0]), y = 0.5 * (low[1] + high[1]);
    return (gmv_axes){.box = {left, top, plot, plot * tall / wide},
                      .left = x - half_x,
                      .right = x + half_x,
                      .bottom = y - half_y,
                      .top = y + half_y};
}

/* Cell number `i` of an order that mixes them: one class must not cover another because it comes later. */
static int64_t shuffled(int64_t i, int64_t n)
{
    static const int64_t steps[] = {2654435761, 40503, 7919, 1};
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
        int64_t a = n, b = steps[s] % n;
        while (b != 0) {
            int64_t rest = a % b;
            a = b;
            b = rest;
        }
        if (a == 1) {
            return (int64_t)(((unsigned long long)i * (unsigned long long)(steps[s] % n)) % (unsigned long long)n);
        }
    }
    return i;
}

static double fraction(const gmv_point_colors *colors, int64_t i)
{
    double range = colors->high - colors->low, value = (double)colors->value[i];
    return range > 0.0 ? fmin(fmax((value - colors->low) / range, 0.0), 1.0) : 0.5;
}

static bool has_color(const gmv_point_colors *colors, int64_t i)
{
    return colors->code != NULL ? colors->code[i] >= 0 : isfinite(colors->value[i]);
}

static void draw_points(gmv_canvas *canvas, const gmv_axes *axes, int64_t n, const float *at,
                        const gmv_point_colors *colors)
{
    static const gmv_color none = {0.75, 0.75, 0.75, 1.0};
    double radius = radius_for(n);
    gmv_canvas_pixels_begin(canvas, axes->box);
    for (int pass = 0; pass < 2; pass++) { /* those without a color lie below */
        for (int64_t k = 0; k < n; k++) {
            int64_t i = shuffled(k, n);
            if (!isfinite(at[2 * i]) || has_color(colors, i) != (pass == 1)) {
                continue;
            }
            gmv_color color = pass == 0              ? none
                              : colors->code != NULL ? gmv_category_color(colors->code[i])
                                                     : gmv_value_color(fraction(colors, i));
            color.alpha = n > 20000 ? 0.6 : 0.85;
            gmv_canvas_pixel_disc(canvas, gmv_axes_at(axes, (double)at[2 * i], (double)at[2 * i + 1]), radius, color);
        }
    }
    gmv_canvas_pixels_end(canvas);
}

/* ---- names ---- */

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The mean of a level's cells within reach of a point, or the nearest of them where none is. */
static gmv_point mean_around(int64_t n, const float *at, const int32_t *code, int level, double reach, gmv_point from)
{
    gmv_point nearest = from, sum = {0.0, 0.0};
    double least = HUGE_VAL, around = 0.0;
    for (int64_t i = 0; i < n; i++) {
        if (code[i] != level || !isfinite(at[2 * i])) {
            continue;
        }
        gmv_point cell = {(double)at[2 * i], (double)at[2 * i + 1]};
        double away = hypot(cell.x - from.x, cell.y - from.y);
        if (away < least) {
            least = away;
            nearest = cell;
        }
        if (away < reach) {
            sum = (gmv_point){sum.x + cell.x, sum.y + cell.y};
            around += 1.0;
        }
    }
    return around > 0.0 ? (gmv_point){sum.x / around, sum.y / around} : nearest;
}

/* Where many of a level's cells are: the median of each coordinate, moved to where they are denser, so that the name of a
 * level on several islands is on one of them. @return how many there are */
static int64_t middle_of(int64_t n, const float *at, const int32_t *code, int level, double reach, float *sorted,
                         gmv_point *middle)
{
    enum { steps = 6 };
    int64_t found = 0;
    for (int c = 0; c < 2; c++) {
        found = 0;
        for (int64_t i = 0; i < n; i++) {
            if (code[i] == level && isfinite(at[2 * i])) {
                sorted[found++] = at[2 * i + c];
            }
        }
        qsort(sorted, (size_t)found, sizeof *sorted, ascending);
        *(c == 0 ? &middle->x : &middle->y) = found > 0 ? (double)sorted[found / 2] : 0.0;
    }
    for (int s = 0; s < steps && found > 0; s++) {
        *middle = mean_around(n, at, code, level, reach, *middle);
    }
    return found;
}

/* Names that stand in the plot themselves, as those of clusters. */
static bool are_brief(const gmv_point_colors *colors)
{
    for (int l = 0; l < colors->levels; l++) {
        if (strlen(colors->level[l]) > 4) {
            return false;
        }
    }
    return true;
}

/* Whether the last of some boxes meets one before it. */
static bool covers_another(const gmv_box *box, int last)
{
    for (int i = 0; i < last; i++) {
        bool apart = box[i].x + box[i].width < box[last].x || box[last].x + box[last].width < box[i].x ||
                     box[i].y + box[i].height < box[last].y || box[last].y + box[last].height < box[i].y;
        if (!apart) {
            return true;
        }
    }
    return false;
}

/* Names beside the plot, and their numbers in it, which tell levels apart whose colors are alike. */
static gmv_status name_levels(gmv_canvas *canvas, const gmv_axes *axes, int64_t n, const float *at,
                              const gmv_point_colors *colors)
{
    static const gmv_color halo = {1.0, 1.0, 1.0, 0.75};
    float *sorted = NULL;
    double reach = 0.06 * (axes->right - axes->left);
    gmv_box taken[most_named];
    bool brief = are_brief(colors);
    GMV_TRY(GMV_NEW(sorted, n, "places of names"));
    for (int l = 0, shown = 0; l < colors->levels && shown < most_named; l++) {
        gmv_point middle;
        int64_t cells = middle_of(n, at, colors->code, l, reach, sorted, &middle);
        if (cells == 0) {
            continue;
        }
        char text[300], cut[256], number[16];
        gmv_point place = gmv_axes_at(axes, middle.x, middle.y);
        gmv_point in_legend = {left + plot + gap + column * (shown / rows_of_legend),
                               top + 10.0 + row * (shown % rows_of_legend)};
        if (brief) {
            snprintf(number, sizeof number, "%.8s", colors->level[l]);
        } else {
            snprintf(number, sizeof number, "%d", shown + 1);
        }
        double width = gmv_canvas_text_width(canvas, GMV_TEXT, number) + 4.0;
        taken[shown] = (gmv_box){place.x - 0.5 * width, place.y - 8.0, width, 16.0};
        if (!covers_another(taken, shown)) {
            gmv_canvas_rectangle(canvas, taken[shown], halo);
            gmv_canvas_text(canvas, place, GMV_TEXT, GMV_ANCHOR_MIDDLE, false, (gmv_color){0.1, 0.1, 0.1, 1.0}, number);
        }
        snprintf(text, sizeof text, "%.200s: %lld cells", colors->level[l], (long long)cells);
        gmv_canvas_spot(canvas, (gmv_box){place.x - 0.5 * width - 3.0, place.y - 9.0, width + 6.0, 18.0}, text);
        gmv_canvas_disc(canvas, in_legend, 5.0, gmv_category_color(l));
        snprintf(text, sizeof text, brief ? "%s" : "%s  %.200s", number, colors->level[l]);
        gmv_canvas_fit(canvas, legend_text, column - 24.0, text, cut, sizeof cut);
        gmv_canvas_text(canvas, (gmv_point){in_legend.x + 12.0, in_legend.y}, legend_text, GMV_ANCHOR_START, false,
                        gmv_ink, cut);
        shown++;
    }
    gmv_free(sorted);
    return GMV_OK;
}

static void draw_scale(gmv_canvas *canvas, const gmv_point_colors *colors)
{
    enum { steps = 60 };
    double x = left + plot + gap, height = 180.0;
    for (int s = 0; s < steps; s++) {
        gmv_canvas_rectangle(canvas, (gmv_box){x, top + height * (steps - 1 - s) / steps, 16.0, height / steps + 0.5},
                             gmv_value_color((s + 0.5) / steps));
    }
    for (int end = 0; end < 2; end++) {
        char text[32];
        snprintf(text, sizeof text, "%.4g", end == 0 ? colors->low : colors->high);
        gmv_canvas_text(canvas, (gmv_point){x + 24.0, top + (end == 0 ? height - 6.0 : 6.0)}, legend_text,
                        GMV_ANCHOR_START, false, gmv_ink, text);
    }
}

/* Levels that the legend names. */
static int named(int64_t n, const gmv_point_colors *colors)
{
    int used = 0;
    for (int l = 0; l < colors->levels && used < most_named; l++) {
        for (int64_t i = 0; i < n; i++) {
            if (colors->code[i] == l) {
                used++;
                break;
            }
        }
    }
    return used;
}

static int rows_of(int64_t n, const gmv_point_colors *colors)
{
    int used = named(n, colors);
    return used < rows_of_legend ? used : rows_of_legend;
}

static int columns_of(int64_t n, const gmv_point_colors *colors)
{
    int used = colors->code != NULL ? named(n, colors) : 0;
    return used > 0 ? (used + rows_of_legend - 1) / rows_of_legend : 1;
}

gmv_status gmv_draw_points(gmv_gallery *gallery, const char *name, const char *title, int64_t n, const float *at,
                           const gmv_point_colors *colors)
{
    gmv_canvas *canvas = NULL;
    gmv_axes axes = fit(n, at);
    gmv_status status;
    double height = fmax(axes.box.height, colors->code != NULL ? row * rows_of(n, colors) : 200.0);
    GMV_GO(gmv_canvas_begin(&canvas, left + plot + gap + column * columns_of(n, colors), top + height + 16.0));
    gmv_canvas_text(canvas, (gmv_point){left, 22.0}, GMV_TITLE, GMV_ANCHOR_START, false, gmv_ink, title);
    draw_points(canvas, &axes, n, at, colors);
    if (colors->code != NULL) {
        GMV_GO(name_levels(canvas, &axes, n, at, colors));
    } else {
        draw_scale(canvas, colors);
    }
done:
    return gmv_canvas_end(&canvas, gallery, name, status);
}
