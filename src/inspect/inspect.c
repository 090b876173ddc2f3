#include "inspect.h"

#include "../data/check/h5_check.h"

#include "gmvae/data.h"
#include "gmvae/inspect.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/names.h"
#include "gmvae/signals.h"

#include <string.h>

/* Statistics of genes take 1 kB each. */
enum { scanned_values = 1 << 22, column_rows = 1 << 18, levels_kept = 1000, genes_limit = 1 << 18 };

static void dtype_of(hid_t dataset, char *text, size_t size)
{
    hid_t type = H5Dget_type(dataset);
    H5T_class_t class = H5Tget_class(type);
    const char *name = class == H5T_FLOAT                               ? "float"
                       : class == H5T_ENUM                              ? "bool"
                       : class == H5T_INTEGER && H5Tget_sign(type) != 0 ? "int"
                                                                        : "uint";
    if (class == H5T_ENUM) {
        snprintf(text, size, "%s", name);
    } else {
        snprintf(text, size, "%s%zu", name, 8 * H5Tget_size(type));
    }
    H5Tclose(type);
}

static void add_value(gmv_inspect_matrix *seen, double stored, double round)
{
    double value = gmv_whole(stored, round);
    seen->is_count = seen->is_count && gmv_is_count(value);
    seen->nnz += value != 0.0;
    seen->total += value;
    seen->largest = value > seen->largest ? value : seen->largest;
    seen->smallest = value < seen->smallest ? value : seen->smallest;
}

/* Sums over every stored value, whatever the order of storage: cells and genes do not matter here. */
static gmv_status scan_values(gmv_inspect_matrix *seen, const gmv_matrix *m)
{
    bool dense = m->kind == GMV_MATRIX_DENSE;
    int64_t units = dense ? m->rows : m->nnz, width = dense ? m->stored_cols : 1;
    int64_t piece = scanned_values / (width > 0 ? width : 1), *column = NULL;
    piece = piece < 1 ? 1 : piece < units ? piece : units;
    double *value = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(value, piece * width, "a block of the matrix"));
    GMV_GO(GMV_NEW(column, m->select != NULL ? piece : 0, "a block of the matrix"));
    seen->is_count = true;
    for (int64_t at = 0; at < units; at += piece) {
        int64_t first[2] = {at, 0}, count[2] = {units - at < piece ? units - at : piece, width};
        GMV_GO(gmv_stop_check());
        GMV_GO(gmv_h5_read_f64(m->file, m->data, dense ? 2 : 1, first, count, value));
        if (m->select != NULL) {
            GMV_GO(gmv_h5_read_i64(m->file, m->indices, at, count[0], column));
        }
        for (int64_t i = 0; i < count[0] * width; i++) {
            bool here = m->select == NULL || column[i] < 0 || column[i] >= m->stored_cols || m->select[column[i]] >= 0;
            if (here) {
                add_value(seen, value[i], m->round);
            }
        }
    }
done:
    GMV_FREE(value);
    GMV_FREE(column);
    return status;
}

/* Sums and statistics in one pass, if the matrix holds counts and they can be had; `there` says so. */
static gmv_status take_statistics(gmv_inspect_statistics *statistics, gmv_inspect_matrix *seen,
                                  const gmv_matrix *matrix)
{
    if (matrix->cols > genes_limit) {
        return GMV_OK;
    }
    gmv_status status = gmv_inspect_statistics_read(statistics, seen, matrix);
    if (status == GMV_ERR_DATA) { /* no counts, or rows that are not as they should be: the values say which */
        snprintf(statistics->problem, sizeof statistics->problem, "%s", gmv_error_message());
        gmv_error_clear();
        status = GMV_OK;
    }
    return status;
}

