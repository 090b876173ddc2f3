/* The compressions that HDF5 files come with, and where to get what HDF5 does not bring along. */
#pragma once

#include <stddef.h>

typedef struct gmv_h5_filter {
    int id;
    const char *name;
    const char *debian; /* package with the plug-in; NULL when there is none */
    double expands;     /* times, at most: a dataset that claims more is damaged */
    const char *part;   /* of HDF5 itself: what to build it with; NULL for plug-ins */
} gmv_h5_filter;

/* All that are known, in the order of their ids. */
const gmv_h5_filter *gmv_h5_filters(int *n);

/* NULL for an id that is not known. */
const gmv_h5_filter *gmv_h5_filter_of(int id);

/* How to get a filter that is missing. */
void gmv_h5_filter_remedy(int id, char *text, size_t size);
