/* Rows of a matrix that is stored by genes, in memory (row_buckets.c has them on disk). The local values are counted first;
 * then windows of whole rows are filled, each in one pass over the file, and handed out row by row.
 *
 * A window holds 3/8 of the local values at 8 bytes each: not more than the packed counts of this rank take (3
 * bytes or 5 each), and three or four passes whatever the size. With it come 64 MiB to read into, 16 bytes for
 * every local cell and 8 for every gene. Every rank reads the whole matrix in a pass and keeps its own rows: the
 * ranks work at the same time, and nothing is sent or written. */
#include "matrix.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"

#include <inttypes.h>
#include <string.h>

/* Values read at a time; the smallest window: fewer passes over a small file are worth its 512 KiB; and values
 * handed out at a time; and read at a time in a single pass. */
enum { piece_values = 1 << 22, least_window = 1 << 16, block_values = 1 << 16, passed_values = 1 << 20 };

struct gmv_csc {
    int64_t *pointer; /* [stored_cols + 1] */
    int64_t *start;   /* [rows + 1] place of each local row among the local values */
    int64_t *next;    /* [rows] and of its next value, while a window is filled */
    int64_t from, to; /* rows in the window, counted from the first local one */
    int64_t capacity; /* of the window */
    int32_t *column;  /* [capacity] ascending in each row */
    uint32_t *count;  /* [capacity] */
    int64_t bad_at;   /* place of the first value of the window that is no count, else INT64_MAX */
    double bad_value; /* which is told as it is: `count` cannot hold it */
    double round;     /* of the matrix */
    int64_t rounded;  /* values of the window */
    int64_t *row;     /* [piece] of the file */
    double *value;    /* [piece] */
};

static gmv_status read_pointers(struct gmv_csc *csc, const gmv_matrix *m)
{
    GMV_TRY(GMV_NEW(csc->pointer, m->stored_cols + 1, "starts of genes"));
    GMV_TRY(gmv_h5_read_i64(m->file, m->indptr, 0, m->stored_cols + 1, csc->pointer));
    for (int64_t j = 0; j < m->stored_cols; j++) {
        int64_t from = csc->pointer[j], to = csc->pointer[j + 1];
        if (from < 0 || to < from || to > m->nnz) {
            return GMV_FAIL(GMV_ERR_DATA,
                            "%s: %s/indptr: gene %" PRId64 " starts at %" PRId64 " and ends at %" PRId64 " of %" PRId64
                            " values; the file is damaged",
                            m->file->path, m->name, j, from, to, m->nnz);
        }
    }
    return GMV_OK;
}

static gmv_status bad_row(const struct gmv_csc *csc, const gmv_matrix *m, int64_t at, int64_t row)
{
    int64_t gene = 0;
    while (csc->pointer[gene + 1] <= at) {
        gene++;
    }
    return GMV_FAIL(GMV_ERR_DATA,
                    "%s: %s, gene %" PRId64 ": cell index %" PRId64 " is outside 0 .. %" PRId64 "; the file is damaged",
                    m->file->path, m->name, gene, row, m->rows - 1);
}

/* Counts the values of the local rows: start[i + 1] of row i, then sums. */
static gmv_status count_rows(struct gmv_csc *csc, const gmv_block_reader *reader)
{
    const gmv_matrix *m = reader->matrix;
    int64_t rows = reader->end - reader->first;
    for (int64_t at = 0; at < m->nnz; at += piece_values) {
        int64_t n = m->nnz - at < piece_values ? m->nnz - at : piece_values;
        GMV_TRY(gmv_stop_check());
        GMV_TRY(gmv_h5_read_i64(m->file, m->indices, at, n, csc->row));
        for (int64_t i = 0; i < n; i++) {
            int64_t row = csc->row[i] - reader->first;
            if (csc->row[i] < 0 || csc->row[i] >= m->rows) {
                return bad_row(csc, m, at + i, csc->row[i]);
            }
            if (row >= 0 && row < rows) {
                csc->start[row + 1]++;
            }
        }
    }
    for (int64_t i = 0; i < rows; i++) {
        if (csc->start[i + 1] > m->stored_cols) {
            return gmv_row_too_long(m, reader->first + i, csc->start[i + 1]);
        }
        csc->start[i + 1] += csc->start[i];
    }
    return GMV_OK;
}