/* @param[in] statistics  NULL: not wanted */
static gmv_status look_at_matrix(gmv_inspect_matrix *seen, gmv_inspect_statistics *statistics, const gmv_h5 *file,
                                 const gmv_place *place, double round)
{
    gmv_matrix matrix;
    memcpy(seen->name, place->name, sizeof seen->name);
    gmv_status status = gmv_matrix_open(&matrix, file, place);
    if (status == GMV_OK) {
        matrix.round = round;
        seen->kind = matrix.kind;
        seen->rows = matrix.rows;
        seen->cols = matrix.cols;
        seen->stored = matrix.nnz;
        dtype_of(matrix.data, seen->dtype, sizeof seen->dtype);
        status = statistics != NULL ? take_statistics(statistics, seen, &matrix) : GMV_OK;
        if (status == GMV_OK && (statistics == NULL || !statistics->there)) {
            status = scan_values(seen, &matrix);
        }
        gmv_matrix_close(&matrix);
    }
    if (status == GMV_ERR_DATA || status == GMV_ERR_CONFIG) { /* one bad matrix does not hide the others */
        snprintf(seen->problem, sizeof seen->problem, "%s", gmv_error_message());
        gmv_error_clear();
        status = GMV_OK;
    }
    return status;
}

/* The first readable matrix of the part, in an order of preference, that holds counts; -1 when none does. */
static int first_of(const gmv_inspected *found, const gmv_layout *layout, const gmv_preference order[3], int part,
                    bool counts)
{
    for (int k = 0; k < 3; k++) {
        for (int i = 0; i < found->matrices; i++) {
            const gmv_inspect_matrix *m = &found->matrix[i];
            const gmv_place *place = &layout->place[i];
            if (m->problem[0] == '\0' && (m->is_count || !counts) && place->part == part &&
                place->preference == order[k]) {
                return i;
            }
        }
    }
    return -1;
}

static const gmv_preference own_first[] = {GMV_PREFER_COUNTS, GMV_PREFER_X, GMV_PREFER_RAW};

/* The matrix that is shown first is the first of these that holds counts: they are looked at in this order, each as if it
 * were the one that statistics are wanted of. Marks what was looked at. */
static gmv_status look_at_own(gmv_inspected *found, const gmv_layout *layout, int part, bool *looked)
{
    gmv_inspect_statistics *statistics = &found->statistics;
    bool wanted = true;
    for (int k = 0; k < 3; k++) {
        for (int i = 0; i < layout->n && wanted; i++) {
            const gmv_place *place = &layout->place[i];
            const gmv_inspect_matrix *m = &found->matrix[i];
            if (place->part != part || place->preference != own_first[k]) {
                continue;
            }
            statistics->problem[0] = '\0';
            GMV_TRY(look_at_matrix(&found->matrix[i], statistics, layout->file, place, found->round));
            looked[i] = true;
            wanted = m->problem[0] != '\0' || !m->is_count;
        }
    }
    if (!wanted && statistics->problem[0] != '\0') {
        gmv_warn("no statistics: %s", statistics->problem);
    }
    return GMV_OK;
}

static gmv_status look_at_matrices(gmv_inspected *found, const gmv_layout *layout)
{
    static const gmv_preference trained[] = {GMV_PREFER_COUNTS, GMV_PREFER_RAW, GMV_PREFER_X};
    int part = layout->part >= 0 ? layout->part : 0;
    bool *looked = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(found->matrix, layout->n, "matrices"));
    GMV_GO(GMV_NEW(looked, layout->n, "matrices"));
    GMV_GO(look_at_own(found, layout, part, looked));
    for (int i = 0; i < layout->n; i++) {
        if (!looked[i]) {
            GMV_GO(look_at_matrix(&found->matrix[i], NULL, layout->file, &layout->place[i], found->round));
        }
    }
    found->matrices = layout->n;
    found->automatic = first_of(found, layout, trained, layout->part, true);
    found->main = first_of(found, layout, own_first, part, true);
    if (found->main < 0) {
        found->main = first_of(found, layout, own_first, part, false);
    }
    if (found->main >= 0) {
        found->cells = found->matrix[found->main].rows;
        found->genes = found->matrix[found->main].cols;
    }
done:
    GMV_FREE(looked);
    return status;
}

