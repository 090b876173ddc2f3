#include "row_names.h"

#include "gmvae/mem.h"

#include <inttypes.h>
#include <string.h>

gmv_status gmv_row_names_open(gmv_row_names *names, const gmv_table *table)
{
    const gmv_h5 *file = table->file;
    int64_t rows = 0;
    memset(names, 0, sizeof *names);
    names->table = table;
    names->values = names->levels = names->mask = -1;
    GMV_TRY(gmv_h5_open_dataset(file, table->index, 1, &names->values, &rows));
    if (table->index_levels[0] != '\0') {
        GMV_TRY(gmv_h5_open_dataset(file, table->index_levels, 1, &names->levels, &names->n_levels));
    }
    if (table->index_mask[0] != '\0') {
        GMV_TRY(gmv_h5_open_dataset(file, table->index_mask, 1, &names->mask, &rows));
        hid_t type = H5Dget_type(names->mask);
        bool fits = rows == table->rows && H5Tget_size(type) == 1;
        H5Tclose(type);
        return fits ? GMV_OK
                    : GMV_FAIL(GMV_ERR_DATA, "%s: %s is no mask of %" PRId64 " names; the file is damaged", file->path,
                               gmv_shown(table->index_mask).at, table->rows);
    }
    return GMV_OK;
}

void gmv_row_names_close(gmv_row_names *names)
{
    hid_t *open[] = {&names->values, &names->levels, &names->mask};
    for (int i = 0; i < 3; i++) {
        if (*open[i] > 0) {
            H5Dclose(*open[i]);
        }
        *open[i] = -1;
    }
    gmv_texts_free(&names->level);
}

static gmv_status read_levels(gmv_row_names *names)
{
    const gmv_table *table = names->table;
    if (names->level.at != NULL) {
        return GMV_OK;
    }
    if (names->n_levels > INT32_MAX) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: %s has %" PRId64 " names, more than 2^31", table->file->path,
                        gmv_shown(table->index_levels).at, names->n_levels);
    }
    GMV_TRY(GMV_NEW(names->level.at, names->n_levels, "names"));
    names->level.n = (int)names->n_levels;
    return gmv_h5_read_texts(table->file, names->levels, NULL, 0, names->n_levels, names->level.at);
}

/* One name does not need all levels, which can be as many as there are rows. */
static gmv_status name_of(gmv_row_names *names, int64_t code, bool single, char **text)
{
    if (single) {
        return gmv_h5_read_texts(names->table->file, names->levels, NULL, code, 1, text);
    }
    GMV_TRY(read_levels(names));
    return gmv_copy_text(text, names->level.at[code]);
}

static gmv_status read_coded(gmv_row_names *names, int64_t first, int64_t count, char **text)
{
    const gmv_table *table = names->table;
    int64_t *code = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(code, count, "names"));
    GMV_GO(gmv_h5_read_i64(table->file, names->values, first, count, code));
    for (int64_t i = 0; i < count; i++) {
        if (code[i] < -1 || code[i] >= names->n_levels) {
            GMV_GO(GMV_FAIL(GMV_ERR_DATA,
                            "%s: %s, row %" PRId64 ": code %" PRId64 " of %" PRId64 " names; the file is damaged",
                            table->file->path, gmv_shown(table->index).at, first + i, code[i], names->n_levels));
        }
        GMV_GO(code[i] < 0 ? GMV_OK : name_of(names, code[i], count == 1, &text[i]));
    }
done:
    GMV_FREE(code);
    return status;
}

static gmv_status drop_masked(const gmv_row_names *names, int64_t first, int64_t count, char **text)
{
    uint8_t *missing = NULL;
    hid_t type = H5Dget_type(names->mask);
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(missing, count, "a mask"));
    GMV_GO(gmv_h5_read(names->table->file, names->mask, 1, &first, &count, type, missing));
    for (int64_t i = 0; i < count; i++) {
        if (missing[i] != 0) {
            GMV_FREE(text[i]);
        }
    }
done:
    GMV_FREE(missing);
    H5Tclose(type);
    return status;
}

gmv_status gmv_row_names_read(gmv_row_names *names, int64_t first, int64_t count, char **text)
{
    memset(text, 0, (size_t)count * sizeof *text);
    if (names->levels >= 0) {
        return read_coded(names, first, count, text);
    }
    GMV_TRY(gmv_h5_read_texts(names->table->file, names->values, NULL, first, count, text));
    return names->mask >= 0 ? drop_masked(names, first, count, text) : GMV_OK;
}
