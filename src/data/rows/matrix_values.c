/* The values of matrices that are not stored by rows, as they lie. Of one stored by genes every rank reads all of it and takes its own rows: the ranks work at the same time, and
 * nothing is sent. */
#include "matrix.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"
#include "gmvae/work.h"

#include <inttypes.h>

enum { piece_values = 1 << 20, tile_values = 1 << 21 }; /* read at a time */

static gmv_status read_pointers(const gmv_matrix *m, int64_t **pointer)
{
    GMV_TRY(GMV_NEW(*pointer, m->stored_cols + 1, "starts of genes"));
    GMV_TRY(gmv_h5_read_i64(m->file, m->indptr, 0, m->stored_cols + 1, *pointer));
    for (int64_t j = 0; j < m->stored_cols; j++) {
        int64_t from = (*pointer)[j], to = (*pointer)[j + 1];
        if (from < 0 || to < from || to > m->nnz) {
            return GMV_FAIL(GMV_ERR_DATA,
                            "%s: %s/indptr: gene %" PRId64 " starts at %" PRId64 " and ends at %" PRId64 " of %" PRId64
                            " values; the file is damaged",
                            m->file->path, m->name, j, from, to, m->nnz);
        }
    }
    return GMV_OK;
}

static gmv_status bad_row(const gmv_matrix *m, const int64_t *pointer, int64_t at, int64_t row)
{
    int64_t gene = 0;
    while (pointer[gene + 1] <= at) {
        gene++;
    }
    return GMV_FAIL(GMV_ERR_DATA,
                    "%s: %s, gene %" PRId64 ": cell index %" PRId64 " is outside 0 .. %" PRId64 "; the file is damaged",
                    m->file->path, m->name, gene, row, m->rows - 1);
}

gmv_status gmv_csc_each(const gmv_matrix *m, int64_t first, int64_t end, gmv_value_visitor visit, void *context)
{
    int64_t *pointer = NULL, *place = NULL, gene = 0;
    double *value = NULL;
    gmv_work work = gmv_work_begin((double)m->nnz, "transposing %s", m->file->path);
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(place, piece_values, "a piece of the matrix"));
    GMV_GO(GMV_NEW(value, piece_values, "a piece of the matrix"));
    GMV_GO(read_pointers(m, &pointer));
    for (int64_t at = 0; at < m->nnz; at += piece_values) {
        int64_t n = m->nnz - at < piece_values ? m->nnz - at : piece_values;
        GMV_GO(gmv_stop_check());
        GMV_GO(gmv_h5_read_i64(m->file, m->indices, at, n, place));
        GMV_GO(gmv_h5_read_f64(m->file, m->data, 1, &at, &n, value));
        gmv_work_at(&work, (double)at);
        for (int64_t i = 0; i < n; i++) {
            int64_t row = place[i];
            while (gene + 1 < m->stored_cols && pointer[gene + 1] <= at + i) {
                gene++;
            }
            if (row < 0 || row >= m->rows) {
                GMV_GO(bad_row(m, pointer, at + i, row));
            }
            if (row >= first && row < end && (m->select == NULL || m->select[gene] >= 0)) {
                GMV_GO(visit(context, row - first, gene, value[i]));
            }
        }
    }
done:
    GMV_FREE(pointer);
    GMV_FREE(place);
    GMV_FREE(value);
    return status;
}

/* By whole chunks, from left to right and then down, so that each is decoded once and the genes of a row ascend. */
gmv_status gmv_dense_each(const gmv_matrix *m, int64_t first, int64_t end, gmv_value_visitor visit, void *context)
{
    int64_t width = tile_values / m->chunk_rows / m->chunk_cols * m->chunk_cols;
    width = width < m->chunk_cols ? m->chunk_cols : width > m->stored_cols ? m->stored_cols : width;
    double *value = NULL;
    gmv_work work = gmv_work_begin((double)(end - first), "reading %s", m->file->path);
    gmv_status status =
        GMV_NEW(value, (m->chunk_rows < m->rows ? m->chunk_rows : m->rows) * width, "a tile of the matrix");
    for (int64_t row = first, next; row < end && status == GMV_OK; row = next) {
        next = (row / m->chunk_rows + 1) * m->chunk_rows;
        next = next < end ? next : end;
        gmv_work_at(&work, (double)(row - first));
        for (int64_t col = 0; col < m->stored_cols; col += width) {
            int64_t at[2] = {row, col},
                    n[2] = {next - row, m->stored_cols - col < width ? m->stored_cols - col : width};
            GMV_GO(gmv_stop_check());
            GMV_GO(gmv_h5_read_f64(m->file, m->data, 2, at, n, value));
            for (int64_t j = 0; j < n[1]; j++) { /* gene by gene, as buckets hold them in little room */
                for (int64_t i = 0; i < n[0] && (m->select == NULL || m->select[col + j] >= 0); i++) {
                    if (value[i * n[1] + j] != 0.0) { /* true for NaN */
                        GMV_GO(visit(context, row - first + i, col + j, value[i * n[1] + j]));
                    }
                }
            }
        }
    }
done:
    GMV_FREE(value);
    return status;
}
