#include "canvas.h"
#include "font.h"

#include "gmvae/files.h"
#include "gmvae/mem.h"

#include <cairo-svg.h>
#include <cairo.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const gmv_color gmv_ink = {0.2, 0.2, 0.2, 1.0}, gmv_faint_ink = {0.87, 0.87, 0.87, 1.0},
                gmv_paper = {1.0, 1.0, 1.0, 1.0};

enum { svg, png, files };
enum { pixels_a_unit = 2, file_room = 4400 };
static const double points_a_unit = 0.75, pi = 3.14159265358979324;

struct gmv_canvas {
    FILE *memory;        /* what the SVG is written to */
    char *text;          /* complete when `memory` is closed */
    size_t bytes;        /* of it */
    cairo_t *pen[files]; /* of the SVG and of the PNG: everything is drawn with both */
    cairo_t *pixels;     /* of a box, while it is drawn */
    gmv_box pixel_box;
    gmv_spot *spot;
    int spots;
    gmv_status status; /* the first that failed while something was drawn */
};

static void set_color(cairo_t *pen, gmv_color color)
{
    cairo_set_source_rgba(pen, color.red, color.green, color.blue, color.alpha);
}

static gmv_status status_of(cairo_status_t status, const char *what)
{
    return status == CAIRO_STATUS_SUCCESS
               ? GMV_OK
               : GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s cannot be drawn: %s", what, cairo_status_to_string(status));
}

static cairo_status_t write_bytes(void *stream, const unsigned char *bytes, unsigned count)
{
    return fwrite(bytes, 1, count, stream) == count ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

/* Of both pens. */
static gmv_status pen_status(const gmv_canvas *canvas, const char *what)
{
    cairo_status_t status = cairo_status(canvas->pen[svg]);
    return status_of(status == CAIRO_STATUS_SUCCESS ? cairo_status(canvas->pen[png]) : status, what);
}

gmv_status gmv_canvas_begin(gmv_canvas **canvas, double width, double height)
{
    GMV_TRY(GMV_NEW(*canvas, 1, "a figure"));
    gmv_canvas *c = *canvas;
    c->memory = open_memstream(&c->text, &c->bytes);
    if (c->memory == NULL || gmv_font_face() == NULL) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "no memory for a figure");
    }
    cairo_surface_t *surface[files] = {
        cairo_svg_surface_create_for_stream(write_bytes, c->memory, width * points_a_unit, height * points_a_unit),
        cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)ceil(width * pixels_a_unit),
                                   (int)ceil(height * pixels_a_unit))};
    const double scale[files] = {points_a_unit, pixels_a_unit};
    for (int f = 0; f < files; f++) {
        c->pen[f] = cairo_create(surface[f]);
        cairo_surface_destroy(surface[f]); /* the pen has it */
        cairo_scale(c->pen[f], scale[f], scale[f]);
        set_color(c->pen[f], gmv_paper);
        cairo_paint(c->pen[f]);
        cairo_set_font_face(c->pen[f], gmv_font_face());
        cairo_set_line_cap(c->pen[f], CAIRO_LINE_CAP_ROUND);
        cairo_set_line_join(c->pen[f], CAIRO_LINE_JOIN_ROUND);
    }
    return pen_status(c, "a figure");
}

void gmv_canvas_clip(gmv_canvas *canvas, const gmv_box *box)
{
    for (int f = 0; f < files; f++) {
        cairo_reset_clip(canvas->pen[f]);
        if (box != NULL) {
            cairo_rectangle(canvas->pen[f], box->x, box->y, box->width, box->height);
            cairo_clip(canvas->pen[f]);
        }
    }
}

void gmv_canvas_line(gmv_canvas *canvas, gmv_point from, gmv_point to, double width, gmv_color color)
{
    const gmv_point point[2] = {from, to};
    gmv_canvas_path(canvas, 2, point, width, color, false);
}

static void draw_path(cairo_t *pen, int n, const gmv_point *point, double width, gmv_color color, bool dashed)
{
    const double dashes[] = {4.0 * width, 3.0 * width};
    for (int i = 0; i < n; i++) {
        bool starts = i == 0 || !isfinite(point[i - 1].y);
        if (!isfinite(point[i].y)) {
            continue;
        }
        if (starts) {
            cairo_move_to(pen, point[i].x, point[i].y);
        } else {
            cairo_line_to(pen, point[i].x, point[i].y);
        }
    }
    cairo_set_dash(pen, dashes, dashed ? 2 : 0, 0.0);
    cairo_set_line_width(pen, width);
    set_color(pen, color);
    cairo_stroke(pen);
    cairo_set_dash(pen, NULL, 0, 0.0);
}

