#include "h5_array.h"

#include "lzf_filter.h"

#include "gmvae/mem.h"

#include <fcntl.h>
#include <libdeflate.h>
#include <lzf.h>
#include <string.h>
#include <unistd.h>

enum {
    compared = 64,           /* elements that are compared with HDF5's */
    read_together = 1 << 20, /* bytes of neighbouring chunks that are read at once */
    plain_bytes = 1 << 18    /* of a piece of a dataset without chunks */
};
static const int64_t most_chunk_bytes = (int64_t)1 << 28;

/* ---- what can be read ---- */

static bool take_type(gmv_h5_array *stored, hid_t dataset)
{
    hid_t type = H5Dget_type(dataset);
    H5T_class_t class = H5Tget_class(type);
    stored->size = (int)H5Tget_size(type);
    bool whole =
        class == H5T_INTEGER && (stored->size == 1 || stored->size == 2 || stored->size == 4 || stored->size == 8);
    bool real = class == H5T_FLOAT && (H5Tequal(type, H5T_IEEE_F32LE) > 0 || H5Tequal(type, H5T_IEEE_F64LE) > 0);
    stored->kind = real ? GMV_NUMBER_FLOAT : H5Tget_sign(type) == H5T_SGN_2 ? GMV_NUMBER_INT : GMV_NUMBER_UINT;
    bool order = stored->size == 1 || H5Tget_order(type) == H5T_ORDER_LE;
    bool full = whole && H5Tget_precision(type) == 8 * (size_t)stored->size;
    H5Tclose(type);
    return order && (full || real);
}

static bool take_filters(gmv_h5_array *stored, hid_t properties)
{
    stored->filters = H5Pget_nfilters(properties);
    if (stored->filters < 0 || stored->filters > GMV_STORED_FILTERS) {
        return false;
    }
    for (int i = 0; i < stored->filters; i++) {
        unsigned flags, configuration;
        size_t values = 0;
        H5Z_filter_t id = H5Pget_filter2(properties, (unsigned)i, &flags, &values, NULL, 0, NULL, &configuration);
        if (id != H5Z_FILTER_DEFLATE && id != H5Z_FILTER_SHUFFLE && id != GMV_FILTER_LZF) {
            return false;
        }
        stored->filter[i] = (int)id;
    }
    return true;
}

/* Type, layout, filters and fill value: the same answer on every rank. */
static bool take_layout(gmv_h5_array *stored, hid_t dataset)
{
    hid_t properties = H5Dget_create_plist(dataset), space = H5Dget_space(dataset), type = H5Dget_type(dataset);
    H5D_layout_t layout = H5Pget_layout(properties);
    hsize_t chunk = 0, length = 0;
    bool can = H5Sget_simple_extent_ndims(space) == 1 && take_type(stored, dataset);
    if (can) {
        H5Sget_simple_extent_dims(space, &length, NULL);
        stored->length = (int64_t)length;
        can = H5Pget_fill_value(properties, type, stored->fill) >= 0;
    }
    if (can && layout == H5D_CHUNKED) {
        can = H5Pget_chunk(properties, 1, &chunk) == 1 && take_filters(stored, properties);
        stored->chunk = (int64_t)chunk;
        can = can && stored->chunk > 0 && stored->chunk <= most_chunk_bytes / stored->size;
    } else if (can && layout == H5D_CONTIGUOUS && H5Pget_external_count(properties) == 0) {
        haddr_t at = H5Dget_offset(dataset);
        stored->chunk = plain_bytes / stored->size;
        stored->contiguous_at = (int64_t)at;
        can = at < INT64_MAX / 4 || length == 0; /* also the address of what was never written is larger */
    } else {
        can = false;
    }
    H5Tclose(type);
    H5Sclose(space);
    H5Pclose(properties);
    return can;
}

/* ---- where the chunks are ---- */

