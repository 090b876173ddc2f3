/* HDF5 1.10 goes through all chunks to find one, so that finding all of n takes n^2 steps. A file in the format that h5py
 * writes has a B-tree of version 1 for an index, which is read here; sections of the HDF5 file format specification,
 * version 3.0, are named. Later versions of HDF5 tell all chunks in one go. */
#include "chunk_index.h"

#include "gmvae/mem.h"

#include <string.h>
#include <unistd.h>

typedef struct chunk_range {
    int64_t chunk; /* elements */
    int64_t first, end;
    int64_t base; /* bytes of the user block */
    gmv_chunk_place *place;
    int64_t nodes; /* of the tree that may still be read: a damaged one can lead back to itself */
} chunk_range;

static void put(const chunk_range *range, int64_t element, int64_t at, uint32_t bytes, uint32_t skipped)
{
    int64_t chunk = element / range->chunk;
    if (element % range->chunk == 0 && chunk >= range->first && chunk < range->end) {
        range->place[chunk - range->first] = (gmv_chunk_place){at, bytes, skipped};
    }
}

#if H5_VERSION_GE(1, 14, 0)

static int take_chunk(const hsize_t *offset, unsigned skipped, haddr_t at, hsize_t bytes, void *range)
{
    if (bytes <= UINT32_MAX) {
        put(range, (int64_t)offset[0], (int64_t)at, (uint32_t)bytes, skipped);
    }
    return H5_ITER_CONT;
}

static bool read_index(const gmv_h5 *file, hid_t dataset, int fd, chunk_range *range)
{
    (void)file;
    (void)fd;
    return H5Dchunk_iter(dataset, H5P_DEFAULT, take_chunk, range) >= 0;
}

#else

enum {
    node_head = 24,        /* III.A.1: signature, type, level, entries, two siblings */
    node_entry = 32,       /* a key of a chunk (size, mask, two offsets) and an address */
    most_levels = 32,      /* nothing that fits a disk is deeper */
    most_header = 1 << 20, /* bytes of a block of an object header */
    most_blocks = 64
};

static uint64_t number(const unsigned char *at, int size)
{
    uint64_t value = 0;
    for (int i = size - 1; i >= 0; i--) {
        value = value << 8 | at[i];
    }
    return value;
}

/* An address in a damaged file may be anything: those beyond any disk must not be added to. */
static bool is_address(int64_t at)
{
    return at >= 0 && at < INT64_MAX / 4;
}

static bool read_at(int fd, int64_t at, void *to, int64_t n)
{
    for (int64_t done = 0; done < n;) {
        ssize_t got = is_address(at) ? pread(fd, (char *)to + done, (size_t)(n - done), at + done) : -1;
        if (got <= 0) {
            return false;
        }
        done += got;
    }
    return true;
}

/* ---- the object header: where the tree is (IV.A.1, IV.A.2.i, IV.A.2.q) ---- */

typedef struct header_walk {
    int fd;
    int64_t base;
    int version, prefix, ordered; /* of messages: bytes before their data; whether they have an order */
    int64_t next[most_blocks], length[most_blocks];
    int blocks;
    int64_t tree; /* found; -1 */
} header_walk;

static void take_layout(header_walk *walk, const unsigned char *at, int64_t n)
{
    if (n >= 11 && at[0] == 3 && at[1] == 2 && at[2] == 2) { /* version 3, chunked, one dimension and that of bytes */
        walk->tree = (int64_t)number(at + 3, 8);
    } else if (n >= 16 && (at[0] == 1 || at[0] == 2) && at[1] == 2 && at[2] == 2) {
        walk->tree = (int64_t)number(at + 8, 8);
    }
}

/* Messages of one block: the layout is noted, and blocks that continue the header. */
static void walk_messages(header_walk *walk, const unsigned char *at, int64_t n)
{
    while (n >= walk->prefix) {
        int type = walk->version == 1 ? (int)number(at, 2) : at[0];
        int64_t size = (int64_t)number(at + (walk->version == 1 ? 2 : 1), 2);
        const unsigned char *data = at + walk->prefix;
        if (size > n - walk->prefix) {
            return;
        }
        if (type == 8) {
            take_layout(walk, data, size);
        } else if (type == 16 && size >= 16 && walk->blocks < most_blocks && is_address((int64_t)number(data, 8))) {
            walk->next[walk->blocks] = (int64_t)number(data, 8);
            walk->length[walk->blocks++] = (int64_t)number(data + 8, 8);
        }
        at = data + size;
        n -= walk->prefix + size;
    }
}

