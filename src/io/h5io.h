/* Small HDF5 helpers for checkpoints: every call checked, strings variable-length UTF-8. Rank 0 only. */
#pragma once

#include "gmvae/status.h"

#include <hdf5.h>
#include <stdint.h>

/* Silences HDF5's own error printing: our one-line message replaces it. As for input files, links to other files lead
 * nowhere. */
void gmv_h5io_quiet(void);

gmv_status gmv_h5io_put_text(hid_t object, const char *name, const char *text);
gmv_status gmv_h5io_put_texts(hid_t object, const char *name, int n, char *const *text);
gmv_status gmv_h5io_put_i64(hid_t object, const char *name, int64_t value);
gmv_status gmv_h5io_put_f64(hid_t object, const char *name, int n, const double *value);
gmv_status gmv_h5io_put_u64(hid_t object, const char *name, uint64_t value);
gmv_status gmv_h5io_put_u64s(hid_t object, const char *name, int n, const uint64_t *value);

/* Attributes read back; texts are new strings that the caller frees with gmv_free. get_f64s: *n numbers, at most `most`. */
gmv_status gmv_h5io_get_text(hid_t object, const char *name, char **text);
gmv_status gmv_h5io_get_texts(hid_t object, const char *name, int *n, char ***text);
gmv_status gmv_h5io_get_i64(hid_t object, const char *name, int64_t *value);
gmv_status gmv_h5io_get_f64(hid_t object, const char *name, int n, double *value);
gmv_status gmv_h5io_get_f64s(hid_t object, const char *name, int most, int *n, double *value);
gmv_status gmv_h5io_get_u64(hid_t object, const char *name, uint64_t *value);
gmv_status gmv_h5io_get_u64s(hid_t object, const char *name, int *n, uint64_t **value);

/* Datasets with an attribute `xxh3` (XXH3-64 of their bytes; of the strings joined by zero bytes for texts). */
gmv_status gmv_h5io_write_f32(hid_t group, const char *name, int dims, const int64_t *shape, const float *data);
gmv_status gmv_h5io_write_texts(hid_t group, const char *name, int n, char *const *text);

/* Reads and verifies the checksum. `shape` must be the dataset's. */
gmv_status gmv_h5io_read_f32(hid_t group, const char *name, int dims, const int64_t *shape, float *data);
gmv_status gmv_h5io_read_texts(hid_t group, const char *name, int *n, char ***text);

/* Whether that is its shape. Errors: GMV_ERR_DATA. */
gmv_status gmv_h5io_has_shape(hid_t group, const char *name, int dims, const int64_t *shape);

/* Shape of a dataset of at most 2 dimensions, as much as the file can hold. */
gmv_status gmv_h5io_shape(hid_t group, const char *name, int *dims, int64_t shape[2]);
