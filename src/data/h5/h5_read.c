#include "h5.h"

#include "h5_filters.h"

#include "gmvae/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Refuses what cannot be decoded here. @param[out] expands  how many times larger the values can be */
static gmv_status check_filters(const gmv_h5 *file, const char *path, hid_t properties, double *expands)
{
    int filters = H5Pget_nfilters(properties);
    *expands = 1;
    for (int i = 0; i < filters; i++) {
        unsigned flags = 0, configuration = 0;
        size_t values = 0;
        char name[64] = "", remedy[300];
        H5Z_filter_t id =
            H5Pget_filter2(properties, (unsigned)i, &flags, &values, NULL, sizeof name, name, &configuration);
        const gmv_h5_filter *known = gmv_h5_filter_of((int)id);
        if (id < 0 || H5Zfilter_avail(id) <= 0) {
            gmv_h5_filter_remedy((int)id, remedy, sizeof remedy);
            return GMV_FAIL(GMV_ERR_DATA,
                            "%s: %s is compressed with %s (HDF5 filter %d), which is not installed: %s; or write the "
                            "file again with gzip: adata.write_h5ad(path, compression='gzip')",
                            file->path, gmv_shown(path).at, known != NULL ? known->name : gmv_shown(name).at, (int)id,
                            remedy);
        }
        *expands *= known != NULL ? known->expands : 1e6;
    }
    return GMV_OK;
}

/* Before its shape is asked for: that would open the files of a virtual dataset.
 * @param[out] most  how many times larger than its bytes in the file it may declare to be; parts of a dataset in chunks
 *                   may be without any */
static gmv_status check_layout(const gmv_h5 *file, const char *path, hid_t dataset, double *most)
{
    double expands = 1;
    hid_t properties = H5Dget_create_plist(dataset);
    if (properties < 0) {
        return gmv_h5_fail(file, path);
    }
    gmv_status status = check_filters(file, path, properties, &expands);
    H5D_layout_t layout = H5Pget_layout(properties);
    *most = layout != H5D_CHUNKED ? 1 : expands > 1000 ? 1.1 * expands : 1100;
    if (status == GMV_OK && (layout == H5D_VIRTUAL || H5Pget_external_count(properties) > 0)) {
        status = GMV_FAIL(GMV_ERR_DATA, "%s: %s takes its values from other files; rewrite it as one file", file->path,
                          gmv_shown(path).at);
    }
    H5Pclose(properties);
    return status;
}

/* A size that was declared is not believed without bytes in the file. */
static gmv_status check_bytes(const gmv_h5 *file, const char *path, hid_t dataset, int ndims, const int64_t *dims,
                              double most)
{
    hid_t type = H5Dget_type(dataset);
    double bytes = (double)H5Tget_size(type);
    H5Tclose(type);
    for (int i = 0; i < ndims; i++) {
        bytes *= (double)dims[i];
    }
    double stored = (double)H5Dget_storage_size(dataset);
    stored = stored < (double)file->stamp.size ? stored : (double)file->stamp.size;
    if (bytes > 4096 && bytes > most * stored) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: %s declares %.3g bytes but holds only %.0f; the file is damaged", file->path,
                        gmv_shown(path).at, bytes, stored);
    }
    return GMV_OK;
}

