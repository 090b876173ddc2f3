#include "h5ad_write.h"

#include "../data/h5/h5.h"

#include "gmvae/files.h"
#include "gmvae/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The system's reason, where HDF5 tells it among its own words. */
static herr_t take_errno(unsigned n, const H5E_error2_t *error, void *reason)
{
    (void)n;
    const char *at = error->desc != NULL ? strstr(error->desc, "errno = ") : NULL;
    if (at != NULL) {
        *(int *)reason = atoi(at + strlen("errno = "));
    }
    return 0;
}

gmv_status gmv_h5ad_fail(const gmv_h5ad *out, const char *what)
{
    char words[400];
    int reason = 0;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_errno, &reason);
    if (reason != 0) {
        errno = reason;
        return gmv_file_unwritable(out->path);
    }
    gmv_h5_reason(words, sizeof words);
    return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: %s cannot be written%s; is the disk full?", out->path, gmv_shown(what).at,
                    words);
}

static hid_t text_type(void)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

hid_t gmv_h5ad_bool_type(void)
{
    hid_t type = H5Tenum_create(H5T_STD_I8LE);
    int8_t value = 0;
    H5Tenum_insert(type, "FALSE", &value);
    value = 1;
    H5Tenum_insert(type, "TRUE", &value);
    return type;
}

hid_t gmv_h5ad_code_type(int64_t levels)
{
    return levels <= INT8_MAX ? H5T_STD_I8LE : levels <= INT16_MAX ? H5T_STD_I16LE : H5T_STD_I32LE;
}

/* Creates the groups between: a column whose name has slashes lies in them, as anndata writes it. Ownership: H5Pclose. */
static hid_t with_groups_between(void)
{
    hid_t links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    return links;
}

/* Creates an attribute of the object at `path` and writes it. Closes `space`. */
static gmv_status put_attribute(const gmv_h5ad *out, const char *path, const char *name, hid_t type, hid_t space,
                                const void *values)
{
    hid_t attribute = H5Acreate_by_name(out->id, path, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    bool written = attribute >= 0 && (values == NULL || H5Awrite(attribute, type, values) >= 0);
    gmv_status status = written ? GMV_OK : gmv_h5ad_fail(out, name);
    if (attribute >= 0 && H5Aclose(attribute) < 0 && status == GMV_OK) {
        status = gmv_h5ad_fail(out, name);
    }
    H5Sclose(space);
    return status;
}

gmv_status gmv_h5ad_attribute_text(const gmv_h5ad *out, const char *path, const char *name, const char *text)
{
    hid_t type = text_type();
    gmv_status status = put_attribute(out, path, name, type, H5Screate(H5S_SCALAR), &text);
    H5Tclose(type);
    return status;
}

gmv_status gmv_h5ad_attribute_texts(const gmv_h5ad *out, const char *path, const char *name, int64_t n,
                                    char *const *text)
{
    hsize_t size = (hsize_t)n;
    hid_t space = H5Screate_simple(1, &size, NULL);
    if (n == 0) { /* anndata writes "no columns" as an empty array of floats */
        return put_attribute(out, path, name, H5T_IEEE_F64LE, space, NULL);
    }
    hid_t type = text_type();
    gmv_status status = put_attribute(out, path, name, type, space, text);
    H5Tclose(type);
    return status;
}

gmv_status gmv_h5ad_attribute_i64s(const gmv_h5ad *out, const char *path, const char *name, int64_t n,
                                   const int64_t *values)
{
    hsize_t size = (hsize_t)n;
    return put_attribute(out, path, name, H5T_NATIVE_INT64, H5Screate_simple(1, &size, NULL), values);
}

gmv_status gmv_h5ad_attribute_bool(const gmv_h5ad *out, const char *path, const char *name, bool value)
{
    int8_t byte = value ? 1 : 0;
    hid_t type = gmv_h5ad_bool_type();
    gmv_status status = put_attribute(out, path, name, type, H5Screate(H5S_SCALAR), &byte);
    H5Tclose(type);
    return status;
}

static gmv_status set_encoding(const gmv_h5ad *out, const char *path, const char *encoding, const char *version)
{
    GMV_TRY(gmv_h5ad_attribute_text(out, path, "encoding-type", encoding));
    return gmv_h5ad_attribute_text(out, path, "encoding-version", version);
}

gmv_status gmv_h5ad_group(const gmv_h5ad *out, const char *path, const char *encoding, const char *version)
{
    if (strcmp(path, "/") != 0) {
        hid_t links = with_groups_between(), group = H5Gcreate2(out->id, path, links, H5P_DEFAULT, H5P_DEFAULT);
        H5Pclose(links);
        if (group < 0 || H5Gclose(group) < 0) {
            return gmv_h5ad_fail(out, path);
        }
    }
    return set_encoding(out, path, encoding, version);
}

/* Contiguous, with its space allocated now: ranks then write into it without touching metadata. */
static gmv_status create(const gmv_h5ad *out, const char *path, hid_t type, hid_t space, const char *encoding)
{
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE), links = with_groups_between();
    H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY);
    hid_t dataset = H5Dcreate2(out->id, path, type, space, links, properties, H5P_DEFAULT);
    gmv_status status = dataset < 0 || H5Dclose(dataset) < 0 ? gmv_h5ad_fail(out, path) : GMV_OK;
    H5Pclose(links);
    H5Pclose(properties);
    H5Sclose(space);
    return status == GMV_OK ? set_encoding(out, path, encoding, "0.2.0") : status;
}

