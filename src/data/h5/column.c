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

static gmv_status group_names(const gmv_table *obs, gmv_texts *names)
{
    if (H5Aexists_by_name(obs->file->id, obs->path, "column-order", H5P_DEFAULT) > 0) {
        return gmv_h5_attribute_texts(obs->file, obs->path, "column-order", names);
    }
    GMV_TRY(gmv_h5_children(obs->file, obs->path, names));
    drop_name(names, obs->index_name);
    drop_name(names, "__categories");
    return GMV_OK;
}

/* The table of all cells repeats the columns of a modality as "rna:NAME": those are not added. */
static gmv_status add_common(const gmv_table *obs, gmv_texts *names)
{
    gmv_table common;
    gmv_texts more = {NULL, 0};
    char prefix[320];
    gmv_status status = GMV_OK;
    int length = snprintf(prefix, sizeof prefix, "%s:", obs->rows_at + strlen("obsmap/")), own = names->n;
    GMV_GO(gmv_table_open(&common, obs->file, obs->common));
    GMV_GO(group_names(&common, &more));
    GMV_GO(GMV_GROW(names->at, names->n, names->n + more.n, "names of columns"));
    for (int i = 0; i < more.n; i++) {
        bool known = strncmp(more.at[i], prefix, (size_t)length) == 0;
        for (int j = 0; j < own && !known; j++) {
            known = strcmp(more.at[i], names->at[j]) == 0;
        }
        if (!known) {
            GMV_GO(gmv_copy_text(&names->at[names->n], more.at[i]));
            names->n++;
        }
    }
done:
    gmv_texts_free(&more);
    return status;
}

gmv_status gmv_column_names(const gmv_table *obs, gmv_texts *names)
{
    memset(names, 0, sizeof *names);
    gmv_status status = obs->kind == GMV_TABLE_GROUP      ? group_names(obs, names)
                        : obs->kind == GMV_TABLE_COMPOUND ? compound_names(obs, names)
                                                          : GMV_OK;
    if (status == GMV_OK && obs->common[0] != '\0') {
        status = add_common(obs, names);
    }
    if (status != GMV_OK) {
        gmv_texts_free(names);
    }
    return status;
}

static gmv_column_kind kind_of(hid_t type)
{
    switch (H5Tget_class(type)) {
    case H5T_STRING:
        return GMV_COLUMN_STRING;
    case H5T_INTEGER:
        return GMV_COLUMN_INT;
    case H5T_FLOAT:
        return GMV_COLUMN_FLOAT;
    case H5T_ENUM:
        return H5Tget_size(type) == 1 ? GMV_COLUMN_BOOL : GMV_COLUMN_OTHER;
    default:
        return GMV_COLUMN_OTHER;
    }
}

static gmv_status open_values(gmv_column *column, const char *path)
{
    GMV_TRY(gmv_h5_open_dataset(column->file, path, 1, &column->values, &column->length));
    column->type = H5Dget_type(column->values);
    column->kind = kind_of(column->type);
    return GMV_OK;
}

static gmv_status read_levels(gmv_column *column, const char *path)
{
    char values[1100];
    hid_t dataset;
    int64_t n;
    snprintf(values, sizeof values, "%s%s", path, gmv_h5_is_group(column->file, path) ? "/values" : "");
    GMV_TRY(gmv_h5_open_dataset(column->file, values, 1, &dataset, &n));
    hid_t type = H5Dget_type(dataset);
    column->level_kind = kind_of(type);
    H5Tclose(type);
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
    char levels[1024];
    GMV_TRY(gmv_referred_categories(column->file, path, levels, sizeof levels));
    column->kind = GMV_COLUMN_CATEGORICAL;
    column->ordered = read_flag(column->file, levels, "ordered");
    return read_levels(column, levels);
}

static gmv_status open_group(gmv_column *column, const char *path)
{
    char part[1040];
    const gmv_h5 *file = column->file;
    snprintf(part, sizeof part, "%s/codes", path);
    if (gmv_h5_has(file, part)) {
        GMV_TRY(open_values(column, part));
        column->kind = GMV_COLUMN_CATEGORICAL;
        column->ordered = read_flag(file, path, "ordered");
        snprintf(part, sizeof part, "%s/categories", path);
        return read_levels(column, part);
    }
    snprintf(part, sizeof part, "%s/values", path);
    if (!gmv_h5_has(file, part)) {
        column->kind = GMV_COLUMN_OTHER;
        return GMV_OK;
    }
    GMV_TRY(open_values(column, part));
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
    GMV_TRY(open_values(column, path));
    bool categories = H5Aexists_by_name(file->id, path, "categories", H5P_DEFAULT) > 0;
    return categories ? open_referenced(column, path) : GMV_OK;
}

/* Position of a field of a compound, which begins with the index; -1 when there is none of that name. */
static int find_field(const gmv_table *obs, const char *name)
{
    hid_t dataset = H5Dopen2(obs->file->id, obs->path, H5P_DEFAULT);
    hid_t type = dataset < 0 ? -1 : H5Dget_type(dataset);
    int at = type < 0 ? -1 : H5Tget_member_index(type, name);
    if (type >= 0) {
        H5Tclose(type);
    }
    if (dataset >= 0) {
        H5Dclose(dataset);
    }
    return at > 0 ? at : -1;
}

