#include "h5io.h"

#include "../data/h5/h5.h"

#include "gmvae/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#define H5IO_CHECK(ok, ...)                                                                                            \
    do {                                                                                                               \
        if (!(ok)) {                                                                                                   \
            status = GMV_FAIL(GMV_ERR_DATA, __VA_ARGS__);                                                              \
            goto done;                                                                                                 \
        }                                                                                                              \
    } while (0)

enum { most_elements = 1 << 16 }; /* of an attribute */

void gmv_h5io_quiet(void)
{
    gmv_h5_prepare();
}

/* A variable-length UTF-8 string type. */
static hid_t text_type(void)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

/* Writes an attribute; n < 0 is a scalar. */
static gmv_status put(hid_t object, const char *name, hid_t type, int n, const void *value)
{
    gmv_status status = GMV_OK;
    hsize_t dim = n < 0 ? 1 : (hsize_t)n;
    hid_t space = n < 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &dim, NULL);
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    H5IO_CHECK(attribute >= 0 && (n == 0 || H5Awrite(attribute, type, value) >= 0), "attribute %s cannot be written",
               name);
done:
    if (attribute >= 0) {
        H5Aclose(attribute);
    }
    H5Sclose(space);
    return status;
}

gmv_status gmv_h5io_put_text(hid_t object, const char *name, const char *text)
{
    hid_t type = text_type();
    gmv_status status = put(object, name, type, -1, &text);
    H5Tclose(type);
    return status;
}

gmv_status gmv_h5io_put_texts(hid_t object, const char *name, int n, char *const *text)
{
    hid_t type = text_type();
    gmv_status status = put(object, name, type, n, text);
    H5Tclose(type);
    return status;
}

gmv_status gmv_h5io_put_i64(hid_t object, const char *name, int64_t value)
{
    return put(object, name, H5T_NATIVE_INT64, -1, &value);
}

gmv_status gmv_h5io_put_f64(hid_t object, const char *name, int n, const double *value)
{
    return put(object, name, H5T_NATIVE_DOUBLE, n == 1 ? -1 : n, value); /* one number is a scalar */
}

gmv_status gmv_h5io_put_u64(hid_t object, const char *name, uint64_t value)
{
    return put(object, name, H5T_NATIVE_UINT64, -1, &value);
}

gmv_status gmv_h5io_put_u64s(hid_t object, const char *name, int n, const uint64_t *value)
{
    return put(object, name, H5T_NATIVE_UINT64, n, value);
}

/* Opens attribute `name` and tells its number of elements. */
static gmv_status open_attribute(hid_t object, const char *name, hid_t *attribute, int *n)
{
    *attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (*attribute < 0) {
        return GMV_FAIL(GMV_ERR_DATA, "attribute %s is missing", name);
    }
    hid_t space = H5Aget_space(*attribute);
    hssize_t points = H5Sget_simple_extent_npoints(space);
    H5Sclose(space);
    *n = (int)points;
    return points >= 0 && points <= most_elements ? GMV_OK
                                                  : GMV_FAIL(GMV_ERR_DATA, "attribute %s has an impossible size", name);
}

/* Copies HDF5's strings to ours and gives HDF5's back. */
static gmv_status take_texts(hid_t type, hid_t space, int n, char **raw, char ***text)
{
    gmv_status status;
    *text = NULL;
    GMV_GO(GMV_NEW(*text, n, "texts"));
    for (int i = 0; i < n; i++) {
        const char *from = raw[i] != NULL ? raw[i] : "";
        GMV_GO(GMV_NEW((*text)[i], (int64_t)strlen(from) + 1, "a text"));
        memcpy((*text)[i], from, strlen(from));
    }
done:
    H5Dvlen_reclaim(type, space, H5P_DEFAULT, raw);
    return status;
}

gmv_status gmv_h5io_get_texts(hid_t object, const char *name, int *n, char ***text)
{
    hid_t attribute = -1, type = text_type(), space = -1;
    char **raw = NULL;
    gmv_status status;
    GMV_GO(open_attribute(object, name, &attribute, n));
    space = H5Aget_space(attribute);
    GMV_GO(GMV_NEW(raw, *n, "texts"));
    H5IO_CHECK(*n == 0 || H5Aread(attribute, type, raw) >= 0, "attribute %s cannot be read as text", name);
    status = take_texts(type, space, *n, raw, text);
done:
    gmv_free(raw);
    if (space >= 0) {
        H5Sclose(space);
    }
    if (attribute >= 0) {
        H5Aclose(attribute);
    }
    H5Tclose(type);
    return status;
}

gmv_status gmv_h5io_get_text(hid_t object, const char *name, char **text)
{
    char **list;
    int n;
    GMV_TRY(gmv_h5io_get_texts(object, name, &n, &list));
    gmv_status status = n == 1 ? GMV_OK : GMV_FAIL(GMV_ERR_DATA, "attribute %s is not one text", name);
    *text = n == 1 ? list[0] : NULL;
    for (int i = 0; i < n && status != GMV_OK; i++) {
        gmv_free(list[i]);
    }
    gmv_free(list);
    return status;
}

