/* Threads take slabs of rows in turn: chunks are decoded into a cache-sized buffer and packed from there, and the packed
 * slabs are joined in order. Whatever is not as it should be is read again through HDF5, one slab by one thread, which
 * says what it is. */
#include "read_rows.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <string.h>

/* A slab is many chunks long, as those at its ends are decoded twice; and rows have a bound, as some are empty. */
enum { slab_values = 1 << 20, slab_rows = 1 << 15 };

/* ---- the store ---- */

gmv_status gmv_row_store_open(gmv_row_store *store, const gmv_matrix *matrix, int64_t first, int64_t end)
{
    int64_t at[2] = {0, 0};
    bool columns = false, values = false;
    memset(store, 0, sizeof *store);
    store->column.fd = store->value.fd = -1;
    if (matrix->kind != GMV_MATRIX_CSR) {
        return GMV_OK;
    }
    gmv_status status = GMV_OK;
    if (end > first) {
        status = gmv_h5_read_i64(matrix->file, matrix->indptr, first, 1, &at[0]);
        if (status == GMV_OK) {
            status = gmv_h5_read_i64(matrix->file, matrix->indptr, end, 1, &at[1]);
        }
        if (status != GMV_OK || at[0] < 0 || at[1] < at[0] || at[1] > matrix->nnz) {
            at[0] = at[1] = 0; /* the reader will say so; the other ranks must not wait here */
        }
    }
    gmv_status opened = gmv_stored_open(&store->column, matrix->file, matrix->indices, at[0], at[1], &columns);
    status = status == GMV_OK ? opened : status;
    opened = gmv_stored_open(&store->value, matrix->file, matrix->data, at[0], at[1], &values);
    status = status == GMV_OK ? opened : status;
    store->is_open = status == GMV_OK && columns && values;
    if (!store->is_open) {
        gmv_stored_close(&store->column);
        gmv_stored_close(&store->value);
    }
    return status;
}

void gmv_row_store_close(gmv_row_store *store)
{
    if (store->is_open) {
        gmv_stored_close(&store->column);
        gmv_stored_close(&store->value);
    }
    store->is_open = false;
}

/* ---- numbers as they are stored ---- */

/* out[i] = in[i] where that is within 0 .. most, else no_count; a negative number becomes a huge one. */
#define CONVERT(type)                                                                                                  \
    do {                                                                                                               \
        const type *from = in;                                                                                         \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            uint64_t wide = (uint64_t)from[i];                                                                         \
            out[i] = wide <= most ? (uint32_t)wide : no_count;                                                         \
        }                                                                                                              \
    } while (0)

/* The same for a real type: what is no whole number, too large, negative or NaN does not come back as it was. */
#define CONVERT_REAL(type)                                                                                             \
    do {                                                                                                               \
        const type *from = in;                                                                                         \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            type value = from[i] < (type)16777216 ? from[i] : (type)16777216;                                          \
            int32_t whole = (int32_t)(value > (type)-1 ? value : (type)-1);                                            \
            out[i] = (type)whole == from[i] ? (uint32_t)whole : no_count;                                              \
        }                                                                                                              \
    } while (0)

static const uint32_t no_count = UINT32_MAX, most_count = 16777216;

static void convert(const gmv_stored *stored, const void *in, int64_t n, uint32_t most, uint32_t *out)
{
    if (stored->kind == GMV_NUMBER_FLOAT) {
        if (stored->size == 4) {
            CONVERT_REAL(float);
        } else {
            CONVERT_REAL(double);
        }
        return;
    }
    bool negative = stored->kind == GMV_NUMBER_INT;
    switch (negative ? stored->size : -stored->size) {
    case 1:
        CONVERT(int8_t);
        break;
    case 2:
        CONVERT(int16_t);
        break;
    case 4:
        CONVERT(int32_t);
        break;
    case 8:
        CONVERT(int64_t);
        break;
    case -1:
        CONVERT(uint8_t);
        break;
    case -2:
        CONVERT(uint16_t);
        break;
    case -4:
        CONVERT(uint32_t);
        break;
    default:
        CONVERT(uint64_t);
    }
}

