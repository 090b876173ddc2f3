/* A column of obs, whatever the encoding: one typed view for covariates, copying and inspection. */
#pragma once

#include "layout.h"

typedef enum gmv_column_kind {
    GMV_COLUMN_CATEGORICAL, /* codes into levels */
    GMV_COLUMN_STRING,
    GMV_COLUMN_INT,
    GMV_COLUMN_FLOAT,
    GMV_COLUMN_BOOL,
    GMV_COLUMN_OTHER /* what else there may be: not read */
} gmv_column_kind;

typedef struct gmv_column {
    const gmv_h5 *file;
    char *name;
    gmv_column_kind kind;
    int64_t length;
    hid_t values; /* codes for categorical */
    char *field;  /* of `values`, when they are compounds */
    hid_t type;   /* of the values as stored */
    hid_t mask;   /* nullable columns: true where missing; else -1 */
    int64_t *row; /* [length] stored row of each row; NULL: the same */
    bool ordered;
    gmv_column_kind level_kind; /* STRING, INT, FLOAT or BOOL: what the levels are */
    gmv_texts level;            /* categorical: names of the levels, as text */
} gmv_column;

const char *gmv_column_kind_name(gmv_column_kind kind);

/* Names of the columns of a table, in the file's order, without the index. Behind those of a modality of a MuData
 * file come those that only the table of all cells has. Ownership: gmv_texts_free. */
gmv_status gmv_column_names(const gmv_table *obs, gmv_texts *names);

bool gmv_column_exists(const gmv_table *obs, const char *name);

/* Opens the column NAME, which must exist (else GMV_ERR_CONFIG with the names there are; `key` is the config's).
 * Ownership: gmv_column_close, also after an error. */
gmv_status gmv_column_open(gmv_column *column, const gmv_table *obs, const char *name, const char *key);
void gmv_column_close(gmv_column *column);

/* Values of rows [first, first + count) as they are, converted to `type`. Independent. */
gmv_status gmv_column_read(const gmv_column *column, int64_t first, int64_t count, hid_t type, void *out);

/* Categorical: codes of rows [first, first + count), -1 for missing; checked against the levels. Independent. */
gmv_status gmv_column_codes(const gmv_column *column, int64_t first, int64_t count, int32_t *code);

/* Others: the values as text, NULL where missing. Independent. Ownership: gmv_free each. */
gmv_status gmv_column_texts(const gmv_column *column, int64_t first, int64_t count, char **text);

/* Whether a column of floats holds NaN alone. Independent. */
gmv_status gmv_column_is_empty(const gmv_column *column, bool *empty);

/* missing[i] != 0 where row first + i has no value; all 0 for columns without a mask. */
gmv_status gmv_column_missing(const gmv_column *column, int64_t first, int64_t count, uint8_t *missing);