void gmv_canvas_path(gmv_canvas *canvas, int n, const gmv_point *point, double width, gmv_color color, bool dashed)
{
    for (int f = 0; f < files; f++) {
        draw_path(canvas->pen[f], n, point, width, color, dashed);
    }
}

void gmv_canvas_polygon(gmv_canvas *canvas, int n, const gmv_point *corner, gmv_color fill)
{
    for (int f = 0; f < files; f++) {
        for (int i = 0; i < n; i++) {
            cairo_line_to(canvas->pen[f], corner[i].x, corner[i].y); /* the first moves there */
        }
        cairo_close_path(canvas->pen[f]);
        set_color(canvas->pen[f], fill);
        cairo_fill(canvas->pen[f]);
    }
}

static void draw_rectangle(cairo_t *pen, gmv_box box, gmv_color fill)
{
    cairo_rectangle(pen, box.x, box.y, box.width, box.height);
    set_color(pen, fill);
    cairo_fill(pen);
}

void gmv_canvas_rectangle(gmv_canvas *canvas, gmv_box box, gmv_color fill)
{
    for (int f = 0; f < files; f++) {
        draw_rectangle(canvas->pen[f], box, fill);
    }
}

static void draw_disc(cairo_t *pen, gmv_point center, double radius, gmv_color fill)
{
    cairo_new_path(pen);
    cairo_arc(pen, center.x, center.y, radius, 0.0, 2.0 * pi);
    set_color(pen, fill);
    cairo_fill(pen);
}

void gmv_canvas_disc(gmv_canvas *canvas, gmv_point center, double radius, gmv_color fill)
{
    for (int f = 0; f < files; f++) {
        draw_disc(canvas->pen[f], center, radius, fill);
    }
}

void gmv_canvas_pixels_begin(gmv_canvas *canvas, gmv_box box)
{
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_ARGB32, (int)ceil(box.width * pixels_a_unit),
                                                          (int)ceil(box.height * pixels_a_unit));
    canvas->pixels = cairo_create(surface);
    canvas->pixel_box = box;
    cairo_scale(canvas->pixels, pixels_a_unit, pixels_a_unit);
    cairo_translate(canvas->pixels, -box.x, -box.y);
    cairo_surface_destroy(surface);
}

void gmv_canvas_pixel_disc(gmv_canvas *canvas, gmv_point center, double radius, gmv_color fill)
{
    draw_disc(canvas->pixels, center, radius, fill);
}

void gmv_canvas_pixel_rectangle(gmv_canvas *canvas, gmv_box box, gmv_color fill)
{
    draw_rectangle(canvas->pixels, box, fill);
}

void gmv_canvas_pixels_end(gmv_canvas *canvas)
{
    for (int f = 0; f < files; f++) {
        cairo_t *pen = canvas->pen[f];
        cairo_save(pen);
        cairo_translate(pen, canvas->pixel_box.x, canvas->pixel_box.y);
        cairo_scale(pen, 1.0 / pixels_a_unit, 1.0 / pixels_a_unit);
        cairo_set_source_surface(pen, cairo_get_target(canvas->pixels), 0.0, 0.0);
        cairo_paint(pen);
        cairo_restore(pen);
    }
    cairo_destroy(canvas->pixels);
    canvas->pixels = NULL;
}

/* By one of the pens: both set texts at the same places. */
double gmv_canvas_text_width(gmv_canvas *canvas, double size, const char *text)
{
    cairo_text_extents_t extents;
    cairo_set_font_size(canvas->pen[svg], size);
    cairo_text_extents(canvas->pen[svg], text, &extents);
    return extents.x_advance;
}

void gmv_canvas_text(gmv_canvas *canvas, gmv_point at, double size, gmv_anchor anchor, bool turned, gmv_color color,
                     const char *text)
{
    double width = gmv_canvas_text_width(canvas, size, text);
    double back = anchor == GMV_ANCHOR_START ? 0.0 : anchor == GMV_ANCHOR_MIDDLE ? 0.5 * width : width;
    for (int f = 0; f < files; f++) {
        cairo_t *pen = canvas->pen[f];
        cairo_save(pen);
        cairo_set_font_size(pen, size);
        cairo_translate(pen, at.x, at.y);
        cairo_rotate(pen, turned ? -0.5 * pi : 0.0);
        cairo_move_to(pen, -back, 0.35 * size);
        set_color(pen, color);
        cairo_show_text(pen, text);
        cairo_restore(pen);
    }
}

