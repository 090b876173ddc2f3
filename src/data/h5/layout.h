/* Where things are in an input file, whichever program wrote it: which matrices it has, by what name
 * data.matrix calls each, and where the tables of its cells and genes are. */
#pragma once

#include "h5.h"

typedef enum gmv_table_kind {
    GMV_TABLE_GROUP,    /* a group with an element per column: anndata 0.7 and later */
    GMV_TABLE_COMPOUND, /* a dataset with a field per column, the first is the index: anndata 0.5 and 0.6 */
    GMV_TABLE_NAMES     /* a dataset of names, without columns: 10x */
} gmv_table_kind;

/* A table of cells or genes. */
typedef struct gmv_table {
    const gmv_h5 *file;
    gmv_table_kind kind;
    char path[320];
    char index[640];        /* dataset of the names; of a compound the first field is taken */
    char index_levels[640]; /* of codes: dataset of the texts they stand for, else "" */
    char index_mask[640];   /* dataset that is true where the name is missing, "" when none is */
    char index_name[256];   /* what the file calls it, "" when it has no name */
    int64_t rows;
    char common[16];   /* MuData: table of the cells of all modalities, "" when there is none */
    char rows_at[320]; /* and the dataset with the row here of each row there, from 1; 0: not here */
} gmv_table;

/* How the file stores a matrix of cells x genes. */
typedef enum gmv_storage {
    GMV_STORED_ANNDATA, /* a dataset, or a group with attributes that say how it is compressed */
    GMV_STORED_10X      /* genes x cells compressed by cell: the arrays are the CSR of cells x genes */
} gmv_storage;

/* Which one `auto` takes, lowest first, when there are several in a part of a file. */
typedef enum gmv_preference { GMV_PREFER_COUNTS, GMV_PREFER_RAW, GMV_PREFER_X, GMV_PREFER_NEVER } gmv_preference;

typedef struct gmv_place {
    char name[256]; /* as in data.matrix: "X", "raw/X", "layers/counts", "mod/rna/X", "Gene Expression" */
    char root[64];  /* MuData: "mod/rna/", with which the name begins */
    char at[320];   /* the group or dataset */
    gmv_storage storage;
    gmv_preference preference;
    int part;                /* of the file; 0 unless it has several */
    char obs[320], var[320]; /* paths of the tables */
    char kinds[320];         /* 10x: dataset with the type of each feature, "" when all belong to the matrix */
    char kind[128];          /* and the type that does */
} gmv_place;

typedef struct gmv_layout {
    const gmv_h5 *file;
    const char *format; /* "h5ad", "h5mu", "10x" */
    int n;
    gmv_place *place; /* [n] in the order in which they are shown */
    int parts;        /* `auto` looks for matrices in one part */
    int part;         /* this one, -1 when the user must choose */
} gmv_layout;

/* Looks around in a file. Errors: GMV_ERR_DATA saying what the file is instead.
 * Ownership: gmv_layout_free, also after an error. */
gmv_status gmv_layout_read(gmv_layout *layout, const gmv_h5 *file);
void gmv_layout_free(gmv_layout *layout);

/* The places that `wanted` (as data.matrix) may mean, by preference: at most 3.
 * Errors: GMV_ERR_CONFIG with the names there are. */
gmv_status gmv_layout_find(const gmv_layout *layout, const char *wanted, const gmv_place *found[3], int *n);

/* Where the categories are to which the codes at `path` refer, as anndata 0.7 writes them. */
gmv_status gmv_referred_categories(const gmv_h5 *file, const char *path, char *categories, size_t size);

/* Opens the table at `path`. */
gmv_status gmv_table_open(gmv_table *table, const gmv_h5 *file, const char *path);
