/* Ordered sets of names with look-up. */
#pragma once

#include "gmvae/status.h"

#include <stdbool.h>
#include <stdint.h>

/* Names in the order in which they came, each once. */
typedef struct gmv_names {
    char **at;
    int64_t n, capacity;
    int64_t *slot; /* [slots] index + 1 of a name, 0 for a free slot */
    int64_t slots;
} gmv_names;

/* Position of `name`, -1 when it is not there. */
int64_t gmv_names_find(const gmv_names *names, const char *name);

/* Adds a copy unless it is there. @param[out] index  position; may be NULL
 * @param[out] is_new  may be NULL */
gmv_status gmv_names_add(gmv_names *names, const char *name, int64_t *index, bool *is_new);

void gmv_names_fini(gmv_names *names);

/* Takes the array out of the set, which becomes empty. Ownership: gmv_free each and the array. */
char **gmv_names_take(gmv_names *names);

/* Frees n names and the array. */
void gmv_name_array_free(char **name, int64_t n);