void gmv_canvas_fit(gmv_canvas *canvas, double size, double width, const char *text, char *cut, int room)
{
    snprintf(cut, (size_t)room, "%s", text);
    size_t length = strlen(cut);
    while (length > 1 && gmv_canvas_text_width(canvas, size, cut) > width) {
        do { /* whole characters */
            length--;
        } while (length > 1 && ((unsigned char)cut[length] & 0xC0) == 0x80);
        snprintf(cut + length, (size_t)room - length, "...");
    }
}

void gmv_canvas_spot(gmv_canvas *canvas, gmv_box box, const char *text)
{
    int n = canvas->spots;
    if (canvas->status == GMV_OK && (n & (n - 1)) == 0) { /* room for twice as many */
        canvas->status = GMV_GROW(canvas->spot, n, n > 0 ? 2 * n : 1, "places of a figure");
    }
    if (canvas->status == GMV_OK) {
        canvas->spot[n].box = box;
        canvas->status = gmv_copy_text(&canvas->spot[n].text, text);
    }
    canvas->spots += canvas->status == GMV_OK ? 1 : 0;
}

/* ---- files ---- */

static cairo_status_t write_svg(const gmv_canvas *canvas, FILE *out)
{
    return write_bytes(out, (const unsigned char *)canvas->text, (unsigned)canvas->bytes);
}

static cairo_status_t write_png(const gmv_canvas *canvas, FILE *out)
{
    return cairo_surface_write_to_png_stream(cairo_get_target(canvas->pen[png]), write_bytes, out);
}

static gmv_status write_file(const gmv_canvas *canvas, const char *stem, const char *end,
                             cairo_status_t (*write)(const gmv_canvas *canvas, FILE *out))
{
    char path[file_room];
    gmv_output out;
    snprintf(path, sizeof path, "%.4300s.%s", stem, end);
    GMV_TRY(gmv_output_begin(&out, path));
    errno = 0;
    cairo_status_t written = write(canvas, out.stream);
    gmv_status status = GMV_OK;
    if (written == CAIRO_STATUS_WRITE_ERROR) {
        status = gmv_file_unwritable(path);
    } else {
        status = status_of(written, path);
    }
    return gmv_output_end(&out, status);
}

/* Completes the text of the SVG. */
static gmv_status finish(gmv_canvas *canvas, const char *name)
{
    GMV_TRY(pen_status(canvas, name));
    cairo_surface_finish(cairo_get_target(canvas->pen[svg]));
    GMV_TRY(status_of(cairo_surface_status(cairo_get_target(canvas->pen[svg])), name));
    FILE *memory = canvas->memory;
    canvas->memory = NULL;
    return fclose(memory) == 0 ? GMV_OK : GMV_FAIL(GMV_ERR_ENVIRONMENT, "no memory for a figure");
}

void gmv_canvas_drop(gmv_canvas **canvas)
{
    gmv_canvas *c = *canvas;
    if (c == NULL) {
        return;
    }
    for (int f = 0; f < files; f++) {
        cairo_destroy(c->pen[f]); /* may still write to the memory */
    }
    if (c->memory != NULL) {
        fclose(c->memory);
    }
    free(c->text);
    for (int i = 0; i < c->spots; i++) {
        gmv_free(c->spot[i].text);
    }
    GMV_FREE(c->spot);
    GMV_FREE(*canvas);
}

gmv_status gmv_canvas_end(gmv_canvas **canvas, gmv_gallery *gallery, const char *name, gmv_status status)
{
    gmv_canvas *c = *canvas;
    char stem[file_room];
    if (c == NULL) {
        return status;
    }
    snprintf(stem, sizeof stem, "%.4200s/%.80s", gallery->folder, name);
    status = status == GMV_OK ? c->status : status;
    status = status == GMV_OK ? finish(c, stem) : status;
    status = status == GMV_OK ? write_file(c, stem, "svg", write_svg) : status;
    status = status == GMV_OK ? write_file(c, stem, "png", write_png) : status;
    if (status == GMV_OK && gallery->page != NULL) {
        status = gmv_inline_svg(gallery->page, ++gallery->figures, c->text, c->spots, c->spot);
    }
    gmv_canvas_drop(canvas);
    return status;
}
