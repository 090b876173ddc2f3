/* A file of this process alone, on a disk for what memory cannot hold, else in memory. It has no name: nothing is left,
 * whatever ends the process. */
#pragma once

#include "gmvae/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct gmv_scratch {
    bool is_open;
    int fd;
    char *directory; /* NULL: in memory */
    char **block;    /* [blocks] there */
    int64_t blocks, room;
    int64_t bytes;  /* written so far */
    int64_t needed; /* that it will have in the end, 0: not known; the message of a full disk says it */
} gmv_scratch;

/* `wanted`, or where that is "" $TMPDIR, or /var/tmp, which keeps large files. Valid until the environment changes. */
const char *gmv_scratch_directory(const char *wanted);

/* Whether what is written to a directory takes memory of the machine (tmpfs). */
bool gmv_scratch_is_memory(const char *directory);

/* @param[in] directory  NULL: in memory. Ownership: gmv_scratch_close, also after an error. Errors: GMV_ERR_ENVIRONMENT. */
gmv_status gmv_scratch_open(gmv_scratch *scratch, const char *directory);
void gmv_scratch_close(gmv_scratch *scratch);

/* Sets `needed`, and fails when less is free, but for bytes that other files will have given back before, for each of the
 * `ranks` processes of this host that write at the same time; 0: does not look. Errors: GMV_ERR_ENVIRONMENT. */
gmv_status gmv_scratch_expect(gmv_scratch *scratch, int64_t needed, int64_t given_back, int ranks);

/* Appends. Errors: GMV_ERR_ENVIRONMENT, above all when the disk is full. */
gmv_status gmv_scratch_append(gmv_scratch *scratch, const void *data, int64_t bytes);

/* By any thread. @return  false when not all of it could be read */
bool gmv_scratch_read(const gmv_scratch *scratch, int64_t at, int64_t bytes, void *data);
