/* Values of a column, in the order of the table's rows. */
#include "column.h"

#include "gmvae/mem.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* The stored rows among which rows [first, first + count) are. */
static void find_span(const gmv_column *column, int64_t first, int64_t count, int64_t *from, int64_t *n)
{
    *from = first;
    *n = count;
    if (column->row != NULL && count > 0) {
        int64_t end = 0;
        *from = column->row[first];
        for (int64_t i = first; i < first + count; i++) {
            *from = column->row[i] < *from ? column->row[i] : *from;
            end = column->row[i] >= end ? column->row[i] + 1 : end;
        }
        *n = end - *from;
    }
}

static gmv_status read_rows(const gmv_column *column, hid_t dataset, const char *field, int64_t first, int64_t count,
                            hid_t type, void *out)
{
    if (column->row == NULL) {
        return gmv_h5_read_field(column->file, dataset, field, first, count, type, out);
    }
    int64_t from, n;
    size_t size = H5Tget_size(type);
    char *span = NULL;
    find_span(column, first, count, &from, &n);
    GMV_TRY(GMV_NEW(span, n * (int64_t)size, "a column"));
    gmv_status status = gmv_h5_read_field(column->file, dataset, field, from, n, type, span);
    for (int64_t i = 0; i < count && status == GMV_OK; i++) {
        memcpy((char *)out + (size_t)i * size, span + (size_t)(column->row[first + i] - from) * size, size);
    }
    GMV_FREE(span);
    return status;
}

gmv_status gmv_column_read(const gmv_column *column, int64_t first, int64_t count, hid_t type, void *out)
{
    return read_rows(column, column->values, column->field, first, count, type, out);
}

gmv_status gmv_column_codes(const gmv_column *column, int64_t first, int64_t count, int32_t *code)
{
    GMV_TRY(gmv_column_read(column, first, count, H5T_NATIVE_INT32, code));
    for (int64_t i = 0; i < count; i++) {
        if (code[i] < -1 || code[i] >= column->level.n) {
            return GMV_FAIL(GMV_ERR_DATA, "%s: obs/%s, row %" PRId64 ": code %d of %d categories; the file is damaged",
                            column->file->path, gmv_shown(column->name).at, first + i, (int)code[i], column->level.n);
        }
    }
    return GMV_OK;
}

gmv_status gmv_column_missing(const gmv_column *column, int64_t first, int64_t count, uint8_t *missing)
{
    memset(missing, 0, (size_t)count);
    if (column->mask < 0) {
        return GMV_OK;
    }
    hid_t type = H5Dget_type(column->mask);
    gmv_status status = H5Tget_size(type) == 1 ? read_rows(column, column->mask, NULL, first, count, type, missing)
                                               : GMV_FAIL(GMV_ERR_DATA, "%s: the mask of obs/%s is not boolean",
                                                          column->file->path, gmv_shown(column->name).at);
    H5Tclose(type);
    return status;
}

gmv_status gmv_column_is_empty(const gmv_column *column, bool *empty)
{
    enum { block_rows = 1 << 14 };
    double *value = NULL;
    gmv_status status = GMV_OK;
    *empty = true;
    GMV_TRY(GMV_NEW(value, block_rows, "a column"));
    for (int64_t at = 0; at < column->length && *empty && status == GMV_OK; at += block_rows) {
        int64_t n = column->length - at < block_rows ? column->length - at : block_rows;
        status = gmv_column_read(column, at, n, H5T_NATIVE_DOUBLE, value);
        for (int64_t i = 0; i < n && status == GMV_OK; i++) {
            *empty = *empty && isnan(value[i]);
        }
    }
    GMV_FREE(value);
    return status;
}

static gmv_status read_text_rows(const gmv_column *column, int64_t first, int64_t count, char **text)
{
    if (column->row == NULL) {
        return gmv_h5_read_texts(column->file, column->values, column->field, first, count, text);
    }
    int64_t from, n;
    char **span = NULL;
    find_span(column, first, count, &from, &n);
    GMV_TRY(GMV_NEW(span, n, "a column"));
    gmv_status status = gmv_h5_read_texts(column->file, column->values, column->field, from, n, span);
    for (int64_t i = 0; i < count && status == GMV_OK; i++) { /* every stored row is that of one row at most */
        text[i] = span[column->row[first + i] - from];
        span[column->row[first + i] - from] = NULL;
    }
    for (int64_t i = 0; i < n; i++) {
        gmv_free(span[i]);
    }
    GMV_FREE(span);
    return status;
}

gmv_status gmv_column_texts(const gmv_column *column, int64_t first, int64_t count, char **text)
{
    uint8_t *missing = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(read_text_rows(column, first, count, text));
    if (column->mask >= 0) {
        GMV_GO(GMV_NEW(missing, count, "a mask"));
        GMV_GO(gmv_column_missing(column, first, count, missing));
        for (int64_t i = 0; i < count; i++) {
            if (missing[i] != 0) {
                GMV_FREE(text[i]);
            }
        }
    }
done:
    GMV_FREE(missing);
    return status;
}
