/* Names of a matrix's genes, from whichever column has them. */
#include "../h5/column.h"
#include "../rows/matrix.h"
#include "../rows/row_names.h"

#include "gmvae/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* 10x: the names beside those that are taken else, such as features/id. */
static bool is_sibling(const gmv_table *var, const char *column, char *path, size_t size)
{
    const char *slash = strrchr(var->path, '/');
    int length = snprintf(path, size, "%.*s/%s", slash != NULL ? (int)(slash - var->path) : 0, var->path, column);
    return var->kind == GMV_TABLE_NAMES && slash != NULL && length < (int)size && strchr(column, '/') == NULL &&
           gmv_h5_has(var->file, path) && !gmv_h5_is_group(var->file, path);
}

int gmv_gene_column_find(const gmv_table *var, const gmv_texts *columns)
{
    char path[1024];
    for (int i = 0; columns != NULL && i < columns->n; i++) {
        const char *column = columns->at[i];
        if (strcmp(column, "index") == 0 || strcmp(column, var->index_name) == 0 ||
            is_sibling(var, column, path, sizeof path) || gmv_column_exists(var, column)) {
            return i;
        }
    }
    return -1;
}

static gmv_status refuse_nameless(const gmv_table *var, const char *column, const gmv_texts *names)
{
    for (int i = 0; i < names->n; i++) {
        if (names->at[i] == NULL) {
            return GMV_FAIL(GMV_ERR_DATA,
                            "%s: %s/%s has no name for gene %d (data.gene_column); take another column, or fill it",
                            var->file->path, gmv_shown(var->path).at, gmv_shown(column).at, i);
        }
    }
    return GMV_OK;
}

static gmv_status read_index(const gmv_table *var, gmv_texts *names)
{
    gmv_row_names rows;
    gmv_status status = GMV_OK;
    GMV_GO(gmv_row_names_open(&rows, var));
    if (var->rows > INT32_MAX) {
        GMV_GO(GMV_FAIL(GMV_ERR_DATA, "%s: %s has %" PRId64 " names, more than 2^31", var->file->path,
                        gmv_shown(var->path).at, var->rows));
    }
    GMV_GO(GMV_NEW(names->at, var->rows, "names of genes"));
    names->n = (int)var->rows;
    GMV_GO(gmv_row_names_read(&rows, 0, var->rows, names->at));
    GMV_GO(refuse_nameless(var, var->index_name, names));
done:
    gmv_row_names_close(&rows);
    return status;
}

/* Texts of a categorical, or of a column of strings or integers. */
static gmv_status read_column(const gmv_column *column, char **text)
{
    int32_t *code = NULL;
    gmv_status status = GMV_OK;
    if (column->kind != GMV_COLUMN_CATEGORICAL) {
        return gmv_column_texts(column, 0, column->length, text);
    }
    GMV_GO(GMV_NEW(code, column->length, "names of genes"));
    GMV_GO(gmv_column_codes(column, 0, column->length, code));
    for (int64_t i = 0; i < column->length; i++) {
        if (code[i] >= 0) {
            GMV_GO(gmv_copy_text(&text[i], column->level.at[code[i]]));
        }
    }
done:
    GMV_FREE(code);
    return status;
}

static gmv_status read_gene_column(const gmv_table *var, const char *name, gmv_texts *names)
{
    gmv_column column;
    gmv_status status = GMV_OK;
    GMV_GO(gmv_column_open(&column, var, name, "data.gene_column"));
    if (column.kind != GMV_COLUMN_CATEGORICAL && column.kind != GMV_COLUMN_STRING && column.kind != GMV_COLUMN_INT) {
        GMV_GO(GMV_FAIL(GMV_ERR_CONFIG, "%s: %s/%s holds no names (data.gene_column); it is of kind %s",
                        var->file->path, gmv_shown(var->path).at, gmv_shown(name).at,
                        gmv_column_kind_name(column.kind)));
    }
    if (column.length != var->rows) {
        GMV_GO(GMV_FAIL(GMV_ERR_DATA, "%s: %s/%s has %" PRId64 " rows for %" PRId64 " genes; the file is damaged",
                        var->file->path, gmv_shown(var->path).at, gmv_shown(name).at, column.length, var->rows));
    }
    GMV_GO(GMV_NEW(names->at, var->rows, "names of genes"));
    names->n = (int)var->rows;
    GMV_GO(read_column(&column, names->at));
    GMV_GO(refuse_nameless(var, name, names));
done:
    gmv_column_close(&column);
    return status;
}

static gmv_status no_gene_column(const gmv_table *var, const gmv_texts *columns)
{
    gmv_texts names;
    char hint[900];
    GMV_TRY(gmv_column_names(var, &names));
    gmv_names_hint(&names, columns->at[0], hint, sizeof hint);
    gmv_texts_free(&names);
    return GMV_FAIL(GMV_ERR_CONFIG, "%s: %s has no column '%s'%s (data.gene_column; \"index\" is its index); %s",
                    var->file->path, gmv_shown(var->path).at, gmv_shown(columns->at[0]).at,
                    columns->n > 1 ? " or another of those given" : "", hint);
}

/* All names of the table of genes, also of features that do not belong to the matrix. */
static gmv_status read_gene_names(const gmv_table *var, const gmv_texts *columns, gmv_texts *names)
{
    char path[1024];
    for (int i = 0; columns != NULL && i < columns->n; i++) {
        const char *column = columns->at[i];
        if (strcmp(column, "index") == 0 || strcmp(column, var->index_name) == 0) {
            return read_index(var, names);
        }
        if (is_sibling(var, column, path, sizeof path)) {
            return gmv_h5_texts_at(var->file, path, NULL, names);
        }
        if (gmv_column_exists(var, column)) {
            return read_gene_column(var, column, names);
        }
    }
    return columns != NULL && columns->n > 0 ? no_gene_column(var, columns) : read_index(var, names);
}

gmv_status gmv_matrix_genes(const gmv_matrix *matrix, const gmv_texts *columns, gmv_texts *names)
{
    *names = (gmv_texts){NULL, 0};
    GMV_TRY(read_gene_names(&matrix->var, columns, names));
    if (names->n != matrix->stored_cols) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: %d names of genes for %" PRId64 " columns; the file is damaged",
                        matrix->file->path, names->n, matrix->stored_cols);
    }
    if (matrix->select == NULL) {
        return GMV_OK;
    }
    int kept = 0;
    for (int i = 0; i < names->n; i++) {
        if (matrix->select[i] >= 0) {
            names->at[kept++] = names->at[i];
        } else {
            gmv_free(names->at[i]);
        }
    }
    names->n = kept;
    return GMV_OK;
}
