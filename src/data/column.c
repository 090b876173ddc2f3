#include "column.h"

#include "gmvae/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *gmv_column_kind_name(gmv_column_kind kind)
{
    static const char *const name[] = {"categorical", "string", "int", "float", "bool", "other"};
    return name[kind];
}

static gmv_status compound_names(const gmv_table *obs, gmv_texts *names)
{
    hid_t dataset = H5Dopen2(obs->file->id, obs->path, H5P_DEFAULT);
    if (dataset < 0) {
        return gmv_h5_fail(obs->file, obs->path);
    }
    hid_t type = H5Dget_type(dataset);
    int n = H5Tget_class(type) == H5T_COMPOUND ? H5Tget_nmembers(type) : 0;
    gmv_status status = GMV_NEW(names->at, n > 0 ? n : 1, "names of columns");
    for (int i = 1; i < n && status == GMV_OK; i++) { /* the first field is the index */
        char *name = H5Tget_member_name(type, (unsigned)i);
        status = gmv_copy_text(&names->at[names->n], name);
        names->n += status == GMV_OK;
        H5free_memory(name);
    }
    H5Tclose(type);
    H5Dclose(dataset);
    return status;
}

/* Groups whose writer left no column-order: every link but the index and 0.7's __categories. */
static void drop_name(gmv_texts *names, const char *name)
{
    int kept = 0;
    for (int i = 0; i < names->n; i++) {
        if (strcmp(names->at[i], name) == 0) {
            gmv_free(names->at[i]);
        } else {
            names->at[kept++] = names->at[i];
        }
    }
    names->n = kept;
}

gmv_status gmv_column_names(const gmv_table *obs, gmv_texts *names)
{
    memset(names, 0, sizeof *names);
    if (obs->kind != GMV_TABLE_GROUP) {
        return obs->kind == GMV_TABLE_COMPOUND ? compound_names(obs, names) : GMV_OK;
    }
    if (H5Aexists_by_name(obs->file->id, obs->path, "column-order", H5P_DEFAULT) > 0) {
        return gmv_h5_attribute_texts(obs->file, obs->path, "column-order", names);
    }
    GMV_TRY(gmv_h5_children(obs->file, obs->path, names));
    drop_name(names, obs->index_name);
    drop_name(names, "__categories");
    return GMV_OK;
}

static gmv_column_kind kind_of(hid_t dataset, bool *is_unsigned, size_t *size)
{
    hid_t type = H5Dget_type(dataset);
    H5T_class_t class = H5Tget_class(type);
    *size = H5Tget_size(type);
    *is_unsigned = class == H5T_INTEGER && H5Tget_sign(type) == H5T_SGN_NONE;
    H5Tclose(type);
    switch (class) {
    case H5T_STRING:
        return GMV_COLUMN_STRING;
    case H5T_INTEGER:
        return GMV_COLUMN_INT;
    case H5T_FLOAT:
        return GMV_COLUMN_FLOAT;
    case H5T_ENUM:
        return *size == 1 ? GMV_COLUMN_BOOL : GMV_COLUMN_OTHER;
    default:
        return GMV_COLUMN_OTHER;
    }
}

static gmv_status read_levels(gmv_column *column, const char *path)
{
    char values[1100];
    hid_t dataset;
    int64_t n;
    bool is_unsigned;
    size_t size;
    snprintf(values, sizeof values, "%s%s", path, gmv_h5_is_group(column->file, path) ? "/values" : "");
    GMV_TRY(gmv_h5_open_dataset(column->file, values, 1, &dataset, &n));
    column->level_kind = kind_of(dataset, &is_unsigned, &size);
    H5Dclose(dataset);
    return gmv_h5_texts_at(column->file, path, NULL, &column->level);
}

static bool read_flag(const gmv_h5 *file, const char *path, const char *name)
{
    int8_t byte = 0;
    hid_t flag = H5Aopen_by_name(file->id, path, name, H5P_DEFAULT, H5P_DEFAULT);
    if (flag < 0) {
        return false;
    }
    hid_t type = H5Aget_type(flag);
    bool set = H5Tget_size(type) == 1 && H5Aread(flag, type, &byte) >= 0 && byte != 0;
    H5Tclose(type);
    H5Aclose(flag);
    return set;
}

/* anndata 0.7: a plain dataset of codes whose attribute refers to the levels in __categories. */
static gmv_status open_referenced(gmv_column *column, const char *path)
{
    hobj_ref_t reference;
    char levels[1024] = "";
    hid_t attribute = H5Aopen_by_name(column->file->id, path, "categories", H5P_DEFAULT, H5P_DEFAULT);
    herr_t result = attribute < 0 ? -1 : 0;
    if (result >= 0) {
        hid_t type = H5Aget_type(attribute);
        result = H5Tequal(type, H5T_STD_REF_OBJ) > 0 ? H5Aread(attribute, H5T_STD_REF_OBJ, &reference) : -1;
        H5Tclose(type);
        H5Aclose(attribute);
    }
    hid_t target = result >= 0 ? H5Rdereference2(column->file->id, H5P_DEFAULT, H5R_OBJECT, &reference) : -1;
    if (target < 0 || H5Iget_name(target, levels, sizeof levels) <= 0) {
        if (target >= 0) {
            H5Oclose(target);
        }
        return GMV_FAIL(GMV_ERR_DATA, "%s: the categories of %s are a reference to nowhere; the file is damaged",
                        column->file->path, gmv_shown(path).at);
    }
    H5Oclose(target);
    column->kind = GMV_COLUMN_CATEGORICAL;
    column->ordered = read_flag(column->file, levels, "ordered");
    return read_levels(column, levels[0] == '/' ? levels + 1 : levels);
}

