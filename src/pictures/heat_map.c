/* Numbers of many rows in some columns as a map of colors, rows in groups. The rows are pixels, what is shown of a group is
 * its mean. */
#include "axes.h"
#include "palette.h"

#include <math.h>
#include <stdio.h>

static const double wide = 14.0, margin = 16.0, bar = 8.0, heading = 44.0, scale_room = 90.0;
static const double name_room = 130.0, column_room = 100.0; /* for names, at most */
static const double least_row = 0.5, most_row = 8.0, most_height = 600.0, least_named = 9.0;
static const gmv_color unknown = {0.75, 0.75, 0.75, 1.0};

typedef struct picture {
    const gmv_heat *heat;
    double row, left, top, names, column_names; /* height of a row; of the map; room for names */
    double high;                                /* end of the scale */
} picture;

static double widest(gmv_canvas *canvas, int n, char *const *name, double most)
{
    double width = 0.0;
    for (int i = 0; i < n; i++) {
        width = fmax(width, gmv_canvas_text_width(canvas, GMV_TEXT, name[i]));
    }
    return fmin(width, most);
}

static void lay_out(gmv_canvas *canvas, picture *p)
{
    const gmv_heat *heat = p->heat;
    p->row = fmin(most_row, fmax(least_row, 0.5 * floor(2.0 * most_height / fmax(1.0, heat->rows))));
    p->names = fmax(widest(canvas, heat->groups, heat->group, name_room),
                    gmv_canvas_text_width(canvas, GMV_TEXT, heat->of_groups));
    p->column_names = widest(canvas, heat->columns, heat->column, column_room);
    p->left = margin + p->names + 8.0 + bar + 2.0;
    p->top = heading + p->column_names + 8.0;
    for (int64_t i = 0; i < (int64_t)heat->rows * heat->columns; i++) {
        p->high = isfinite(heat->value[i]) ? fmax(p->high, (double)heat->value[i]) : p->high;
    }
    p->high = p->high > 0.0 ? p->high : 1.0;
}

static void draw_rows(gmv_canvas *canvas, const picture *p)
{
    const gmv_heat *heat = p->heat;
    gmv_canvas_pixels_begin(canvas, (gmv_box){p->left, p->top, heat->columns * wide, heat->rows * p->row});
    for (int r = 0; r < heat->rows; r++) {
        for (int c = 0; c < heat->columns; c++) {
            double value = (double)heat->value[(int64_t)r * heat->columns + c];
            gmv_canvas_pixel_rectangle(canvas, (gmv_box){p->left + c * wide, p->top + r * p->row, wide, p->row},
                                       isfinite(value) ? gmv_value_color(value / p->high) : unknown);
        }
    }
    gmv_canvas_pixels_end(canvas);
}

/* Mean over rows [first, end); NaN without any. */
static double mean_of(const gmv_heat *heat, int first, int end, int column)
{
    double sum = 0.0, n = 0.0;
    for (int r = first; r < end; r++) {
        double value = (double)heat->value[(int64_t)r * heat->columns + column];
        sum += isfinite(value) ? value : 0.0;
        n += isfinite(value) ? 1.0 : 0.0;
    }
    return n > 0.0 ? sum / n : NAN;
}

static void draw_group(gmv_canvas *canvas, const picture *p, int first, int end)
{
    const gmv_heat *heat = p->heat;
    int g = heat->of_row[first];
    const char *name = g >= 0 ? heat->group[g] : "none";
    double y = p->top + first * p->row, height = (end - first) * p->row;
    char text[400];
    gmv_canvas_rectangle(canvas, (gmv_box){p->left - bar - 2.0, y, bar, height},
                         g >= 0 ? gmv_category_color(g) : unknown);
    if (first > 0) {
        gmv_canvas_line(canvas, (gmv_point){p->left, y}, (gmv_point){p->left + heat->columns * wide, y}, 1.0,
                        gmv_paper);
    }
    if (height >= least_named) {
        gmv_canvas_fit(canvas, GMV_TEXT, p->names, name, text, sizeof text);
        gmv_canvas_text(canvas, (gmv_point){p->left - bar - 8.0, y + 0.5 * height}, fmin(GMV_TEXT, height),
                        GMV_ANCHOR_END, false, gmv_ink, text);
    }
    for (int c = 0; c < heat->columns; c++) {
        snprintf(text, sizeof text, "%.100s in %.60s %.100s: %.3g, mean of %d cell%s", heat->column[c], heat->of_groups,
                 name, mean_of(heat, first, end, c), end - first, end - first == 1 ? "" : "s");
        gmv_canvas_spot(canvas, (gmv_box){p->left + c * wide, y, wide, height}, text);
    }
}

static void draw_names(gmv_canvas *canvas, const picture *p)
{
    const gmv_heat *heat = p->heat;
    char cut[256];
    for (int c = 0; c < heat->columns; c++) {
        gmv_canvas_fit(canvas, 11.0, p->column_names, heat->column[c], cut, sizeof cut);
        gmv_canvas_text(canvas, (gmv_point){p->left + (c + 0.5) * wide, p->top - 6.0}, 11.0, GMV_ANCHOR_START, true,
                        gmv_ink, cut);
    }
    gmv_canvas_text(canvas, (gmv_point){p->left - bar - 8.0, p->top - 10.0}, GMV_TEXT, GMV_ANCHOR_END, false, gmv_ink,
                    heat->of_groups);
}

static void draw_scale(gmv_canvas *canvas, const picture *p)
{
    enum { steps = 60 };
    double x = p->left + p->heat->columns * wide + 20.0, height = 150.0;
    for (int s = 0; s < steps; s++) {
        gmv_canvas_rectangle(canvas,
                             (gmv_box){x, p->top + height * (steps - 1 - s) / steps, 14.0, height / steps + 0.5},
                             gmv_value_color((s + 0.5) / steps));
    }
    for (int end = 0; end < 2; end++) {
        char text[32];
        snprintf(text, sizeof text, "%.2g", end == 0 ? 0.0 : p->high);
        gmv_canvas_text(canvas, (gmv_point){x + 20.0, p->top + (end == 0 ? height - 6.0 : 6.0)}, GMV_TEXT,
                        GMV_ANCHOR_START, false, gmv_ink, text);
    }
}

gmv_status gmv_draw_heat(gmv_gallery *gallery, const char *name, const char *title, const gmv_heat *heat)
{
    gmv_canvas *measure = NULL, *canvas = NULL;
    picture p = {.heat = heat};
    gmv_status status;
    GMV_GO(gmv_canvas_begin(&measure, 1.0, 1.0));
    lay_out(measure, &p);
    double title_end = margin + gmv_canvas_text_width(measure, GMV_TITLE, title);
    GMV_GO(gmv_canvas_begin(&canvas, fmax(p.left + heat->columns * wide + scale_room, title_end + margin),
                            fmax(p.top + heat->rows * p.row, p.top + 150.0) + margin));
    gmv_canvas_text(canvas, (gmv_point){margin, 22.0}, GMV_TITLE, GMV_ANCHOR_START, false, gmv_ink, title);
    draw_names(canvas, &p);
    draw_rows(canvas, &p);
    for (int first = 0, end; first < heat->rows; first = end) {
        for (end = first + 1; end < heat->rows && heat->of_row[end] == heat->of_row[first];) {
            end++;
        }
        draw_group(canvas, &p, first, end);
    }
    draw_scale(canvas, &p);
done:
    gmv_canvas_drop(&measure);
    return gmv_canvas_end(&canvas, gallery, name, status);
}
