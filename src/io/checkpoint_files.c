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

static const char seal_mark[] = "gmvxxh3"; /* with its final zero 8 bytes; the checksum follows */
enum { seal_bytes = sizeof seal_mark + sizeof(uint64_t) };
_Static_assert(seal_bytes == 16, "as checkpoints have it");

gmv_status gmv_checkpoint_write_sealed(gmv_output *out, const void *bytes, int64_t count)
{
    uint64_t sum = XXH3_64bits(bytes, (size_t)count);
    errno = 0;
    bool good = fwrite(bytes, 1, (size_t)count, out->stream) == (size_t)count &&
                fwrite(seal_mark, 1, sizeof seal_mark, out->stream) == sizeof seal_mark &&
                fwrite(&sum, 1, sizeof sum, out->stream) == sizeof sum;
    return good ? gmv_output_sync(out) : gmv_file_unwritable(out->path);
}

gmv_status gmv_checkpoint_check_seal(const char *path)
{
    char buffer[1 << 16], seal[seal_bytes];
    uint64_t stored, sum;
    struct stat info;
    FILE *in;
    const char *why = gmv_file_open(path, &in);
    if (why != NULL) {
        return GMV_FAIL(GMV_ERR_DATA, "%s", why);
    }
    bool whole = fstat(fileno(in), &info) == 0 && info.st_size >= seal_bytes;
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
    fclose(in);
    if (!whole) {
        return GMV_FAIL(GMV_ERR_DATA,
                        "it does not end with a checksum; it is cut short or was not written by gmvae_dist");
    }
    memcpy(&stored, seal + sizeof seal_mark, sizeof stored);
    return stored == sum ? GMV_OK : GMV_FAIL(GMV_ERR_DATA, "its checksum does not match");
}
