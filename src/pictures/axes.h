/* The frame of a chart: scales, ticks and their labels. */
#pragma once

#include "canvas.h"

enum { GMV_TEXT = 12, GMV_TITLE = 15 }; /* sizes */

typedef struct gmv_axes {
    gmv_box box;                     /* of the data */
    double left, right, bottom, top; /* values at its edges */
    bool logarithmic;                /* values are their decimal logarithms, labelled by what they are of */
} gmv_axes;

gmv_point gmv_axes_at(const gmv_axes *axes, double x, double y);

/* A round step that divides a range into about `parts`. */
double gmv_round_step(double range, int parts);

/* Moves the edges of y outwards to round numbers; draws their lines and labels, and `label` beside them. */
void gmv_axes_draw_y(gmv_canvas *canvas, gmv_axes *axes, const char *label);

/* Moves the edges of y outwards to round numbers; draws lines behind the data, labels, and what the axes are. */
void gmv_axes_draw(gmv_canvas *canvas, gmv_axes *axes, const char *title, const char *x, const char *y);
