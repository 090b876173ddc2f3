#include "embedding_obs.h"

#include "../data/column.h"
#include "../data/matrix.h"
#include "../data/names.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { block_rows = 1 << 13 };

typedef struct obs_copy {
    const gmv_h5ad *out;
    const gmv_cells *cells;
    gmv_h5 *file;       /* [cells->files] */
    gmv_table *table;   /* [cells->files] obs of each */
    gmv_column *column; /* [cells->files] the column at hand in every file */
    gmv_names order;    /* columns written */
    char skipped[900];  /* and those that were not */
} obs_copy;

static void skip(obs_copy *copy, const char *name, const char *why)
{
    size_t used = strlen(copy->skipped);
    snprintf(copy->skipped + used, sizeof copy->skipped - used, "%s%s (%s)", used > 0 ? ", " : "", gmv_shown(name).at,
             why);
}

static gmv_status copy_index(obs_copy *copy, const char *name)
{
    const gmv_cells *cells = copy->cells;
    char path[600], **text = NULL;
    gmv_status status = GMV_OK;
    GMV_TRY(GMV_NEW(text, block_rows, "names of cells"));
    snprintf(path, sizeof path, "obs/%s", name);
    GMV_GO(gmv_h5ad_strings(copy->out, path, cells->total));
    for (int f = 0; f < cells->files; f++) {
        int64_t n = 0, rows = cells->file_start[f + 1] - cells->file_start[f];
        if (copy->table[f].rows != rows) {
            GMV_GO(GMV_FAIL(GMV_ERR_DATA, "%s: has changed since its cells were read", cells->file[f]));
        }
        hid_t dataset = -1;
        GMV_GO(gmv_h5_open_dataset(&copy->file[f], copy->table[f].index, 1, &dataset, &n));
        for (int64_t at = 0; at < rows && status == GMV_OK; at += block_rows) {
            int64_t count = rows - at < block_rows ? rows - at : block_rows;
            status = gmv_h5_read_texts(&copy->file[f], dataset, NULL, at, count, text);
            if (status == GMV_OK) {
                status = gmv_h5ad_write_strings(copy->out, path, cells->file_start[f] + at, count, text);
            }
            for (int64_t i = 0; i < count; i++) {
                GMV_FREE(text[i]);
            }
        }
        H5Dclose(dataset);
        GMV_GO(status);
    }
done:
    GMV_FREE(text);
    return status;
}

/* The levels as they are: numbers stay numbers when they are in every file. */
static gmv_status write_levels(const obs_copy *copy, const char *path, const gmv_names *level)
{
    gmv_column_kind kind = copy->column[0].level_kind;
    for (int f = 1; f < copy->cells->files; f++) {
        kind = copy->column[f].level_kind == kind ? kind : GMV_COLUMN_STRING;
    }
    if (kind != GMV_COLUMN_INT && kind != GMV_COLUMN_FLOAT) {
        GMV_TRY(gmv_h5ad_strings(copy->out, path, level->n));
        return gmv_h5ad_write_strings(copy->out, path, 0, level->n, level->at);
    }
    double *real = NULL;
    int64_t *whole = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(real, level->n, "levels"));
    GMV_GO(GMV_NEW(whole, level->n, "levels"));
    for (int64_t i = 0; i < level->n; i++) {
        real[i] = strtod(level->at[i], NULL);
        whole[i] = strtoll(level->at[i], NULL, 10);
    }
    bool integer = kind == GMV_COLUMN_INT;
    hid_t type = integer ? H5T_NATIVE_INT64 : H5T_NATIVE_DOUBLE;
    GMV_GO(gmv_h5ad_array(copy->out, path, type, 1, &level->n));
    GMV_GO(gmv_h5ad_write(copy->out, path, type, 0, level->n, integer ? (const void *)whole : (const void *)real));
done:
    GMV_FREE(real);
    GMV_FREE(whole);
    return status;
}

