#include "axes.h"

#include <math.h>
#include <stdio.h>

gmv_point gmv_axes_at(const gmv_axes *axes, double x, double y)
{
    const gmv_box *box = &axes->box;
    return (gmv_point){box->x + box->width * (x - axes->left) / (axes->right - axes->left),
                       box->y + box->height * (axes->top - y) / (axes->top - axes->bottom)};
}

double gmv_round_step(double range, int parts)
{
    double raw = range / parts, size = pow(10.0, floor(log10(raw))), step = raw / size;
    return size * (step < 1.5 ? 1.0 : step < 3.5 ? 2.0 : step < 7.5 ? 5.0 : 10.0);
}

static double step_of(const gmv_axes *axes, double range, int parts)
{
    double step = gmv_round_step(range, parts);
    return axes->logarithmic ? fmax(1.0, floor(step + 0.5)) : step;
}

/* As many digits behind the point as the step has. */
static void format_tick(const gmv_axes *axes, double value, double step, char *text, size_t size)
{
    if (axes->logarithmic) {
        snprintf(text, size, "%g", pow(10.0, value));
        return;
    }
    int digits = (int)fmax(0.0, -floor(log10(step) + 1e-9));
    snprintf(text, size, "%.*f", digits, fabs(value) < 1e-9 * step ? 0.0 : value);
}

void gmv_axes_draw_y(gmv_canvas *canvas, gmv_axes *axes, const char *label)
{
    double step = step_of(axes, axes->top - axes->bottom, 5), widest = 0.0;
    axes->bottom = step * floor(axes->bottom / step + 1e-9);
    axes->top = step * ceil(axes->top / step - 1e-9);
    for (double value = axes->bottom; value < axes->top + 0.5 * step; value += step) {
        gmv_point at = gmv_axes_at(axes, axes->left, value);
        char text[32];
        format_tick(axes, value, step, text, sizeof text);
        gmv_canvas_line(canvas, at, (gmv_point){at.x + axes->box.width, at.y}, 1.0, gmv_faint_ink);
        gmv_canvas_text(canvas, (gmv_point){at.x - 6.0, at.y}, GMV_TEXT, GMV_ANCHOR_END, false, gmv_ink, text);
        widest = fmax(widest, gmv_canvas_text_width(canvas, GMV_TEXT, text));
    }
    gmv_canvas_text(canvas, (gmv_point){axes->box.x - widest - 20.0, axes->box.y + 0.5 * axes->box.height}, GMV_TEXT,
                    GMV_ANCHOR_MIDDLE, true, gmv_ink, label);
}

static void draw_x(gmv_canvas *canvas, const gmv_axes *axes, const char *label)
{
    double step = step_of(axes, axes->right - axes->left, 6), below = axes->box.y + axes->box.height;
    for (double value = step * ceil(axes->left / step - 1e-9); value < axes->right + 1e-9 * step; value += step) {
        char text[32];
        double x = gmv_axes_at(axes, value, axes->bottom).x;
        format_tick(axes, value, step, text, sizeof text);
        gmv_canvas_line(canvas, (gmv_point){x, below}, (gmv_point){x, below + 4.0}, 1.0, gmv_ink);
        gmv_canvas_text(canvas, (gmv_point){x, below + 14.0}, GMV_TEXT, GMV_ANCHOR_MIDDLE, false, gmv_ink, text);
    }
    gmv_canvas_line(canvas, (gmv_point){axes->box.x, below}, (gmv_point){axes->box.x + axes->box.width, below}, 1.0,
                    gmv_ink);
    gmv_canvas_text(canvas, (gmv_point){axes->box.x + 0.5 * axes->box.width, below + 32.0}, GMV_TEXT, GMV_ANCHOR_MIDDLE,
                    false, gmv_ink, label);
}

void gmv_axes_draw(gmv_canvas *canvas, gmv_axes *axes, const char *title, const char *x, const char *y)
{
    gmv_canvas_text(canvas, (gmv_point){axes->box.x, 0.5 * axes->box.y}, GMV_TITLE, GMV_ANCHOR_START, false, gmv_ink,
                    title);
    gmv_axes_draw_y(canvas, axes, y);
    draw_x(canvas, axes, x);
}
