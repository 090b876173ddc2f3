/* How many of very many names are there more than once, from a part of them in bounded memory. */
#pragma once

#include "gmvae/status.h"

#include <stdbool.h>
#include <stdint.h>

/* Hashes of names; where there are more than there is room for, of those whose hashes end in `dropped` zero bits. A name is
 * kept every time or never. */
typedef struct gmv_name_sample {
    uint64_t *hash; /* [n] */
    int64_t n;
    int dropped;
} gmv_name_sample;

/* Ownership: gmv_name_sample_fini, also after an error. */
gmv_status gmv_name_sample_init(gmv_name_sample *sample);
void gmv_name_sample_fini(gmv_name_sample *sample);

/* @param[in] group  names are the same only within a group */
void gmv_name_sample_add(gmv_name_sample *sample, const char *name, uint64_t group);

/* How many names are not the only ones of their kind: exact up to half a million names, then an estimate. Sorts. */
int64_t gmv_name_sample_repeated(gmv_name_sample *sample);