static gmv_status copy_codes(const obs_copy *copy, int f, const char *path, const gmv_names *level)
{
    const gmv_column *column = &copy->column[f];
    int32_t *code = NULL, *to = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(code, block_rows, "codes"));
    GMV_GO(GMV_NEW(to, column->level.n, "levels"));
    for (int i = 0; i < column->level.n; i++) {
        to[i] = (int32_t)gmv_names_find(level, column->level.at[i]);
    }
    for (int64_t at = 0; at < column->length; at += block_rows) {
        int64_t n = column->length - at < block_rows ? column->length - at : block_rows;
        GMV_GO(gmv_column_codes(column, at, n, code));
        for (int64_t i = 0; i < n; i++) {
            code[i] = code[i] < 0 ? -1 : to[code[i]];
        }
        GMV_GO(gmv_h5ad_write(copy->out, path, H5T_NATIVE_INT32, copy->cells->file_start[f] + at, n, code));
    }
done:
    GMV_FREE(code);
    GMV_FREE(to);
    return status;
}

static gmv_status copy_categorical(const obs_copy *copy, const char *path)
{
    char part[1100];
    gmv_names level = {0};
    gmv_status status = GMV_OK;
    bool ordered = copy->column[0].ordered;
    for (int f = 0; f < copy->cells->files; f++) {
        const gmv_column *column = &copy->column[f];
        for (int i = 0; i < column->level.n; i++) {
            GMV_GO(gmv_names_add(&level, column->level.at[i], NULL, NULL));
        }
        ordered = ordered && column->ordered && column->level.n == level.n; /* a union has no order */
    }
    GMV_GO(gmv_h5ad_group(copy->out, path, "categorical", "0.2.0"));
    GMV_GO(gmv_h5ad_attribute_bool(copy->out, path, "ordered", ordered));
    snprintf(part, sizeof part, "%s/categories", path);
    GMV_GO(write_levels(copy, part, &level));
    snprintf(part, sizeof part, "%s/codes", path);
    GMV_GO(gmv_h5ad_array(copy->out, part, gmv_h5ad_code_type(level.n), 1, &copy->cells->total));
    for (int f = 0; f < copy->cells->files; f++) {
        GMV_GO(copy_codes(copy, f, part, &level));
    }
done:
    gmv_names_fini(&level);
    return status;
}

static gmv_status copy_strings(const obs_copy *copy, const char *path)
{
    char **text = NULL;
    gmv_status status = GMV_OK;
    GMV_TRY(GMV_NEW(text, block_rows, "a column"));
    GMV_GO(gmv_h5ad_strings(copy->out, path, copy->cells->total));
    for (int f = 0; f < copy->cells->files; f++) {
        const gmv_column *column = &copy->column[f];
        for (int64_t at = 0; at < column->length; at += block_rows) {
            int64_t n = column->length - at < block_rows ? column->length - at : block_rows;
            status = gmv_column_texts(column, at, n, text);
            for (int64_t i = 0; i < n && status == GMV_OK; i++) {
                status = text[i] == NULL ? gmv_copy_text(&text[i], "") : GMV_OK; /* what a mask will hide */
            }
            if (status == GMV_OK) {
                status = gmv_h5ad_write_strings(copy->out, path, copy->cells->file_start[f] + at, n, text);
            }
            for (int64_t i = 0; i < n; i++) {
                GMV_FREE(text[i]);
            }
            GMV_GO(status);
        }
    }
done:
    GMV_FREE(text);
    return status;
}

/* The stored type when all files share it, else the widest of its kind. Ownership: H5Tclose. */
static hid_t number_type(const obs_copy *copy)
{
    gmv_column_kind kind = copy->column[0].kind;
    if (kind == GMV_COLUMN_BOOL) {
        return gmv_h5ad_bool_type();
    }
    hid_t first = copy->column[0].type, native = H5Tget_native_type(first, H5T_DIR_DEFAULT);
    bool same = native >= 0;
    for (int f = 1; f < copy->cells->files; f++) {
        same = same && H5Tequal(first, copy->column[f].type) > 0;
    }
    if (same) {
        return native;
    }
    if (native >= 0) {
        H5Tclose(native);
    }
    return H5Tcopy(kind == GMV_COLUMN_INT ? H5T_NATIVE_INT64 : H5T_NATIVE_DOUBLE);
}

