/* The state of a file: what tells one from another. Calls nothing of HDF5, not collective. */
#pragma once

#include "gmvae/data.h"

#include <sys/stat.h>

typedef enum gmv_file_state {
    GMV_FILE_SAME,    /* by size and times */
    GMV_FILE_TOUCHED, /* times, or the inode, are others, but not the content as far as it is looked at */
    GMV_FILE_CHANGED  /* or removed; or a signal came before that was known (signals.h) */
} gmv_file_state;

/* By size and times alone, without a content. */
gmv_file_stamp gmv_file_stamp_of(const struct stat *info);

/* Files up to so many bytes are looked at in whole when there are `files` of them, so that all take a second or two. */
int64_t gmv_file_whole(int files);

/* A stamp with a content: of all bytes of a file that has at most `whole`, else of its first and last 4 KiB and 32 times
 * as many between. To be taken before anything is read of the file. A file that cannot be read gets one that none has:
 * whoever opens it says why.
 * Errors: GMV_ERR_DATA when it is being written to; GMV_STOPPED. */
gmv_status gmv_file_stamp_take(const char *path, int64_t whole, gmv_file_stamp *stamp);

bool gmv_file_stamp_same(const gmv_file_stamp *a, const gmv_file_stamp *b);

/* Compares the file of a path, or behind a descriptor, with a stamp, which takes the times of one that was touched: so
 * its content is looked at once for each touch. */
gmv_file_state gmv_file_look(const char *path, gmv_file_stamp *stamp);
gmv_file_state gmv_file_look_behind(int fd, gmv_file_stamp *stamp);

/* Logs that a file was touched. */
void gmv_file_log_touched(const char *path, const gmv_file_stamp *stamp);

/* Whether the file of a path still is as it was: counts of two states must not be mixed. As gmv_file_look, and logs.
 * Errors: GMV_ERR_DATA when it was written to, replaced or removed since; GMV_STOPPED. */
gmv_status gmv_file_unchanged(const char *path, gmv_file_stamp *stamp);

/* Records that one is not. Returns GMV_ERR_DATA; GMV_STOPPED after a signal, which may be why it was not looked at. */
gmv_status gmv_file_has_changed(const char *path);

/* What a failure to read a file comes from: `status`, but when that is GMV_ERR_DATA and the file has changed, that is
 * recorded instead of what was found in a file half written. */
gmv_status gmv_file_cause(const char *path, const gmv_file_stamp *stamp, gmv_status status);
