/* Writing the pieces of an h5ad file, encodings of anndata 0.8 and later. Not collective: one rank writes.
 * Every function records GMV_ERR_ENVIRONMENT with the path when HDF5 fails. */
#pragma once

#include "gmvae/status.h"

#include <hdf5.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct gmv_h5ad {
    hid_t id;
    const char *path; /* for messages */
} gmv_h5ad;

/* "PATH: WHAT cannot be written (HDF5: ...)". */
gmv_status gmv_h5ad_fail(const gmv_h5ad *out, const char *what);

/* A group below the root with its encoding. `path` "/" is the root itself. Groups between that are not there are made,
 * without an encoding, here and for datasets. */
gmv_status gmv_h5ad_group(const gmv_h5ad *out, const char *path, const char *encoding, const char *version);

gmv_status gmv_h5ad_attribute_text(const gmv_h5ad *out, const char *path, const char *name, const char *text);
gmv_status gmv_h5ad_attribute_texts(const gmv_h5ad *out, const char *path, const char *name, int64_t n,
                                    char *const *text);
gmv_status gmv_h5ad_attribute_i64s(const gmv_h5ad *out, const char *path, const char *name, int64_t n,
                                   const int64_t *values);
gmv_status gmv_h5ad_attribute_bool(const gmv_h5ad *out, const char *path, const char *name, bool value);

/* A contiguous dataset with its space allocated, encoding "array". `type` is a file type. */
gmv_status gmv_h5ad_array(const gmv_h5ad *out, const char *path, hid_t type, int ndims, const int64_t *dims);
/* Its elements [first, first + count), for one dimension. `type` is the memory's. */
gmv_status gmv_h5ad_write(const gmv_h5ad *out, const char *path, hid_t type, int64_t first, int64_t count,
                          const void *values);

/* A whole matrix, encoding "array". `type` is a file type that is the memory's, too: H5T_IEEE_F32LE, H5T_IEEE_F64LE. */
gmv_status gmv_h5ad_matrix(const gmv_h5ad *out, const char *path, hid_t type, int64_t rows, int64_t cols,
                           const void *values);

/* A dataset of n strings, encoding "string-array", and its elements [first, first + count); bytes that are not UTF-8 are
 * taken as Latin-1. */
gmv_status gmv_h5ad_strings(const gmv_h5ad *out, const char *path, int64_t n);
gmv_status gmv_h5ad_write_strings(const gmv_h5ad *out, const char *path, int64_t first, int64_t count,
                                  char *const *text);

/* A structured array [rows] as numpy's, encoding "rec-array": columns of one kind, by their names; at most GMV_H5AD_COLUMNS,
 * as HDF5 has only 64 KiB for their description. @param[in] values  [rows, columns]; `type` is the memory's and the file's */
enum { GMV_H5AD_COLUMNS = 256 };
gmv_status gmv_h5ad_records(const gmv_h5ad *out, const char *path, hid_t type, int columns, char *const *column,
                            int64_t rows, const void *values);
gmv_status gmv_h5ad_text_records(const gmv_h5ad *out, const char *path, int columns, char *const *column, int64_t rows,
                                 char *const *text);

/* The table var with these genes as its index, and a column gene_ids where there are ids (NULL: none). */
gmv_status gmv_h5ad_genes(const gmv_h5ad *out, int64_t n, char *const *gene, char *const *gene_id);

gmv_status gmv_h5ad_scalar_text(const gmv_h5ad *out, const char *path, const char *text);
gmv_status gmv_h5ad_scalar_i64(const gmv_h5ad *out, const char *path, int64_t value);
gmv_status gmv_h5ad_scalar_f64(const gmv_h5ad *out, const char *path, double value);

/* Booleans as h5py stores them: an enum of FALSE and TRUE over one byte. Ownership: H5Tclose. */
hid_t gmv_h5ad_bool_type(void);

/* Smallest signed type for codes -1 .. levels - 1 (not to be closed). */
hid_t gmv_h5ad_code_type(int64_t levels);
