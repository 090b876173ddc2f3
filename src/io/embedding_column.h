/* A column of obs on its way from the input files to the embedding. */
#pragma once

#include "h5ad_write.h"

#include "../data/h5/column.h"

#include "gmvae/data.h"
#include "gmvae/names.h"

/* Files are opened as often as something of them is copied; a few stay open. */
typedef struct gmv_obs_copy {
    const gmv_h5ad *out;
    const char *name; /* of the file to be */
    const gmv_cells *cells;
    const char **tail; /* [files] names of the files, for messages */
    int kept;          /* the first files stay open */
    gmv_h5 *file;      /* [kept + 1] these, and the one at hand */
    gmv_table *table;  /* [kept + 1] obs of each */
    gmv_names order;   /* columns written */
    char skipped[900]; /* and those that were not */
    int unnamed;       /* and of these, not named there */
} gmv_obs_copy;

/* What the files say of a column, all of them together. */
typedef struct gmv_obs_column {
    const char *name;
    char path[1100];            /* where it is written; parts are added and taken away */
    gmv_column_kind kind;       /* of all */
    gmv_column_kind level_kind; /* of the levels; strings when they differ */
    hid_t type;                 /* of the first file's values */
    bool same_type, nullable, ordered;
    gmv_names level;
    char why[200]; /* it is not copied; "": it is */
    void *block;   /* room for GMV_OBS_BLOCK values of any kind */
} gmv_obs_column;

enum { GMV_OBS_BLOCK = 1 << 13 };

/* Where file f is open, and its table. */
int gmv_obs_slot(const gmv_obs_copy *copy, int f);

/* Errors: GMV_ERR_DATA when it has changed since its cells were read. */
gmv_status gmv_obs_open(gmv_obs_copy *copy, int f);
void gmv_obs_close(gmv_obs_copy *copy, int f);

/* Writes the column of all files, which have been looked at. */
gmv_status gmv_obs_column_write(gmv_obs_copy *copy, gmv_obs_column *all);
