#include "embedding_obs.h"

#include "embedding_column.h"
#include "name_sample.h"

#include "../data/file_levels.h"
#include "../data/rows/row_names.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"

#include <inttypes.h>
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
    char text[400];
    size_t used = strlen(copy->skipped);
    int length = snprintf(text, sizeof text, "%s%.150s (%s)", used > 0 ? ", " : "", gmv_shown(name).at, why);
    if (used + (size_t)length < sizeof copy->skipped) { /* the others are counted */
        memcpy(copy->skipped + used, text, (size_t)length + 1);
    } else {
        copy->unnamed++;
    }
}

/* ---- names of the cells ---- */

/* Names of cells: all, and told apart by file. */
typedef struct cell_names {
    gmv_name_sample all, of_file;
} cell_names;

static gmv_status copy_names(gmv_obs_copy *copy, int f, const char *path, char **text, cell_names *names)
{
    const gmv_table *obs = &copy->table[gmv_obs_slot(copy, f)];
    gmv_row_names rows;
    gmv_status status = gmv_row_names_open(&rows, obs);
    for (int64_t at = 0; at < obs->rows && status == GMV_OK; at += GMV_OBS_BLOCK) {
        int64_t count = obs->rows - at < GMV_OBS_BLOCK ? obs->rows - at : GMV_OBS_BLOCK;
        status = gmv_stop_check();
        status = status == GMV_OK ? gmv_row_names_read(&rows, at, count, text) : status;
        for (int64_t i = 0; i < count && status == GMV_OK; i++) {
            status = text[i] == NULL ? gmv_copy_text(&text[i], "") : GMV_OK;
        }
        if (status == GMV_OK) {
            status = gmv_h5ad_write_strings(copy->out, path, copy->cells->file_start[f] + at, count, text);
        }
        for (int64_t i = 0; i < count; i++) {
            if (status == GMV_OK) {
                gmv_name_sample_add(&names->all, text[i], 0);
                gmv_name_sample_add(&names->of_file, text[i], (uint64_t)f);
            }
            GMV_FREE(text[i]);
        }
    }
    gmv_row_names_close(&rows);
    return status;
}

static void report_repeated(const gmv_obs_copy *copy, cell_names *names)
{
    int64_t all = gmv_name_sample_repeated(&names->all), of_file = gmv_name_sample_repeated(&names->of_file);
    char within[120] = "";
    if (all == 0) {
        return;
    }
    if (copy->cells->files > 1 && of_file > 0) {
        snprintf(within, sizeof within, ", %" PRId64 " of them a cell of the same file", of_file);
    }
    gmv_warn("%s: %s%" PRId64 " of %" PRId64
             " cells have a name that another cell has, too%s; %srows are in the order of "
             "the input",
             copy->name, names->all.dropped > 0 ? "about " : "", all, copy->cells->total, within,
             copy->cells->files > 1 ? "obs/gmvae_file says which file a cell is from, and " : "");
}

static gmv_status copy_index(gmv_obs_copy *copy, const char *name)
{
    char path[600], **text = NULL;
    cell_names names = {{0}, {0}};
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(text, GMV_OBS_BLOCK, "names of cells"));
    GMV_GO(gmv_name_sample_init(&names.all));
    GMV_GO(gmv_name_sample_init(&names.of_file));
    snprintf(path, sizeof path, "obs/%s", name);
    GMV_GO(gmv_h5ad_strings(copy->out, path, copy->cells->total));
    for (int f = 0; f < copy->cells->files && status == GMV_OK; f++) {
        status = gmv_obs_open(copy, f);
        status = status == GMV_OK ? copy_names(copy, f, path, text, &names) : status;
        gmv_obs_close(copy, f);
    }
    if (status == GMV_OK) {
        report_repeated(copy, &names);
    }
done:
    gmv_name_sample_fini(&names.all);
    gmv_name_sample_fini(&names.of_file);
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

/* Says why a column is not copied, in which of several files. */
static void refuse(const gmv_obs_copy *copy, gmv_obs_column *all, const char *why, int f)
{
    bool several = copy->cells->files > 1;
    snprintf(all->why, sizeof all->why, "%s%s%.120s", why, several ? " in " : "", several ? copy->tail[f] : "");
}

/* Whether the column of file f can be written with those of the files before. */
static void compare(const gmv_obs_copy *copy, gmv_obs_column *all, const gmv_column *column, int f)
{
    if (column->kind == GMV_COLUMN_OTHER || (column->mask >= 0 && column->kind == GMV_COLUMN_FLOAT)) {
        refuse(copy, all, "of a kind that is not copied", f);
    } else if (column->kind != all->kind) {
        snprintf(all->why, sizeof all->why, "%s in %.60s, %s in %.60s", gmv_column_kind_name(all->kind), copy->tail[0],
                 gmv_column_kind_name(column->kind), copy->tail[f]);
    } else if (column->length != rows_of(copy, f)) {
        refuse(copy, all, "of the wrong length", f);
    }
}

