#include "gmvae/files.h"

#include "lock_record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* A temporary name ends with .HERE PROCESS RANDOM.part, hexadecimal numbers without the spaces. */
enum { here_digits = 8, process_digits = 8, hex_digits = here_digits + process_digits + 16 };
enum { most_name = 200 /* of its 255 bytes */, day = 24 * 60 * 60 /* seconds */ };
static const char mark[] = ".part";

gmv_status gmv_file_unwritable(const char *path)
{
    char folder[GMV_PATH_ROOM];
    int reason = errno;
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash != NULL) {
        slash[slash == folder] = '\0';
    }
    bool gone = reason == ENOENT && slash != NULL && access(folder, F_OK) != 0;
    return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: cannot be written: %s%s", path, strerror(reason),
                    gone ? "; its folder is not there" : "");
}

/* The part of a path behind its last slash. */
static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* Tells this host, since its last start, and this container from others, as far as 32 bits can. */
static uint32_t number_of_here(void)
{
    gmv_lock_record here;
    char text[128];
    uint32_t sum = 2166136261u; /* FNV-1a */
    if (gmv_lock_describe(&here, "") != GMV_OK) {
        return 0;
    }
    snprintf(text, sizeof text, "%s %" PRId64, here.boot, here.space);
    for (const char *c = text; *c != '\0'; c++) {
        sum = (sum ^ (unsigned char)*c) * 16777619u;
    }
    return sum;
}

/* A name beside `path` that nobody can know. */
static bool temporary_name(const char *path, char *temporary)
{
    uint64_t number;
    const char *name = name_of(path);
    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number) {
        return false;
    }
    int length =
        snprintf(temporary, GMV_PATH_ROOM, "%.*s.%.*s.%08" PRIx32 "%08" PRIx32 "%016" PRIx64 "%s", (int)(name - path),
                 path, (int)most_name, name, number_of_here(), (uint32_t)getpid(), number, mark);
    errno = ENAMETOOLONG;
    return length > 0 && length < GMV_PATH_ROOM;
}

/* A regular file or a link may be replaced; what else there is was put there for some purpose. */
static gmv_status check_name(const char *path)
{
    struct stat info;
    if (lstat(path, &info) != 0) {
        return errno == ENOENT ? GMV_OK : gmv_file_unwritable(path);
    }
    if (S_ISREG(info.st_mode) || S_ISLNK(info.st_mode)) {
        return GMV_OK;
    }
    return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: cannot be written: %s has that name; remove it, or write elsewhere", path,
                    S_ISDIR(info.st_mode)    ? "a folder"
                    : S_ISFIFO(info.st_mode) ? "a pipe"
                    : S_ISSOCK(info.st_mode) ? "a socket"
                                             : "a device");
}

/* A new file beside `path`; -1 with errno. */
static int create_temporary(const char *path, char *temporary)
{
    return temporary_name(path, temporary) ? open(temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666)
                                           : -1;
}

gmv_status gmv_output_begin(gmv_output *output, const char *path)
{
    memset(output, 0, sizeof *output);
    GMV_TRY(check_name(path));
    int fd = create_temporary(path, output->temporary);
    snprintf(output->path, sizeof output->path, "%s", path);
    if (fd < 0) {
        return gmv_file_unwritable(path);
    }
    output->stream = fdopen(fd, "w+b");
    if (output->stream == NULL) {
        gmv_status status = gmv_file_unwritable(path);
        close(fd);
        unlink(output->temporary);
        return status;
    }
    return GMV_OK;
}

gmv_status gmv_output_sync(gmv_output *output)
{
    FILE *stream = output->stream;
    bool failed = ferror(stream) != 0; /* of which write, and why, is forgotten by now */
    if (fflush(stream) != 0 || fsync(fileno(stream)) != 0) {
        return gmv_file_unwritable(output->path);
    }
    return failed ? GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: cannot be written; is the disk full?", output->path) : GMV_OK;
}

