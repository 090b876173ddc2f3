#include "matrix_blocks.h"

#include "gmvae/mem.h"

#include <inttypes.h>
#include <string.h>

/* Values read at a time: 64 MiB of buffers, and far more than a chunk, so that few are decoded twice. */
enum { block_values = 1 << 22 };

gmv_status gmv_matrix_pointers(const gmv_matrix *m, int64_t first, int64_t end, int64_t **indptr)
{
    int64_t rows = end - first;
    GMV_TRY(GMV_NEW(*indptr, rows + 1, "row starts"));
    GMV_TRY(gmv_h5_read_i64(m->file, m->indptr, first, rows + 1, *indptr));
    for (int64_t i = 0; i < rows; i++) {
        int64_t from = (*indptr)[i], to = (*indptr)[i + 1];
        if (from < 0 || to < from || to > m->nnz) {
            return GMV_FAIL(GMV_ERR_DATA,
                            "%s: %s/indptr: row %" PRId64 " starts at %" PRId64 " and ends at %" PRId64 " of %" PRId64
                            " values; the file is damaged",
                            m->file->path, m->name, first + i, from, to, m->nnz);
        }
        if (to - from > m->stored_cols) {
            return gmv_row_too_long(m, first + i, to - from);
        }
    }
    return GMV_OK;
}

/* ---- rows of what is not stored by rows ---- */

bool gmv_matrix_needs_sorting(const gmv_matrix *matrix)
{
    int64_t cols = matrix->stored_cols > 0 ? matrix->stored_cols : 1;
    return matrix->kind == GMV_MATRIX_CSC ||
           (matrix->kind == GMV_MATRIX_DENSE && matrix->chunk_rows > block_values / cols + 1);
}

gmv_status gmv_matrix_sort_rows(gmv_transpose **rows, const gmv_matrix *matrix, int64_t first, int64_t end,
                                const char *directory, int ranks)
{
    static const gmv_transpose_limits limits = {.values = 1 << 22, .bytes = 1 << 26};
    bool csc = matrix->kind == GMV_MATRIX_CSC;
    int64_t values = 0;
    GMV_TRY(gmv_matrix_guess_values(matrix, first, end, &values));
    ranks = csc ? ranks : 0; /* a sample is not enough to refuse a run */
    GMV_TRY(gmv_transpose_create(rows, matrix, first, end, values, directory, ranks, limits));
    GMV_TRY((csc ? gmv_csc_each : gmv_dense_each)(matrix, first, end, gmv_transpose_put, *rows));
    return gmv_transpose_finish(*rows);
}

/* ---- blocks ---- */

gmv_status gmv_block_reader_init(gmv_block_reader *reader, const gmv_matrix *matrix, gmv_transpose *by_rows,
                                 int64_t first, int64_t end)
{
    memset(reader, 0, sizeof *reader);
    reader->matrix = matrix;
    reader->first = reader->next = first;
    reader->end = end;
    reader->by_rows = by_rows;
    if (end == first || matrix->kind == GMV_MATRIX_DENSE || by_rows != NULL) {
        return GMV_OK;
    }
    if (matrix->kind == GMV_MATRIX_CSR) {
        return gmv_matrix_pointers(matrix, first, end, &reader->indptr);
    }
    GMV_TRY(gmv_matrix_sort_rows(&reader->own, matrix, first, end, NULL, 0));
    reader->by_rows = reader->own;
    reader->values = gmv_transpose_values(reader->own);
    return GMV_OK;
}

void gmv_block_reader_fini(gmv_block_reader *reader)
{
    gmv_transpose_destroy(&reader->own);
    GMV_FREE(reader->indptr);
    gmv_block_fini(&reader->block);
}

/* Leaves out the values of features that are not selected, in place. An index that is out of range stays so,
 * for the packer to report: it is not below the number of columns of the matrix either. */
