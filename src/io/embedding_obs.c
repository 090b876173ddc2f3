#include "embedding_obs.h"

#include "../data/column.h"
#include "../data/matrix.h"
#include "../data/names.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { block_rows = 1 << 13, most_kept = 64 };

/* Files are opened as often as something of them is copied; a few stay open. */
typedef struct obs_copy {
    const gmv_h5ad *out;
    const gmv_cells *cells;
    int kept;          /* the first files stay open */
    gmv_h5 *file;      /* [kept + 1] these, and the one at hand */
    gmv_table *table;  /* [kept + 1] obs of each */
    gmv_names order;   /* columns written */
    char skipped[900]; /* and those that were not */
} obs_copy;

/* What the files say of a column, all of them together. */
typedef struct column_union {
    const char *name;
    char path[1024];
    gmv_column_kind kind;       /* of all */
    gmv_column_kind level_kind; /* of the levels; strings when they differ */
    hid_t type;                 /* of the first file's values */
    bool same_type, nullable, ordered;
    gmv_names level;
    const char *why; /* it is not copied; NULL: it is */
    void *block;     /* room for block_rows values of any kind */
} column_union;

static int64_t rows_of(const obs_copy *copy, int f)
{
    return copy->cells->file_start[f + 1] - copy->cells->file_start[f];
}

static int slot_of(const obs_copy *copy, int f)
{
    return f < copy->kept ? f : copy->kept;
}

static gmv_status open_file(obs_copy *copy, int f)
{
    gmv_h5 *file = &copy->file[slot_of(copy, f)];
    gmv_table *table = &copy->table[slot_of(copy, f)];
    if (file->id > 0) {
        return GMV_OK;
    }
    GMV_TRY(gmv_h5_open(file, copy->cells->file[f], NULL));
    GMV_TRY(gmv_h5_same_stamp(file, &copy->cells->stamp[f]));
    GMV_TRY(gmv_table_open(table, file, copy->cells->obs[f]));
    return table->rows == rows_of(copy, f)
               ? GMV_OK
               : GMV_FAIL(GMV_ERR_DATA, "%s: has changed since its cells were read", copy->cells->file[f]);
}

static void close_file(obs_copy *copy, int f)
{
    if (f >= copy->kept) {
        gmv_h5_close(&copy->file[copy->kept]);
    }
}

static void skip(obs_copy *copy, const char *name, const char *why)
{
    size_t used = strlen(copy->skipped);
    snprintf(copy->skipped + used, sizeof copy->skipped - used, "%s%s (%s)", used > 0 ? ", " : "", gmv_shown(name).at,
             why);
}

/* ---- names of the cells ---- */

static gmv_status copy_names(obs_copy *copy, int f, const char *path, char **text)
{
    const gmv_h5 *file = &copy->file[slot_of(copy, f)];
    hid_t dataset = -1;
    int64_t rows = 0;
    gmv_status status = GMV_OK;
    GMV_TRY(gmv_h5_open_dataset(file, copy->table[slot_of(copy, f)].index, 1, &dataset, &rows));
    for (int64_t at = 0; at < rows && status == GMV_OK; at += block_rows) {
        int64_t count = rows - at < block_rows ? rows - at : block_rows;
        status = gmv_h5_read_texts(file, dataset, NULL, at, count, text);
        if (status == GMV_OK) {
            status = gmv_h5ad_write_strings(copy->out, path, copy->cells->file_start[f] + at, count, text);
        }
        for (int64_t i = 0; i < count; i++) {
            GMV_FREE(text[i]);
        }
    }
    H5Dclose(dataset);
    return status;
}

static gmv_status copy_index(obs_copy *copy, const char *name)
{
    char path[600], **text = NULL;
    gmv_status status = GMV_OK;
    GMV_TRY(GMV_NEW(text, block_rows, "names of cells"));
    snprintf(path, sizeof path, "obs/%s", name);
    GMV_GO(gmv_h5ad_strings(copy->out, path, copy->cells->total));
    for (int f = 0; f < copy->cells->files && status == GMV_OK; f++) {
        status = open_file(copy, f);
        status = status == GMV_OK ? copy_names(copy, f, path, text) : status;
        close_file(copy, f);
    }
done:
    GMV_FREE(text);
    return status;
}

/* ---- a column ---- */

/* Does something with the column of a file, whose first row is row `start` of all. */
typedef gmv_status (*column_visitor)(const obs_copy *copy, column_union *all, const gmv_column *column, gmv_gidx start);

/* `path` is where it is written. */
static gmv_status visit_files(obs_copy *copy, column_union *all, column_visitor visit)
{
    gmv_status status = GMV_OK;
    for (int f = 0; f < copy->cells->files && status == GMV_OK; f++) {
        gmv_column column = {.values = -1, .mask = -1};
        status = open_file(copy, f);
        if (status == GMV_OK) {
            status = gmv_column_open(&column, &copy->table[slot_of(copy, f)], all->name, "output");
        }
        if (status == GMV_OK) {
            status = visit(copy, all, &column, copy->cells->file_start[f]);
        }
        gmv_column_close(&column);
        close_file(copy, f);
    }
    return status;
}