/* An empty range has a place too: it says that there are chunks. */
static gmv_status find_chunks(gmv_h5_array *stored, const gmv_h5 *file, hid_t dataset, bool *can)
{
    int64_t from = stored->first / stored->chunk, to = (stored->end + stored->chunk - 1) / stored->chunk;
    to = stored->end > stored->first ? to : from;
    stored->first_chunk = from;
    GMV_TRY(GMV_NEW(stored->place, to - from + 1, "places of chunks"));
    bool found = gmv_chunk_index_read(file, dataset, stored->fd, stored->chunk, from, to, stored->place);
    *can = found || to == from; /* where nothing was ever written there is no index */
    return GMV_OK;
}

static gmv_chunk_place place_of(const gmv_h5_array *stored, int64_t chunk)
{
    if (stored->place != NULL) {
        return stored->place[chunk - stored->first_chunk];
    }
    int64_t first = chunk * stored->chunk, n = stored->length - first;
    n = n < stored->chunk ? n : stored->chunk;
    return (gmv_chunk_place){stored->contiguous_at + first * stored->size, (uint32_t)(n * stored->size), 0};
}

static void move_places(gmv_h5_array *stored, int64_t by)
{
    stored->contiguous_at += by;
    for (int64_t c = stored->first; stored->place != NULL && c < stored->end; c += stored->chunk) {
        gmv_chunk_place *place = &stored->place[c / stored->chunk - stored->first_chunk];
        place->at += place->at >= 0 ? by : 0;
    }
}

/* ---- reading ---- */

gmv_status gmv_h5_array_cursor_init(gmv_h5_array_cursor *cursor, const gmv_h5_array *stored)
{
    memset(cursor, 0, sizeof *cursor);
    cursor->stored = stored;
    cursor->decoded = -1;
    GMV_TRY(GMV_NEW(cursor->values, stored->chunk * stored->size, "a chunk"));
    GMV_TRY(GMV_NEW(cursor->spare, stored->chunk * stored->size, "a chunk"));
    cursor->inflate = libdeflate_alloc_decompressor();
    return cursor->inflate != NULL ? GMV_OK : GMV_FAIL(GMV_ERR_ENVIRONMENT, "no memory to decode chunks");
}

void gmv_h5_array_cursor_fini(gmv_h5_array_cursor *cursor)
{
    GMV_FREE(cursor->values);
    GMV_FREE(cursor->spare);
    GMV_FREE(cursor->bytes);
    GMV_FREE(cursor->span);
    if (cursor->inflate != NULL) {
        libdeflate_free_decompressor(cursor->inflate);
    }
    cursor->inflate = NULL;
}

/* Whether a chunk can lie there: what does not become smaller is stored with few bytes more. */
static bool is_plausible(const gmv_h5_array *stored, gmv_chunk_place place)
{
    int64_t plain = stored->chunk * stored->size;
    return place.bytes <= plain + plain / 8 + 1024 && place.at < INT64_MAX / 2;
}

/* The bytes of a chunk, and of the chunks behind it as far as they follow in the file and lie before element `end`. */
static const unsigned char *read_chunk(gmv_h5_array_cursor *cursor, int64_t chunk, int64_t end)
{
    const gmv_h5_array *stored = cursor->stored;
    gmv_chunk_place place = place_of(stored, chunk);
    if (!is_plausible(stored, place)) {
        return NULL;
    }
    if (place.at >= cursor->at && place.at + place.bytes <= cursor->at + cursor->held) {
        return cursor->bytes + (place.at - cursor->at);
    }
    int64_t bytes = place.bytes;
    for (int64_t c = chunk + 1; c * stored->chunk < end; c++) {
        gmv_chunk_place next = place_of(stored, c);
        if (next.at != place.at + bytes || bytes + next.bytes > read_together) {
            break;
        }
        bytes += next.bytes;
    }
    cursor->held = 0;
    if (bytes > cursor->room) {
        GMV_FREE(cursor->bytes);
        cursor->room = 0;
        if (GMV_NEW(cursor->bytes, bytes, "chunks") != GMV_OK) {
            return NULL;
        }
        cursor->room = bytes;
    }
    while (cursor->held < bytes) {
        ssize_t got =
            pread(stored->fd, cursor->bytes + cursor->held, (size_t)(bytes - cursor->held), place.at + cursor->held);
        if (got <= 0) {
            cursor->held = 0;
            return NULL;
        }
        cursor->held += got;
    }
    cursor->at = place.at;
    return cursor->bytes;
}

