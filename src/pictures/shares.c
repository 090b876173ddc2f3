/* Which share of each row is in which column, such as of types in clusters. */
#include "axes.h"
#include "palette.h"

#include "gmvae/mem.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>

static const double cell = 22.0, least_cell = 12.0, most_of_page = 1000.0, margin = 16.0;
static const double row_room = 190.0, column_room = 90.0; /* for their names, at most */
static const double legible = 17.0, told = 0.095;         /* size of a cell, and share, for a number in it */

typedef struct map {
    int rows, columns;
    char *const *row, *const *column;
    const int64_t *count;
    int *order;                                      /* [rows] from the top */
    int64_t *total;                                  /* [rows] */
    double size, left, top, row_names, column_names; /* the last two: room for them */
} map;

static int64_t count_at(const map *m, int row, int column)
{
    return m->count[(int64_t)row * m->columns + column];
}

static int main_column(const map *m, int row)
{
    int best = 0;
    for (int c = 1; c < m->columns; c++) {
        best = count_at(m, row, c) > count_at(m, row, best) ? c : best;
    }
    return best;
}

/* Whether a row stands above another: the column that most of it is in, then how much. */
static bool is_above(const map *m, int a, int b)
{
    int ca = main_column(m, a), cb = main_column(m, b);
    return ca != cb ? ca < cb : count_at(m, a, ca) > count_at(m, b, cb);
}

static gmv_status arrange(map *m)
{
    GMV_TRY(GMV_NEW(m->order, m->rows, "rows of a figure"));
    GMV_TRY(GMV_NEW(m->total, m->rows, "rows of a figure"));
    for (int r = 0; r < m->rows; r++) {
        int at = r;
        for (int c = 0; c < m->columns; c++) {
            m->total[r] += count_at(m, r, c);
        }
        for (; at > 0 && is_above(m, r, m->order[at - 1]); at--) {
            m->order[at] = m->order[at - 1];
        }
        m->order[at] = r;
    }
    return GMV_OK;
}

static void draw_cell(gmv_canvas *canvas, const map *m, int row, int column, gmv_point corner, const char *of_columns)
{
    double share = m->total[row] > 0 ? (double)count_at(m, row, column) / (double)m->total[row] : 0.0;
    gmv_box box = {corner.x, corner.y, m->size - 1.0, m->size - 1.0};
    char text[400];
    gmv_canvas_rectangle(canvas, box, gmv_share_color(share));
    if (m->size >= legible && share >= told) {
        snprintf(text, sizeof text, "%.0f", 100.0 * share);
        gmv_canvas_text(canvas, (gmv_point){corner.x + 0.5 * m->size, corner.y + 0.5 * m->size}, 10.0,
                        GMV_ANCHOR_MIDDLE, false, share > 0.5 ? (gmv_color){0.98, 0.98, 0.98, 1.0} : gmv_ink, text);
    }
    snprintf(text, sizeof text, "%.120s in %s %.120s: %lld of %lld, %.1f %%", m->row[row], of_columns,
             m->column[column], (long long)count_at(m, row, column), (long long)m->total[row], 100.0 * share);
    gmv_canvas_spot(canvas, box, text);
}

/* Room for the longest of some names. */
static double room_for(gmv_canvas *canvas, double size, int n, char *const *name, double most)
{
    double widest = gmv_canvas_text_width(canvas, size, "00");
    for (int i = 0; i < n; i++) {
        widest = fmax(widest, gmv_canvas_text_width(canvas, size, name[i]));
    }
    return fmin(widest, most);
}

static void lay_out(gmv_canvas *canvas, map *m, const char *of_rows)
{
    int longer = m->rows > m->columns ? m->rows : m->columns;
    char *heading = (char *)(uintptr_t)of_rows;
    m->size = fmax(least_cell, fmin(cell, floor(most_of_page / (longer > 0 ? longer : 1))));
    m->row_names =
        fmax(room_for(canvas, GMV_TEXT, m->rows, m->row, row_room), room_for(canvas, GMV_TEXT, 1, &heading, row_room));
    m->column_names = room_for(canvas, GMV_TEXT, m->columns, m->column, column_room);
    m->left = margin + m->row_names + 8.0;
    m->top = 48.0 + m->column_names + 8.0;
}

static void draw_map(gmv_canvas *canvas, const map *m, const char *of_rows, const char *of_columns)
{
    char cut[256];
    double middle = 0.5 * m->size, text = fmin(GMV_TEXT, m->size - 2.0);
    for (int i = 0; i < m->rows; i++) {
        double y = m->top + i * m->size;
        gmv_canvas_fit(canvas, text, m->row_names, m->row[m->order[i]], cut, sizeof cut);
        gmv_canvas_text(canvas, (gmv_point){m->left - 8.0, y + middle}, text, GMV_ANCHOR_END, false, gmv_ink, cut);
        for (int c = 0; c < m->columns; c++) {
            draw_cell(canvas, m, m->order[i], c, (gmv_point){m->left + c * m->size, y}, of_columns);
        }
    }
    for (int c = 0; c < m->columns; c++) {
        gmv_canvas_fit(canvas, text, m->column_names, m->column[c], cut, sizeof cut);
        gmv_canvas_text(canvas, (gmv_point){m->left + c * m->size + middle, m->top - 8.0}, text, GMV_ANCHOR_START, true,
                        gmv_ink, cut);
    }
    gmv_canvas_text(canvas, (gmv_point){m->left - 8.0, m->top - 12.0}, GMV_TEXT, GMV_ANCHOR_END, false, gmv_ink,
                    of_rows);
    gmv_canvas_text(canvas, (gmv_point){m->left, m->top + m->rows * m->size + 14.0}, GMV_TEXT, GMV_ANCHOR_START, false,
                    gmv_ink, of_columns);
}

gmv_status gmv_draw_shares(gmv_gallery *gallery, const char *name, const char *title, const char *of_rows,
                           const char *of_columns, int rows, char *const *row, int columns, char *const *column,
                           const int64_t *count)
{
    gmv_canvas *measure = NULL, *canvas = NULL;
    map m = {.rows = rows, .columns = columns, .row = row, .column = column, .count = count};
    gmv_status status;
    GMV_GO(arrange(&m));
    GMV_GO(gmv_canvas_begin(&measure, 1.0, 1.0));
    lay_out(measure, &m, of_rows);
    double title_end = margin + gmv_canvas_text_width(measure, GMV_TITLE, title);
    GMV_GO(
        gmv_canvas_begin(&canvas, fmax(m.left + columns * m.size, title_end) + margin, m.top + rows * m.size + 36.0));
    gmv_canvas_text(canvas, (gmv_point){margin, 22.0}, GMV_TITLE, GMV_ANCHOR_START, false, gmv_ink, title);
    draw_map(canvas, &m, of_rows, of_columns);
done:
    GMV_FREE(m.order);
    GMV_FREE(m.total);
    gmv_canvas_drop(&measure);
    return gmv_canvas_end(&canvas, gallery, name, status);
}
