#include "row_reader.h"

#include "gmvae/mem.h"

#include <string.h>

/* ---- the store ---- */

static void close_all(gmv_row_store *store)
{
    gmv_stored_close(&store->column);
    gmv_stored_close(&store->value);
    gmv_stored_close(&store->pointer);
}

gmv_status gmv_row_store_open(gmv_row_store *store, const gmv_matrix *matrix, int64_t first, int64_t end, bool pointers)
{
    int64_t at[2] = {0, 0};
    bool columns = false, values = false, starts = !pointers;
    memset(store, 0, sizeof *store);
    store->column.fd = store->value.fd = store->pointer.fd = -1;
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
    if (pointers) {
        opened = gmv_stored_open(&store->pointer, matrix->file, matrix->indptr, first, end > first ? end + 1 : first,
                                 &starts);
        status = status == GMV_OK ? opened : status;
    }
    store->is_open = status == GMV_OK && columns && values && starts;
    if (!store->is_open) {
        close_all(store);
    }
    return status;
}

void gmv_row_store_close(gmv_row_store *store)
{
    if (store->is_open) {
        close_all(store);
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

/* ---- the reader ---- */

gmv_status gmv_row_reader_map(const gmv_row_source *source, int32_t **map)
{
    const gmv_matrix *m = source->matrix;
    *map = NULL;
    if (m->select == NULL && source->map == NULL) {
        return GMV_OK;
    }
    GMV_TRY(GMV_NEW(*map, m->stored_cols, "the map of genes"));
    for (int64_t j = 0; j < m->stored_cols; j++) {
        int32_t column = m->select == NULL ? (int32_t)j : m->select[j];
        (*map)[j] = column < 0 || source->map == NULL ? column : source->map[column];
    }
    return GMV_OK;
}

gmv_status gmv_row_reader_init(gmv_row_reader *reader, const gmv_row_store *store, int64_t cols, const int32_t *map)
{
    memset(reader, 0, sizeof *reader);
    reader->store = store;
    reader->cols = cols;
    reader->map = map;
    GMV_TRY(gmv_stored_cursor_init(&reader->column, &store->column));
    GMV_TRY(gmv_stored_cursor_init(&reader->value, &store->value));
    return store->pointer.fd >= 0 ? gmv_stored_cursor_init(&reader->pointer, &store->pointer) : GMV_OK;
}

void gmv_row_reader_fini(gmv_row_reader *reader)
{
    gmv_stored_cursor_fini(&reader->column);
    gmv_stored_cursor_fini(&reader->value);
    gmv_stored_cursor_fini(&reader->pointer);
    GMV_FREE(reader->columns);
    GMV_FREE(reader->counts);
    GMV_FREE(reader->start);
}

static bool make_room(gmv_row_reader *reader, int64_t n)
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

bool gmv_row_reader_add(gmv_row_reader *reader, gmv_packer *packer, int64_t at, int64_t n, int64_t end)
{
    const gmv_stored *columns = &reader->store->column;
    const void *column = NULL, *value = NULL;
    if (n > 0) {
        column = gmv_stored_span(&reader->column, at, n, end);
        value = gmv_stored_span(&reader->value, at, n, end);
        if (column == NULL || value == NULL || !make_room(reader, n)) {
            return false;
        }
        if (columns->size != 4 || columns->kind != GMV_NUMBER_INT) {
            convert(columns, column, n, (uint32_t)reader->cols - 1, reader->columns);
            column = reader->columns;
        }
        convert(&reader->store->value, value, n, most_count - 1, reader->counts);
    }
    return gmv_packer_add_row(packer, column, reader->counts, n, reader->cols, reader->map);
}

/* As 64-bit numbers; a negative one is caught by the order. */
static void widen(const gmv_stored *stored, const void *in, int64_t n, int64_t *out)
{
    for (int64_t i = 0; i < n; i++) {
        switch (stored->size) {
        case 8:
            out[i] = ((const int64_t *)in)[i];
            break;
        case 4:
            out[i] = stored->kind == GMV_NUMBER_INT ? ((const int32_t *)in)[i] : (int64_t)((const uint32_t *)in)[i];
            break;
        case 2:
            out[i] = stored->kind == GMV_NUMBER_INT ? ((const int16_t *)in)[i] : ((const uint16_t *)in)[i];
            break;
        default:
            out[i] = stored->kind == GMV_NUMBER_INT ? ((const int8_t *)in)[i] : ((const uint8_t *)in)[i];
        }
    }
}

const int64_t *gmv_row_reader_pointers(gmv_row_reader *reader, int64_t first, int64_t n)
{
    const gmv_stored *pointer = &reader->store->pointer;
    const void *stored = gmv_stored_span(&reader->pointer, first, n + 1, first + n + 1);
    if (stored == NULL || pointer->kind == GMV_NUMBER_FLOAT) {
        return NULL;
    }
    if (n + 1 > reader->start_room) {
        GMV_FREE(reader->start);
        reader->start_room = 0;
        if (GMV_NEW(reader->start, n + 1, "row starts") != GMV_OK) {
            return NULL;
        }
        reader->start_room = n + 1;
    }
    widen(pointer, stored, n + 1, reader->start);
    for (int64_t i = 0; i < n; i++) {
        if (reader->start[i] < reader->store->column.first || reader->start[i + 1] < reader->start[i] ||
            reader->start[i + 1] > reader->store->column.end ||
            reader->start[i + 1] - reader->start[i] > reader->cols) {
            return NULL;
        }
    }
    return reader->start;
}
