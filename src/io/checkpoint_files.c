#include "checkpoint_files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

void gmv_checkpoint_folder(const gmv_config *config, char *folder)
{
    snprintf(folder, GMV_PATH_ROOM, "%.4000s/checkpoints", config->output_dir);
}

int64_t gmv_checkpoint_epoch_of(const char *name)
{
    char *end;
    if (strncmp(name, "epoch-", 6) != 0 || name[6] < '0' || name[6] > '9') {
        return -1;
    }
    int64_t epoch = strtoll(name + 6, &end, 10);
    return strcmp(end, ".h5") == 0 ? epoch : -1;
}

gmv_status gmv_make_folders(const char *path)
{
    char part[GMV_PATH_ROOM];
    snprintf(part, sizeof part, "%s", path);
    for (char *at = part + 1;; at++) {
        bool end = *at == '\0';
        if (*at != '/' && !end) {
            continue;
        }
        *at = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST) {
            return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: cannot be made: %s; check output.dir", part, strerror(errno));
        }
        if (end) {
            return GMV_OK;
        }
        *at = '/';
    }
}

static const char seal_mark[] = "gmvxxh3"; /* with its final zero 8 bytes; the checksum follows */
enum { seal_bytes = sizeof seal_mark + sizeof(uint64_t) };

gmv_status gmv_checkpoint_write_sealed(const char *path, const void *bytes, int64_t count)
{
    char seal[seal_bytes];
    uint64_t sum = XXH3_64bits(bytes, (size_t)count);
    memcpy(seal, seal_mark, sizeof seal_mark);
    memcpy(seal + sizeof seal_mark, &sum, sizeof sum);
    FILE *out = fopen(path, "wbx");
    bool good = out != NULL && fwrite(bytes, 1, (size_t)count, out) == (size_t)count &&
                fwrite(seal, 1, sizeof seal, out) == sizeof seal && fflush(out) == 0 && fsync(fileno(out)) == 0;
    int reason = errno;
    if (out != NULL && fclose(out) != 0 && good) {
        good = false;
        reason = errno;
    }
    return good ? GMV_OK : GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: cannot be written: %s", path, strerror(reason));
}

gmv_status gmv_checkpoint_check_seal(const char *path)
{
    char buffer[1 << 16], seal[seal_bytes];
    uint64_t stored, sum;
    struct stat info;
    FILE *in = fopen(path, "rb");
    bool whole = in != NULL && fstat(fileno(in), &info) == 0 && S_ISREG(info.st_mode) && info.st_size >= seal_bytes;
    int64_t left = whole ? (int64_t)info.st_size - seal_bytes : 0;
    XXH3_state_t *state = XXH3_createState();
    XXH3_64bits_reset(state);
    while (whole && left > 0) {
        size_t part = left < (int64_t)sizeof buffer ? (size_t)left : sizeof buffer;
        whole = fread(buffer, 1, part, in) == part;
        XXH3_64bits_update(state, buffer, part);
        left -= (int64_t)part;
    }
    sum = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    whole = whole && fread(seal, 1, sizeof seal, in) == sizeof seal && memcmp(seal, seal_mark, sizeof seal_mark) == 0;
    if (in != NULL) {
        fclose(in);
    }
    if (!whole) {
        return GMV_FAIL(GMV_ERR_DATA,
                        "it does not end with a checksum; it is cut short or was not written by gmvae_dist");
    }
    memcpy(&stored, seal + sizeof seal_mark, sizeof stored);
    return stored == sum ? GMV_OK : GMV_FAIL(GMV_ERR_DATA, "its checksum does not match");
}

gmv_status gmv_checkpoint_copy(const char *from, const char *to)
{
    char temporary[GMV_PATH_ROOM + 8], buffer[1 << 16];
    snprintf(temporary, sizeof temporary, "%s.copy", to);
    FILE *in = fopen(from, "rb"), *out = fopen(temporary, "wb");
    bool good = in != NULL && out != NULL;
    size_t n;
    while (good && (n = fread(buffer, 1, sizeof buffer, in)) > 0) {
        good = fwrite(buffer, 1, n, out) == n;
    }
    good = good && fflush(out) == 0 && fsync(fileno(out)) == 0;
    if (in != NULL) {
        fclose(in);
    }
    if (out != NULL) {
        good = fclose(out) == 0 && good;
    }
    if (!good || rename(temporary, to) != 0) {
        unlink(temporary);
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: cannot be written: %s", to, strerror(errno));
    }
    return GMV_OK;
}
