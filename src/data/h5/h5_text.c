#include "h5.h"

#include "gmvae/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Memory type for strings like those of `stored`: variable length, or fixed with room for a final 0. */
static hid_t string_type(hid_t stored)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5Tis_variable_str(stored) > 0 ? H5T_VARIABLE : H5Tget_size(stored) + 1);
    H5Tset_cset(type, H5Tget_cset(stored));
    return type;
}

/* Copies strings out of a buffer as HDF5 filled it. */
static gmv_status take_strings(const char *buffer, size_t size, bool variable, int64_t count, char **out)
{
    for (int64_t i = 0; i < count; i++) {
        const char *at = buffer + (size_t)i * size;
        if (variable) {
            memcpy(&at, buffer + (size_t)i * size, sizeof at);
        }
        GMV_TRY(gmv_copy_text(&out[i], at != NULL ? at : ""));
    }
    return GMV_OK;
}

static gmv_status read_strings(const gmv_h5 *file, hid_t dataset, hid_t stored, const char *field, int64_t first,
                               int64_t count, char **out)
{
    bool variable = H5Tis_variable_str(stored) > 0;
    hid_t text = string_type(stored);
    size_t size = H5Tget_size(text);
    char *buffer = NULL;
    gmv_status status = GMV_NEW(buffer, count * (int64_t)size, "strings");
    if (status == GMV_OK) {
        status = gmv_h5_read_field(file, dataset, field, first, count, text, buffer);
    }
    if (status == GMV_OK) {
        status = take_strings(buffer, size, variable, count, out);
    }
    if (variable && buffer != NULL) { /* also those that were read before one could not be */
        hsize_t n = (hsize_t)count;
        hid_t space = H5Screate_simple(1, &n, NULL);
        H5Dvlen_reclaim(text, space, H5P_DEFAULT, buffer);
        H5Sclose(space);
    }
    GMV_FREE(buffer);
    H5Tclose(text);
    return status;
}

static gmv_status read_numbers(const gmv_h5 *file, hid_t dataset, hid_t stored, const char *field, int64_t first,
                               int64_t count, char **out)
{
    union {
        double real;
        int64_t whole;
        int8_t byte[8];
    } *value = NULL;
    H5T_class_t kind = H5Tget_class(stored);
    gmv_status status = GMV_OK;
    hid_t type = kind == H5T_INTEGER ? H5T_NATIVE_INT64 : kind == H5T_ENUM ? stored : H5T_NATIVE_DOUBLE;
    GMV_GO(GMV_NEW(value, count, "numbers"));
    GMV_GO(gmv_h5_read_field(file, dataset, field, first, count, type, value));
    for (int64_t i = 0; i < count; i++) {
        char text[32];
        if (kind == H5T_INTEGER) {
            snprintf(text, sizeof text, "%" PRId64, value[i].whole);
        } else if (kind == H5T_ENUM) { /* of one byte each, without gaps */
            snprintf(text, sizeof text, "%s", ((const int8_t *)value)[i] != 0 ? "True" : "False");
        } else {
            snprintf(text, sizeof text, "%.9g", value[i].real);
        }
        GMV_GO(gmv_copy_text(&out[i], text));
    }
done:
    GMV_FREE(value);
    return status;
}

gmv_status gmv_h5_read_texts(const gmv_h5 *file, hid_t dataset, const char *field, int64_t first, int64_t count,
                             char **out)
{
    if (count == 0) {
        return GMV_OK;
    }
    gmv_status status;
    char *member = NULL;
    hid_t type = H5Dget_type(dataset), stored = type;
    H5T_class_t kind = H5Tget_class(type);
    if (kind == H5T_COMPOUND) {
        member = field != NULL ? strdup(field) : H5Tget_member_name(type, 0);
        int at = member != NULL ? H5Tget_member_index(type, member) : -1;
        stored = at >= 0 ? H5Tget_member_type(type, (unsigned)at) : -1;
        kind = stored >= 0 ? H5Tget_class(stored) : H5T_NO_CLASS;
    }
    if (kind == H5T_STRING) {
        status = read_strings(file, dataset, stored, member, first, count, out);
    } else if (kind == H5T_INTEGER || kind == H5T_FLOAT || (kind == H5T_ENUM && H5Tget_size(stored) == 1)) {
        status = read_numbers(file, dataset, stored, member, first, count, out);
    } else {
        char name[256] = "a dataset";
        H5Iget_name(dataset, name, sizeof name);
        status = GMV_FAIL(GMV_ERR_DATA, "%s: %s does not hold names; rewrite the file with a current anndata",
                          file->path, name);
    }
    if (stored != type && stored >= 0) {
        H5Tclose(stored);
    }
    H5Tclose(type);
    free(member);
    return status;
}

