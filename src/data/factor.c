/* Covariates and labels: categorical columns of all files on one table of levels. */
#include "file_levels.h"
#include "h5/column.h"
#include "inputs.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { block_rows = 1 << 14, missing8 = 255 };

/* What a column is read for. */
typedef enum column_use { COVARIATE, LABEL, VALIDATION } column_use;

static const char *const use_key[] = {"data.batch_keys", "data.label_key", "data.validation"};

typedef struct gmv_factor_reader {
    const char *name; /* of the column */
    column_use use;
    gmv_names level; /* union so far, or the known levels */
    bool fixed;      /* levels come from a checkpoint: no new ones */
    bool optional;   /* a file without the column has cells without a value */
    gmv_factor *factor;
    int64_t missing; /* local rows without a value */
} factor_reader;

typedef struct sorted_level {
    const char *text;
    double value;
    bool number;
} sorted_level;

static int compare_levels(const void *a, const void *b)
{
    const sorted_level *x = a, *y = b;
    if (x->number && x->value != y->value) {
        return x->value < y->value ? -1 : 1;
    }
    return strcmp(x->text, y->text);
}

static gmv_status add_level(factor_reader *reader, const char *path, const char *text)
{
    if (reader->fixed && gmv_names_find(&reader->level, text) < 0) {
        char hint[700];
        gmv_names_hint(&(gmv_texts){reader->level.at, (int)reader->level.n}, text, hint, sizeof hint);
        return GMV_FAIL(GMV_ERR_DATA, "%s: obs/%s has the level '%s', which the checkpoint does not know; %s", path,
                        gmv_shown(reader->name).at, gmv_shown(text).at, hint);
    }
    return gmv_names_add(&reader->level, text, NULL, NULL);
}

/* Adds a column's distinct values, sorted as anndata sorts them when it makes a categorical. */
static gmv_status add_sorted(factor_reader *reader, const gmv_column *column, const gmv_names *seen)
{
    sorted_level *order = NULL;
    gmv_status status = GMV_NEW(order, seen->n, "levels");
    for (int64_t i = 0; i < seen->n && status == GMV_OK; i++) {
        order[i] = (sorted_level){seen->at[i], strtod(seen->at[i], NULL), column->kind == GMV_COLUMN_INT};
    }
    if (status == GMV_OK && seen->n > 0) {
        qsort(order, (size_t)seen->n, sizeof *order, compare_levels);
    }
    for (int64_t i = 0; i < seen->n && status == GMV_OK; i++) {
        status = add_level(reader, column->file->path, order[i].text);
    }
    GMV_FREE(order);
    return status;
}

/* Calls for every row [first, end) of a column that has no codes: collects its distinct values in `seen`
 * (code == NULL), or writes codes. */
static gmv_status walk_texts(factor_reader *reader, const gmv_column *column, int64_t first, int64_t end,
                             gmv_names *seen, int32_t *code)
{
    char **text = NULL;
    gmv_status status = GMV_OK;
    int64_t room = end - first < block_rows ? end - first : block_rows;
    GMV_TRY(GMV_NEW(text, room, "a column"));
    for (int64_t at = first; at < end && status == GMV_OK; at += block_rows) {
        int64_t n = end - at < block_rows ? end - at : block_rows;
        status = gmv_stop_check();
        status = status == GMV_OK ? gmv_column_texts(column, at, n, text) : status;
        for (int64_t i = 0; i < n; i++) {
            if (status == GMV_OK && code == NULL && text[i] != NULL) {
                status = gmv_names_add(seen, text[i], NULL, NULL);
            } else if (status == GMV_OK && code != NULL) {
                code[at - first + i] = text[i] == NULL ? -1 : (int32_t)gmv_names_find(&reader->level, text[i]);
            }
            GMV_FREE(text[i]);
        }
    }
    GMV_FREE(text);
    return status;
}

static gmv_status check_column(const factor_reader *reader, const gmv_column *column, const gmv_input_file *input)
{
    const gmv_shown_text shown = gmv_shown(reader->name);
    const char *path = input->file.path, *name = shown.at;
    bool empty = false; /* as pandas makes a column that nobody has filled */
    if (column->kind == GMV_COLUMN_FLOAT && reader->use == LABEL) {
        GMV_TRY(gmv_column_is_empty(column, &empty));
    }
    if (column->kind == GMV_COLUMN_FLOAT && !empty) {
        return GMV_FAIL(GMV_ERR_DATA,
                        "%s: obs/%s holds floats, not levels; make it categorical: adata.obs['%s'] = "
                        "adata.obs['%s'].astype(str).astype('category')",
                        path, name, name, name);
    }
    if (column->kind == GMV_COLUMN_OTHER) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: obs/%s is of a kind that cannot serve as %s; make it categorical", path,
                        name, use_key[reader->use]);
    }
    if (column->length != input->matrix.rows) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: obs/%s has %" PRId64 " rows for %" PRId64 " cells; the file is damaged",
                        path, name, column->length, input->matrix.rows);
    }
    return GMV_OK;
}