static gmv_status copy_numbers(const obs_copy *copy, const char *path)
{
    gmv_column_kind kind = copy->column[0].kind;
    int64_t *value = NULL; /* wide enough for any of them */
    hid_t type = number_type(copy);
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(value, block_rows, "a column"));
    GMV_GO(gmv_h5ad_array(copy->out, path, type, 1, &copy->cells->total));
    for (int f = 0; f < copy->cells->files; f++) {
        const gmv_column *column = &copy->column[f];
        hid_t read = kind == GMV_COLUMN_BOOL ? column->type : type; /* HDF5 does not convert between enums */
        for (int64_t at = 0; at < column->length; at += block_rows) {
            int64_t n = column->length - at < block_rows ? column->length - at : block_rows;
            GMV_GO(gmv_column_read(column, at, n, read, value));
            GMV_GO(gmv_h5ad_write(copy->out, path, type, copy->cells->file_start[f] + at, n, value));
        }
    }
done:
    H5Tclose(type);
    GMV_FREE(value);
    return status;
}

static gmv_status copy_mask(const obs_copy *copy, const char *path)
{
    uint8_t *missing = NULL;
    hid_t type = gmv_h5ad_bool_type();
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(missing, block_rows, "a mask"));
    GMV_GO(gmv_h5ad_array(copy->out, path, type, 1, &copy->cells->total));
    for (int f = 0; f < copy->cells->files; f++) {
        const gmv_column *column = &copy->column[f];
        for (int64_t at = 0; at < column->length; at += block_rows) {
            int64_t n = column->length - at < block_rows ? column->length - at : block_rows;
            GMV_GO(gmv_column_missing(column, at, n, missing));
            GMV_GO(gmv_h5ad_write(copy->out, path, type, copy->cells->file_start[f] + at, n, missing));
        }
    }
done:
    H5Tclose(type);
    GMV_FREE(missing);
    return status;
}

static gmv_status copy_nullable(const obs_copy *copy, const char *path)
{
    char part[1100];
    gmv_column_kind kind = copy->column[0].kind;
    const char *encoding = kind == GMV_COLUMN_INT    ? "nullable-integer"
                           : kind == GMV_COLUMN_BOOL ? "nullable-boolean"
                                                     : "nullable-string-array";
    GMV_TRY(gmv_h5ad_group(copy->out, path, encoding, "0.1.0"));
    snprintf(part, sizeof part, "%s/values", path);
    GMV_TRY(kind == GMV_COLUMN_STRING ? copy_strings(copy, part) : copy_numbers(copy, part));
    snprintf(part, sizeof part, "%s/mask", path);
    return copy_mask(copy, part);
}

/* Opens the column in every file. *why stays NULL when it can be copied. */
static gmv_status open_column(obs_copy *copy, const char *name, const char **why)
{
    *why = NULL;
    for (int f = 0; f < copy->cells->files && *why == NULL; f++) {
        gmv_column *column = &copy->column[f];
        const gmv_table *table = &copy->table[f];
        if (strchr(name, '/') != NULL) {
            *why = "a name with a slash";
        } else if (!gmv_column_exists(table, name)) {
            *why = "not in every file";
        } else {
            gmv_status status = gmv_column_open(column, table, name, "output");
            if (status == GMV_ERR_DATA) { /* nobody has asked for it: the others are worth having */
                gmv_error_clear();
                *why = "not readable";
                return GMV_OK;
            }
            GMV_TRY(status);
            bool other_kind = column->kind != copy->column[0].kind;
            *why = column->kind == GMV_COLUMN_OTHER                        ? "of a kind that is not copied"
                   : other_kind                                            ? "of another kind in another file"
                   : column->mask >= 0 && column->kind == GMV_COLUMN_FLOAT ? "of a kind that is not copied"
                                                                           : NULL;
            if (*why == NULL && column->length != copy->cells->file_start[f + 1] - copy->cells->file_start[f]) {
                *why = "of the wrong length";
            }
        }
    }
    return GMV_OK;
}

