#include "lzf.h"

#include <hdf5.h>
#include <stdlib.h>
#include <string.h>

enum { filter_id = 32000 };

/* A control byte below 32 announces a run of literals, any other a copy of 3 to 264 bytes from up to
 * 8 kB back. Returns the bytes written, 0 when the input is damaged or `room` too small. */
static size_t expand(const unsigned char *in, size_t length, unsigned char *out, size_t room)
{
    size_t at = 0, to = 0;
    while (at < length) {
        size_t control = in[at++];
        if (control < 32) {
            size_t run = control + 1;
            if (run > length - at || run > room - to) {
                return 0;
            }
            memcpy(out + to, in + at, run);
            at += run;
            to += run;
            continue;
        }
        size_t run = control >> 5;
        if (run == 7) {
            if (at == length) {
                return 0;
            }
            run += in[at++];
        }
        run += 2;
        if (at == length) {
            return 0;
        }
        size_t back = ((control & 31) << 8 | in[at++]) + 1;
        if (back > to || run > room - to) {
            return 0;
        }
        for (size_t i = 0; i < run; i++, to++) { /* source and target may overlap: byte by byte */
            out[to] = out[to - back];
        }
    }
    return to;
}

/* client[2] is the size of a decoded chunk; h5py leaves it out for variable-length strings. So room doubles
 * until the chunk fits, up to what LZF can expand to (264 bytes from 3). */
static size_t filter(unsigned flags, size_t values, const unsigned client[], size_t length, size_t *size, void **buffer)
{
    if ((flags & H5Z_FLAG_REVERSE) == 0) {
        return 0;
    }
    size_t most = 88 * length + 1, room = values >= 3 && client[2] > 0 ? client[2] : 4 * length;
    for (;; room *= 2) {
        unsigned char *out = malloc(room);
        size_t written = out != NULL ? expand(*buffer, length, out, room) : 0;
        if (written > 0) {
            free(*buffer);
            *buffer = out;
            *size = room;
            return written;
        }
        free(out);
        if (out == NULL || room >= most) {
            return 0;
        }
    }
}

void gmv_lzf_register(void)
{
    static const H5Z_class2_t lzf = {H5Z_CLASS_T_VERS, filter_id, 0, 1, "lzf", NULL, NULL, filter};
    H5Zregister(&lzf);
}
