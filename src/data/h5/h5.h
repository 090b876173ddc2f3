/* HDF5 input: opening, looking around and reading, with one-line messages instead of HDF5's stack.
 * Names that come from a file are cleaned by gmv_shown before they are printed. */
#pragma once

#include "file_stamp.h"

#include "gmvae/comm.h"
#include "gmvae/config.h"
#include "gmvae/status.h"
#include "gmvae/types.h"

#include <hdf5.h>

typedef struct gmv_h5 {
    hid_t id;             /* > 0 when open */
    char *path;           /* for messages */
    bool shared;          /* opened through MPI-IO: metadata calls are collective */
    gmv_file_stamp stamp; /* before it was opened */
} gmv_h5;

typedef struct gmv_shown_text {
    char at[96];
} gmv_shown_text;

/* A name as it may be printed: control characters replaced, long ones cut. */
gmv_shown_text gmv_shown(const char *name);

/* Silences HDF5's error stack and registers our own filters. Called by gmv_h5_open. */
void gmv_h5_prepare(void);

/* Opens for reading. With comm: through MPI-IO with collective metadata reads (then collective, as are
 * all later calls except gmv_h5_read and gmv_h5_read_texts). NULL: POSIX, and locks are no obstacle.
 * Errors: GMV_ERR_DATA saying what the path is instead of an HDF5 file. */
gmv_status gmv_h5_open(gmv_h5 *file, const char *path, const gmv_comm *comm);

/* Accepts a file that is not open. */
void gmv_h5_close(gmv_h5 *file);

/* Whether the file of this path still is as it was when it was opened: counts of two states must not be mixed.
 * Not collective. Errors: GMV_ERR_DATA when it was written to, replaced or removed since. */
gmv_status gmv_h5_unchanged(const gmv_h5 *file);

/* The same for a descriptor that was opened by path later, or for a stamp taken earlier, which tells the content of the
 * file and becomes its own; where it was only touched, as gmv_file_unchanged. */
gmv_status gmv_h5_same_file(const gmv_h5 *file, int fd);
gmv_status gmv_h5_same_stamp(gmv_h5 *file, gmv_file_stamp *stamp);

/* Records "FILE: WHAT: HDF5's own innermost words". Returns GMV_ERR_DATA. */
gmv_status gmv_h5_fail(const gmv_h5 *file, const char *what);

/* " (HDF5: innermost error text of the last failed call)", "" when HDF5 has said nothing. */
void gmv_h5_reason(char *text, size_t size);

/* Has HDF5 lock the file that it opens or makes at `path`, unless the file system has no locks. */
void gmv_h5_lock_if_possible(hid_t access, const char *path);

/* Whether a path exists below the root, without leaving the file and without dangling links. */
bool gmv_h5_has(const gmv_h5 *file, const char *path);
bool gmv_h5_is_group(const gmv_h5 *file, const char *path);

/* Names of the links in a group, in name order. Ownership: gmv_texts_free. */
gmv_status gmv_h5_children(const gmv_h5 *file, const char *path, gmv_texts *names);
void gmv_texts_free(gmv_texts *texts);

/* ": there are a, b, c; did you mean b?" for a message about a name that is not among them. */
void gmv_names_hint(const gmv_texts *names, const char *wanted, char *text, size_t size);

/* Attributes of the object at `path` ("/" for the root). Text is NULL when there is none of that name.
 * Ownership: caller frees with gmv_free. */
gmv_status gmv_h5_attribute_text(const gmv_h5 *file, const char *path, const char *name, char **text);
gmv_status gmv_h5_attribute_is(const gmv_h5 *file, const char *path, const char *name, const char *value, bool *is);
/* All strings of an array attribute. */
gmv_status gmv_h5_attribute_texts(const gmv_h5 *file, const char *path, const char *name, gmv_texts *texts);
/* n integers (numbers or an array of them); *found false when the attribute is absent. */
gmv_status gmv_h5_attribute_i64(const gmv_h5 *file, const char *path, const char *name, int n, int64_t *values,
                                bool *found);

/* Opens a dataset of `ndims` dimensions (at most 2), refuses what cannot be read here: unknown filters,
 * virtual and external storage, more elements declared than its bytes can hold.
 * Ownership: caller closes with H5Dclose. */
gmv_status gmv_h5_open_dataset(const gmv_h5 *file, const char *path, int ndims, hid_t *dataset, int64_t *dims);

/* Reads a box of numbers, converted to a native type. Independent. */
gmv_status gmv_h5_read(const gmv_h5 *file, hid_t dataset, int ndims, const int64_t *first, const int64_t *count,
                       hid_t type, void *out);
/* Elements [first, first + count) of one dimension; `field` of them when they are compounds, else NULL. */
gmv_status gmv_h5_read_field(const gmv_h5 *file, hid_t dataset, const char *field, int64_t first, int64_t count,
                             hid_t type, void *out);
gmv_status gmv_h5_read_i64(const gmv_h5 *file, hid_t dataset, int64_t first, int64_t count, int64_t *out);
/* Also booleans (an enum of FALSE and TRUE). */
gmv_status gmv_h5_read_f64(const gmv_h5 *file, hid_t dataset, int ndims, const int64_t *first, const int64_t *count,
                           double *out);

/* Elements [first, first + count) as text: strings of any kind, integers, booleans, floats, or `field`
 * (NULL: the first one) of a compound. Independent. Ownership: caller frees each with gmv_free. */
gmv_status gmv_h5_read_texts(const gmv_h5 *file, hid_t dataset, const char *field, int64_t first, int64_t count,
                             char **out);

/* A whole element of names: a dataset, or a group of values and mask. Ownership: gmv_texts_free. */
gmv_status gmv_h5_texts_at(const gmv_h5 *file, const char *path, const char *field, gmv_texts *texts);