/* The levels as they are: numbers stay numbers when they are in every file. */
static gmv_status write_levels(const obs_copy *copy, const char *path, const column_union *all)
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

static gmv_status copy_codes(const obs_copy *copy, column_union *all, const gmv_column *column, gmv_gidx start)
{
    int32_t *code = all->block, *to = NULL;
    gmv_status status = GMV_OK;
    GMV_TRY(GMV_NEW(to, column->level.n, "levels"));
    for (int i = 0; i < column->level.n; i++) {
        to[i] = (int32_t)gmv_names_find(&all->level, column->level.at[i]);
    }
    for (int64_t at = 0; at < column->length; at += block_rows) {
        int64_t n = column->length - at < block_rows ? column->length - at : block_rows;
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

static gmv_status copy_categorical(obs_copy *copy, column_union *all)
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

static gmv_status copy_texts(const obs_copy *copy, column_union *all, const gmv_column *column, gmv_gidx start)
{
    char **text = all->block;
    gmv_status status = GMV_OK;
    for (int64_t at = 0; at < column->length && status == GMV_OK; at += block_rows) {
        int64_t n = column->length - at < block_rows ? column->length - at : block_rows;
        memset(text, 0, (size_t)n * sizeof *text);
        status = gmv_column_texts(column, at, n, text);
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

static gmv_status copy_strings(obs_copy *copy, column_union *all)
{
    GMV_TRY(gmv_h5ad_strings(copy->out, all->path, copy->cells->total));
    return visit_files(copy, all, copy_texts);
}

/* The stored type when all files share it, else the widest of its kind. Ownership: H5Tclose. */
static hid_t number_type(const column_union *all)
{
    if (all->kind == GMV_COLUMN_BOOL) {
        return gmv_h5ad_bool_type();
    }
    hid_t native = all->same_type ? H5Tget_native_type(all->type, H5T_DIR_DEFAULT) : -1;
    return native >= 0 ? native : H5Tcopy(all->kind == GMV_COLUMN_INT ? H5T_NATIVE_INT64 : H5T_NATIVE_DOUBLE);
}

static gmv_status copy_values(const obs_copy *copy, column_union *all, const gmv_column *column, gmv_gidx start)
{
    hid_t type = number_type(all);
    hid_t read = all->kind == GMV_COLUMN_BOOL ? column->type : type; /* HDF5 does not convert between enums */
    gmv_status status = GMV_OK;
    for (int64_t at = 0; at < column->length; at += block_rows) {
        int64_t n = column->length - at < block_rows ? column->length - at : block_rows;
        GMV_GO(gmv_column_read(column, at, n, read, all->block));
        GMV_GO(gmv_h5ad_write(copy->out, all->path, type, start + at, n, all->block));
    }
done:
    H5Tclose(type);
    return status;
}

static gmv_status copy_numbers(obs_copy *copy, column_union *all)
{
    hid_t type = number_type(all);
    gmv_status status = gmv_h5ad_array(copy->out, all->path, type, 1, &copy->cells->total);
    H5Tclose(type);
    return status == GMV_OK ? visit_files(copy, all, copy_values) : status;
}

static gmv_status copy_missing(const obs_copy *copy, column_union *all, const gmv_column *column, gmv_gidx start)
{
    hid_t type = gmv_h5ad_bool_type();
    gmv_status status = GMV_OK;
    for (int64_t at = 0; at < column->length; at += block_rows) {
        int64_t n = column->length - at < block_rows ? column->length - at : block_rows;
        GMV_GO(gmv_column_missing(column, at, n, all->block));
        GMV_GO(gmv_h5ad_write(copy->out, all->path, type, start + at, n, all->block));
    }
done:
    H5Tclose(type);
    return status;
}

static gmv_status copy_nullable(obs_copy *copy, column_union *all)
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

/* ---- what the files have ---- */

static gmv_status add_levels(column_union *all, const gmv_column *column, bool first)
{
    for (int i = 0; i < column->level.n; i++) {
        GMV_TRY(gmv_names_add(&all->level, column->level.at[i], NULL, NULL));
    }
    all->level_kind = first || column->level_kind == all->level_kind ? column->level_kind : GMV_COLUMN_STRING;
    all->ordered =
        (first || all->ordered) && column->ordered && column->level.n == all->level.n; /* a union has no order */
    return GMV_OK;
}

static gmv_status unite(const obs_copy *copy, column_union *all, const gmv_column *column, int f)
{
    bool first = f == 0;
    if (first) {
        all->kind = column->kind;
        all->type = column->type >= 0 ? H5Tcopy(column->type) : -1;
    }
    bool other_kind = column->kind != all->kind;
    all->why = column->kind == GMV_COLUMN_OTHER                        ? "of a kind that is not copied"
               : other_kind                                            ? "of another kind in another file"
               : column->mask >= 0 && column->kind == GMV_COLUMN_FLOAT ? "of a kind that is not copied"
               : column->length != rows_of(copy, f)                    ? "of the wrong length"
                                                                       : NULL;
    if (all->why != NULL) {
        return GMV_OK;
    }
    all->nullable = all->nullable || column->mask >= 0;
    all->same_type = first || (all->same_type && H5Tequal(all->type, column->type) > 0);
    return add_levels(all, column, first);
}

/* Looks at the column in every file, up to one where it cannot be copied. */
static gmv_status look_at_column(obs_copy *copy, column_union *all)
{
    gmv_status status = GMV_OK;
    all->why = strchr(all->name, '/') != NULL ? "a name with a slash" : NULL;
    for (int f = 0; f < copy->cells->files && all->why == NULL && status == GMV_OK; f++) {
        const gmv_table *table = &copy->table[slot_of(copy, f)];
        gmv_column column = {.values = -1, .mask = -1};
        status = open_file(copy, f);
        if (status == GMV_OK && !gmv_column_exists(table, all->name)) {
            all->why = "not in every file";
        } else if (status == GMV_OK) {
            status = gmv_column_open(&column, table, all->name, "output");
            all->why = status == GMV_ERR_DATA ? "not readable" : NULL; /* nobody has asked for it: skip it */
        }
        if (status == GMV_OK && all->why == NULL) {
            status = unite(copy, all, &column, f);
        } else if (all->why != NULL) {
            gmv_error_clear();
            status = GMV_OK;
        }
        gmv_column_close(&column);
        close_file(copy, f);
    }
    return status;
}

static gmv_status copy_column(obs_copy *copy, const char *name)
{
    column_union all = {.name = name, .type = -1};
    int64_t *block = NULL; /* the widest of them */
    gmv_status status = GMV_OK;
    snprintf(all.path, sizeof all.path, "obs/%.900s", name);
    GMV_GO(look_at_column(copy, &all));
    if (all.why != NULL) {
        skip(copy, name, all.why);
        goto done;
    }
    GMV_GO(GMV_NEW(block, block_rows, "a column"));
    all.block = block;
    GMV_GO(all.kind == GMV_COLUMN_CATEGORICAL ? copy_categorical(copy, &all)
           : all.nullable                     ? copy_nullable(copy, &all)
           : all.kind == GMV_COLUMN_STRING    ? copy_strings(copy, &all)
                                              : copy_numbers(copy, &all));
    GMV_GO(gmv_names_add(&copy->order, name, NULL, NULL));
done:
    GMV_FREE(block);
    gmv_names_fini(&all.level);
    if (all.type >= 0) {
        H5Tclose(all.type);
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
    char index[256];
    gmv_texts names = {NULL, 0};
    gmv_status status = GMV_OK;
    GMV_GO(open_file(copy, 0));
    memcpy(index, copy->table[0].index_name, sizeof index);
    close_file(copy, 0);
    GMV_GO(gmv_h5ad_group(copy->out, "obs", "dataframe", "0.2.0"));
    if (index[0] == '\0' || among(index, n_reserved, reserved) || strchr(index, '/') != NULL) {
        snprintf(index, sizeof index, "_index");
    }
    GMV_GO(copy_index(copy, index));
    GMV_GO(gmv_h5ad_attribute_text(copy->out, "obs", "_index", index));
    for (int f = 0; f < copy->cells->files; f++) {
        GMV_GO(open_file(copy, f));
        GMV_GO(gmv_column_names(&copy->table[slot_of(copy, f)], &names));
        close_file(copy, f);
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

/* A part of what the limit allows: of streamed cells files are open, too. */
static int files_to_keep(int files)
{
    struct rlimit limit;
    int64_t most = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 4 < most_kept
                       ? (int64_t)(limit.rlim_cur / 4)
                       : most_kept;
    return files < most ? files : (int)most;
}

gmv_status gmv_embedding_copy_obs(const gmv_h5ad *out, const gmv_cells *cells, int n_reserved,
                                  const char *const *reserved)
{
    obs_copy copy = {.out = out, .cells = cells, .kept = files_to_keep(cells->files)};
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(copy.file, copy.kept + 1, "input files"));
    GMV_GO(GMV_NEW(copy.table, copy.kept + 1, "input files"));
    GMV_GO(copy_all(&copy, n_reserved, reserved));
    if (copy.skipped[0] != '\0') {
        gmv_warn("%s: obs columns that were not copied: %s", out->path, copy.skipped);
    }
done:
    for (int f = 0; copy.file != NULL && f <= copy.kept; f++) {
        gmv_h5_close(&copy.file[f]);
    }
    GMV_FREE(copy.file);
    GMV_FREE(copy.table);
    gmv_names_fini(&copy.order);
    return status;
}
