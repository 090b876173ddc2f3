/* Names of the rows of a table, by whatever the file names them with: texts, numbers, or codes into a list of texts. */
#pragma once

#include "../h5/layout.h"

typedef struct gmv_row_names {
    const gmv_table *table;
    hid_t values, levels, mask; /* levels: of codes; mask: of names that may be missing; else -1 */
    int64_t n_levels;
    gmv_texts level; /* all of them, once many names were asked for */
} gmv_row_names;

/* `table` is borrowed. Of a shared file collective. Ownership: gmv_row_names_close, also after an error. */
gmv_status gmv_row_names_open(gmv_row_names *names, const gmv_table *table);

/* Accepts one that is not open. */
void gmv_row_names_close(gmv_row_names *names);

/* Names of rows [first, first + count), NULL where there is none. Independent. Ownership: gmv_free each, also after an
 * error. */
gmv_status gmv_row_names_read(gmv_row_names *names, int64_t first, int64_t count, char **text);