static gmv_status open_group(gmv_column *column, const char *path)
{
    char part[1040];
    const gmv_h5 *file = column->file;
    snprintf(part, sizeof part, "%s/codes", path);
    if (gmv_h5_has(file, part)) {
        column->kind = GMV_COLUMN_CATEGORICAL;
        GMV_TRY(gmv_h5_open_dataset(file, part, 1, &column->values, &column->length));
        column->ordered = read_flag(file, path, "ordered");
        snprintf(part, sizeof part, "%s/categories", path);
        return read_levels(column, part);
    }
    snprintf(part, sizeof part, "%s/values", path);
    if (!gmv_h5_has(file, part)) {
        column->kind = GMV_COLUMN_OTHER;
        return GMV_OK;
    }
    GMV_TRY(gmv_h5_open_dataset(file, part, 1, &column->values, &column->length));
    column->kind = kind_of(column->values, &column->is_unsigned, &column->size);
    snprintf(part, sizeof part, "%s/mask", path);
    if (gmv_h5_has(file, part)) {
        int64_t length = 0;
        GMV_TRY(gmv_h5_open_dataset(file, part, 1, &column->mask, &length));
        if (length != column->length) {
            return GMV_FAIL(GMV_ERR_DATA, "%s: %s has values and mask of different length; the file is damaged",
                            file->path, gmv_shown(path).at);
        }
    }
    return GMV_OK;
}

static gmv_status no_column(const gmv_table *obs, const char *name, const char *key)
{
    gmv_texts names;
    char hint[900];
    GMV_TRY(gmv_column_names(obs, &names));
    gmv_names_hint(&names, name, hint, sizeof hint);
    gmv_texts_free(&names);
    return GMV_FAIL(GMV_ERR_CONFIG, "%s: obs has no column '%s' (%s); %s", obs->file->path, gmv_shown(name).at, key,
                    hint);
}

/* A column of a group: one element below it. */
static gmv_status open_element(gmv_column *column, const char *path)
{
    const gmv_h5 *file = column->file;
    if (gmv_h5_is_group(file, path)) {
        return open_group(column, path);
    }
    GMV_TRY(gmv_h5_open_dataset(file, path, 1, &column->values, &column->length));
    column->kind = kind_of(column->values, &column->is_unsigned, &column->size);
    bool categories = H5Aexists_by_name(file->id, path, "categories", H5P_DEFAULT) > 0;
    return categories ? open_referenced(column, path) : GMV_OK;
}

gmv_status gmv_column_open(gmv_column *column, const gmv_table *obs, const char *name, const char *key)
{
    char path[1024];
    memset(column, 0, sizeof *column);
    column->file = obs->file;
    column->values = column->mask = -1;
    GMV_TRY(gmv_copy_text(&column->name, name));
    if (obs->kind == GMV_TABLE_COMPOUND) {
        return GMV_FAIL(GMV_ERR_DATA,
                        "%s: obs is in the layout of anndata 0.6, from which column '%s' is not read; rewrite the file "
                        "with a current anndata: anndata.read_h5ad(path).write_h5ad(path)",
                        obs->file->path, gmv_shown(name).at);
    }
    snprintf(path, sizeof path, "%s/%s", obs->path, name);
    if (obs->kind == GMV_TABLE_NAMES || !gmv_h5_has(obs->file, path)) {
        return no_column(obs, name, key);
    }
    return open_element(column, path);
}

void gmv_column_close(gmv_column *column)
{
    if (column->values > 0) {
        H5Dclose(column->values);
    }
    if (column->mask > 0) {
        H5Dclose(column->mask);
    }
    gmv_texts_free(&column->level);
    GMV_FREE(column->name);
    memset(column, 0, sizeof *column);
    column->values = column->mask = -1;
}

gmv_status gmv_column_codes(const gmv_column *column, int64_t first, int64_t count, int32_t *code)
{
    GMV_TRY(gmv_h5_read(column->file, column->values, 1, &first, &count, H5T_NATIVE_INT32, code));
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
    gmv_status status = H5Tget_size(type) == 1
                            ? gmv_h5_read(column->file, column->mask, 1, &first, &count, type, missing)
                            : GMV_FAIL(GMV_ERR_DATA, "%s: the mask of obs/%s is not boolean", column->file->path,
                                       gmv_shown(column->name).at);
    H5Tclose(type);
    return status;
}

gmv_status gmv_column_texts(const gmv_column *column, int64_t first, int64_t count, char **text)
{
    uint8_t *missing = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(gmv_h5_read_texts(column->file, column->values, NULL, first, count, text));
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
