/* A figure while it is drawn, by cairo: shapes, texts, and places of which a page can show values. */
#pragma once

#include "gmvae/pictures.h"

typedef struct gmv_color {
    double red, green, blue, alpha; /* 0 to 1 */
} gmv_color;

/* Texts and axes, lines behind the data, the paper: on a page, what it has for them (inline_svg.c). */
extern const gmv_color gmv_ink, gmv_faint_ink, gmv_paper;

typedef enum gmv_anchor { GMV_ANCHOR_START, GMV_ANCHOR_MIDDLE, GMV_ANCHOR_END } gmv_anchor;

typedef struct gmv_point {
    double x, y; /* from the upper left corner, in units of 1/96 inch */
} gmv_point;

typedef struct gmv_box {
    double x, y, width, height;
} gmv_box;

typedef struct gmv_canvas gmv_canvas;

/* Ownership: gmv_canvas_end, also after an error. Errors: GMV_ERR_ENVIRONMENT without memory. */
gmv_status gmv_canvas_begin(gmv_canvas **canvas, double width, double height);

/* Writes NAME.svg and NAME.png (two pixels a unit) to the gallery's folder, and the figure to its page, when `status`,
 * that of the work so far, is GMV_OK. Frees the canvas. Returns `status` or GMV_ERR_ENVIRONMENT. */
gmv_status gmv_canvas_end(gmv_canvas **canvas, gmv_gallery *gallery, const char *name, gmv_status status);

/* Puts what cairo wrote onto a page: with names and colors of the page, and the spots. @param[in] number  of the figure */
typedef struct gmv_spot {
    gmv_box box;
    char *text;
} gmv_spot;
gmv_status gmv_inline_svg(FILE *page, int number, const char *svg, int spots, const gmv_spot *spot);

/* Frees a canvas that nothing is written of. Accepts NULL. */
void gmv_canvas_drop(gmv_canvas **canvas);

/* Draws inside a box alone, until it is told NULL. */
void gmv_canvas_clip(gmv_canvas *canvas, const gmv_box *box);

void gmv_canvas_line(gmv_canvas *canvas, gmv_point from, gmv_point to, double width, gmv_color color);

/* A line through points; a point whose y is not finite is left out, and the line is broken there. */
void gmv_canvas_path(gmv_canvas *canvas, int n, const gmv_point *point, double width, gmv_color color, bool dashed);
void gmv_canvas_polygon(gmv_canvas *canvas, int n, const gmv_point *corner, gmv_color fill);
void gmv_canvas_rectangle(gmv_canvas *canvas, gmv_box box, gmv_color fill);
void gmv_canvas_disc(gmv_canvas *canvas, gmv_point center, double radius, gmv_color fill);

/* Pixels in a box, for what would be too many shapes: discs and rectangles that are drawn before the end. One box at a time. */
void gmv_canvas_pixels_begin(gmv_canvas *canvas, gmv_box box);
void gmv_canvas_pixel_disc(gmv_canvas *canvas, gmv_point center, double radius, gmv_color fill);
void gmv_canvas_pixel_rectangle(gmv_canvas *canvas, gmv_box box, gmv_color fill);
void gmv_canvas_pixels_end(gmv_canvas *canvas);

/* Text whose anchor is at a place half way up its letters; `turned`: upwards. */
void gmv_canvas_text(gmv_canvas *canvas, gmv_point at, double size, gmv_anchor anchor, bool turned, gmv_color color,
                     const char *text);
double gmv_canvas_text_width(gmv_canvas *canvas, double size, const char *text);

/* A text that is cut, with three points, to a width. @param[out] cut  [room] */
void gmv_canvas_fit(gmv_canvas *canvas, double size, double width, const char *text, char *cut, int room);

/* A place of which a page shows `text` when somebody points at it. */
void gmv_canvas_spot(gmv_canvas *canvas, gmv_box box, const char *text);
