#include "lzf_filter.h"

#include <hdf5.h>
#include <lzf.h>

static size_t replace(void **buffer, size_t *size, void *with, size_t room, size_t bytes)
{
    H5free_memory(*buffer);
    *buffer = with;
    *size = room;
    return bytes;
}

/* client[2] is the size of a decoded chunk; h5py leaves it out for variable-length strings. So room doubles
 * until the chunk fits, up to what LZF can expand to (264 bytes from 3). Less than a chunk is an error: HDF5 would take
 * what lies behind it for the rest. */
static size_t decompress(size_t values, const unsigned client[], size_t length, size_t *size, void **buffer)
{
    size_t known = values >= 3 ? client[2] : 0, most = 88 * length + 1, room = known > 0 ? known : 4 * length;
    for (;; room *= 2) {
        void *out = H5allocate_memory(room, false);
        size_t bytes = out != NULL ? lzf_decompress(*buffer, (unsigned)length, out, (unsigned)room) : 0;
        if (bytes > 0 && bytes >= known) {
            return replace(buffer, size, out, room, bytes);
        }
        H5free_memory(out);
        if (out == NULL || bytes > 0 || room >= most) {
            return 0;
        }
    }
}

/* 0 for a chunk that would not become smaller: HDF5 then stores it as it is. */
static size_t compress(size_t length, size_t *size, void **buffer)
{
    void *out = length > 1 ? H5allocate_memory(length, false) : NULL;
    size_t bytes = out != NULL ? lzf_compress(*buffer, (unsigned)length, out, (unsigned)length - 1) : 0;
    if (bytes == 0) {
        H5free_memory(out);
        return 0;
    }
    return replace(buffer, size, out, length, bytes);
}

static size_t filter(unsigned flags, size_t values, const unsigned client[], size_t length, size_t *size, void **buffer)
{
    if (length > (1u << 30)) { /* liblzf counts in 32 bits; no chunk of LZF's is that large */
        return 0;
    }
    return (flags & H5Z_FLAG_REVERSE) != 0 ? decompress(values, client, length, size, buffer)
                                           : compress(length, size, buffer);
}

void gmv_lzf_register(void)
{
    static const H5Z_class2_t lzf = {H5Z_CLASS_T_VERS, GMV_FILTER_LZF, 1, 1, "lzf", NULL, NULL, filter};
    H5Zregister(&lzf);
}