gmv_status gmv_h5_open_dataset(const gmv_h5 *file, const char *path, int ndims, hid_t *dataset, int64_t *dims)
{
    *dataset = -1;
    if (!gmv_h5_has(file, path)) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: %s is missing or a link to nowhere", file->path, gmv_shown(path).at);
    }
    *dataset = H5Dopen2(file->id, path, H5P_DEFAULT);
    if (*dataset < 0) {
        return gmv_h5_fail(file, path);
    }
    double most = 1;
    gmv_status status = check_layout(file, path, *dataset, &most);
    hid_t space = status == GMV_OK ? H5Dget_space(*dataset) : -1;
    int found = space >= 0 ? H5Sget_simple_extent_ndims(space) : 0;
    hsize_t size[2] = {0, 0};
    if (status == GMV_OK && found != ndims) {
        status = GMV_FAIL(GMV_ERR_DATA, "%s: %s has %d dimensions, expected %d", file->path, gmv_shown(path).at, found,
                          ndims);
    } else if (status == GMV_OK) {
        H5Sget_simple_extent_dims(space, size, NULL);
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    for (int i = 0; i < ndims && status == GMV_OK; i++) {
        dims[i] = (int64_t)size[i];
        if (dims[i] < 0 || (i == 1 && dims[0] > 0 && dims[1] > INT64_MAX / dims[0])) {
            status = GMV_FAIL(GMV_ERR_DATA, "%s: %s declares an impossible size; the file is damaged", file->path,
                              gmv_shown(path).at);
        }
    }
    if (status == GMV_OK) {
        status = check_bytes(file, path, *dataset, ndims, dims, most);
    }
    if (status != GMV_OK) {
        H5Dclose(*dataset);
        *dataset = -1;
    }
    return status;
}

gmv_status gmv_h5_read(const gmv_h5 *file, hid_t dataset, int ndims, const int64_t *first, const int64_t *count,
                       hid_t type, void *out)
{
    hsize_t start[2] = {0, 0}, size[2] = {0, 0};
    for (int i = 0; i < ndims; i++) {
        start[i] = (hsize_t)first[i];
        size[i] = (hsize_t)count[i];
        if (count[i] == 0) {
            return GMV_OK;
        }
    }
    hid_t there = H5Dget_space(dataset), here = H5Screate_simple(ndims, size, NULL);
    herr_t result = H5Sselect_hyperslab(there, H5S_SELECT_SET, start, NULL, size, NULL);
    if (result >= 0) {
        result = H5Dread(dataset, type, here, there, H5P_DEFAULT, out);
    }
    gmv_status status = GMV_OK;
    if (result < 0) {
        char name[256] = "a dataset", words[400];
        gmv_h5_reason(words, sizeof words);
        H5Iget_name(dataset, name, sizeof name);
        status = GMV_FAIL(GMV_ERR_DATA, "%s: %s cannot be read%s; the file may be damaged, copy it again", file->path,
                          gmv_shown(name[0] == '/' ? name + 1 : name).at, words);
    }
    H5Sclose(there);
    H5Sclose(here);
    return status;
}

gmv_status gmv_h5_read_field(const gmv_h5 *file, hid_t dataset, const char *field, int64_t first, int64_t count,
                             hid_t type, void *out)
{
    if (field == NULL) {
        return gmv_h5_read(file, dataset, 1, &first, &count, type, out);
    }
    hid_t only = H5Tcreate(H5T_COMPOUND, H5Tget_size(type)); /* HDF5 leaves the other fields out */
    H5Tinsert(only, field, 0, type);
    gmv_status status = gmv_h5_read(file, dataset, 1, &first, &count, only, out);
    H5Tclose(only);
    return status;
}

gmv_status gmv_h5_read_i64(const gmv_h5 *file, hid_t dataset, int64_t first, int64_t count, int64_t *out)
{
    return gmv_h5_read(file, dataset, 1, &first, &count, H5T_NATIVE_INT64, out);
}

gmv_status gmv_h5_read_f64(const gmv_h5 *file, hid_t dataset, int ndims, const int64_t *first, const int64_t *count,
                           double *out)
{
    hid_t type = H5Dget_type(dataset);
    bool is_bool = H5Tget_class(type) == H5T_ENUM && H5Tget_size(type) == 1;
    if (!is_bool) {
        H5Tclose(type);
        return gmv_h5_read(file, dataset, ndims, first, count, H5T_NATIVE_DOUBLE, out);
    }
    /* HDF5 does not convert enums to numbers: read the bytes into the end of `out`, widen from the front */
    int64_t n = ndims == 2 ? count[0] * count[1] : count[0];
    int8_t *bytes = (int8_t *)out + 7 * n;
    gmv_status status = gmv_h5_read(file, dataset, ndims, first, count, type, bytes);
    H5Tclose(type);
    for (int64_t i = 0; i < n && status == GMV_OK; i++) {
        int8_t byte = bytes[i];
        out[i] = byte;
    }
    return status;
}
