/* The assignment problem by shortest augmenting paths (Kuhn 1955; Jonker and Volgenant 1987). */
#include "gmvae/mem.h"
#include "gmvae/metrics.h"

typedef struct assignment {
    const int64_t *table;
    int rows, cols;           /* rows <= cols */
    bool turned;              /* the table is [cols, rows] */
    int64_t *of_row, *of_col; /* [rows + 1], [cols + 1] potentials; 0 is nobody */
    int *row_at;              /* [cols + 1] row that has a column; 0: none */
    int *before;              /* [cols + 1] column before it on the path */
    int64_t *slack;           /* [cols + 1] */
    uint8_t *done;            /* [cols + 1] */
} assignment;

static int64_t cost(const assignment *a, int row, int col)
{
    int64_t at = a->turned ? (int64_t)(col - 1) * a->rows + row - 1 : (int64_t)(row - 1) * a->cols + col - 1;
    return -a->table[at];
}

/* The column next on the shortest path from those that are done. */
static int nearest_column(assignment *a, int at)
{
    int row = a->row_at[at], next = 0;
    int64_t step = INT64_MAX;
    a->done[at] = 1;
    for (int c = 1; c <= a->cols; c++) {
        if (a->done[c]) {
            continue;
        }
        int64_t reduced = cost(a, row, c) - a->of_row[row] - a->of_col[c];
        if (reduced < a->slack[c]) {
            a->slack[c] = reduced;
            a->before[c] = at;
        }
        if (a->slack[c] < step) {
            step = a->slack[c];
            next = c;
        }
    }
    for (int c = 0; c <= a->cols; c++) {
        if (a->done[c]) {
            a->of_row[a->row_at[c]] += step;
            a->of_col[c] -= step;
        } else {
            a->slack[c] -= step;
        }
    }
    return next;
}

static void add_row(assignment *a, int row)
{
    int at = 0;
    a->row_at[0] = row;
    for (int c = 0; c <= a->cols; c++) {
        a->slack[c] = INT64_MAX;
        a->done[c] = 0;
    }
    do {
        at = nearest_column(a, at);
    } while (a->row_at[at] != 0);
    for (; at != 0; at = a->before[at]) {
        a->row_at[at] = a->row_at[a->before[at]];
    }
}

gmv_status gmv_largest_assignment(const int64_t *table, int rows, int cols, int64_t *sum)
{
    bool turned = rows > cols;
    assignment a = {table, turned ? cols : rows, turned ? rows : cols, turned, .done = NULL};
    gmv_status status;
    GMV_GO(GMV_NEW(a.of_row, a.rows + 1, "assignment"));
    GMV_GO(GMV_NEW(a.of_col, a.cols + 1, "assignment"));
    GMV_GO(GMV_NEW(a.row_at, a.cols + 1, "assignment"));
    GMV_GO(GMV_NEW(a.before, a.cols + 1, "assignment"));
    GMV_GO(GMV_NEW(a.slack, a.cols + 1, "assignment"));
    GMV_GO(GMV_NEW(a.done, a.cols + 1, "assignment"));
    for (int row = 1; row <= a.rows; row++) {
        add_row(&a, row);
    }
    *sum = 0;
    for (int c = 1; c <= a.cols; c++) {
        *sum -= a.row_at[c] != 0 ? cost(&a, a.row_at[c], c) : 0;
    }
done:
    GMV_FREE(a.of_row);
    GMV_FREE(a.of_col);
    GMV_FREE(a.row_at);
    GMV_FREE(a.before);
    GMV_FREE(a.slack);
    GMV_FREE(a.done);
    return status;
}
