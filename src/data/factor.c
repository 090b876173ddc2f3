/* Covariates and labels: categorical columns of all files on one table of levels. */
#include "column.h"
#include "file_levels.h"
#include "inputs.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { block_rows = 1 << 14 };

/* What a column is read for. */
typedef enum column_use { COVARIATE, LABEL, VALIDATION } column_use;

static const char *const use_key[] = {"data.batch_keys", "data.label_key", "data.validation"};

typedef struct factor_reader {
    gmv_names level; /* union so far, or the known levels */
    bool fixed;      /* levels come from a checkpoint: no new ones */
    gmv_factor *factor;
    const char *key; /* the config's */
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
        return GMV_FAIL(GMV_ERR_DATA, "%s: obs/%s has the level '%s', which the checkpoint does not know", path,
                        reader->factor->key, gmv_shown(text).at);
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
        status = gmv_column_texts(column, at, n, text);
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

static gmv_status check_column(const factor_reader *reader, const gmv_column *column, const gmv_source *source)
{
    const char *path = source->file.path, *name = reader->factor->key;
    if (column->kind == GMV_COLUMN_FLOAT) {
        return GMV_FAIL(GMV_ERR_DATA,
                        "%s: obs/%s holds floats, not levels; make it categorical: adata.obs['%s'] = "
                        "adata.obs['%s'].astype(str).astype('category')",
                        path, name, name, name);
    }
    if (column->kind == GMV_COLUMN_OTHER) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: obs/%s is of a kind that cannot serve as %s; make it categorical", path,
                        name, reader->key);
    }
    if (column->length != source->matrix.rows) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: obs/%s has %" PRId64 " rows for %" PRId64 " cells; the file is damaged",
                        path, name, column->length, source->matrix.rows);
    }
    return GMV_OK;
}

/* Levels of one file's column, then the codes of the local rows [first, end) of that file. All ranks read all
 * levels, so that their tables are the same. */
static gmv_status read_column(factor_reader *reader, const gmv_column *column, int64_t first, int64_t end,
                              int32_t *code)
{
    gmv_status status = GMV_OK;
    if (column->kind != GMV_COLUMN_CATEGORICAL) {
        gmv_names seen = {0};
        status = walk_texts(reader, column, 0, column->length, &seen, NULL);
        if (status == GMV_OK) {
            status = add_sorted(reader, column, &seen);
        }
        gmv_names_fini(&seen);
        return status == GMV_OK && end > first ? walk_texts(reader, column, first, end, NULL, code) : status;
    }
    for (int i = 0; i < column->level.n; i++) {
        GMV_TRY(add_level(reader, column->file->path, column->level.at[i]));
    }
    if (end <= first) {
        return GMV_OK;
    }
    GMV_TRY(gmv_column_codes(column, first, end - first, code));
    int32_t *to = NULL;
    GMV_TRY(GMV_NEW(to, column->level.n, "levels"));
    for (int i = 0; i < column->level.n; i++) {
        to[i] = (int32_t)gmv_names_find(&reader->level, column->level.at[i]);
    }
    for (int64_t i = 0; i < end - first; i++) {
        code[i] = code[i] < 0 ? -1 : to[code[i]];
    }
    GMV_FREE(to);
    return GMV_OK;
}

static gmv_status read_file(factor_reader *reader, const gmv_cells *cells, const gmv_source *source)
{
    gmv_column column;
    gmv_gidx local_end = cells->first + cells->count;
    int64_t first = cells->first > source->first ? cells->first - source->first : 0;
    int64_t end = local_end - source->first < source->matrix.rows ? local_end - source->first : source->matrix.rows;
    if (source->matrix.rows == 0) { /* nothing tells what its columns would hold */
        return GMV_OK;
    }
    gmv_status status = gmv_column_open(&column, &source->matrix.obs, reader->factor->key, reader->key);
    if (status == GMV_OK) {
        status = check_column(reader, &column, source);
    }
    if (status == GMV_OK) {
        int32_t *code = reader->factor->code;
        status = read_column(reader, &column, first, end,
                             end > first ? code + (source->first + first - cells->first) : NULL);
    }
    gmv_column_close(&column);
    return status;
}

static const gmv_factor *known_factor(const gmv_cells_request *request, const char *key)
{
    for (int i = 0; i < request->known_factors; i++) {
        if (strcmp(request->known_factor[i].key, key) == 0) {
            return &request->known_factor[i];
        }
    }
    return NULL;
}

static gmv_status prepare(factor_reader *reader, const gmv_cells *cells, const gmv_factor *known, const char *name)
{
    GMV_TRY(gmv_copy_text(&reader->factor->key, name));
    GMV_TRY(GMV_NEW(reader->factor->code, cells->count, "codes of cells"));
    for (int i = 0; known != NULL && i < known->levels; i++) {
        GMV_TRY(gmv_names_add(&reader->level, known->level[i], NULL, NULL));
    }
    reader->fixed = known != NULL;
    return GMV_OK;
}

/* The file of every local row. */
static gmv_status read_file_codes(factor_reader *reader, const gmv_cells *cells)
{
    int32_t *code = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(code, cells->files, "levels"));
    GMV_GO(gmv_file_levels(&reader->level, reader->fixed, cells->file, cells->files, code));
    for (int f = 0; f < cells->files; f++) {
        for (gmv_gidx row = cells->file_start[f]; row < cells->file_start[f + 1]; row++) {
            if (row >= cells->first && row < cells->first + cells->count) {
                reader->factor->code[row - cells->first] = code[f];
            }
        }
    }