gmv_status gmv_csc_init(gmv_block_reader *reader)
{
    const gmv_matrix *m = reader->matrix;
    int64_t rows = reader->end - reader->first, piece = m->nnz < piece_values ? m->nnz : piece_values, longest = 0;
    GMV_TRY(GMV_NEW(reader->csc, 1, "a matrix stored by genes"));
    struct gmv_csc *csc = reader->csc;
    GMV_TRY(GMV_NEW(csc->start, rows + 1, "row starts"));
    GMV_TRY(GMV_NEW(csc->next, rows, "row starts"));
    GMV_TRY(GMV_NEW(csc->row, piece, "a piece of the matrix"));
    GMV_TRY(GMV_NEW(csc->value, piece, "a piece of the matrix"));
    GMV_TRY(read_pointers(csc, m));
    GMV_TRY(count_rows(csc, reader));
    for (int64_t i = 0; i < rows; i++) {
        int64_t n = csc->start[i + 1] - csc->start[i];
        longest = n > longest ? n : longest;
    }
    reader->values = csc->start[rows];
    csc->capacity = reader->values / 8 * 3 + 8;
    csc->capacity = csc->capacity < least_window ? least_window : csc->capacity;
    csc->capacity = csc->capacity > reader->values ? reader->values : csc->capacity;
    csc->capacity = csc->capacity < longest ? longest : csc->capacity;
    GMV_TRY(GMV_NEW(csc->column, csc->capacity, "a window of the matrix"));
    GMV_TRY(GMV_NEW(csc->count, csc->capacity, "a window of the matrix"));
    return GMV_OK;
}

void gmv_csc_fini(gmv_block_reader *reader)
{
    struct gmv_csc *csc = reader->csc;
    if (csc != NULL) {
        GMV_FREE(csc->pointer);
        GMV_FREE(csc->start);
        GMV_FREE(csc->next);
        GMV_FREE(csc->column);
        GMV_FREE(csc->count);
        GMV_FREE(csc->row);
        GMV_FREE(csc->value);
    }
    GMV_FREE(reader->csc);
}

/* Puts one value into its place; genes come in order, so that rows get theirs in order. */
static void place_value(struct gmv_csc *csc, int64_t row, int64_t gene, double value)
{
    int64_t at = csc->next[row]++ - csc->start[csc->from];
    double whole = gmv_whole(value, csc->round);
    bool is_count = gmv_is_count(whole);
    csc->column[at] = (int32_t)gene;
    csc->count[at] = is_count ? (uint32_t)whole : 0;
    csc->rounded += whole != value;
    if (!is_count && at < csc->bad_at) {
        csc->bad_at = at;
        csc->bad_value = value;
    }
}

