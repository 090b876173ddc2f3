#include "gene_ids.h"

#include "../h5/column.h"
#include "join.h"

#include "gmvae/mem.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { sampled = 32, fewest_letters = 3, fewest_digits = 6 };

/* Letters with which an id begins, 0 when it is none. Symbols have fewer digits, or (clones: "AL627309.1") letters. */
static size_t letters_of(const char *text)
{
    size_t letters = 0, digits = 0;
    while (isalpha((unsigned char)text[letters])) {
        letters++;
    }
    while (isdigit((unsigned char)text[letters + digits])) {
        digits++;
    }
    const char *end = text + letters + digits;
    bool ensembl = strncmp(text, "ENS", 3) == 0, gene = letters > 0 && text[letters - 1] == 'G';
    bool found = letters >= fewest_letters && digits >= fewest_digits && (*end == '\0' || *end == '.' || *end == '_');
    return found && (!ensembl || gene) ? letters : 0;
}

bool gmv_gene_ids_compare(const char *a, const char *b)
{
    size_t n = letters_of(a);
    bool ensembl = strncmp(a, "ENS", 3) == 0 && strncmp(b, "ENS", 3) == 0;
    return n > 0 && letters_of(b) > 0 && (ensembl || (letters_of(b) == n && strncmp(a, b, n) == 0));
}

/* Most of them are ids. */
static bool are_ids(char *const *text, int n)
{
    int found = 0;
    for (int i = 0; i < n; i++) {
        found += text[i] != NULL && letters_of(text[i]) > 0;
    }
    return found > 0 && 2 * found >= n;
}

/* Whether a column of the table looks as if it held ids, by its first values. */
static bool looks_right(const gmv_table *var, const char *name)
{
    char *text[sampled] = {NULL};
    gmv_column column;
    bool right = false;
    gmv_status status = gmv_column_open(&column, var, name, "data.gene_column");
    if (status == GMV_OK && column.kind == GMV_COLUMN_CATEGORICAL) {
        right = are_ids(column.level.at, column.level.n < sampled ? column.level.n : sampled);
    } else if (status == GMV_OK && column.kind == GMV_COLUMN_STRING) {
        int n = column.length < sampled ? (int)column.length : sampled;
        status = gmv_column_texts(&column, 0, n, text);
        right = status == GMV_OK && are_ids(text, n);
        for (int i = 0; i < n; i++) {
            GMV_FREE(text[i]);
        }
    }
    if (status != GMV_OK) {
        gmv_error_clear();
    }
    gmv_column_close(&column);
    return right;
}

/* The ids of one column, as data.gene_column would take them; ids->n is 0 when it holds none. */
static void take_column(const gmv_matrix *matrix, const char *name, gmv_texts *ids, char *column)
{
    const char *const wanted[1] = {name};
    gmv_texts columns = {(char **)(void *)wanted, 1};
    if (strlen(name) >= GMV_ID_COLUMN_ROOM || gmv_matrix_genes(matrix, &columns, ids) != GMV_OK) {
        gmv_error_clear();
        gmv_texts_free(ids);
        return;
    }
    if (!are_ids(ids->at, ids->n)) {
        gmv_texts_free(ids);
        return;
    }
    snprintf(column, GMV_ID_COLUMN_ROOM, "%s", name);
}

/* In the columns of a table. Names that cannot be listed are no ids. */
static void look_in_columns(const gmv_matrix *matrix, gmv_texts *ids, char *column)
{
    gmv_texts names = {NULL, 0};
    if (gmv_column_names(&matrix->var, &names) != GMV_OK) {
        gmv_error_clear();
    }
    for (int i = 0; i < names.n && ids->n == 0; i++) {
        if (looks_right(&matrix->var, names.at[i])) {
            take_column(matrix, names.at[i], ids, column);
        }
    }
    gmv_texts_free(&names);
}

static void drop_versions(gmv_texts *ids)
{
    char plain[128];
    for (int i = 0; i < ids->n; i++) {
        if (letters_of(ids->at[i]) == 0) {
            ids->at[i][0] = '\0';
        } else if (gmv_gene_drop_version(ids->at[i], plain, sizeof plain)) {
            strcpy(ids->at[i], plain); /* it is shorter */
        }
    }
}

gmv_status gmv_matrix_gene_ids(const gmv_matrix *matrix, const gmv_texts *names, gmv_texts *ids, char *column)
{
    static const char *const beside[] = {"id", "genes", "index"}; /* the first two of 10x files */
    *ids = (gmv_texts){NULL, 0};
    column[0] = '\0';
    if (are_ids(names->at, names->n)) {
        return GMV_OK;
    }
    bool plain = matrix->var.kind == GMV_TABLE_NAMES;
    if (!plain) {
        look_in_columns(matrix, ids, column);
    }
    for (int i = plain ? 0 : 2; i < (plain ? 2 : 3) && ids->n == 0; i++) {
        take_column(matrix, beside[i], ids, column);
    }
    drop_versions(ids);
    return GMV_OK;
}