static gmv_status count_codes(gmv_inspect_column *seen, gmv_column *column)
{
    int32_t *code = NULL;
    gmv_status status = GMV_OK;
    seen->levels = column->level.n;
    seen->level = column->level;
    column->level = (gmv_texts){NULL, 0};
    GMV_TRY(GMV_NEW(seen->cells, seen->level.n, "levels"));
    GMV_TRY(GMV_NEW(code, column_rows, "codes"));
    column->level.n = seen->level.n; /* the codes are checked against it */
    for (int64_t at = 0; at < column->length; at += column_rows) {
        int64_t n = column->length - at < column_rows ? column->length - at : column_rows;
        GMV_GO(gmv_stop_check());
        GMV_GO(gmv_column_codes(column, at, n, code));
        for (int64_t i = 0; i < n; i++) {
            if (code[i] < 0) {
                seen->missing++;
            } else {
                seen->cells[code[i]]++;
            }
        }
    }
done:
    column->level.n = 0;
    GMV_FREE(code);
    return status;
}

/* Distinct values of a string or boolean column, as long as they are few. */
static gmv_status count_texts(gmv_inspect_column *seen, const gmv_column *column)
{
    gmv_names names = {0};
    char **text = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(seen->cells, levels_kept, "levels"));
    GMV_GO(GMV_NEW(text, column_rows, "a column"));
    for (int64_t at = 0; at < column->length && names.n < levels_kept; at += column_rows) {
        int64_t n = column->length - at < column_rows ? column->length - at : column_rows;
        GMV_GO(gmv_stop_check());
        status = gmv_column_texts(column, at, n, text);
        for (int64_t i = 0; i < n; i++) {
            int64_t index = 0;
            if (status == GMV_OK && text[i] == NULL) {
                seen->missing++;
            } else if (status == GMV_OK && names.n < levels_kept) {
                status = gmv_names_add(&names, text[i], &index, NULL);
                seen->cells[index]++;
            }
            GMV_FREE(text[i]);
        }
        GMV_GO(status);
    }
    if (names.n < levels_kept) {
        seen->levels = names.n;
        seen->level.n = (int)names.n;
        seen->level.at = gmv_names_take(&names);
    }
done:
    GMV_FREE(text);
    gmv_names_fini(&names);
    return status;
}

static gmv_status look_at_column(gmv_inspect_column *seen, const gmv_table *obs, const char *name)
{
    gmv_column column;
    seen->levels = -1;
    GMV_TRY(gmv_copy_text(&seen->name, name));
    gmv_status status = gmv_column_open(&column, obs, name, "inspect");
    if (status == GMV_OK) {
        seen->kind = gmv_column_kind_name(column.kind);
        if (column.kind == GMV_COLUMN_CATEGORICAL) {
            status = count_codes(seen, &column);
        } else if (column.kind == GMV_COLUMN_STRING || column.kind == GMV_COLUMN_BOOL) {
            status = count_texts(seen, &column);
        }
    }
    gmv_column_close(&column);
    if (status == GMV_ERR_DATA || status == GMV_ERR_CONFIG) {
        seen->kind = "unreadable";
        gmv_error_clear();
        status = GMV_OK;
    }
    return status;
}

static gmv_status look_at_obs(gmv_inspected *found, const gmv_table *obs)
{
    gmv_texts names;
    GMV_TRY(gmv_column_names(obs, &names));
    gmv_status status = GMV_NEW(found->column, names.n, "columns");
    for (int i = 0; i < names.n && status == GMV_OK; i++) {
        status = look_at_column(&found->column[i], obs, names.at[i]);
        found->columns = i + 1;
    }
    gmv_texts_free(&names);
    return status;
}

