#define _GNU_SOURCE
#include "file_stamp.h"

#include "gmvae/log.h"
#include "gmvae/signals.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

enum { block = 4096, between = 32, slice = 1 << 16, tries = 3 };

static const int64_t most_whole = INT64_C(1) << 26, least_whole = INT64_C(1) << 18, whole_together = INT64_C(1) << 30;

gmv_file_stamp gmv_file_stamp_of(const struct stat *info)
{
    return (gmv_file_stamp){.inode = (int64_t)info->st_ino,
                            .size = (int64_t)info->st_size,
                            .seconds = (int64_t)info->st_mtim.tv_sec,
                            .nanoseconds = (int64_t)info->st_mtim.tv_nsec};
}

bool gmv_file_stamp_same(const gmv_file_stamp *a, const gmv_file_stamp *b)
{
    return a->inode == b->inode && a->size == b->size && a->seconds == b->seconds && a->nanoseconds == b->nanoseconds;
}

/* As no file is, when there is none behind the descriptor. */
static gmv_file_stamp stamp_behind(int fd)
{
    struct stat info;
    memset(&info, 0, sizeof info);
    fstat(fd, &info);
    return gmv_file_stamp_of(&info);
}

int64_t gmv_file_whole(int files)
{
    int64_t each = whole_together / (files > 0 ? files : 1);
    return each > most_whole ? most_whole : each < least_whole ? least_whole : each;
}

/* ---- content ---- */

static bool add_bytes(XXH3_state_t *state, int fd, int64_t at, int64_t end)
{
    char bytes[slice];
    while (at < end) {
        ssize_t n = pread(fd, bytes, (size_t)(end - at < slice ? end - at : slice), (off_t)at);
        if (n <= 0 || gmv_stop_asked()) {
            return false;
        }
        XXH3_64bits_update(state, bytes, (size_t)n);
        at += n;
    }
    return true;
}

/* Where block i of the sample begins: the first, the last, and one at a place by chance in each of as many equal parts. */
static int64_t place_of(int64_t size, int i)
{
    int64_t part = size / between, from = (i - 2) * part;
    return i == 0   ? 0
           : i == 1 ? size - block
                    : from + (int64_t)(XXH3_64bits_withSeed(&i, sizeof i, (uint64_t)size) % (uint64_t)(part - block));
}

static bool add_sample(XXH3_state_t *state, int fd, int64_t size)
{
    bool good = true;
    for (int i = 0; i < between + 2; i++) { /* a parallel file system fetches them together */
        posix_fadvise(fd, (off_t)place_of(size, i), block, POSIX_FADV_WILLNEED);
    }
    for (int i = 0; i < between + 2 && good; i++) {
        good = add_bytes(state, fd, place_of(size, i), place_of(size, i) + block);
    }
    return good;
}

/* Of a file of stamp->size bytes. False when it cannot be read so far, or after a signal. */
static bool add_content(gmv_file_stamp *stamp, int fd, int64_t whole)
{
    XXH3_state_t *state = XXH3_createState();
    bool all = stamp->size <= whole;
    XXH3_64bits_reset(state);
    bool good = all ? add_bytes(state, fd, 0, stamp->size) : add_sample(state, fd, stamp->size);
    stamp->hashed = all ? stamp->size : (between + 2) * block;
    stamp->content = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return good;
}

/* A stamp with a content that belongs to its times. False when there is none. */
static bool take(gmv_file_stamp *stamp, int fd, int64_t whole)
{
    for (int i = 0; i < tries; i++) {
        *stamp = stamp_behind(fd);
        if (!add_content(stamp, fd, whole)) {
            return false;
        }
        gmv_file_stamp now = stamp_behind(fd);
        if (gmv_file_stamp_same(&now, stamp)) {
            return true;
        }
    }
    return false;
}

static int open_regular(const char *path)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0 && (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))) {
        close(fd);
        fd = -1;
    }
    return fd;
}

gmv_status gmv_file_has_changed(const char *path)
{
    GMV_TRY(gmv_stop_check());
    return GMV_FAIL(GMV_ERR_DATA, "%s: the file has changed while it was in use; run again when nothing writes to it",
                    path);
}

gmv_status gmv_file_stamp_take(const char *path, int64_t whole, gmv_file_stamp *stamp)
{
    int fd = open_regular(path);
    memset(stamp, 0, sizeof *stamp);
    if (fd < 0) {
        return GMV_OK;
    }
    bool taken = take(stamp, fd, whole);
    close(fd);
    return taken ? GMV_OK : gmv_file_has_changed(path);
}

/* ---- comparison ---- */

gmv_file_state gmv_file_look_behind(int fd, gmv_file_stamp *stamp)
{
    gmv_file_stamp now = stamp_behind(fd);
    if (gmv_file_stamp_same(&now, stamp)) {
        return GMV_FILE_SAME;
    }
    bool comparable = now.size == stamp->size && stamp->hashed > 0;
    if (!comparable || !take(&now, fd, stamp->hashed == stamp->size ? stamp->size : 0) || now.size != stamp->size ||
        now.content != stamp->content) {
        return GMV_FILE_CHANGED;
    }
    *stamp = now;
    return GMV_FILE_TOUCHED;
}

gmv_file_state gmv_file_look(const char *path, gmv_file_stamp *stamp)
{
    struct stat info;
    if (stat(path, &info) == 0) {
        gmv_file_stamp now = gmv_file_stamp_of(&info);
        if (gmv_file_stamp_same(&now, stamp)) {
            return GMV_FILE_SAME;
        }
    }
    int fd = open_regular(path);
    gmv_file_state state = fd >= 0 ? gmv_file_look_behind(fd, stamp) : GMV_FILE_CHANGED;
    if (fd >= 0) {
        close(fd);
    }
    return state;
}

void gmv_file_log_touched(const char *path, const gmv_file_stamp *stamp)
{
    gmv_log("note    %s was touched while it was in use; %s the same", path,
            stamp->hashed == stamp->size ? "its content is" : "its size and a sample of its content are");
}

gmv_status gmv_file_unchanged(const char *path, gmv_file_stamp *stamp)
{
    gmv_file_state state = gmv_file_look(path, stamp);
    if (state == GMV_FILE_TOUCHED) {
        gmv_file_log_touched(path, stamp);
    }
    return state == GMV_FILE_CHANGED ? gmv_file_has_changed(path) : GMV_OK;
}

gmv_status gmv_file_cause(const char *path, const gmv_file_stamp *stamp, gmv_status status)
{
    gmv_file_stamp before = *stamp;
    if (status != GMV_ERR_DATA || gmv_stop_asked() || gmv_file_look(path, &before) != GMV_FILE_CHANGED) {
        return status;
    }
    gmv_error_clear();
    return gmv_file_has_changed(path);
}
