#include "checkpoint_files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