/* Opens the column that is wanted. Ownership: gmv_column_close, also after an error. */
static gmv_status open_column(const factor_reader *reader, const gmv_table *obs, gmv_column *column)
{
    if (strcmp(reader->name, obs->index_name) == 0) {
        memset(column, 0, sizeof *column);
        column->values = column->mask = column->type = -1;
        return GMV_FAIL(GMV_ERR_CONFIG, "%s: obs/%s is the index, the names of the cells, and cannot serve as %s",
                        obs->file->path, gmv_shown(reader->name).at, use_key[reader->use]);
    }
    return gmv_column_open(column, obs, reader->name, use_key[reader->use]);
}

/* ---- levels ---- */

static gmv_status add_levels(factor_reader *reader, const gmv_column *column)
{
    gmv_names seen = {0};
    gmv_status status = GMV_OK;
    if (column->kind != GMV_COLUMN_CATEGORICAL && column->kind != GMV_COLUMN_FLOAT) {
        GMV_GO(walk_texts(reader, column, 0, column->length, &seen, NULL));
        GMV_GO(add_sorted(reader, column, &seen));
    }
    for (int i = 0; i < column->level.n; i++) {
        GMV_GO(add_level(reader, column->file->path, column->level.at[i]));
    }
done:
    gmv_names_fini(&seen);
    return status;
}

static bool is_file_key(const factor_reader *reader)
{
    return strcmp(reader->name, GMV_FILE_KEY) == 0;
}

static bool is_left_out(const factor_reader *reader, const gmv_input_file *input)
{
    return reader->optional && !gmv_column_exists(&input->matrix.obs, reader->name);
}

gmv_status gmv_factors_add_levels(void *wanted, const gmv_input_file *input)
{
    gmv_factors *factors = wanted;
    gmv_status status = GMV_OK;
    for (int k = 0; k < factors->n && status == GMV_OK; k++) {
        factor_reader *reader = &factors->reader[k];
        gmv_column column;
        if (is_file_key(reader) || input->matrix.rows == 0 || /* nothing tells what its columns would hold */
            is_left_out(reader, input)) {
            continue;
        }
        status = open_column(reader, &input->matrix.obs, &column);
        if (status == GMV_OK) {
            status = check_column(reader, &column, input);
        }
        if (status == GMV_OK) {
            status = add_levels(reader, &column);
        }
        gmv_column_close(&column);
    }
    return status;
}

gmv_status gmv_factors_unite(gmv_factors *factors, const gmv_comm *comm)
{
    for (int k = 0; k < factors->n; k++) {
        if (!factors->reader[k].fixed) { /* those are the same everywhere */
            GMV_TRY(gmv_levels_unite(&factors->reader[k].level, comm));
        }
    }
    return GMV_OK;
}

/* ---- codes ---- */

/* Room for `count` of them, a byte each where that is enough: of streamed cells this is what memory is needed for. The
 * levels are known. */
static gmv_status make_codes(factor_reader *reader, int64_t count)
{
    return reader->level.n < missing8 ? GMV_NEW(reader->factor->code8, count, "codes of cells")
                                      : GMV_NEW(reader->factor->code, count, "codes of cells");
}

static void put_code(gmv_factor *factor, int64_t i, int32_t code)
{
    if (factor->code8 != NULL) {
        factor->code8[i] = (uint8_t)(code < 0 ? missing8 : code);
    } else {
        factor->code[i] = code;
    }
}

/* Of rows [first, first + n) of a file, in levels of all files. @param[in] to  of the file's own categories */
static gmv_status read_block(factor_reader *reader, const gmv_column *column, const int32_t *to, int64_t first,
                             int64_t n, int32_t *code)
{
    if (column->kind == GMV_COLUMN_FLOAT) { /* without a value */
        memset(code, 0xFF, (size_t)n * sizeof *code);
        return GMV_OK;
    }
    if (column->kind != GMV_COLUMN_CATEGORICAL) {
        return walk_texts(reader, column, first, first + n, NULL, code);
    }
    GMV_TRY(gmv_column_codes(column, first, n, code));
    for (int64_t i = 0; i < n; i++) {
        code[i] = code[i] < 0 ? -1 : to[code[i]];
    }
    return GMV_OK;
}