static gmv_status get(hid_t object, const char *name, hid_t type, int n, void *value)
{
    hid_t attribute = -1;
    int found = -1;
    gmv_status status;
    GMV_GO(open_attribute(object, name, &attribute, &found));
    H5IO_CHECK(found == n && H5Aread(attribute, type, value) >= 0, "attribute %s is not %d numbers", name, n);
done:
    if (attribute >= 0) {
        H5Aclose(attribute);
    }
    return status;
}

gmv_status gmv_h5io_get_i64(hid_t object, const char *name, int64_t *value)
{
    return get(object, name, H5T_NATIVE_INT64, 1, value);
}

gmv_status gmv_h5io_get_f64(hid_t object, const char *name, int n, double *value)
{
    return get(object, name, H5T_NATIVE_DOUBLE, n, value);
}

gmv_status gmv_h5io_get_f64s(hid_t object, const char *name, int most, int *n, double *value)
{
    hid_t attribute = -1;
    gmv_status status;
    GMV_GO(open_attribute(object, name, &attribute, n));
    H5IO_CHECK(*n <= most, "attribute %s has %d numbers, at most %d are possible", name, *n, most);
    H5IO_CHECK(H5Aread(attribute, H5T_NATIVE_DOUBLE, value) >= 0, "attribute %s is not %d numbers", name, *n);
done:
    if (attribute >= 0) {
        H5Aclose(attribute);
    }
    return status;
}

gmv_status gmv_h5io_get_u64(hid_t object, const char *name, uint64_t *value)
{
    return get(object, name, H5T_NATIVE_UINT64, 1, value);
}

gmv_status gmv_h5io_get_u64s(hid_t object, const char *name, int *n, uint64_t **value)
{
    hid_t attribute = -1;
    gmv_status status;
    *value = NULL;
    GMV_GO(open_attribute(object, name, &attribute, n));
    H5IO_CHECK(*n <= 1 << 24, "attribute %s has an impossible size", name);
    GMV_GO(GMV_NEW(*value, *n, name));
    H5IO_CHECK(*n == 0 || H5Aread(attribute, H5T_NATIVE_UINT64, *value) >= 0, "attribute %s is not %d numbers", name,
               *n);
done:
    if (attribute >= 0) {
        H5Aclose(attribute);
    }
    return status;
}

static uint64_t checksum_of_texts(int n, char *const *text)
{
    XXH3_state_t *state = XXH3_createState();
    XXH3_64bits_reset(state);
    for (int i = 0; i < n; i++) {
        XXH3_64bits_update(state, text[i], strlen(text[i]) + 1);
    }
    uint64_t sum = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return sum;
}

static gmv_status put_checksum(hid_t dataset, uint64_t sum)
{
    return put(dataset, "xxh3", H5T_NATIVE_UINT64, -1, &sum);
}

static gmv_status compare_checksum(hid_t dataset, const char *name, uint64_t sum)
{
    uint64_t stored = 0;
    GMV_TRY(get(dataset, "xxh3", H5T_NATIVE_UINT64, 1, &stored));
    if (stored != sum) {
        return GMV_FAIL(GMV_ERR_DATA, "checksum of %s does not match", name);
    }
    return GMV_OK;
}

/* Creates a dataset, writes it, and attaches its checksum. */
static gmv_status write_dataset(hid_t group, const char *name, hid_t type, int dims, const hsize_t *shape,
                                const void *data, uint64_t sum)
{
    gmv_status status;
    hid_t space = H5Screate_simple(dims, shape, NULL), links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1); /* a batch key may have slashes */
    hid_t dataset = H5Dcreate2(group, name, type, space, links, H5P_DEFAULT, H5P_DEFAULT);
    hssize_t n = H5Sget_simple_extent_npoints(space);
    H5IO_CHECK(dataset >= 0 && (n == 0 || H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0),
               "dataset %s cannot be written", name);
    status = put_checksum(dataset, sum);
done:
    if (dataset >= 0 && H5Dclose(dataset) < 0 && status == GMV_OK) {
        status = GMV_FAIL(GMV_ERR_DATA, "dataset %s cannot be closed", name);
    }
    H5Pclose(links);
    H5Sclose(space);
    return status;
}

gmv_status gmv_h5io_write_f32(hid_t group, const char *name, int dims, const int64_t *shape, const float *data)
{
    hsize_t extent[2] = {(hsize_t)shape[0], dims > 1 ? (hsize_t)shape[1] : 1};
    size_t bytes = (size_t)extent[0] * (size_t)extent[1] * sizeof *data;
    return write_dataset(group, name, H5T_NATIVE_FLOAT, dims, extent, data, XXH3_64bits(data, bytes));
}