static void select_columns(gmv_block *block, const gmv_matrix *m)
{
    int64_t to = 0, from = 0;
    for (int64_t i = 0; i < block->rows; i++) {
        int64_t end = block->start[i + 1];
        block->start[i] = to;
        for (; from < end; from++) {
            int64_t column = block->column[from];
            bool inside = column >= 0 && column < m->stored_cols;
            if (!inside || m->select[column] >= 0) {
                block->column[to] = inside ? m->select[column] : column;
                block->value[to++] = block->value[from];
            }
        }
    }
    block->start[block->rows] = to;
}

static gmv_status next_sparse(gmv_block_reader *reader)
{
    const gmv_matrix *m = reader->matrix;
    gmv_block *block = &reader->block;
    const int64_t *from = reader->indptr + (reader->next - reader->first);
    int64_t left = reader->end - reader->next, rows = 1;
    while (rows < left && from[rows + 1] - from[0] <= block_values) {
        rows++;
    }
    int64_t values = from[rows] - from[0], start = from[0];
    GMV_TRY(gmv_block_reserve(block, rows, values));
    block->first = reader->next;
    block->rows = rows;
    for (int64_t i = 0; i <= rows; i++) {
        block->start[i] = from[i] - from[0];
    }
    GMV_TRY(gmv_h5_read_i64(m->file, m->indices, start, values, block->column));
    GMV_TRY(gmv_h5_read_f64(m->file, m->data, 1, &start, &values, block->value));
    reader->next += rows;
    return GMV_OK;
}

/* Squeezes the zeros out in place: targets never overtake sources. */
static void drop_zeros(gmv_block *block, int64_t cols)
{
    int64_t to = 0;
    for (int64_t i = 0; i < block->rows; i++) {
        block->start[i] = to;
        for (int64_t j = 0; j < cols; j++) {
            double value = block->value[i * cols + j];
            if (value != 0.0) { /* true for NaN */
                block->column[to] = j;
                block->value[to++] = value;
            }
        }
    }
    block->start[block->rows] = to;
}

static gmv_status next_dense(gmv_block_reader *reader)
{
    const gmv_matrix *m = reader->matrix;
    int64_t left = reader->end - reader->next, rows = m->cols > 0 ? block_values / m->cols : left;
    rows = rows < 1 ? 1 : rows > left ? left : rows;
    if (rows > (reader->next + rows) % m->chunk_rows) { /* up to the end of a chunk, not to decode it twice */
        rows -= rows < left ? (reader->next + rows) % m->chunk_rows : 0;
    }
    GMV_TRY(gmv_block_reserve(&reader->block, rows, rows * m->cols));
    reader->block.first = reader->next;
    reader->block.rows = rows;
    int64_t first[2] = {reader->next, 0}, count[2] = {rows, m->cols};
    GMV_TRY(gmv_h5_read_f64(m->file, m->data, 2, first, count, reader->block.value));
    drop_zeros(&reader->block, m->cols);
    reader->next += rows;
    return GMV_OK;
}

static gmv_status next_put_together(gmv_block_reader *reader)
{
    GMV_TRY(gmv_transpose_read(reader->by_rows, reader->matrix, reader->next, reader->end, &reader->block));
    reader->next += reader->block.rows;
    return GMV_OK;
}

gmv_status gmv_block_reader_next(gmv_block_reader *reader)
{
    const gmv_matrix *m = reader->matrix;
    reader->block.rows = reader->block.rounded = 0;
    if (reader->next == reader->end) {
        return GMV_OK;
    }
    bool begins = reader->next == reader->first;
    GMV_TRY(reader->by_rows != NULL       ? next_put_together(reader)
            : m->kind == GMV_MATRIX_DENSE ? next_dense(reader)
                                          : next_sparse(reader));
    if (reader->own != NULL && begins) {
        reader->block.rounded = gmv_transpose_rounded(reader->own);
    }
    if (m->select != NULL) {
        select_columns(&reader->block, m);
    }
    return GMV_OK;
}