/* ---- slabs ---- */

typedef struct slab_reader {
    gmv_stored_cursor column, value;
    gmv_packer packed;
    uint32_t *columns, *counts; /* [room] a row's, converted */
    int64_t room;
} slab_reader;

/* What all threads read. */
typedef struct row_range {
    const gmv_row_source *source;
    const gmv_row_store *store;
    const int64_t *indptr; /* [end - first + 1] */
    int32_t *map;          /* [stored columns] gene in use or -1; NULL: the same */
    int64_t first, end;
    int64_t *slab; /* [slabs + 1] first rows */
    int slabs;
    const gmv_packer *into; /* where slabs are packed in place, from `base` on; NULL: each in room of its own */
    gmv_nnz base;
} row_range;

static gmv_status reader_init(slab_reader *reader, const row_range *range, int32_t genes)
{
    memset(reader, 0, sizeof *reader);
    bool own = range->into == NULL;
    gmv_status status = gmv_packer_init(&reader->packed, genes, slab_rows, own ? slab_values : 0);
    if (status == GMV_OK) {
        status = gmv_stored_cursor_init(&reader->column, &range->store->column);
    }
    if (status == GMV_OK) {
        status = gmv_stored_cursor_init(&reader->value, &range->store->value);
    }
    return status;
}

static void reader_fini(slab_reader *reader)
{
    gmv_stored_cursor_fini(&reader->column);
    gmv_stored_cursor_fini(&reader->value);
    gmv_packer_fini(&reader->packed);
    GMV_FREE(reader->columns);
    GMV_FREE(reader->counts);
}

static bool make_room(slab_reader *reader, int64_t n)
{
    if (n > reader->room) {
        GMV_FREE(reader->columns);
        GMV_FREE(reader->counts);
        reader->room = 0;
        if (GMV_NEW(reader->columns, n, "a row") != GMV_OK || GMV_NEW(reader->counts, n, "a row") != GMV_OK) {
            return false;
        }
        reader->room = n;
    }
    return true;
}

/* Rows of one slab into reader->packed. @return false when something is not as it should be */
static bool read_slab(slab_reader *reader, const row_range *range, int s)
{
    int64_t cols = range->source->matrix->stored_cols, last = range->indptr[range->slab[s + 1] - range->first];
    bool direct = range->store->column.size == 4 && range->store->column.kind == GMV_NUMBER_INT;
    gmv_packer_reset(&reader->packed);
    if (range->into != NULL) {
        int64_t from = range->indptr[range->slab[s] - range->first];
        gmv_packer_lend(range->into, range->base + from - range->indptr[0], last - from, &reader->packed);
    }
    for (int64_t row = range->slab[s]; row < range->slab[s + 1]; row++) {
        int64_t at = range->indptr[row - range->first], n = range->indptr[row - range->first + 1] - at;
        const void *column = NULL, *value = NULL;
        if (n > 0) {
            column = gmv_stored_span(&reader->column, at, n, last);
            value = gmv_stored_span(&reader->value, at, n, last);
            if (column == NULL || value == NULL || !make_room(reader, n)) {
                return false;
            }
            if (!direct) {
                convert(&range->store->column, column, n, (uint32_t)cols - 1, reader->columns);
                column = reader->columns;
            }
            convert(&range->store->value, value, n, most_count - 1, reader->counts);
        }
        if (!gmv_packer_add_row(&reader->packed, column, reader->counts, n, cols, range->map)) {
            return false;
        }
    }
    return true;
}

/* From stored columns to genes in use, in one step. */
static gmv_status join_maps(row_range *range)
{
    const gmv_matrix *m = range->source->matrix;
    const int32_t *map = range->source->map;
    if (m->select == NULL && map == NULL) {
        return GMV_OK;
    }
    GMV_TRY(GMV_NEW(range->map, m->stored_cols, "the map of genes"));
    for (int64_t j = 0; j < m->stored_cols; j++) {
        int32_t column = m->select == NULL ? (int32_t)j : m->select[j];
        range->map[j] = column < 0 || map == NULL ? column : map[column];
    }
    return GMV_OK;
}