gmv_status gmv_h5ad_array(const gmv_h5ad *out, const char *path, hid_t type, int ndims, const int64_t *dims)
{
    hsize_t size[2] = {(hsize_t)dims[0], ndims > 1 ? (hsize_t)dims[1] : 0};
    return create(out, path, type, H5Screate_simple(ndims, size, NULL), "array");
}

gmv_status gmv_h5ad_matrix(const gmv_h5ad *out, const char *path, hid_t type, int64_t rows, int64_t cols,
                           const void *values)
{
    int64_t dims[2] = {rows, cols};
    GMV_TRY(gmv_h5ad_array(out, path, type, 2, dims));
    hid_t dataset = H5Dopen2(out->id, path, H5P_DEFAULT);
    bool written = dataset >= 0 && H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;
    gmv_status status = written ? GMV_OK : gmv_h5ad_fail(out, path);
    if (dataset >= 0 && H5Dclose(dataset) < 0 && status == GMV_OK) {
        status = gmv_h5ad_fail(out, path);
    }
    return status;
}

gmv_status gmv_h5ad_strings(const gmv_h5ad *out, const char *path, int64_t n)
{
    hsize_t size = (hsize_t)n;
    hid_t type = text_type();
    gmv_status status = create(out, path, type, H5Screate_simple(1, &size, NULL), "string-array");
    H5Tclose(type);
    return status;
}

gmv_status gmv_h5ad_write(const gmv_h5ad *out, const char *path, hid_t type, int64_t first, int64_t count,
                          const void *values)
{
    if (count == 0) {
        return GMV_OK;
    }
    hsize_t start = (hsize_t)first, size = (hsize_t)count;
    hid_t dataset = H5Dopen2(out->id, path, H5P_DEFAULT);
    if (dataset < 0) {
        return gmv_h5ad_fail(out, path);
    }
    hid_t there = H5Dget_space(dataset), here = H5Screate_simple(1, &size, NULL);
    herr_t result = H5Sselect_hyperslab(there, H5S_SELECT_SET, &start, NULL, &size, NULL);
    result = result < 0 ? result : H5Dwrite(dataset, type, here, there, H5P_DEFAULT, values);
    gmv_status status = result < 0 ? gmv_h5ad_fail(out, path) : GMV_OK;
    H5Sclose(there);
    H5Sclose(here);
    if (H5Dclose(dataset) < 0 && status == GMV_OK) {
        status = gmv_h5ad_fail(out, path);
    }
    return status;
}