/* Of the rows [first, end) of a file, which are local rows from `at` on. */
static gmv_status read_codes(factor_reader *reader, const gmv_column *column, int64_t first, int64_t end, int64_t at)
{
    int32_t *to = NULL, *code = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(to, column->level.n, "levels"));
    GMV_GO(GMV_NEW(code, end - first < block_rows ? end - first : block_rows, "codes of cells"));
    for (int i = 0; i < column->level.n; i++) {
        to[i] = (int32_t)gmv_names_find(&reader->level, column->level.at[i]);
    }
    for (int64_t row = first, n; row < end; row += n) {
        n = end - row < block_rows ? end - row : block_rows;
        GMV_GO(gmv_stop_check());
        GMV_GO(read_block(reader, column, to, row, n, code));
        for (int64_t i = 0; i < n; i++) {
            put_code(reader->factor, at + row - first + i, code[i]);
        }
    }
done:
    GMV_FREE(to);
    GMV_FREE(code);
    return status;
}

typedef struct code_visit {
    const gmv_factors *factors;
    const gmv_cells *cells;
} code_visit;

static gmv_status read_file(void *context, gmv_source *source, int64_t first, int64_t end)
{
    const code_visit *visit = context;
    const gmv_cells *cells = visit->cells;
    gmv_status status = GMV_OK;
    for (int k = 0; k < visit->factors->n && source->rows > 0; k++) {
        factor_reader *reader = &visit->factors->reader[k];
        gmv_column column;
        if (is_file_key(reader)) {
            continue;
        }
        if (is_left_out(reader, source->input)) {
            for (int64_t row = first; row < end; row++) {
                put_code(reader->factor, source->first + row - cells->first, -1);
            }
            continue;
        }
        gmv_status opened = /* by all ranks, if the file is shared */
            open_column(reader, &source->input->matrix.obs, &column);
        status = status == GMV_OK ? opened : status;
        if (status == GMV_OK && end > first) {
            status = check_column(reader, &column, source->input);
            status = status == GMV_OK ? read_codes(reader, &column, first, end, source->first + first - cells->first)
                                      : status;
        }
        gmv_column_close(&column);
    }
    return status;
}

/* The file of every local row. */
static gmv_status take_files(factor_reader *reader, const gmv_cells *cells, const gmv_source *source)
{
    int32_t *level = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(level, cells->files, "levels"));
    GMV_GO(gmv_file_levels(&reader->level, reader->fixed, cells->file, cells->files, level));
    GMV_GO(make_codes(reader, cells->count));
    for (int f = 0; f < cells->files; f++) {
        int64_t first, end;
        gmv_local_rows(cells, &source[f], &first, &end);
        for (int64_t row = first; row < end; row++) {
            put_code(reader->factor, source[f].first + row - cells->first, level[f]);
        }
    }
done:
    GMV_FREE(level);
    return status;
}

static gmv_status make_room(const gmv_factors *factors, gmv_cells *cells, gmv_factor *key)
{
    for (int k = 0; k < factors->n; k++) {
        factor_reader *reader = &factors->reader[k];
        cells->covariates += reader->use == COVARIATE;
    }
    GMV_TRY(GMV_NEW(cells->covariate, cells->covariates, "covariates"));
    for (int k = 0; k < factors->n; k++) { /* covariates are the first of them */
        factor_reader *reader = &factors->reader[k];
        if (reader->use == LABEL) {
            GMV_TRY(GMV_NEW(cells->label, 1, "the label"));
        }
        reader->factor = reader->use == COVARIATE ? &cells->covariate[k] : reader->use == LABEL ? cells->label : key;
        GMV_TRY(gmv_copy_text(&reader->factor->key, reader->name));
    }
    return GMV_OK;
}

/* Cells without a value, on all ranks, and the first of them: -1 when there is none. Collective. */
static gmv_gidx count_missing(factor_reader *reader, const gmv_cells *cells, const gmv_comm *comm)
{
    int64_t first = -cells->total;
    for (int64_t i = cells->count - 1; i >= 0; i--) {
        if (gmv_factor_code(reader->factor, i) < 0) {
            reader->missing++;
            first = -(cells->first + i);
        }
    }
    gmv_comm_sum_i64(comm, &reader->missing, 1);
    gmv_comm_max_i64(comm, &first, 1);
    return reader->missing > 0 ? -first : -1;
}

