#include "csr_reader.h"

#include "gmvae/cpu.h"
#include "gmvae/mem.h"

#include <string.h>

/* ---- the store ---- */

static void close_all(gmv_csr_arrays *store)
{
    gmv_h5_array_close(&store->column);
    gmv_h5_array_close(&store->value);
    gmv_h5_array_close(&store->pointer);
}

gmv_status gmv_csr_arrays_open(gmv_csr_arrays *store, const gmv_matrix *matrix, int64_t first, int64_t end,
                               bool pointers)
{
    int64_t at[2] = {0, 0};
    bool columns = false, values = false, starts = !pointers;
    memset(store, 0, sizeof *store);
    store->column.fd = store->value.fd = store->pointer.fd = -1;
    store->round = matrix->round;
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
    gmv_status opened = gmv_h5_array_open(&store->column, matrix->file, matrix->indices, at[0], at[1], &columns);
    status = status == GMV_OK ? opened : status;
    opened = gmv_h5_array_open(&store->value, matrix->file, matrix->data, at[0], at[1], &values);
    status = status == GMV_OK ? opened : status;
    if (pointers) {
        opened = gmv_h5_array_open(&store->pointer, matrix->file, matrix->indptr, first, end > first ? end + 1 : first,
                                   &starts);
        status = status == GMV_OK ? opened : status;
    }
    store->is_open = status == GMV_OK && columns && values && starts;
    if (!store->is_open) {
        close_all(store);
    }
    return status;
}

void gmv_csr_arrays_close(gmv_csr_arrays *store)
{
    if (store->is_open) {
        close_all(store);
    }
    store->is_open = false;
}

/* ---- numbers as they are stored ---- */

/* One beyond 2^63 becomes negative, which is caught as such. */
static int64_t whole_number(gmv_numbers in, int64_t i)
{
    bool has_sign = in.kind == GMV_NUMBER_INT;
    switch (in.size) {
    case 8:
        return ((const int64_t *)in.at)[i];
    case 4:
        return has_sign ? ((const int32_t *)in.at)[i] : (int64_t)((const uint32_t *)in.at)[i];
    case 2:
        return has_sign ? ((const int16_t *)in.at)[i] : ((const uint16_t *)in.at)[i];
    default:
        return has_sign ? ((const int8_t *)in.at)[i] : ((const uint8_t *)in.at)[i];
    }
}

/* Counts of a row that is not as nearly all are; what is none becomes one that is too large. */
static void convert(gmv_numbers in, int64_t n, uint32_t *out)
{
    for (int64_t i = 0; i < n; i++) {
        double value;
        if (in.kind == GMV_NUMBER_FLOAT) {
            value = in.size == 4 ? (double)((const float *)in.at)[i] : ((const double *)in.at)[i];
        } else {
            value = (double)whole_number(in, i);
        }
        out[i] = gmv_is_count(value) ? (uint32_t)value : UINT32_MAX;
    }
}

/* ---- the reader ---- */

gmv_status gmv_csr_reader_map(const gmv_row_source *source, int32_t **map)
{
    const gmv_matrix *m = source->matrix;
    *map = NULL;
    if (m->select == NULL && source->map == NULL) {
        return GMV_OK;
    }
    GMV_TRY(GMV_NEW(*map, m->stored_cols, "the map of genes"));
    for (int64_t j = 0; j < m->stored_cols; j++) {
        int32_t column = m->select == NULL ? (int32_t)j : m->select[j];
        (*map)[j] = column < 0 ? -2 : source->map == NULL ? column : source->map[column];
    }
    return GMV_OK;
}

static bool keeps_order(const int32_t *map, int64_t cols)
{
    int32_t last = -1;
    for (int64_t j = 0; j < cols; j++) {
        if (map[j] >= 0 && map[j] <= last) {
            return false;
        }
        last = map[j] > last ? map[j] : last;
    }
    return true;
}

gmv_status gmv_csr_reader_init(gmv_csr_reader *reader, const gmv_csr_arrays *store, int64_t cols, const int32_t *map)
{
    memset(reader, 0, sizeof *reader);
    reader->store = store;
    reader->cols = cols;
    reader->map = map;
    reader->in_order = map == NULL || keeps_order(map, cols);
    reader->narrow = gmv_fast_rows_of(gmv_cpu_best());
    GMV_TRY(gmv_h5_array_cursor_init(&reader->column, &store->column));
    GMV_TRY(gmv_h5_array_cursor_init(&reader->value, &store->value));
    return store->pointer.fd >= 0 ? gmv_h5_array_cursor_init(&reader->pointer, &store->pointer) : GMV_OK;
}