static gmv_status unite(const gmv_obs_copy *copy, gmv_obs_column *all, const gmv_column *column, int f)
{
    bool first = f == 0;
    if (first) {
        all->kind = column->kind;
        all->type = column->type >= 0 ? H5Tcopy(column->type) : -1;
    }
    compare(copy, all, column, f);
    if (all->why[0] != '\0') {
        return GMV_OK;
    }
    all->nullable = all->nullable || column->mask >= 0;
    all->same_type = first || (all->same_type && H5Tequal(all->type, column->type) > 0);
    return add_levels(all, column, first);
}

/* Nobody has asked for a column that cannot be read: it is skipped. */
static gmv_status look_in_file(gmv_obs_copy *copy, gmv_obs_column *all, int f)
{
    const gmv_table *table = &copy->table[gmv_obs_slot(copy, f)];
    gmv_column column = {.values = -1, .mask = -1};
    GMV_TRY(gmv_obs_open(copy, f));
    if (!gmv_column_exists(table, all->name)) {
        refuse(copy, all, copy->cells->files > 1 ? "not" : "not there", f);
        return GMV_OK;
    }
    gmv_status status = gmv_column_open(&column, table, all->name, "output");
    if (status == GMV_ERR_DATA) {
        gmv_error_clear();
        refuse(copy, all, "not readable", f);
        status = GMV_OK;
    } else if (status == GMV_OK) {
        status = unite(copy, all, &column, f);
    }
    gmv_column_close(&column);
    return status;
}

/* Looks at the column in every file, up to one where it cannot be copied. */
static gmv_status look_at_column(gmv_obs_copy *copy, gmv_obs_column *all)
{
    gmv_status status = GMV_OK;
    for (int f = 0; f < copy->cells->files && all->why[0] == '\0' && status == GMV_OK; f++) {
        status = look_in_file(copy, all, f);
        gmv_obs_close(copy, f);
    }
    return status;
}