/* Byte j of all elements lies together: back to elements. */
static void unshuffle(const unsigned char *from, unsigned char *to, size_t n, size_t size)
{
    if (size == 4) { /* nearly always; the compiler makes vectors of it */
        for (size_t i = 0; i < n; i++) {
            uint32_t value = (uint32_t)from[i] | (uint32_t)from[n + i] << 8 | (uint32_t)from[2 * n + i] << 16 |
                             (uint32_t)from[3 * n + i] << 24;
            memcpy(to + 4 * i, &value, sizeof value);
        }
        return;
    }
    for (size_t j = 0; j < size; j++) {
        for (size_t i = 0; i < n; i++) {
            to[i * size + j] = from[j * n + i];
        }
    }
}

/* Undoes one filter. @return false when it does not give `bytes` bytes */
static bool undo(gmv_h5_array_cursor *cursor, int filter, const unsigned char *from, size_t length, unsigned char *to,
                 size_t bytes)
{
    switch (filter) {
    case H5Z_FILTER_DEFLATE:
        return libdeflate_zlib_decompress(cursor->inflate, from, length, to, bytes, NULL) == LIBDEFLATE_SUCCESS;
    case H5Z_FILTER_SHUFFLE:
        if (length == bytes) {
            unshuffle(from, to, bytes / (size_t)cursor->stored->size, (size_t)cursor->stored->size);
        }
        return length == bytes;
    default:
        return lzf_decompress(from, (unsigned)length, to, (unsigned)bytes) == bytes;
    }
}

static void fill_values(gmv_h5_array_cursor *cursor)
{
    const gmv_h5_array *stored = cursor->stored;
    for (int64_t i = 0; i < stored->chunk; i++) {
        memcpy(cursor->values + i * stored->size, stored->fill, (size_t)stored->size);
    }
}

/* The values of a chunk, in cursor->values, or where they were read when nothing has to be undone. */
static const unsigned char *decode(gmv_h5_array_cursor *cursor, int64_t chunk, int64_t end)
{
    const gmv_h5_array *stored = cursor->stored;
    gmv_chunk_place place = place_of(stored, chunk);
    if (chunk == cursor->decoded) {
        return cursor->values;
    }
    if (place.at < 0) {
        fill_values(cursor);
        cursor->decoded = chunk;
        return cursor->values;
    }
    const unsigned char *from = read_chunk(cursor, chunk, end);
    size_t bytes = (size_t)(stored->chunk * stored->size), length = place.bytes;
    for (int i = stored->filters - 1; from != NULL && i >= 0; i--) {
        if ((place.skipped >> i & 1u) != 0) {
            continue;
        }
        unsigned char *to = from == cursor->values ? cursor->spare : cursor->values;
        from = undo(cursor, stored->filter[i], from, length, to, bytes) ? to : NULL;
        length = bytes;
    }
    if (from == cursor->spare) {
        cursor->spare = cursor->values;
        cursor->values = (unsigned char *)(uintptr_t)from;
    }
    cursor->decoded = from == cursor->values && from != NULL ? chunk : -1;
    return from != NULL && (stored->place == NULL || length == bytes) ? from : NULL;
}