gmv_status gmv_h5io_write_texts(hid_t group, const char *name, int n, char *const *text)
{
    hsize_t extent = (hsize_t)n;
    hid_t type = text_type();
    gmv_status status = write_dataset(group, name, type, 1, &extent, text, checksum_of_texts(n, text));
    H5Tclose(type);
    return status;
}

/* Values are in the file itself, in one piece, as they are written here: not in other files, nor packed. */
static gmv_status check_layout(hid_t dataset, const char *name)
{
    hid_t properties = H5Dget_create_plist(dataset);
    H5D_layout_t layout = properties >= 0 ? H5Pget_layout(properties) : H5D_LAYOUT_ERROR;
    bool plain = (layout == H5D_CONTIGUOUS || layout == H5D_COMPACT) && H5Pget_external_count(properties) == 0;
    if (properties >= 0) {
        H5Pclose(properties);
    }
    return plain ? GMV_OK : GMV_FAIL(GMV_ERR_DATA, "dataset %s is not stored as checkpoints are", name);
}

/* Bytes of the file that an object is in. */
static double file_bytes(hid_t object)
{
    hsize_t size = 0;
    hid_t file = H5Iget_file_id(object);
    if (file >= 0) {
        H5Fget_filesize(file, &size);
        H5Fclose(file);
    }
    return (double)size;
}

gmv_status gmv_h5io_shape(hid_t group, const char *name, int *dims, int64_t shape[2])
{
    gmv_status status = GMV_OK;
    hsize_t extent[2] = {1, 1};
    hid_t space = -1, type = -1, dataset = H5Dopen2(group, name, H5P_DEFAULT);
    H5IO_CHECK(dataset >= 0, "dataset %s is missing", name);
    GMV_GO(check_layout(dataset, name));
    space = H5Dget_space(dataset);
    *dims = H5Sget_simple_extent_ndims(space);
    H5IO_CHECK(*dims >= 1 && *dims <= 2, "dataset %s has %d dimensions", name, *dims);
    H5Sget_simple_extent_dims(space, extent, NULL);
    shape[0] = (int64_t)extent[0];
    shape[1] = *dims > 1 ? (int64_t)extent[1] : 1;
    type = H5Dget_type(dataset);
    double bytes = (double)extent[0] * (double)extent[1] * (double)H5Tget_size(type);
    H5IO_CHECK(bytes <= (double)H5Dget_storage_size(dataset) && bytes <= file_bytes(dataset),
               "dataset %s declares more than the file holds", name);
done:
    if (type >= 0) {
        H5Tclose(type);
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    if (dataset >= 0) {
        H5Dclose(dataset);
    }
    return status;
}

gmv_status gmv_h5io_has_shape(hid_t group, const char *name, int dims, const int64_t *shape)
{
    int found_dims;
    int64_t found[2];
    GMV_TRY(gmv_h5io_shape(group, name, &found_dims, found));
    int64_t columns = dims > 1 ? shape[1] : 1;
    if (found_dims != dims || found[0] != shape[0] || found[1] != columns) {
        return GMV_FAIL(GMV_ERR_DATA, "%s has shape [%" PRId64 ", %" PRId64 "], expected [%" PRId64 ", %" PRId64 "]",
                        name, found[0], found[1], shape[0], columns);
    }
    return GMV_OK;
}

gmv_status gmv_h5io_read_f32(hid_t group, const char *name, int dims, const int64_t *shape, float *data)
{
    GMV_TRY(gmv_h5io_has_shape(group, name, dims, shape));
    int64_t columns = dims > 1 ? shape[1] : 1;
    gmv_status status = GMV_OK;
    hid_t dataset = H5Dopen2(group, name, H5P_DEFAULT);
    H5IO_CHECK(H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0, "%s cannot be read", name);
    status = compare_checksum(dataset, name, XXH3_64bits(data, (size_t)shape[0] * (size_t)columns * sizeof *data));
done:
    H5Dclose(dataset);
    return status;
}

gmv_status gmv_h5io_read_texts(hid_t group, const char *name, int *n, char ***text)
{
    int dims;
    int64_t shape[2];
    GMV_TRY(gmv_h5io_shape(group, name, &dims, shape));
    if (dims != 1 || shape[0] > INT32_MAX) {
        return GMV_FAIL(GMV_ERR_DATA, "%s is no list of texts", name);
    }
    gmv_status status;
    char **raw = NULL;
    hid_t type = text_type(), dataset = H5Dopen2(group, name, H5P_DEFAULT), space = H5Dget_space(dataset);
    *n = (int)shape[0];
    GMV_GO(GMV_NEW(raw, *n, "texts"));
    H5IO_CHECK(*n == 0 || H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, raw) >= 0, "%s cannot be read", name);
    GMV_GO(take_texts(type, space, *n, raw, text));
    status = compare_checksum(dataset, name, checksum_of_texts(*n, *text));
done:
    gmv_free(raw);
    H5Sclose(space);
    H5Dclose(dataset);
    H5Tclose(type);
    return status;
}