done:
    GMV_FREE(code);
    return status;
}

static gmv_status read_codes(factor_reader *reader, const gmv_cells *cells, const gmv_comm *comm,
                             const gmv_source *source)
{
    if (strcmp(reader->factor->key, GMV_FILE_KEY) == 0) {
        return gmv_comm_agree(comm, read_file_codes(reader, cells));
    }
    for (int f = 0; f < cells->files; f++) { /* opening the next file's column may be collective: agree first */
        GMV_TRY(gmv_comm_agree(comm, read_file(reader, cells, &source[f])));
    }
    return GMV_OK;
}

static gmv_status load_factor(gmv_factor *factor, const gmv_cells *cells, const gmv_comm *comm,
                              const gmv_source *source, const gmv_factor *known, const char *name, column_use use)
{
    factor_reader reader = {.factor = factor, .key = use_key[use]};
    gmv_status status = GMV_OK;
    GMV_GO(gmv_comm_agree(comm, prepare(&reader, cells, known, name)));
    GMV_GO(read_codes(&reader, cells, comm, source));
    for (int64_t i = 0; i < cells->count; i++) {
        reader.missing += factor->code[i] < 0;
    }
    gmv_comm_sum_i64(comm, &reader.missing, 1);
    if (reader.missing > 0 && use == COVARIATE) {
        GMV_GO(GMV_FAIL(GMV_ERR_DATA,
                        "%s: obs/%s has no value for %" PRId64 " of %" PRId64
                        " cells; drop these cells or give them a level of their own",
                        cells->file[0], name, reader.missing, cells->total));
    }
    if (reader.missing > 0) {
        gmv_log("%s %s is missing for %" PRId64 " cells%s", use == LABEL ? "label" : "obs column", name, reader.missing,
                use == VALIDATION ? ", which are not held out" : "");
    }
    factor->levels = (int)reader.level.n;
    factor->level = gmv_names_take(&reader.level);
done:
    gmv_names_fini(&reader.level);
    return status;
}

/* A byte a cell where that is enough: of streamed cells this is what memory is needed for. */
static gmv_status make_small(gmv_factor *factor, int64_t count)
{
    if (factor->levels >= 255) {
        return GMV_OK;
    }
    GMV_TRY(GMV_NEW(factor->code8, count, "codes of cells"));
    for (int64_t i = 0; i < count; i++) {
        factor->code8[i] = (uint8_t)(factor->code[i] < 0 ? 255 : factor->code[i]);
    }
    GMV_FREE(factor->code);
    return GMV_OK;
}

/* One-hot column of every local row and key: the key's offset plus its level. */
static gmv_status fill_levels(gmv_cells *cells)
{
    int32_t *level = NULL;
    GMV_TRY(GMV_NEW(level, cells->count * cells->covariates, "covariates of cells"));
    int offset = 0;
    for (int c = 0; c < cells->covariates; c++) {
        const gmv_factor *factor = &cells->covariate[c];
        for (int64_t i = 0; i < cells->count; i++) {
            level[i * cells->covariates + c] = offset + gmv_factor_code(factor, i);
        }
        offset += factor->levels;
    }
    cells->levels = offset;
    cells->packed.level = level;
    cells->packed.covariates = cells->covariates;
    return GMV_OK;
}

gmv_status gmv_factor_read(gmv_factor *factor, const gmv_cells *cells, const gmv_comm *comm, const gmv_source *source,
                           const char *name)
{
    return load_factor(factor, cells, comm, source, NULL, name, VALIDATION);
}

gmv_status gmv_factors_load(gmv_cells *cells, const gmv_comm *comm, const gmv_cells_request *request,
                            const gmv_source *source)
{
    int keys = request->batch_keys != NULL ? request->batch_keys->n : 0;
    gmv_status status = GMV_NEW(cells->covariate, keys, "covariates");
    GMV_TRY(gmv_comm_agree(comm, status));
    for (int c = 0; c < keys; c++) {
        const char *name = request->batch_keys->at[c];
        cells->covariates = c + 1;
        GMV_TRY(load_factor(&cells->covariate[c], cells, comm, source, known_factor(request, name), name, COVARIATE));
        const gmv_factor *factor = &cells->covariate[c];
        gmv_log("covariate %s: %d levels", name, factor->levels);
    }
    if (request->label_key != NULL && request->label_key[0] != '\0') {
        GMV_TRY(gmv_comm_agree(comm, GMV_NEW(cells->label, 1, "the label")));
        GMV_TRY(load_factor(cells->label, cells, comm, source, NULL, request->label_key, LABEL));
    }
    if (cells->stream == NULL) {
        return gmv_comm_agree(comm, fill_levels(cells));
    }
    for (int c = 0; c < keys; c++) {
        cells->levels += cells->covariate[c].levels;
        status = status == GMV_OK ? make_small(&cells->covariate[c], cells->count) : status;
    }
    status = status == GMV_OK && cells->label != NULL ? make_small(cells->label, cells->count) : status;
    return gmv_comm_agree(comm, status);
}
