#include "gmvae/files.h"
#include "gmvae/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { for_a_writer = 500 /* ms */, retry = 10 /* ms */ };

/* What no file is; sets errno. */
static const char *other_kind(mode_t mode)
{
    errno = S_ISDIR(mode) ? EISDIR : EINVAL;
    return S_ISDIR(mode)    ? "a folder, not a file"
           : S_ISFIFO(mode) ? "a pipe, not a file"
           : S_ISSOCK(mode) ? "a socket, not a file"
                            : "a device, not a file";
}

static bool may_be_read(mode_t mode, bool pipes)
{
    return S_ISREG(mode) || (pipes && (S_ISFIFO(mode) || S_ISCHR(mode)));
}

/* Looks before it opens: a writer that waits for a reader of its pipe must not believe that it has one. */
static const char *open_now(const char *path, bool pipes, int *fd, struct stat *info)
{
    *fd = -1;
    if (stat(path, info) != 0) {
        return strerror(errno);
    }
    if (!may_be_read(info->st_mode, pipes)) {
        return other_kind(info->st_mode);
    }
    *fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (*fd < 0 || fstat(*fd, info) != 0) {
        return strerror(errno);
    }
    return may_be_read(info->st_mode, pipes) ? NULL : other_kind(info->st_mode);
}

const char *gmv_file_open(const char *path, FILE **in)
{
    int fd;
    struct stat info;
    const char *why = open_now(path, false, &fd, &info);
    *in = why == NULL ? fdopen(fd, "rb") : NULL;
    int reason = errno;
    if (*in == NULL && fd >= 0) {
        close(fd);
    }
    errno = reason;
    return *in != NULL ? NULL : why != NULL ? why : strerror(reason);
}

/* Reads what is there; waits for it as long as somebody has the other end of a pipe.
 * @param[in,out] patience  ms to wait for somebody to open that end
 * @return as read(2) */
static ssize_t read_some(int fd, const struct stat *info, char *to, size_t room, int *patience)
{
    for (;;) {
        ssize_t got = read(fd, to, room);
        if (got < 0 && errno == EAGAIN) {
            struct pollfd end = {.fd = fd, .events = POLLIN};
            *patience = 0;
            if (poll(&end, 1, -1) < 0) {
                return -1; /* a signal: whoever sent it is not to be kept waiting */
            }
        } else if (got == 0 && S_ISFIFO(info->st_mode) && *patience > 0) {
            nanosleep(&(struct timespec){0, retry * 1000000L}, NULL);
            *patience -= retry;
        } else {
            *patience = 0;
            return got;
        }
    }
}

const char *gmv_file_read_text(const char *path, int64_t most, char **text, int64_t *length)
{
    int fd, patience = for_a_writer;
    struct stat info;
    int64_t room = 0;
    ssize_t got = 1;
    const char *why = open_now(path, true, &fd, &info);
    *text = NULL;
    *length = 0;
    while (why == NULL && got > 0 && *length <= most) {
        if (*length + 1 >= room) {
            int64_t larger = 2 * room + 65536;
            larger = larger < most + 2 ? larger : most + 2;
            if (GMV_GROW(*text, room, larger, path) != GMV_OK) {
                why = strerror(errno = ENOMEM);
                break;
            }
            room = larger;
        }
        got = read_some(fd, &info, *text + *length, (size_t)(room - *length - 1), &patience);
        *length += got > 0 ? got : 0;
        why = got < 0 ? strerror(errno) : NULL;
    }
    int reason = errno;
    if (fd >= 0) {
        close(fd);
    }
    if (why != NULL) {
        GMV_FREE(*text);
    }
    errno = reason;
    return why;
}
