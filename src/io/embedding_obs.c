#include "embedding_obs.h"

#include "embedding_column.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { most_kept = 64 };

static int64_t rows_of(const gmv_obs_copy *copy, int f)
{
    return copy->cells->file_start[f + 1] - copy->cells->file_start[f];
}

int gmv_obs_slot(const gmv_obs_copy *copy, int f)
{
    return f < copy->kept ? f : copy->kept;
}

gmv_status gmv_obs_open(gmv_obs_copy *copy, int f)
{
    gmv_h5 *file = &copy->file[gmv_obs_slot(copy, f)];
    gmv_table *table = &copy->table[gmv_obs_slot(copy, f)];
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

void gmv_obs_close(gmv_obs_copy *copy, int f)
{
    if (f >= copy->kept) {
        gmv_h5_close(&copy->file[copy->kept]);
    }
}

static void skip(gmv_obs_copy *copy, const char *name, const char *why)
{
    size_t used = strlen(copy->skipped);
    snprintf(copy->skipped + used, sizeof copy->skipped - used, "%s%s (%s)", used > 0 ? ", " : "", gmv_shown(name).at,
             why);
}

/* ---- names of the cells ---- */

static gmv_status copy_names(gmv_obs_copy *copy, int f, const char *path, char **text)
{
    const gmv_h5 *file = &copy->file[gmv_obs_slot(copy, f)];
    hid_t dataset = -1;
    int64_t rows = 0;
    gmv_status status = GMV_OK;
    GMV_TRY(gmv_h5_open_dataset(file, copy->table[gmv_obs_slot(copy, f)].index, 1, &dataset, &rows));
    for (int64_t at = 0; at < rows && status == GMV_OK; at += GMV_OBS_BLOCK) {
        int64_t count = rows - at < GMV_OBS_BLOCK ? rows - at : GMV_OBS_BLOCK;
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

static gmv_status copy_index(gmv_obs_copy *copy, const char *name)
{
    char path[600], **text = NULL;
    gmv_status status = GMV_OK;
    GMV_TRY(GMV_NEW(text, GMV_OBS_BLOCK, "names of cells"));
    snprintf(path, sizeof path, "obs/%s", name);
    GMV_GO(gmv_h5ad_strings(copy->out, path, copy->cells->total));
    for (int f = 0; f < copy->cells->files && status == GMV_OK; f++) {
        status = gmv_obs_open(copy, f);
        status = status == GMV_OK ? copy_names(copy, f, path, text) : status;
        gmv_obs_close(copy, f);
    }
done:
    GMV_FREE(text);
    return status;
}

/* ---- what the files have ---- */

static gmv_status add_levels(gmv_obs_column *all, const gmv_column *column, bool first)
{
    for (int i = 0; i < column->level.n; i++) {
        GMV_TRY(gmv_names_add(&all->level, column->level.at[i], NULL, NULL));
    }
    all->level_kind = first || column->level_kind == all->level_kind ? column->level_kind : GMV_COLUMN_STRING;
    all->ordered =
        (first || all->ordered) && column->ordered && column->level.n == all->level.n; /* a union has no order */
    return GMV_OK;
}

static gmv_status unite(const gmv_obs_copy *copy, gmv_obs_column *all, const gmv_column *column, int f)
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
static gmv_status look_at_column(gmv_obs_copy *copy, gmv_obs_column *all)
{
    gmv_status status = GMV_OK;
    all->why = strchr(all->name, '/') != NULL ? "a name with a slash" : NULL;
    for (int f = 0; f < copy->cells->files && all->why == NULL && status == GMV_OK; f++) {
        const gmv_table *table = &copy->table[gmv_obs_slot(copy, f)];
        gmv_column column = {.values = -1, .mask = -1};
        status = gmv_obs_open(copy, f);
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
        gmv_obs_close(copy, f);
    }
    return status;
}

static gmv_status copy_column(gmv_obs_copy *copy, const char *name)
{
    gmv_obs_column all = {.name = name, .type = -1};
    gmv_status status = GMV_OK;
    snprintf(all.path, sizeof all.path, "obs/%.900s", name);
    GMV_GO(look_at_column(copy, &all));
    if (all.why != NULL) {
        skip(copy, name, all.why);
        goto done;
    }
    GMV_GO(gmv_obs_column_write(copy, &all));
    GMV_GO(gmv_names_add(&copy->order, name, NULL, NULL));
done:
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
static gmv_status copy_all(gmv_obs_copy *copy, int n_reserved, const char *const *reserved)
{
    gmv_names all = {0};
    char index[256];
    gmv_texts names = {NULL, 0};
    gmv_status status = GMV_OK;
    GMV_GO(gmv_obs_open(copy, 0));
    memcpy(index, copy->table[0].index_name, sizeof index);
    gmv_obs_close(copy, 0);
    GMV_GO(gmv_h5ad_group(copy->out, "obs", "dataframe", "0.2.0"));
    if (index[0] == '\0' || among(index, n_reserved, reserved) || strchr(index, '/') != NULL) {
        snprintf(index, sizeof index, "_index");
    }
    GMV_GO(copy_index(copy, index));
    GMV_GO(gmv_h5ad_attribute_text(copy->out, "obs", "_index", index));
    for (int f = 0; f < copy->cells->files; f++) {
        GMV_GO(gmv_obs_open(copy, f));
        GMV_GO(gmv_column_names(&copy->table[gmv_obs_slot(copy, f)], &names));
        gmv_obs_close(copy, f);
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
    gmv_obs_copy copy = {.out = out, .cells = cells, .kept = files_to_keep(cells->files)};
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
