/* Small charts beside each other: figures of many runs, one chart a figure, over what the runs differ in. */
#include "axes.h"
#include "palette.h"

#include <math.h>
#include <string.h>

enum { across = 3, name_room = 96 };
static const double wide = 330.0, high = 250.0, head = 44.0, left = 70.0, right = 16.0, above = 30.0;
static const double longest_name = 120.0, dot = 2.2, mean_dot = 4.0;

typedef struct page {
    gmv_canvas *canvas;
    int places, repeats;
    char *const *place;
    double below; /* room for names of places */
    bool turned;
} page;

static double x_of(const gmv_axes *axes, int i)
{
    return gmv_axes_at(axes, i + 0.5, axes->bottom).x;
}

/* Mean and deviation (of a sample) of the runs of a place that have the figure. @return how many those are */
static int summarise(const page *p, const double *value, double *mean, double *sd)
{
    int n = 0;
    double sum = 0.0, squares = 0.0;
    for (int r = 0; r < p->repeats; r++) {
        sum += isfinite(value[r]) ? value[r] : 0.0;
        n += isfinite(value[r]) ? 1 : 0;
    }
    *mean = sum / n;
    for (int r = 0; r < p->repeats; r++) {
        squares += isfinite(value[r]) ? (value[r] - *mean) * (value[r] - *mean) : 0.0;
    }
    *sd = n > 1 ? sqrt(squares / (n - 1)) : 0.0;
    return n;
}

static void find_bounds(const page *p, const double *value, gmv_axes *axes)
{
    double low = HUGE_VAL, high_value = -HUGE_VAL;
    for (int i = 0; i < p->places; i++) {
        double mean, sd;
        if (summarise(p, value + (int64_t)i * p->repeats, &mean, &sd) > 0) {
            low = fmin(low, mean - sd);
            high_value = fmax(high_value, mean + sd);
        }
        for (int r = 0; r < p->repeats; r++) {
            double v = value[(int64_t)i * p->repeats + r];
            low = isfinite(v) ? fmin(low, v) : low;
            high_value = isfinite(v) ? fmax(high_value, v) : high_value;
        }
    }
    double range = high_value > low ? high_value - low : fabs(low) > 0.0 ? 0.1 * fabs(low) : 1.0;
    *axes = (gmv_axes){
        .box = axes->box, .right = p->places, .bottom = low - 0.05 * range, .top = high_value + 0.05 * range};
}

/* Every run a dot, their mean a larger one, one deviation up and down a line; a line from mean to mean. */
static void draw_place(const page *p, const gmv_axes *axes, int i, const double *value, gmv_point *last)
{
    double mean, sd, x = x_of(axes, i);
    gmv_color faint = gmv_category_color(0);
    faint.alpha = 0.4;
    if (summarise(p, value, &mean, &sd) == 0) {
        last->x = -1.0;
        return;
    }
    gmv_point at = {x, gmv_axes_at(axes, 0.0, mean).y};
    if (last->x >= 0.0) {
        gmv_canvas_line(p->canvas, *last, at, 1.2, gmv_category_color(0));
    }
    *last = at;
    for (int r = 0; r < p->repeats; r++) {
        if (isfinite(value[r]) && p->repeats > 1) {
            gmv_canvas_disc(p->canvas, (gmv_point){x, gmv_axes_at(axes, 0.0, value[r]).y}, dot, faint);
        }
    }
    gmv_canvas_line(p->canvas, (gmv_point){x, gmv_axes_at(axes, 0.0, mean - sd).y},
                    (gmv_point){x, gmv_axes_at(axes, 0.0, mean + sd).y}, 1.6, gmv_ink);
    gmv_canvas_disc(p->canvas, at, mean_dot, gmv_category_color(0));
}

static void draw_names(const page *p, const gmv_axes *axes)
{
    double width = axes->box.width / p->places, bottom = axes->box.y + axes->box.height;
    int every = (int)ceil(1.3 * GMV_TEXT / width); /* as many as have room */
    for (int i = 0; i < p->places; i += every) {
        char cut[name_room];
        gmv_point at = {x_of(axes, i), bottom + (p->turned ? 8.0 : 12.0)};
        gmv_canvas_fit(p->canvas, GMV_TEXT, longest_name, p->place[i], cut, name_room);
        gmv_canvas_text(p->canvas, at, GMV_TEXT, p->turned ? GMV_ANCHOR_END : GMV_ANCHOR_MIDDLE, p->turned, gmv_ink,
                        cut);
    }
}

/* Names stand side by side where all have room, else upwards. */
static void measure_names(page *p)
{
    double widest = 0.0, room = (wide - left - right) / p->places;
    for (int i = 0; i < p->places; i++) {
        widest = fmax(widest, gmv_canvas_text_width(p->canvas, GMV_TEXT, p->place[i]));
    }
    p->turned = widest > room - 4.0;
    p->below = p->turned ? fmin(widest, longest_name) + 30.0 : 24.0;
}

static void draw_panel(const page *p, int number, const gmv_panel *panel)
{
    double x = wide * (number % across), y = head + (high + p->below) * (number / across);
    gmv_axes axes = {.box = {x + left, y + above, wide - left - right, high - above - 10.0}};
    gmv_point last = {-1.0, 0.0};
    find_bounds(p, panel->value, &axes);
    gmv_axes_draw_y(p->canvas, &axes, "");
    gmv_canvas_text(p->canvas, (gmv_point){axes.box.x, y + 0.5 * above}, GMV_TEXT + 1, GMV_ANCHOR_START, false, gmv_ink,
                    panel->title);
    for (int i = 0; i < p->places; i++) {
        draw_place(p, &axes, i, panel->value + (int64_t)i * p->repeats, &last);
    }
    draw_names(p, &axes);
}

gmv_status gmv_draw_panels(gmv_gallery *gallery, const char *name, const char *title, int places, char *const *place,
                           int repeats, int panels, const gmv_panel *panel)
{
    page p = {.places = places, .repeats = repeats, .place = place};
    int rows = (panels + across - 1) / across;
    gmv_canvas *measure = NULL;
    gmv_status status;
    GMV_GO(gmv_canvas_begin(&measure, 1.0, 1.0)); /* names have their width before the figure has its height */
    p.canvas = measure;
    measure_names(&p);
    p.canvas = NULL;
    GMV_GO(gmv_canvas_begin(&p.canvas, wide * (panels < across ? panels : across), head + rows * (high + p.below)));
    gmv_canvas_text(p.canvas, (gmv_point){16.0, 0.5 * head}, GMV_TITLE, GMV_ANCHOR_START, false, gmv_ink, title);
    for (int i = 0; i < panels; i++) {
        draw_panel(&p, i, &panel[i]);
    }
done:
    gmv_canvas_drop(&measure);
    return gmv_canvas_end(&p.canvas, gallery, name, status);
}