static gmv_status look_at_encoding(gmv_inspected *found, const gmv_layout *layout, const gmv_table *obs)
{
    char *type = NULL, *version = NULL;
    gmv_status status = gmv_h5_attribute_text(layout->file, "/", "encoding-type", &type);
    if (status == GMV_OK) {
        status = gmv_h5_attribute_text(layout->file, "/", "encoding-version", &version);
    }
    if (status == GMV_OK) {
        bool v3 = obs->kind == GMV_TABLE_NAMES && gmv_h5_has(layout->file, "matrix/features");
        const char *old = obs->kind == GMV_TABLE_GROUP      ? "anndata 0.7"
                          : obs->kind == GMV_TABLE_COMPOUND ? "anndata 0.6"
                          : v3                              ? "Cell Ranger 3"
                                                            : "Cell Ranger 2";
        snprintf(found->encoding, sizeof found->encoding, "%.30s%s%.30s", type != NULL ? gmv_shown(type).at : old,
                 version != NULL ? ", encoding " : "", version != NULL ? gmv_shown(version).at : "");
    }
    GMV_FREE(type);
    GMV_FREE(version);
    return status;
}

/* Tables next to the matrix that is shown, or to the place where it should be. */
static gmv_status look_at_tables(gmv_inspected *found, const gmv_layout *layout)
{
    gmv_table obs, var;
    const gmv_place *main = found->main >= 0 ? &layout->place[found->main] : NULL;
    GMV_TRY(gmv_table_open(&obs, layout->file, main != NULL ? main->obs : "obs"));
    GMV_TRY(gmv_table_open(&var, layout->file, main != NULL ? main->var : "var"));
    if (main == NULL) {
        found->cells = obs.rows;
        found->genes = var.rows;
    }
    GMV_TRY(look_at_encoding(found, layout, &obs));
    GMV_TRY(look_at_obs(found, &obs));
    char obsm[80];
    snprintf(obsm, sizeof obsm, "%sobsm", main != NULL ? main->root : "");
    return gmv_h5_is_group(layout->file, obsm) ? gmv_h5_children(layout->file, obsm, &found->obsm) : GMV_OK;
}

static gmv_status look_at_file(gmv_inspected *found, const gmv_h5 *file)
{
    gmv_layout layout;
    gmv_status status = GMV_OK;
    GMV_GO(gmv_layout_read(&layout, file));
    found->format = layout.format;
    GMV_GO(look_at_matrices(found, &layout));
    GMV_GO(look_at_tables(found, &layout));
done:
    gmv_layout_free(&layout);
    return status;
}

static void free_found(gmv_inspected *found)
{
    for (int i = 0; i < found->columns; i++) {
        GMV_FREE(found->column[i].name);
        GMV_FREE(found->column[i].cells);
        gmv_texts_free(&found->column[i].level);
    }
    GMV_FREE(found->column);
    GMV_FREE(found->matrix);
    gmv_inspect_statistics_fini(&found->statistics);
    gmv_texts_free(&found->obsm);
}

gmv_status gmv_inspect(const char *path, bool json, const gmv_config *config)
{
    gmv_h5 file;
    gmv_inspected found = {.path = path, .round = config->data_round, .main = -1, .automatic = -1};
    char *checked = (char *)(uintptr_t)path;
    bool checkpoint = false;
    GMV_TRY(gmv_h5_check(&checked, 1, config->data_check_seconds));
    GMV_TRY(gmv_h5_open(&file, path, NULL));
    gmv_status status = gmv_h5_attribute_is(&file, "/", "format", "gmvae_dist checkpoint", &checkpoint);
    if (status == GMV_OK && checkpoint) {
        status = gmv_inspect_checkpoint(&file, json, stdout);
    } else if (status == GMV_OK) {
        status = look_at_file(&found, &file);
        if (status == GMV_OK) {
            status = gmv_inspect_as_training(&found, &file, config);
        }
        status = status == GMV_OK ? gmv_h5_unchanged(&file) : gmv_file_cause(path, &file.stamp, status);
        if (status == GMV_OK && json) {
            gmv_inspect_print_json(&found, stdout);
        } else if (status == GMV_OK) {
            gmv_inspect_print_text(&found, stdout);
        }
        if (status == GMV_OK && found.refused) {
            status = GMV_FAIL(GMV_ERR_DATA, "%s (train would refuse the file)", found.problem);
        }
    }
    free_found(&found);
    gmv_h5_close(&file);
    return status;
}