const void *gmv_h5_array_span(gmv_h5_array_cursor *cursor, int64_t first, int64_t n, int64_t end)
{
    const gmv_h5_array *stored = cursor->stored;
    int64_t chunk = first / stored->chunk, inside = first - chunk * stored->chunk, size = stored->size;
    if (inside + n <= stored->chunk) {
        const unsigned char *values = decode(cursor, chunk, end);
        return values != NULL ? values + inside * size : NULL;
    }
    if (n > cursor->span_room) {
        GMV_FREE(cursor->span);
        cursor->span_room = 0;
        if (GMV_NEW(cursor->span, n * size, "a row") != GMV_OK) {
            return NULL;
        }
        cursor->span_room = n;
    }
    for (int64_t done = 0; done < n; chunk++) {
        int64_t part = stored->chunk - inside < n - done ? stored->chunk - inside : n - done;
        const unsigned char *values = decode(cursor, chunk, end);
        if (values == NULL) {
            return NULL;
        }
        memcpy(cursor->span + done * size, values + inside * size, (size_t)(part * size));
        done += part;
        inside = 0;
    }
    return cursor->span;
}

/* ---- opening ---- */

/* Whether elements [first, first + n) are what HDF5 reads. */
static bool agrees_at(const gmv_h5_array *stored, const gmv_h5 *file, hid_t dataset, int64_t first, int64_t n)
{
    unsigned char theirs[compared * 8];
    gmv_h5_array_cursor cursor;
    hid_t type = H5Dget_type(dataset);
    bool same = gmv_h5_array_cursor_init(&cursor, stored) == GMV_OK;
    const void *ours = same ? gmv_h5_array_span(&cursor, first, n, first + n) : NULL;
    same = ours != NULL && gmv_h5_read(file, dataset, 1, &first, &n, type, theirs) == GMV_OK &&
           memcmp(ours, theirs, (size_t)(n * stored->size)) == 0;
    gmv_h5_array_cursor_fini(&cursor);
    H5Tclose(type);
    return same;
}

static bool agrees(const gmv_h5_array *stored, const gmv_h5 *file, hid_t dataset)
{
    int64_t n = stored->end - stored->first < compared ? stored->end - stored->first : compared;
    return agrees_at(stored, file, dataset, stored->first, n) && agrees_at(stored, file, dataset, stored->end - n, n);
}

/* Some versions of HDF5 leave the user block out of the places that they tell. */
static bool settle_places(gmv_h5_array *stored, const gmv_h5 *file, hid_t dataset)
{
    hsize_t block = 0;
    hid_t properties = H5Fget_create_plist(file->id);
    H5Pget_userblock(properties, &block);
    H5Pclose(properties);
    if (stored->end <= stored->first || agrees(stored, file, dataset)) {
        return true;
    }
    move_places(stored, (int64_t)block);
    return block > 0 && agrees(stored, file, dataset);
}

gmv_status gmv_h5_array_open(gmv_h5_array *stored, const gmv_h5 *file, hid_t dataset, int64_t first, int64_t end,
                             bool *can)
{
    memset(stored, 0, sizeof *stored);
    stored->fd = -1;
    *can = take_layout(stored, dataset);
    if (!*can) {
        return GMV_OK;
    }
    stored->first = first;
    stored->end = end;
    stored->fd = open(file->path, O_RDONLY | O_CLOEXEC);
    gmv_status status = stored->contiguous_at == 0 ? find_chunks(stored, file, dataset, can) : GMV_OK;
    if (status == GMV_OK && stored->fd >= 0) {
        status = gmv_h5_same_file(file, stored->fd);
    }
    *can = *can && status == GMV_OK && stored->fd >= 0 && settle_places(stored, file, dataset);
    if (!*can) {
        gmv_h5_array_close(stored);
    }
    if (!*can && status == GMV_OK) {
        gmv_error_clear(); /* HDF5 will say what is wrong when it reads */
    }
    return status;
}

void gmv_h5_array_close(gmv_h5_array *stored)
{
    if (stored->fd >= 0) {
        close(stored->fd);
    }
    stored->fd = -1;
    GMV_FREE(stored->place);
}