/* Hands the column over, and says what is missing. Collective. */
static gmv_status finish(factor_reader *reader, const gmv_cells *cells, const gmv_comm *comm)
{
    gmv_factor *factor = reader->factor;
    gmv_gidx first = count_missing(reader, cells, comm);
    if (reader->missing > 0 && reader->use == COVARIATE) {
        return GMV_FAIL(GMV_ERR_DATA,
                        "%s: obs/%s has no value for %" PRId64 " of %" PRId64
                        " cells; drop these cells or give them a level of their own",
                        cells->file[gmv_cells_file(cells, first)], gmv_shown(reader->name).at, reader->missing,
                        cells->total);
    }
    if (reader->missing == cells->total && reader->optional) {
        gmv_log("note    no cell has a value of '%s' (data.label_key): the clusters are not compared with labels",
                gmv_shown(reader->name).at);
    } else if (reader->missing > 0) {
        const char *note = reader->use == VALIDATION         ? ", which are not held out"
                           : reader->missing == cells->total ? ": there is nothing to compare clusters with"
                                                             : "";
        gmv_log("%s %s is missing for %" PRId64 " cell%s%s", reader->use == LABEL ? "label" : "obs column",
                gmv_shown(reader->name).at, reader->missing, reader->missing == 1 ? "" : "s", note);
    }
    factor->levels = (int)reader->level.n;
    factor->level = gmv_names_take(&reader->level);
    if (!reader->fixed && reader->use != VALIDATION && !is_file_key(reader)) {
        GMV_TRY(gmv_comm_agree(comm, gmv_levels_compare(reader->name, factor->level, factor->levels)));
    }
    return reader->use == COVARIATE ? gmv_covariate_report(factor, reader->fixed, cells, comm) : GMV_OK;
}

gmv_status gmv_factors_load(gmv_factors *factors, gmv_cells *cells, const gmv_comm *comm, gmv_source *source,
                            gmv_factor *key)
{
    code_visit visit = {factors, cells};
    bool columns = false;
    gmv_status status = make_room(factors, cells, key);
    for (int k = 0; k < factors->n && status == GMV_OK; k++) {
        bool file = is_file_key(&factors->reader[k]);
        columns = columns || !file;
        status = file ? take_files(&factors->reader[k], cells, source) : make_codes(&factors->reader[k], cells->count);
    }
    GMV_TRY(gmv_comm_agree(comm, status));
    if (columns) {
        GMV_TRY(gmv_sources_visit(cells, source, comm, read_file, &visit));
    }
    for (int k = 0; k < factors->n; k++) {
        GMV_TRY(finish(&factors->reader[k], cells, comm));
    }
    return GMV_OK;
}

/* ---- the columns that are wanted ---- */

static const gmv_factor *known_factor(const gmv_known *known, const char *key)
{
    for (int i = 0; known != NULL && i < known->factors; i++) {
        if (strcmp(known->factor[i].key, key) == 0) {
            return &known->factor[i];
        }
    }
    return NULL;
}

static gmv_status add_reader(gmv_factors *factors, const char *name, column_use use, const gmv_factor *known)
{
    factor_reader *reader = &factors->reader[factors->n++];
    *reader = (factor_reader){.name = name, .use = use, .fixed = known != NULL};
    for (int i = 0; known != NULL && i < known->levels; i++) {
        GMV_TRY(gmv_names_add(&reader->level, known->level[i], NULL, NULL));
    }
    return GMV_OK;
}

gmv_status gmv_factors_init(gmv_factors *factors, const gmv_config *config, const gmv_reading *reading)
{
    const gmv_texts *keys = &config->data_batch_keys;
    memset(factors, 0, sizeof *factors);
    GMV_TRY(GMV_NEW(factors->reader, keys->n + 2, "covariates"));
    for (int c = 0; c < keys->n; c++) {
        GMV_TRY(add_reader(factors, keys->at[c], COVARIATE, known_factor(reading->known, keys->at[c])));
    }
    if (config->data_label_key[0] != '\0') {
        GMV_TRY(add_reader(factors, config->data_label_key, LABEL, NULL));
        factors->reader[factors->n - 1].optional = reading->label_optional;
    }
    const gmv_validation *validation = reading->held_out;
    if (validation != NULL && validation->key != NULL) {
        GMV_TRY(add_reader(factors, validation->key, VALIDATION, NULL));
    }
    return GMV_OK;
}

void gmv_factors_fini(gmv_factors *factors)
{
    for (int k = 0; k < factors->n; k++) {
        gmv_names_fini(&factors->reader[k].level);
    }
    GMV_FREE(factors->reader);
    factors->n = 0;
}