static gmv_status cut_into_slabs(row_range *range)
{
    int64_t rows = range->end - range->first,
            most = (range->indptr[rows] - range->indptr[0]) / slab_values + rows / slab_rows + 2;
    GMV_TRY(GMV_NEW(range->slab, most + 1, "slabs of rows"));
    int64_t row = 0;
    for (range->slab[0] = range->first; row < rows; range->slab[++range->slabs] = range->first + row) {
        int64_t from = row++;
        while (row < rows && row - from < slab_rows && range->indptr[row + 1] - range->indptr[from] <= slab_values) {
            row++;
        }
    }
    return GMV_OK;
}

/* Slabs from *next on by all threads, up to the first that is not as it should be, where *next then stands. */
static gmv_status read_in_parallel(gmv_packer *packer, const row_range *range, int64_t whole, int *next)
{
    gmv_status status = GMV_OK;
    bool stop = false;
    int first = *next;
#pragma omp parallel
    {
        slab_reader reader;
        bool ready = reader_init(&reader, range, packer->genes) == GMV_OK;
#pragma omp for ordered schedule(dynamic, 1)
        for (int s = first; s < range->slabs; s++) {
            bool skip, good;
#pragma omp atomic read
            skip = stop;
            good = ready && !skip && read_slab(&reader, range, s);
#pragma omp ordered
            {
                if (!stop && good) {
                    status = gmv_packer_append(packer, &reader.packed);
                    *next = s + 1;
                    gmv_log_progress(false, "reading %s: %.0f%%", range->source->matrix->file->path,
                                     100.0 * (double)packer->rows / (double)(whole > 0 ? whole : 1));
                }
                if (!good || status != GMV_OK) {
#pragma omp atomic write
                    stop = true;
                }
            }
        }
        reader_fini(&reader);
    }
    return status;
}

/* ---- rows ---- */

static gmv_status read_through_hdf5(gmv_packer *packer, const gmv_row_source *source, int64_t first, int64_t end,
                                    int64_t whole)
{
    gmv_block_reader reader;
    gmv_status status = gmv_block_reader_init(&reader, source->matrix, first, end);
    if (status == GMV_OK) {
        status = gmv_packer_reserve(packer, reader.values);
    }
    while (status == GMV_OK && reader.next < reader.end) {
        status = gmv_block_reader_next(&reader);
        if (status == GMV_OK) {
            status = gmv_packer_add(packer, source, &reader.block);
        }
        gmv_log_progress(false, "reading %s: %.0f%%", source->matrix->file->path,
                         100.0 * (double)packer->rows / (double)(whole > 0 ? whole : 1));
    }
    gmv_block_reader_fini(&reader);
    return status;
}

gmv_status gmv_read_rows(gmv_packer *packer, const gmv_row_source *source, const gmv_row_store *store, int64_t first,
                         int64_t end, int64_t whole)
{
    if (!store->is_open || end <= first) {
        return read_through_hdf5(packer, source, first, end, whole);
    }
    int64_t *indptr = NULL;
    row_range range = {.source = source, .store = store, .first = first, .end = end};
    gmv_status status = GMV_OK;
    int next = 0;
    GMV_GO(gmv_matrix_pointers(source->matrix, first, end, &indptr));
    range.indptr = indptr;
    GMV_GO(cut_into_slabs(&range));
    GMV_GO(join_maps(&range));
    if (range.map == NULL && packer->nnz + indptr[end - first] - indptr[0] <= packer->capacity) {
        range.into = packer;
        range.base = packer->nnz;
    }
    while (next < range.slabs) {
        GMV_GO(read_in_parallel(packer, &range, whole, &next));
        if (next < range.slabs) {
            GMV_GO(read_through_hdf5(packer, source, range.slab[next], range.slab[next + 1], whole));
            next++;
        }
    }
done:
    GMV_FREE(range.map);
    GMV_FREE(range.slab);
    GMV_FREE(indptr);
    return status;
}