static gmv_status copy_column(obs_copy *copy, const char *name)
{
    char path[1024];
    const char *why = NULL;
    bool nullable = false;
    gmv_status status = open_column(copy, name, &why);
    snprintf(path, sizeof path, "obs/%s", name);
    for (int f = 0; f < copy->cells->files; f++) {
        nullable = nullable || copy->column[f].mask > 0;
    }
    if (status == GMV_OK && why != NULL) {
        skip(copy, name, why);
    } else if (status == GMV_OK) {
        gmv_column_kind kind = copy->column[0].kind;
        status = kind == GMV_COLUMN_CATEGORICAL ? copy_categorical(copy, path)
                 : nullable                     ? copy_nullable(copy, path)
                 : kind == GMV_COLUMN_STRING    ? copy_strings(copy, path)
                                                : copy_numbers(copy, path);
        if (status == GMV_OK) {
            status = gmv_names_add(&copy->order, name, NULL, NULL);
        }
    }
    for (int f = 0; f < copy->cells->files; f++) {
        gmv_column_close(&copy->column[f]);
    }
    return status;
}

static bool among(const char *name, int n, const char *const *names)
{
    for (int i = 0; i < n; i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* Index, then every column of any file, in the order of their first mention. */
static gmv_status copy_all(obs_copy *copy, int n_reserved, const char *const *reserved)
{
    gmv_names all = {0};
    const char *index = copy->table[0].index_name;
    gmv_texts names = {NULL, 0};
    gmv_status status = GMV_OK;
    GMV_GO(gmv_h5ad_group(copy->out, "obs", "dataframe", "0.2.0"));
    if (index[0] == '\0' || among(index, n_reserved, reserved) || strchr(index, '/') != NULL) {
        index = "_index";
    }
    GMV_GO(copy_index(copy, index));
    GMV_GO(gmv_h5ad_attribute_text(copy->out, "obs", "_index", index));
    for (int f = 0; f < copy->cells->files; f++) {
        GMV_GO(gmv_column_names(&copy->table[f], &names));
        for (int i = 0; i < names.n; i++) {
            GMV_GO(gmv_names_add(&all, names.at[i], NULL, NULL));
        }
        gmv_texts_free(&names);
    }
    for (int64_t i = 0; i < all.n; i++) {
        if (!among(all.at[i], n_reserved, reserved) && strcmp(all.at[i], index) != 0) {
            GMV_GO(copy_column(copy, all.at[i]));
        }
    }
    for (int i = 0; i < n_reserved; i++) {
        GMV_GO(gmv_names_add(&copy->order, reserved[i], NULL, NULL));
    }
    GMV_GO(gmv_h5ad_attribute_texts(copy->out, "obs", "column-order", copy->order.n, copy->order.at));
done:
    gmv_texts_free(&names);
    gmv_names_fini(&all);
    return status;
}

gmv_status gmv_embedding_copy_obs(const gmv_h5ad *out, const gmv_cells *cells, int n_reserved,
                                  const char *const *reserved)
{
    obs_copy copy = {.out = out, .cells = cells};
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(copy.file, cells->files, "input files"));
    GMV_GO(GMV_NEW(copy.table, cells->files, "input files"));
    GMV_GO(GMV_NEW(copy.column, cells->files, "columns"));
    for (int f = 0; f < cells->files; f++) {
        copy.column[f].values = copy.column[f].mask = -1;
    }
    for (int f = 0; f < cells->files; f++) {
        GMV_GO(gmv_h5_open(&copy.file[f], cells->file[f], NULL));
        GMV_GO(gmv_h5_same_stamp(&copy.file[f], &cells->stamp[f]));
        GMV_GO(gmv_table_open(&copy.table[f], &copy.file[f], cells->obs[f]));
    }
    GMV_GO(copy_all(&copy, n_reserved, reserved));
    if (copy.skipped[0] != '\0') {
        gmv_warn("%s: obs columns that were not copied: %s", out->path, copy.skipped);
    }
done:
    for (int f = 0; copy.file != NULL && f < cells->files; f++) {
        gmv_h5_close(&copy.file[f]);
    }
    GMV_FREE(copy.file);
    GMV_FREE(copy.table);
    GMV_FREE(copy.column);
    gmv_names_fini(&copy.order);
    return status;
}