/* Forces the names in a file's folder to the disk. */
static gmv_status sync_folder_of(const char *path)
{
    char folder[GMV_PATH_ROOM];
    int length = (int)(name_of(path) - path);
    snprintf(folder, sizeof folder, "%.*s", length > 0 ? length : 1, length > 0 ? path : ".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL); /* not every file system has that */
    gmv_status status = good ? GMV_OK : gmv_file_unwritable(path);
    if (fd >= 0) {
        close(fd);
    }
    return status;
}

static gmv_status copy_to(const gmv_output *output, const char *path)
{
    gmv_output copy;
    char buffer[1 << 16];
    ssize_t got = 0;
    GMV_TRY(gmv_output_begin(&copy, path));
    for (off_t at = 0; (got = pread(fileno(output->stream), buffer, sizeof buffer, at)) > 0; at += got) {
        fwrite(buffer, 1, (size_t)got, copy.stream);
    }
    return gmv_output_end(&copy, got < 0 ? gmv_file_unwritable(path) : GMV_OK);
}

gmv_status gmv_output_also(const gmv_output *output, const char *path)
{
    char other[GMV_PATH_ROOM];
    GMV_TRY(check_name(path));
    if (!temporary_name(path, other)) {
        return gmv_file_unwritable(path);
    }
    if (link(output->temporary, other) != 0) {
        return copy_to(output, path);
    }
    if (rename(other, path) != 0) {
        gmv_status status = gmv_file_unwritable(path);
        unlink(other);
        return status;
    }
    return GMV_OK;
}

gmv_status gmv_output_end(gmv_output *output, gmv_status status)
{
    if (output->stream == NULL) {
        return status;
    }
    status = status == GMV_OK ? gmv_output_sync(output) : status;
    if (fclose(output->stream) != 0 && status == GMV_OK) {
        status = gmv_file_unwritable(output->path);
    }
    output->stream = NULL;
    if (status == GMV_OK && rename(output->temporary, output->path) != 0) {
        status = gmv_file_unwritable(output->path);
    }
    if (status != GMV_OK) {
        unlink(output->temporary);
        return status;
    }
    return sync_folder_of(output->path);
}

/* The numbers of a name .NAME.HEX.part of this NAME (NULL: of any); NULL for other names. */
static const char *numbers_of(const char *entry, const char *name)
{
    size_t length = strlen(entry), tail = 1 + hex_digits + sizeof mark - 1;
    if (entry[0] != '.' || length < 2 + tail || strcmp(entry + length - (sizeof mark - 1), mark) != 0) {
        return NULL;
    }
    const char *hex = entry + length - tail;
    size_t known = length - tail - 1, wanted = name == NULL ? known : strlen(name);
    wanted = wanted < most_name ? wanted : most_name;
    bool ours = hex[0] == '.' && strspn(hex + 1, "0123456789abcdef") == hex_digits &&
                (name == NULL || (known == wanted && strncmp(entry + 1, name, known) == 0));
    return ours ? hex + 1 : NULL;
}

/* Whether the process that began a file is gone: one of this host at once, another when it has not written for a day.
 * @param[in] now  by the clock of the file system, which is not the host's */
static bool is_left(int folder, const char *entry, const char *hex, time_t now)
{
    char text[process_digits + 1];
    struct stat info;
    uint32_t here, pid;
    memcpy(text, hex, here_digits);
    text[here_digits] = '\0';
    here = (uint32_t)strtoul(text, NULL, 16);
    memcpy(text, hex + here_digits, process_digits);
    text[process_digits] = '\0';
    pid = (uint32_t)strtoul(text, NULL, 16);
    if (here == number_of_here() && (pid == (uint32_t)getpid() || gmv_process_start((int64_t)pid) == 0)) {
        return true;
    }
    return fstatat(folder, entry, &info, AT_SYMLINK_NOFOLLOW) == 0 && now - info.st_mtime > day;
}

static time_t time_of_folder(const char *folder)
{
    char path[GMV_PATH_ROOM], probe[GMV_PATH_ROOM];
    struct stat info = {.st_mtime = 0};
    snprintf(path, sizeof path, "%.4000s/time", folder);
    int fd = create_temporary(path, probe);
    if (fd >= 0) {
        fstat(fd, &info);
        close(fd);
        unlink(probe);
    }
    return info.st_mtime;
}

void gmv_output_clean(const char *folder, const char *name)
{
    time_t now = time_of_folder(folder);
    DIR *dir = opendir(folder);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        const char *hex = numbers_of(entry->d_name, name);
        if (hex != NULL && is_left(dirfd(dir), entry->d_name, hex, now)) {
            unlinkat(dirfd(dir), entry->d_name, 0);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
}

FILE *gmv_file_append(const char *path)
{
    struct stat info;
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
    FILE *out = NULL;
    int reason = errno;
    if (fd >= 0) {
        bool regular = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
        out = regular ? fdopen(fd, "a") : NULL;
        reason = regular ? errno : EINVAL;
    }
    if (fd >= 0 && out == NULL) {
        close(fd);
    }
    errno = reason;
    return out;
}

/* ---- folders ---- */

gmv_status gmv_make_folders(const char *path)
{
    char part[GMV_PATH_ROOM];
    struct stat info;
    snprintf(part, sizeof part, "%s", path);
    for (char *at = part + 1;; at++) {
        bool end = *at == '\0';
        if (*at != '/' && !end) {
            continue;
        }
        *at = '\0';
        int made = mkdir(part, 0777), reason = errno;
        if (made != 0 && (stat(part, &info) != 0 || !S_ISDIR(info.st_mode))) {
            return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: cannot be made: %s; check output.dir", part,
                            reason == EEXIST ? "something else has that name" : strerror(reason));
        }
        if (end) {
            return GMV_OK;
        }
        *at = '/';
    }
}

/* Up to the nearest folder that is there. */
static gmv_status find_folder(char *folder, const char *key)
{
    struct stat info;
    while (stat(folder, &info) != 0) {
        int reason = errno;
        bool dangling = reason == ENOENT && lstat(folder, &info) == 0;
        if (reason != ENOENT || dangling) {
            return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: cannot be made: %s; check %s", folder,
                            dangling ? "a link to nowhere has that name" : strerror(reason), key);
        }
        char *slash = strrchr(folder, '/');
        if (slash == NULL) {
            snprintf(folder, GMV_PATH_ROOM, ".");
        } else {
            slash[slash == folder] = '\0';
        }
    }
    return S_ISDIR(info.st_mode) ? GMV_OK
                                 : GMV_FAIL(GMV_ERR_ENVIRONMENT,
                                            "%s: is needed as a folder, but something else has that "
                                            "name; check %s",
                                            folder, key);
}

gmv_status gmv_folder_check(const char *path, const char *key, char *folder)
{
    char name[GMV_PATH_ROOM], probe[GMV_PATH_ROOM];
    if (strlen(path) > GMV_PATH_ROOM - 400) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%.60s...: the path is too long; check %s", path, key);
    }
    snprintf(folder, GMV_PATH_ROOM, "%s", path);
    GMV_TRY(find_folder(folder, key));
    snprintf(name, sizeof name, "%.4000s/probe", folder);
    int fd = create_temporary(name, probe);
    if (fd < 0) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: no file can be made there: %s; check %s", folder, strerror(errno),
                        key);
    }
    close(fd);
    unlink(probe);
    return GMV_OK;
}