/* Bytes of the UTF-8 character at `text`, 0 when it is none. */
static size_t character_at(const unsigned char *text)
{
    size_t n = text[0] < 0x80   ? 1
               : text[0] < 0xC2 ? 0
               : text[0] < 0xE0 ? 2
               : text[0] < 0xF0 ? 3
               : text[0] < 0xF5 ? 4
                                : 0;
    for (size_t i = 1; i < n; i++) {
        if ((text[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    bool wrong = (text[0] == 0xE0 && text[1] < 0xA0) || (text[0] == 0xED && text[1] > 0x9F) ||
                 (text[0] == 0xF0 && text[1] < 0x90) || (text[0] == 0xF4 && text[1] > 0x8F);
    return n > 1 && wrong ? 0 : n;
}

static bool is_utf8(const char *text)
{
    size_t n = 1;
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0' && n > 0; at += n) {
        n = character_at(at);
    }
    return n > 0;
}

/* The text with other bytes taken as Latin-1: in a dataset of UTF-8 a single one would make the file unreadable. */
static gmv_status make_utf8(const char *text, char **made)
{
    GMV_TRY(GMV_NEW(*made, 2 * (int64_t)strlen(text) + 1, "a text"));
    unsigned char *to = (unsigned char *)*made;
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
        size_t n = character_at(at);
        if (n == 0) {
            *to++ = (unsigned char)(0xC0 | *at >> 6);
            *to++ = (unsigned char)(0x80 | (*at & 0x3F));
            at++;
        }
        memcpy(to, at, n);
        to += n;
        at += n;
    }
    return GMV_OK;
}

/* Texts as UTF-8: `made`, NULL when all of them are. Ownership: free_texts, also after an error. */
static gmv_status make_texts(int64_t n, char *const *text, char ***made)
{
    int64_t i = 0;
    while (i < n && is_utf8(text[i])) {
        i++;
    }
    if (i == n) {
        return GMV_OK;
    }
    GMV_TRY(GMV_NEW(*made, n, "texts"));
    for (i = 0; i < n; i++) {
        GMV_TRY(make_utf8(text[i], &(*made)[i]));
    }
    return GMV_OK;
}

static void free_texts(int64_t n, char **made)
{
    for (int64_t i = 0; made != NULL && i < n; i++) {
        gmv_free(made[i]);
    }
    gmv_free((void *)made);
}

gmv_status gmv_h5ad_write_strings(const gmv_h5ad *out, const char *path, int64_t first, int64_t count,
                                  char *const *text)
{
    char **made = NULL;
    hid_t type = text_type();
    gmv_status status = make_texts(count, text, &made);
    status = status == GMV_OK ? gmv_h5ad_write(out, path, type, first, count, made != NULL ? made : text) : status;
    free_texts(count, made);
    H5Tclose(type);
    return status;
}

gmv_status gmv_h5ad_records(const gmv_h5ad *out, const char *path, hid_t type, int columns, char *const *column,
                            int64_t rows, const void *values)
{
    size_t size = H5Tget_size(type);
    hsize_t n = (hsize_t)rows;
    hid_t record = H5Tcreate(H5T_COMPOUND, (size_t)columns * size);
    for (int c = 0; c < columns; c++) {
        H5Tinsert(record, column[c], (size_t)c * size, type);
    }
    gmv_status status = create(out, path, record, H5Screate_simple(1, &n, NULL), "rec-array");
    status = status == GMV_OK ? gmv_h5ad_write(out, path, record, 0, rows, values) : status;
    H5Tclose(record);
    return status;
}

gmv_status gmv_h5ad_text_records(const gmv_h5ad *out, const char *path, int columns, char *const *column, int64_t rows,
                                 char *const *text)
{
    char **made = NULL;
    hid_t type = text_type();
    gmv_status status = make_texts(rows * columns, text, &made);
    status = status == GMV_OK ? gmv_h5ad_records(out, path, type, columns, column, rows, made != NULL ? made : text)
                              : status;
    free_texts(rows * columns, made);
    H5Tclose(type);
    return status;
}

static gmv_status put_scalar(const gmv_h5ad *out, const char *path, hid_t type, const char *encoding, const void *value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t dataset = H5Dcreate2(out->id, path, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    bool written = dataset >= 0 && H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, value) >= 0;
    gmv_status status = written ? GMV_OK : gmv_h5ad_fail(out, path);
    if (dataset >= 0 && H5Dclose(dataset) < 0 && status == GMV_OK) {
        status = gmv_h5ad_fail(out, path);
    }
    H5Sclose(space);
    return status == GMV_OK ? set_encoding(out, path, encoding, "0.2.0") : status;
}

gmv_status gmv_h5ad_scalar_text(const gmv_h5ad *out, const char *path, const char *text)
{
    hid_t type = text_type();
    gmv_status status = put_scalar(out, path, type, "string", &text);
    H5Tclose(type);
    return status;
}

gmv_status gmv_h5ad_scalar_i64(const gmv_h5ad *out, const char *path, int64_t value)
{
    return put_scalar(out, path, H5T_NATIVE_INT64, "numeric-scalar", &value);
}

gmv_status gmv_h5ad_scalar_f64(const gmv_h5ad *out, const char *path, double value)
{
    return put_scalar(out, path, H5T_NATIVE_DOUBLE, "numeric-scalar", &value);
}

gmv_status gmv_h5ad_genes(const gmv_h5ad *out, int64_t n, char *const *gene, char *const *gene_id)
{
    static char *const columns[] = {"gene_ids"};
    GMV_TRY(gmv_h5ad_group(out, "var", "dataframe", "0.2.0"));
    GMV_TRY(gmv_h5ad_attribute_text(out, "var", "_index", "_index"));
    GMV_TRY(gmv_h5ad_attribute_texts(out, "var", "column-order", gene_id != NULL ? 1 : 0, columns));
    GMV_TRY(gmv_h5ad_strings(out, "var/_index", n));
    GMV_TRY(gmv_h5ad_write_strings(out, "var/_index", 0, n, gene));
    if (gene_id == NULL) {
        return GMV_OK;
    }
    GMV_TRY(gmv_h5ad_strings(out, "var/gene_ids", n));
    return gmv_h5ad_write_strings(out, "var/gene_ids", 0, n, gene_id);
}
