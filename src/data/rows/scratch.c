#define _GNU_SOURCE /* O_TMPFILE, mkostemp */
#include "scratch.h"

#include "gmvae/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { block_bytes = 1 << 18 };
static const char remedy[] = "set data.cache_dir to a folder with room, or free some";

const char *gmv_scratch_directory(const char *wanted)
{
    if (wanted != NULL && wanted[0] != '\0') {
        return wanted;
    }
    const char *temporary = getenv("TMPDIR");
    return temporary != NULL && temporary[0] != '\0' ? temporary : "/var/tmp";
}

bool gmv_scratch_is_memory(const char *directory)
{
    const long tmpfs = 0x01021994, ramfs = (long)0x858458f6;
    struct statfs at;
    return statfs(directory, &at) == 0 && ((long)at.f_type == tmpfs || (long)at.f_type == ramfs);
}

/* Where files without a name do not exist (NFS, some overlays), one whose name is gone at once. */
static int open_and_unlink(const char *directory)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/gmvae_dist-XXXXXX", directory) >= (int)sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0) {
        unlink(path);
    }
    return fd;
}

gmv_status gmv_scratch_open(gmv_scratch *scratch, const char *directory)
{
    *scratch = (gmv_scratch){.fd = -1};
    if (directory == NULL) {
        return GMV_OK;
    }
    GMV_TRY(gmv_copy_text(&scratch->directory, directory));
    scratch->fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (scratch->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
        scratch->fd = open_and_unlink(directory);
    }
    scratch->is_open = scratch->fd >= 0;
    return scratch->is_open ? GMV_OK
                            : GMV_FAIL(GMV_ERR_ENVIRONMENT,
                                       "%s: no file for packed cells can be made there: %s; set data.cache_dir to a "
                                       "folder that can be written to",
                                       directory, strerror(errno));
}

void gmv_scratch_close(gmv_scratch *scratch)
{
    if (scratch->is_open) {
        close(scratch->fd);
    }
    scratch->is_open = false;
    for (int64_t i = 0; i < scratch->blocks; i++) {
        GMV_FREE(scratch->block[i]);
    }
    GMV_FREE(scratch->block);
    scratch->blocks = scratch->room = 0;
    GMV_FREE(scratch->directory);
}

typedef struct size_text {
    char at[32];
} size_text;

static size_text show_size(int64_t bytes)
{
    size_text text;
    if (bytes < 1000000) {
        snprintf(text.at, sizeof text.at, "%lld bytes", (long long)bytes);
    } else {
        bool giga = bytes >= 1000000000;
        snprintf(text.at, sizeof text.at, "%.1f %s", (double)bytes / (giga ? 1e9 : 1e6), giga ? "GB" : "MB");
    }
    return text;
}

gmv_status gmv_scratch_expect(gmv_scratch *scratch, int64_t needed, int64_t given_back, int ranks)
{
    struct statvfs at;
    scratch->needed = needed;
    if (ranks == 0 || !scratch->is_open || fstatvfs(scratch->fd, &at) != 0) {
        return GMV_OK; /* writing will tell */
    }
    int64_t room = (int64_t)at.f_bavail * (int64_t)at.f_frsize / ranks, more = needed - scratch->bytes - given_back;
    return more <= room ? GMV_OK
                        : GMV_FAIL(GMV_ERR_ENVIRONMENT,
                                   "%s: packed cells of this rank need %s there, but %s are free for them; %s",
                                   scratch->directory, show_size(more).at, show_size(room).at, remedy);
}

static gmv_status add_block(gmv_scratch *scratch)
{
    if (scratch->blocks == scratch->room) {
        int64_t room = 2 * scratch->room + 16;
        GMV_TRY(GMV_GROW(scratch->block, scratch->room, room, "rows put together"));
        scratch->room = room;
    }
    GMV_TRY(GMV_ROOM(scratch->block[scratch->blocks], block_bytes, "rows put together"));
    scratch->blocks++;
    return GMV_OK;
}

static gmv_status append_in_memory(gmv_scratch *scratch, const char *from, int64_t bytes)
{
    for (int64_t n; bytes > 0; bytes -= n, from += n, scratch->bytes += n) {
        int64_t at = scratch->bytes % block_bytes;
        GMV_TRY(scratch->bytes == scratch->blocks * block_bytes ? add_block(scratch) : GMV_OK);
        n = bytes < block_bytes - at ? bytes : block_bytes - at;
        memcpy(scratch->block[scratch->blocks - 1] + at, from, (size_t)n);
    }
    return GMV_OK;
}

static bool read_from_memory(const gmv_scratch *scratch, int64_t at, int64_t bytes, char *to)
{
    if (at + bytes > scratch->bytes) {
        return false;
    }
    for (int64_t n; bytes > 0; bytes -= n, at += n, to += n) {
        n = block_bytes - at % block_bytes;
        n = bytes < n ? bytes : n;
        memcpy(to, scratch->block[at / block_bytes] + at % block_bytes, (size_t)n);
    }
    return true;
}

gmv_status gmv_scratch_append(gmv_scratch *scratch, const void *data, int64_t bytes)
{
    const char *from = data;
    if (!scratch->is_open) {
        return append_in_memory(scratch, from, bytes);
    }
    while (bytes > 0) {
        ssize_t written = pwrite(scratch->fd, from, (size_t)bytes, scratch->bytes);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            bool full = written == 0 || errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
            int64_t least = scratch->bytes + bytes, needed = scratch->needed > least ? scratch->needed : least;
            return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: %s after %s of packed cells of this rank, which needs %s %s; %s",
                            scratch->directory, full ? "no room is left" : strerror(errno),
                            show_size(scratch->bytes).at, needed > least ? "about" : "more than", show_size(needed).at,
                            remedy);
        }
        from += written;
        bytes -= written;
        scratch->bytes += written;
    }
    return GMV_OK;
}

bool gmv_scratch_read(const gmv_scratch *scratch, int64_t at, int64_t bytes, void *data)
{
    char *to = data;
    if (!scratch->is_open) {
        return read_from_memory(scratch, at, bytes, to);
    }
    while (bytes > 0) {
        ssize_t got = pread(scratch->fd, to, (size_t)bytes, at);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return false;
        }
        to += got;
        at += got;
        bytes -= got;
    }
    return true;
}