/* The next window: as many whole rows as fit, with all their values. */
static gmv_status fill_window(struct gmv_csc *csc, const gmv_block_reader *reader)
{
    const gmv_matrix *m = reader->matrix;
    int64_t rows = reader->end - reader->first, gene = 0;
    csc->from = csc->to;
    while (csc->to < rows && csc->start[csc->to + 1] - csc->start[csc->from] <= csc->capacity) {
        csc->to++;
    }
    memcpy(csc->next + csc->from, csc->start + csc->from, (size_t)(csc->to - csc->from) * sizeof *csc->next);
    csc->bad_at = INT64_MAX;
    csc->round = m->round;
    csc->rounded = 0;
    if (csc->start[csc->to] == csc->start[csc->from]) {
        return GMV_OK;
    }
    for (int64_t at = 0; at < m->nnz; at += piece_values) {
        int64_t n = m->nnz - at < piece_values ? m->nnz - at : piece_values;
        GMV_TRY(gmv_stop_check());
        GMV_TRY(gmv_h5_read_i64(m->file, m->indices, at, n, csc->row));
        GMV_TRY(gmv_h5_read_f64(m->file, m->data, 1, &at, &n, csc->value));
        gmv_log_progress(false, "transposing %s: %.0f%% of cells %" PRId64 " to %" PRId64, m->file->path,
                         100.0 * (double)at / (double)m->nnz, reader->first + csc->from, reader->first + csc->to);
        for (int64_t i = 0; i < n; i++) {
            int64_t row = csc->row[i] - reader->first;
            while (csc->pointer[gene + 1] <= at + i) {
                gene++;
            }
            if (row < csc->from || row >= csc->to) {
                continue;
            }
            if (csc->next[row] == csc->start[row + 1]) {
                return GMV_FAIL(GMV_ERR_DATA, "%s: has changed while it was read", m->file->path);
            }
            place_value(csc, row, gene, csc->value[i]);
        }
    }
    return GMV_OK;
}

gmv_status gmv_csc_next(gmv_block_reader *reader)
{
    struct gmv_csc *csc = reader->csc;
    gmv_block *block = &reader->block;
    int64_t first = reader->next - reader->first, rows = 1;
    if (first == csc->to) {
        GMV_TRY(fill_window(csc, reader));
        block->rounded = csc->rounded;
    }
    while (first + rows < csc->to && csc->start[first + rows + 1] - csc->start[first] <= block_values) {
        rows++;
    }
    int64_t from = csc->start[first], values = csc->start[first + rows] - from, at = from - csc->start[csc->from];
    GMV_TRY(gmv_block_reserve(reader, rows, values));
    block->first = reader->next;
    block->rows = rows;
    for (int64_t i = 0; i <= rows; i++) {
        block->start[i] = csc->start[first + i] - from;
    }
    for (int64_t i = 0; i < values; i++) {
        block->column[i] = csc->column[at + i];
        block->value[i] = at + i == csc->bad_at ? csc->bad_value : (double)csc->count[at + i];
    }
    reader->next += rows;
    return GMV_OK;
}

gmv_status gmv_csc_each(const gmv_matrix *m, int64_t first, int64_t end, gmv_value_visitor visit, void *context)
{
    struct gmv_csc csc = {0};
    gmv_status status = GMV_OK;
    int64_t gene = 0;
    GMV_GO(GMV_NEW(csc.row, passed_values, "a piece of the matrix"));
    GMV_GO(GMV_NEW(csc.value, passed_values, "a piece of the matrix"));
    GMV_GO(read_pointers(&csc, m));
    for (int64_t at = 0; at < m->nnz; at += passed_values) {
        int64_t n = m->nnz - at < passed_values ? m->nnz - at : passed_values;
        GMV_GO(gmv_stop_check());
        GMV_GO(gmv_h5_read_i64(m->file, m->indices, at, n, csc.row));
        GMV_GO(gmv_h5_read_f64(m->file, m->data, 1, &at, &n, csc.value));
        gmv_log_progress(false, "transposing %s: %.0f%%", m->file->path, 100.0 * (double)at / (double)m->nnz);
        for (int64_t i = 0; i < n; i++) {
            int64_t row = csc.row[i];
            while (gene + 1 < m->stored_cols && csc.pointer[gene + 1] <= at + i) {
                gene++;
            }
            if (row < 0 || row >= m->rows) {
                GMV_GO(bad_row(&csc, m, at + i, row));
            }
            if (row >= first && row < end && (m->select == NULL || m->select[gene] >= 0)) {
                GMV_GO(visit(context, row - first, gene, csc.value[i]));
            }
        }
    }
done:
    GMV_FREE(csc.pointer);
    GMV_FREE(csc.row);
    GMV_FREE(csc.value);
    return status;
}