/* A column of a compound: a field, whose integers are codes when uns has the categories. */
static gmv_status open_field(gmv_column *column, const gmv_table *obs, const char *name)
{
    char levels[1024];
    GMV_TRY(open_values(column, obs->path));
    hid_t member = H5Tget_member_type(column->type, (unsigned)find_field(obs, name));
    if (member < 0) {
        return gmv_h5_fail(obs->file, obs->path);
    }
    H5Tclose(column->type);
    column->type = member;
    column->kind = kind_of(member);
    GMV_TRY(gmv_copy_text(&column->field, name));
    int length = snprintf(levels, sizeof levels, "uns/%s_categories", name);
    if (column->kind != GMV_COLUMN_INT || length >= (int)sizeof levels || !gmv_h5_has(obs->file, levels)) {
        return GMV_OK;
    }
    column->kind = GMV_COLUMN_CATEGORICAL;
    return read_levels(column, levels);
}

/* Where each row of this table is in that of all cells: the inverse of what the file holds. */
static gmv_status map_rows(gmv_column *column, const gmv_table *obs)
{
    hid_t dataset;
    int64_t n = 0, *here = NULL, placed = 0;
    GMV_TRY(gmv_h5_open_dataset(obs->file, obs->rows_at, 1, &dataset, &n));
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(here, n, "the map of cells"));
    GMV_GO(GMV_NEW(column->row, obs->rows, "the map of cells"));
    GMV_GO(gmv_h5_read_i64(obs->file, dataset, 0, n, here));
    for (int64_t i = 0; i < n && n == column->length; i++) {
        if (here[i] > 0 && here[i] <= obs->rows && column->row[here[i] - 1] == 0) {
            column->row[here[i] - 1] = i + 1;
            placed++;
        }
    }
    if (placed != obs->rows) {
        GMV_GO(GMV_FAIL(GMV_ERR_DATA,
                        "%s: %s places %" PRId64 " of the %" PRId64 " cells of %s; the file is damaged or was not "
                        "updated (mdata.update())",
                        obs->file->path, gmv_shown(obs->rows_at).at, placed, obs->rows, gmv_shown(obs->path).at));
    }
    bool same = n == obs->rows;
    for (int64_t i = 0; i < obs->rows; i++) {
        same = same && column->row[i] == i + 1;
        column->row[i]--;
    }
    column->length = obs->rows;
    if (same) {
        GMV_FREE(column->row);
    }
done:
    GMV_FREE(here);
    H5Dclose(dataset);
    return status;
}

static bool element_exists(const gmv_h5 *file, const char *table, const char *name, char *path, size_t size)
{
    int length = snprintf(path, size, "%s/%s", table, name);
    return length < (int)size && gmv_h5_has(file, path);
}

/* Whether a path below the table is that of a column, as "donor/sample" may be and "donor/codes" is not. */
static bool is_listed(const gmv_table *obs, const char *name)
{
    gmv_texts names;
    bool found = false;
    if (gmv_column_names(obs, &names) != GMV_OK) {
        gmv_error_clear();
        return false;
    }
    for (int i = 0; i < names.n && !found; i++) {
        found = strcmp(names.at[i], name) == 0;
    }
    gmv_texts_free(&names);
    return found;
}

bool gmv_column_exists(const gmv_table *obs, const char *name)
{
    char path[1024];
    bool plain = name[0] != '\0' && strcmp(name, ".") != 0 && strchr(name, '/') == NULL;
    if (obs->kind == GMV_TABLE_GROUP && !plain && !is_listed(obs, name)) {
        return false;
    }
    switch (obs->kind) {
    case GMV_TABLE_GROUP:
        return element_exists(obs->file, obs->path, name, path, sizeof path) ||
               (obs->common[0] != '\0' && element_exists(obs->file, obs->common, name, path, sizeof path));
    case GMV_TABLE_COMPOUND:
        return find_field(obs, name) >= 0;
    default:
        return false;
    }
}

gmv_status gmv_column_open(gmv_column *column, const gmv_table *obs, const char *name, const char *key)
{
    char path[1024];
    memset(column, 0, sizeof *column);
    column->file = obs->file;
    column->values = column->mask = column->type = -1;
    GMV_TRY(gmv_copy_text(&column->name, name));
    if (!gmv_column_exists(obs, name)) {
        return no_column(obs, name, key);
    }
    if (obs->kind == GMV_TABLE_COMPOUND) {
        return open_field(column, obs, name);
    }
    if (element_exists(obs->file, obs->path, name, path, sizeof path)) {
        return open_element(column, path);
    }
    element_exists(obs->file, obs->common, name, path, sizeof path);
    GMV_TRY(open_element(column, path));
    return column->kind == GMV_COLUMN_OTHER ? GMV_OK : map_rows(column, obs);
}

void gmv_column_close(gmv_column *column)
{
    if (column->values > 0) {
        H5Dclose(column->values);
    }
    if (column->mask > 0) {
        H5Dclose(column->mask);
    }
    if (column->type > 0) {
        H5Tclose(column->type);
    }
    gmv_texts_free(&column->level);
    GMV_FREE(column->name);
    GMV_FREE(column->field);
    GMV_FREE(column->row);
    memset(column, 0, sizeof *column);
    column->values = column->mask = column->type = -1;
}