gmv_status gmv_h5_texts_at(const gmv_h5 *file, const char *path, const char *field, gmv_texts *texts)
{
    char values[1040];
    memset(texts, 0, sizeof *texts);
    bool nullable = gmv_h5_is_group(file, path);
    snprintf(values, sizeof values, "%s%s", path, nullable ? "/values" : "");
    hid_t dataset = -1;
    int64_t n = 0;
    GMV_TRY(gmv_h5_open_dataset(file, values, 1, &dataset, &n));
    gmv_status status =
        n <= INT32_MAX ? GMV_OK
                       : GMV_FAIL(GMV_ERR_DATA, "%s: %s has %" PRId64 " names, more than 2^31", file->path, path, n);
    if (status == GMV_OK) {
        status = GMV_NEW(texts->at, n, "names");
    }
    if (status == GMV_OK) {
        texts->n = (int)n;
        status = gmv_h5_read_texts(file, dataset, field, 0, n, texts->at);
    }
    H5Dclose(dataset);
    if (status != GMV_OK) {
        gmv_texts_free(texts);
    }
    return status;
}

/* Opens an attribute, or -1 when there is none. */
static hid_t open_attribute(const gmv_h5 *file, const char *path, const char *name)
{
    if (H5Aexists_by_name(file->id, path, name, H5P_DEFAULT) <= 0) {
        return -1;
    }
    return H5Aopen_by_name(file->id, path, name, H5P_DEFAULT, H5P_DEFAULT);
}

gmv_status gmv_h5_attribute_texts(const gmv_h5 *file, const char *path, const char *name, gmv_texts *texts)
{
    memset(texts, 0, sizeof *texts);
    hid_t attribute = open_attribute(file, path, name);
    if (attribute < 0) {
        return GMV_OK;
    }
    hid_t stored = H5Aget_type(attribute), space = H5Aget_space(attribute), type = -1;
    hssize_t n = H5Sget_simple_extent_npoints(space);
    gmv_status status = GMV_OK;
    char *buffer = NULL;
    if (H5Tget_class(stored) != H5T_STRING || n <= 0) { /* "no columns" is written as an array of floats */
        goto done;
    }
    if ((double)n * (double)H5Tget_size(stored) > (double)file->stamp.size) {
        GMV_GO(GMV_FAIL(GMV_ERR_DATA, "%s: attribute %s of %s declares more than the file holds; it is damaged",
                        file->path, gmv_shown(name).at, gmv_shown(path).at));
    }
    type = string_type(stored);
    size_t size = H5Tget_size(type);
    GMV_GO(GMV_NEW(buffer, n * (hssize_t)size, "an attribute"));
    if (H5Aread(attribute, type, buffer) < 0) {
        GMV_GO(gmv_h5_fail(file, name));
    }
    status = GMV_NEW(texts->at, n, "an attribute");
    if (status == GMV_OK) {
        texts->n = (int)n;
        status = take_strings(buffer, size, H5Tis_variable_str(stored) > 0, n, texts->at);
    }
    if (H5Tis_variable_str(stored) > 0) {
        H5Dvlen_reclaim(type, space, H5P_DEFAULT, buffer);
    }
done:
    GMV_FREE(buffer);
    if (type >= 0) {
        H5Tclose(type);
    }
    H5Sclose(space);
    H5Tclose(stored);
    H5Aclose(attribute);
    if (status != GMV_OK) {
        gmv_texts_free(texts);
    }
    return status;
}

gmv_status gmv_h5_attribute_text(const gmv_h5 *file, const char *path, const char *name, char **text)
{
    gmv_texts all;
    *text = NULL;
    GMV_TRY(gmv_h5_attribute_texts(file, path, name, &all));
    if (all.n > 0) {
        *text = all.at[0];
        all.at[0] = NULL;
    }
    gmv_texts_free(&all);
    return GMV_OK;
}

gmv_status gmv_h5_attribute_is(const gmv_h5 *file, const char *path, const char *name, const char *value, bool *is)
{
    char *text = NULL;
    GMV_TRY(gmv_h5_attribute_text(file, path, name, &text));
    *is = text != NULL && strcmp(text, value) == 0;
    GMV_FREE(text);
    return GMV_OK;
}

gmv_status gmv_h5_attribute_i64(const gmv_h5 *file, const char *path, const char *name, int n, int64_t *values,
                                bool *found)
{
    *found = false;
    hid_t attribute = open_attribute(file, path, name);
    if (attribute < 0) {
        return GMV_OK;
    }
    hid_t space = H5Aget_space(attribute), type = H5Aget_type(attribute);
    H5T_class_t kind = H5Tget_class(type);
    hssize_t points = H5Sget_simple_extent_npoints(space);
    H5Sclose(space);
    H5Tclose(type);
    gmv_status status = GMV_OK;
    if (points != n || (kind != H5T_INTEGER && kind != H5T_FLOAT)) {
        status = GMV_FAIL(GMV_ERR_DATA, "%s: attribute %s of %s should be %d numbers", file->path, name, path, n);
    } else if (H5Aread(attribute, H5T_NATIVE_INT64, values) < 0) {
        status = gmv_h5_fail(file, name);
    } else {
        *found = true;
    }
    H5Aclose(attribute);
    return status;
}