/* Whether a column can be written there: no column is in the place, nor one in which its name with a slash would lie. */
static bool is_free(const gmv_h5ad *out, const char *path)
{
    char part[1100];
    snprintf(part, sizeof part, "%s", path);
    for (char *slash = strchr(part + strlen("obs/"), '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        H5O_info_t info;
        *slash = '\0';
        if (H5Lexists(out->id, part, H5P_DEFAULT) <= 0) {
            return true;
        }
        if (H5Oget_info_by_name(out->id, part, &info, H5P_DEFAULT) < 0 || info.type != H5O_TYPE_GROUP) {
            return false;
        }
        *slash = '/';
    }
    return H5Lexists(out->id, part, H5P_DEFAULT) == 0;
}

static gmv_status copy_column(gmv_obs_copy *copy, const char *name)
{
    gmv_obs_column all = {.name = name, .type = -1};
    gmv_status status = GMV_OK;
    int length = snprintf(all.path, sizeof all.path, "obs/%s", name);
    if (length + 12 > (int)sizeof all.path) { /* "/categories" follows */
        snprintf(all.why, sizeof all.why, "a name that is too long");
    } else if (!is_free(copy->out, all.path)) {
        snprintf(all.why, sizeof all.why, "a name that lies in another column's");
    } else {
        GMV_GO(look_at_column(copy, &all));
    }
    if (all.why[0] != '\0') {
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

/* ---- covariates and label ---- */

const gmv_factor *gmv_embedding_factor(const gmv_cells *cells, int i)
{
    for (int c = 0; c <= cells->covariates; c++) {
        const gmv_factor *factor = c < cells->covariates ? &cells->covariate[c] : cells->label;
        if (factor != NULL && strcmp(factor->key, GMV_FILE_KEY) != 0 && strncmp(factor->key, "gmvae_", 6) != 0 &&
            i-- == 0) {
            return factor;
        }
    }
    return NULL;
}

void gmv_embedding_codes_at(const char *column, char *path, size_t size)
{
    snprintf(path, size, "obs/%s/codes", column);
}

/* A text for every cell, whatever the files have; but for the codes, which the ranks have. */
static gmv_status write_factor(const gmv_obs_copy *copy, const gmv_factor *factor)
{
    char path[1100], part[1120];
    int64_t levels = factor->levels;
    snprintf(path, sizeof path, "obs/%s", factor->key);
    GMV_TRY(gmv_h5ad_group(copy->out, path, "categorical", "0.2.0"));
    GMV_TRY(gmv_h5ad_attribute_bool(copy->out, path, "ordered", false));
    snprintf(part, sizeof part, "%s/categories", path);
    GMV_TRY(gmv_h5ad_strings(copy->out, part, levels));
    GMV_TRY(gmv_h5ad_write_strings(copy->out, part, 0, levels, factor->level));
    gmv_embedding_codes_at(factor->key, part, sizeof part);
    return gmv_h5ad_array(copy->out, part, gmv_h5ad_code_type(levels), 1, &copy->cells->total);
}

static const gmv_factor *find_factor(const gmv_cells *cells, const char *name)
{
    const gmv_factor *factor = NULL;
    for (int i = 0; (factor = gmv_embedding_factor(cells, i)) != NULL && strcmp(factor->key, name) != 0; i++) {
    }
    return factor;
}

/* ---- all of it ---- */

static bool among(const char *name, int n, const char *const *names)
{
    for (int i = 0; i < n; i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* What the index may be called: as in the first file, unless that is in the way of a column. */
static gmv_status name_index(gmv_obs_copy *copy, int n_reserved, const char *const *reserved, char *index, size_t size)
{
    const gmv_factor *factor;
    GMV_TRY(gmv_obs_open(copy, 0));
    snprintf(index, size, "%s", copy->table[0].index_name);
    gmv_obs_close(copy, 0);
    bool other = index[0] == '\0' || among(index, n_reserved, reserved) || strchr(index, '/') != NULL;
    for (int i = 0; (factor = gmv_embedding_factor(copy->cells, i)) != NULL; i++) {
        size_t n = strlen(index);
        other = other || (strncmp(factor->key, index, n) == 0 && (factor->key[n] == '\0' || factor->key[n] == '/'));
    }
    if (other) {
        snprintf(index, size, "_index");
    }
    return GMV_OK;
}

/* Names of the columns of all files, in the order of their first mention. */
static gmv_status name_columns(gmv_obs_copy *copy, gmv_names *all)
{
    gmv_texts names = {NULL, 0};
    gmv_status status = GMV_OK;
    for (int f = 0; f < copy->cells->files; f++) {
        GMV_GO(gmv_obs_open(copy, f));
        GMV_GO(gmv_column_names(&copy->table[gmv_obs_slot(copy, f)], &names));
        gmv_obs_close(copy, f);
        for (int i = 0; i < names.n; i++) {
            GMV_GO(gmv_names_add(all, names.at[i], NULL, NULL));
        }
        gmv_texts_free(&names);
    }
done:
    gmv_texts_free(&names);
    return status;
}

/* Index, covariates and label, then every other column of any file. */
static gmv_status copy_all(gmv_obs_copy *copy, int n_reserved, const char *const *reserved)
{
    gmv_names all = {0};
    char index[256];
    const gmv_factor *factor;
    gmv_status status = GMV_OK;
    GMV_GO(gmv_h5ad_group(copy->out, "obs", "dataframe", "0.2.0"));
    GMV_GO(name_index(copy, n_reserved, reserved, index, sizeof index));
    GMV_GO(copy_index(copy, index));
    GMV_GO(gmv_h5ad_attribute_text(copy->out, "obs", "_index", index));
    GMV_GO(name_columns(copy, &all));
    for (int i = 0; (factor = gmv_embedding_factor(copy->cells, i)) != NULL; i++) {
        GMV_GO(write_factor(copy, factor));
        GMV_GO(gmv_names_add(&all, factor->key, NULL, NULL));
    }
    for (int64_t i = 0; i < all.n; i++) {
        if (find_factor(copy->cells, all.at[i]) != NULL) {
            GMV_GO(gmv_names_add(&copy->order, all.at[i], NULL, NULL));
        } else if (!among(all.at[i], n_reserved, reserved) && strcmp(all.at[i], index) != 0) {
            GMV_GO(copy_column(copy, all.at[i]));
        }
    }
    for (int i = 0; i < n_reserved; i++) {
        GMV_GO(gmv_names_add(&copy->order, reserved[i], NULL, NULL));
    }
    GMV_GO(gmv_h5ad_attribute_texts(copy->out, "obs", "column-order", copy->order.n, copy->order.at));
done:
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

gmv_status gmv_embedding_copy_obs(const gmv_h5ad *out, const gmv_cells *cells, const char *name, int n_reserved,
                                  const char *const *reserved)
{
    gmv_obs_copy copy = {.out = out, .name = name, .cells = cells, .kept = files_to_keep(cells->files)};
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(copy.file, copy.kept + 1, "input files"));
    GMV_GO(GMV_NEW(copy.table, copy.kept + 1, "input files"));
    GMV_GO(GMV_NEW(copy.tail, cells->files, "names of files"));
    GMV_GO(gmv_file_tails(cells->file, cells->files, copy.tail));
    GMV_GO(copy_all(&copy, n_reserved, reserved));
    if (copy.skipped[0] != '\0') {
        char more[40] = "";
        if (copy.unnamed > 0) {
            snprintf(more, sizeof more, " and %d more", copy.unnamed);
        }
        gmv_warn("%s: obs columns that were not copied: %s%s", copy.name, copy.skipped, more);
    }
done:
    for (int f = 0; copy.file != NULL && f <= copy.kept; f++) {
        gmv_h5_close(&copy.file[f]);
    }
    for (int f = 0; f < cells->files && status == GMV_ERR_DATA; f++) {
        status = gmv_file_cause(cells->file[f], &cells->stamp[f], status);
    }
    GMV_FREE(copy.file);
    GMV_FREE(copy.table);
    GMV_FREE(copy.tail);
    gmv_names_fini(&copy.order);
    return status;
}