/* The first block: how messages look in this header, and where they begin and end. */
static bool take_head(header_walk *walk, int64_t address)
{
    unsigned char head[48] = {0};
    if (!read_at(walk->fd, walk->base + address, head, 16)) {
        return false;
    }
    int64_t skip = 16, length;
    if (memcmp(head, "OHDR", 4) == 0) {
        int flags = head[5], wide = 1 << (flags & 3);
        skip = 6 + ((flags & 32) != 0 ? 16 : 0) + ((flags & 16) != 0 ? 4 : 0);
        if (head[4] != 2 || !read_at(walk->fd, walk->base + address, head, skip + wide)) {
            return false;
        }
        length = (int64_t)number(head + skip, wide);
        skip += wide;
        walk->version = 2;
        walk->prefix = (flags & 4) != 0 ? 6 : 4;
    } else {
        length = (int64_t)number(head + 8, 4);
        walk->version = head[0];
        walk->prefix = 8;
    }
    walk->next[0] = address + skip;
    walk->length[0] = length;
    walk->blocks = 1;
    return walk->version == 1 || walk->version == 2;
}

static int64_t find_tree(int fd, int64_t base, int64_t header)
{
    header_walk walk = {.fd = fd, .base = base, .tree = -1};
    if (!take_head(&walk, header)) {
        return -1;
    }
    for (int b = 0; b < walk.blocks && walk.tree < 0; b++) {
        unsigned char *block = NULL;
        int64_t n = walk.length[b];
        bool continued = walk.version == 2 && b > 0; /* then with a signature before and a checksum behind */
        if (n < 8 || n > most_header || GMV_NEW(block, n, "an object header") != GMV_OK) {
            return -1;
        }
        if (read_at(fd, base + walk.next[b], block, n)) {
            walk_messages(&walk, block + (continued ? 4 : 0), n - (continued ? 8 : 0));
        }
        GMV_FREE(block);
    }
    return walk.tree;
}

/* ---- the tree (III.A.1) ---- */

/* Reads the chunks of a node and of those below it, as far as they lie in the range. */
static bool read_node(int fd, chunk_range *range, int64_t address, int level)
{
    unsigned char head[node_head];
    if (range->nodes-- <= 0 || !is_address(address) || !read_at(fd, range->base + address, head, node_head) ||
        memcmp(head, "TREE", 4) != 0 || head[4] != 1 || (level >= 0 && head[5] != level) || head[5] > most_levels) {
        return false;
    }
    level = head[5];
    int entries = (int)number(head + 6, 2);
    unsigned char *body = NULL;
    int64_t n = (int64_t)entries * node_entry + node_entry - 8; /* a key more than addresses */
    bool good =
        GMV_NEW(body, n, "an index of chunks") == GMV_OK && read_at(fd, range->base + address + node_head, body, n);
    for (int i = 0; i < entries && good; i++) {
        const unsigned char *key = body + (int64_t)i * node_entry;
        int64_t element = (int64_t)number(key + 8, 8), next = (int64_t)number(key + node_entry + 8, 8);
        int64_t child = (int64_t)number(key + node_entry - 8, 8);
        good = is_address(child);
        if (level == 0 && good) {
            put(range, element, range->base + child, (uint32_t)number(key, 4), (uint32_t)number(key + 4, 4));
        } else if (good && element / range->chunk < range->end && next / range->chunk >= range->first) {
            good = read_node(fd, range, child, level - 1);
        }
    }
    GMV_FREE(body);
    return good;
}

static bool read_index(const gmv_h5 *file, hid_t dataset, int fd, chunk_range *range)
{
    size_t offsets = 0, lengths = 0;
    hsize_t base = 0;
    H5O_info_t info;
    hid_t properties = H5Fget_create_plist(file->id);
    bool known = H5Pget_sizes(properties, &offsets, &lengths) >= 0 && H5Pget_userblock(properties, &base) >= 0;
    H5Pclose(properties);
    known = H5Oget_info(dataset, &info) >= 0 && known && offsets == 8 && lengths == 8;
    if (!known) {
        return false;
    }
    range->base = (int64_t)base;
    range->nodes = 2 * (range->end - range->first) + 2 * most_levels;
    int64_t tree = find_tree(fd, range->base, (int64_t)info.addr);
    return tree >= 0 && read_node(fd, range, tree, -1);
}

#endif

bool gmv_chunk_index_read(const gmv_h5 *file, hid_t dataset, int fd, int64_t chunk, int64_t first, int64_t end,
                          gmv_chunk_place *place)
{
    chunk_range range = {.chunk = chunk, .first = first, .end = end, .place = place};
    for (int64_t c = 0; c < end - first; c++) {
        place[c] = (gmv_chunk_place){-1, 0, 0};
    }
    return read_index(file, dataset, fd, &range);
}
