#include "h5_filters.h"

#include <hdf5.h>
#include <stdio.h>

/* Deflate expands 1032 times, LZF 88, LZ4 255; the others store runs of any length in a few bytes. */
static const gmv_h5_filter filters[] = {
    {H5Z_FILTER_DEFLATE, "deflate", NULL, 1032, "zlib"},
    {H5Z_FILTER_SHUFFLE, "shuffle", NULL, 1, "its defaults"},
    {H5Z_FILTER_FLETCHER32, "fletcher32", NULL, 1, "its defaults"},
    {H5Z_FILTER_SZIP, "szip", NULL, 1e3, "libaec (szip)"},
    {307, "bzip2", "hdf5-filter-plugin", 1e6, NULL},
    {32000, "lzf", NULL, 88, "our own reader"},
    {32001, "blosc", "hdf5-filter-plugin-blosc-serial", 1e6, NULL},
    {32004, "lz4", "hdf5-filter-plugin", 255, NULL},
    {32008, "bitshuffle", NULL, 1e6, NULL},
    {32015, "zstd", NULL, 1e6, NULL},
    {32026, "blosc2", NULL, 1e6, NULL},
};

const gmv_h5_filter *gmv_h5_filters(int *n)
{
    *n = (int)(sizeof filters / sizeof filters[0]);
    return filters;
}

const gmv_h5_filter *gmv_h5_filter_of(int id)
{
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
        if (filters[i].id == id) {
            return &filters[i];
        }
    }
    return NULL;
}

void gmv_h5_filter_remedy(int id, char *text, size_t size)
{
    static const char pip[] = "pip install hdf5plugin, then export HDF5_PLUGIN_PATH=$(python -c 'import hdf5plugin; "
                              "print(hdf5plugin.PLUGIN_PATH)')";
    const gmv_h5_filter *filter = gmv_h5_filter_of(id);
    if (filter == NULL) {
        snprintf(text, size, "find its plug-in and name its folder in HDF5_PLUGIN_PATH");
    } else if (filter->part != NULL) {
        snprintf(text, size, "use an HDF5 built with %s", filter->part);
    } else if (filter->debian != NULL) {
        snprintf(text, size,
                 "%s; or apt install %s, then export HDF5_PLUGIN_PATH=$(echo /usr/lib/*/hdf5/serial/plugins)", pip,
                 filter->debian);
    } else {
        snprintf(text, size, "%s", pip);
    }
}