void gmv_csr_reader_fini(gmv_csr_reader *reader)
{
    gmv_h5_array_cursor_fini(&reader->column);
    gmv_h5_array_cursor_fini(&reader->value);
    gmv_h5_array_cursor_fini(&reader->pointer);
    GMV_FREE(reader->columns);
    GMV_FREE(reader->counts);
    GMV_FREE(reader->whole);
    GMV_FREE(reader->start);
}

static bool make_room(gmv_csr_reader *reader, int64_t n)
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

static bool add_row(gmv_csr_reader *reader, gmv_packer *packer, gmv_numbers column, gmv_numbers value, int64_t n)
{
    if (reader->in_order &&
        gmv_packer_add_numbers(packer, reader->narrow, column, value, n, reader->cols, reader->map)) {
        return true;
    }
    if (!make_room(reader, n)) {
        return false;
    }
    reader->narrow->columns(column, n, reader->columns);
    convert(value, n, reader->counts);
    return gmv_packer_add_row(packer, reader->columns, reader->counts, n, reader->cols, reader->map);
}

#define ROUND(type)                                                                                                    \
    do {                                                                                                               \
        const type *from = value->at;                                                                                  \
        type *to = (type *)(void *)reader->whole;                                                                      \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            to[i] = (type)gmv_whole((double)from[i], reader->store->round);                                            \
        }                                                                                                              \
    } while (0)

/* Takes reals that are nearly whole numbers as these. @return false: no memory */
static bool round_values(gmv_csr_reader *reader, gmv_numbers *value, int64_t n)
{
    if (n * value->size > reader->whole_bytes) {
        GMV_FREE(reader->whole);
        reader->whole_bytes = 0;
        if (GMV_ROOM(reader->whole, n * value->size, "a row") != GMV_OK) {
            return false;
        }
        reader->whole_bytes = n * value->size;
    }
    if (value->size == 4) {
        ROUND(float);
    } else {
        ROUND(double);
    }
    value->at = reader->whole;
    return true;
}
#undef ROUND

static double real_number(gmv_numbers in, int64_t i)
{
    return in.size == 4 ? (double)((const float *)in.at)[i] : ((const double *)in.at)[i];
}

/* How many values of columns of the matrix were rounded. */
static int64_t count_rounded(const gmv_csr_reader *reader, gmv_numbers column, gmv_numbers stored, gmv_numbers whole,
                             int64_t n)
{
    int64_t rounded = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = real_number(stored, i) != real_number(whole, i) ? whole_number(column, i) : -1;
        rounded += at >= 0 && at < reader->cols && (reader->map == NULL || reader->map[at] > -2);
    }
    return rounded;
}

bool gmv_csr_reader_add(gmv_csr_reader *reader, gmv_packer *packer, int64_t at, int64_t n, int64_t end)
{
    const gmv_h5_array *columns = &reader->store->column, *values = &reader->store->value;
    gmv_numbers column = {NULL, columns->kind, columns->size}, value = {NULL, values->kind, values->size};
    if (n > 0) {
        column.at = gmv_h5_array_span(&reader->column, at, n, end);
        value.at = gmv_h5_array_span(&reader->value, at, n, end);
        if (column.at == NULL || value.at == NULL) {
            return false;
        }
    }
    gmv_numbers stored = value;
    bool rounds = reader->store->round > 0 && value.kind == GMV_NUMBER_FLOAT && n > 0;
    if (rounds && !round_values(reader, &value, n)) {
        return false;
    }
    if (!add_row(reader, packer, column, value, n)) {
        return false;
    }
    packer->rounded += rounds ? count_rounded(reader, column, stored, value, n) : 0;
    return true;
}

const int64_t *gmv_csr_reader_pointers(gmv_csr_reader *reader, int64_t first, int64_t n)
{
    const gmv_h5_array *pointer = &reader->store->pointer;
    const void *stored = gmv_h5_array_span(&reader->pointer, first, n + 1, first + n + 1);
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
    for (int64_t i = 0; i <= n; i++) {
        reader->start[i] = whole_number((gmv_numbers){stored, pointer->kind, pointer->size}, i);
    }
    for (int64_t i = 0; i < n; i++) {
        if (reader->start[i] < reader->store->column.first || reader->start[i + 1] < reader->start[i] ||
            reader->start[i + 1] > reader->store->column.end ||
            reader->start[i + 1] - reader->start[i] > reader->cols) {
            return NULL;
        }
    }
    return reader->start;
}
