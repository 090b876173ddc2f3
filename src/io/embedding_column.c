#include "embedding_column.h"

#include "gmvae/mem.h"
#include "gmvae/signals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Does something with the column of a file, whose first row is row `start` of all. */
typedef gmv_status (*column_visitor)(const gmv_obs_copy *copy, gmv_obs_column *all, const gmv_column *column,
                                     gmv_gidx start);

/* `path` is where it is written. */
static gmv_status visit_files(gmv_obs_copy *copy, gmv_obs_column *all, column_visitor visit)
{
    gmv_status status = GMV_OK;
    for (int f = 0; f < copy->cells->files && status == GMV_OK; f++) {
        gmv_column column = {.values = -1, .mask = -1};
        status = gmv_obs_open(copy, f);
        if (status == GMV_OK) {
            status = gmv_column_open(&column, &copy->table[gmv_obs_slot(copy, f)], all->name, "output");
        }
        if (status == GMV_OK) {
            status = visit(copy, all, &column, copy->cells->file_start[f]);
        }
        gmv_column_close(&column);
        gmv_obs_close(copy, f);
    }
    return status;
}

/* The levels as they are: numbers stay numbers when they are in every file. */
static gmv_status write_levels(const gmv_obs_copy *copy, const char *path, const gmv_obs_column *all)
{
    const gmv_names *level = &all->level;
    if (all->level_kind != GMV_COLUMN_INT && all->level_kind != GMV_COLUMN_FLOAT) {
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
    bool integer = all->level_kind == GMV_COLUMN_INT;
    hid_t type = integer ? H5T_NATIVE_INT64 : H5T_NATIVE_DOUBLE;
    GMV_GO(gmv_h5ad_array(copy->out, path, type, 1, &level->n));
    GMV_GO(gmv_h5ad_write(copy->out, path, type, 0, level->n, integer ? (const void *)whole : (const void *)real));
done:
    GMV_FREE(real);
    GMV_FREE(whole);
    return status;
}

static gmv_status copy_codes(const gmv_obs_copy *copy, gmv_obs_column *all, const gmv_column *column, gmv_gidx start)
{
    int32_t *code = all->block, *to = NULL;
    gmv_status status = GMV_OK;
    GMV_TRY(GMV_NEW(to, column->level.n, "levels"));
    for (int i = 0; i < column->level.n; i++) {
        to[i] = (int32_t)gmv_names_find(&all->level, column->level.at[i]);
    }
    for (int64_t at = 0; at < column->length; at += GMV_OBS_BLOCK) {
        int64_t n = column->length - at < GMV_OBS_BLOCK ? column->length - at : GMV_OBS_BLOCK;
        GMV_GO(gmv_stop_check());
        GMV_GO(gmv_column_codes(column, at, n, code));
        for (int64_t i = 0; i < n; i++) {
            code[i] = code[i] < 0 ? -1 : to[code[i]];
        }
        GMV_GO(gmv_h5ad_write(copy->out, all->path, H5T_NATIVE_INT32, start + at, n, code));
    }
done:
    GMV_FREE(to);
    return status;
}

static gmv_status copy_categorical(gmv_obs_copy *copy, gmv_obs_column *all)
{
    size_t length = strlen(all->path);
    GMV_TRY(gmv_h5ad_group(copy->out, all->path, "categorical", "0.2.0"));
    GMV_TRY(gmv_h5ad_attribute_bool(copy->out, all->path, "ordered", all->ordered));
    snprintf(all->path + length, sizeof all->path - length, "/categories");
    GMV_TRY(write_levels(copy, all->path, all));
    snprintf(all->path + length, sizeof all->path - length, "/codes");
    GMV_TRY(gmv_h5ad_array(copy->out, all->path, gmv_h5ad_code_type(all->level.n), 1, &copy->cells->total));
    return visit_files(copy, all, copy_codes);
}

static gmv_status copy_texts(const gmv_obs_copy *copy, gmv_obs_column *all, const gmv_column *column, gmv_gidx start)
{
    char **text = all->block;
    gmv_status status = GMV_OK;
    for (int64_t at = 0; at < column->length && status == GMV_OK; at += GMV_OBS_BLOCK) {
        int64_t n = column->length - at < GMV_OBS_BLOCK ? column->length - at : GMV_OBS_BLOCK;
        memset(text, 0, (size_t)n * sizeof *text);
        status = gmv_stop_check();
        status = status == GMV_OK ? gmv_column_texts(column, at, n, text) : status;
        for (int64_t i = 0; i < n && status == GMV_OK; i++) {
            status = text[i] == NULL ? gmv_copy_text(&text[i], "") : GMV_OK; /* what a mask will hide */
        }
        if (status == GMV_OK) {
            status = gmv_h5ad_write_strings(copy->out, all->path, start + at, n, text);
        }
        for (int64_t i = 0; i < n; i++) {
            GMV_FREE(text[i]);
        }
    }
    return status;
}

static gmv_status copy_strings(gmv_obs_copy *copy, gmv_obs_column *all)
{
    GMV_TRY(gmv_h5ad_strings(copy->out, all->path, copy->cells->total));
    return visit_files(copy, all, copy_texts);
}

/* The stored type when all files share it, else the widest of its kind. Ownership: H5Tclose. */
static hid_t number_type(const gmv_obs_column *all)
{
    if (all->kind == GMV_COLUMN_BOOL) {
        return gmv_h5ad_bool_type();
    }
    hid_t native = all->same_type ? H5Tget_native_type(all->type, H5T_DIR_DEFAULT) : -1;
    return native >= 0 ? native : H5Tcopy(all->kind == GMV_COLUMN_INT ? H5T_NATIVE_INT64 : H5T_NATIVE_DOUBLE);
}

static gmv_status copy_values(const gmv_obs_copy *copy, gmv_obs_column *all, const gmv_column *column, gmv_gidx start)
{
    hid_t type = number_type(all);
    hid_t read = all->kind == GMV_COLUMN_BOOL ? column->type : type; /* HDF5 does not convert between enums */
    gmv_status status = GMV_OK;
    for (int64_t at = 0; at < column->length; at += GMV_OBS_BLOCK) {
        int64_t n = column->length - at < GMV_OBS_BLOCK ? column->length - at : GMV_OBS_BLOCK;
        GMV_GO(gmv_stop_check());
        GMV_GO(gmv_column_read(column, at, n, read, all->block));
        GMV_GO(gmv_h5ad_write(copy->out, all->path, type, start + at, n, all->block));
    }
done:
    H5Tclose(type);
    return status;
}

static gmv_status copy_numbers(gmv_obs_copy *copy, gmv_obs_column *all)
{
    hid_t type = number_type(all);
    gmv_status status = gmv_h5ad_array(copy->out, all->path, type, 1, &copy->cells->total);
    H5Tclose(type);
    return status == GMV_OK ? visit_files(copy, all, copy_values) : status;
}

static gmv_status copy_missing(const gmv_obs_copy *copy, gmv_obs_column *all, const gmv_column *column, gmv_gidx start)
{
    hid_t type = gmv_h5ad_bool_type();
    gmv_status status = GMV_OK;
    for (int64_t at = 0; at < column->length; at += GMV_OBS_BLOCK) {
        int64_t n = column->length - at < GMV_OBS_BLOCK ? column->length - at : GMV_OBS_BLOCK;
        GMV_GO(gmv_stop_check());
        GMV_GO(gmv_column_missing(column, at, n, all->block));
        GMV_GO(gmv_h5ad_write(copy->out, all->path, type, start + at, n, all->block));
    }
done:
    H5Tclose(type);
    return status;
}

static gmv_status copy_nullable(gmv_obs_copy *copy, gmv_obs_column *all)
{
    size_t length = strlen(all->path);
    const char *encoding = all->kind == GMV_COLUMN_INT    ? "nullable-integer"
                           : all->kind == GMV_COLUMN_BOOL ? "nullable-boolean"
                                                          : "nullable-string-array";
    GMV_TRY(gmv_h5ad_group(copy->out, all->path, encoding, "0.1.0"));
    snprintf(all->path + length, sizeof all->path - length, "/values");
    GMV_TRY(all->kind == GMV_COLUMN_STRING ? copy_strings(copy, all) : copy_numbers(copy, all));
    snprintf(all->path + length, sizeof all->path - length, "/mask");
    hid_t type = gmv_h5ad_bool_type();
    gmv_status status = gmv_h5ad_array(copy->out, all->path, type, 1, &copy->cells->total);
    H5Tclose(type);
    return status == GMV_OK ? visit_files(copy, all, copy_missing) : status;
}

gmv_status gmv_obs_column_write(gmv_obs_copy *copy, gmv_obs_column *all)
{
    int64_t *block = NULL; /* the widest of them */
    GMV_TRY(GMV_NEW(block, GMV_OBS_BLOCK, "a column"));
    all->block = block;
    gmv_status status = all->kind == GMV_COLUMN_CATEGORICAL ? copy_categorical(copy, all)
                        : all->nullable                     ? copy_nullable(copy, all)
                        : all->kind == GMV_COLUMN_STRING    ? copy_strings(copy, all)
                                                            : copy_numbers(copy, all);
    GMV_FREE(block);
    return status;
}
