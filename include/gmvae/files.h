/* Files by their names: read without waiting for what is no file, and written under a name that nobody can guess until
 * they are complete. Nothing here is collective. */
#pragma once

#include "gmvae/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { GMV_PATH_ROOM = 4200 };

/* ---- reading ---- */

/* Opens a regular file. Anything else is refused at once, where opening a pipe would wait for somebody who writes to it.
 * @param[out] in  the caller closes it
 * @return NULL, or in words why not ("a pipe, not a file"); errno says it too */
const char *gmv_file_open(const char *path, FILE **in);

/* Reads at most most + 1 bytes of a text, which may come from a terminal, or from a pipe that somebody holds open for
 * writing. @param[out] text  zero-terminated, the caller frees it with gmv_free. @return as above */
const char *gmv_file_read_text(const char *path, int64_t most, char **text, int64_t *length);

/* ---- writing ---- */

/* A file that gets its name when it is complete. Until then it lies beside it as .NAME.HEX.part. A link that has one of
 * these names is not followed; under the final name it is replaced. Messages name the final path. */
typedef struct gmv_output {
    char path[GMV_PATH_ROOM], temporary[GMV_PATH_ROOM];
    FILE *stream; /* NULL: none */
} gmv_output;

/* Creates it, empty. Errors: GMV_ERR_ENVIRONMENT; also when the name is that of a folder, a pipe or a device. */
gmv_status gmv_output_begin(gmv_output *output, const char *path);

/* Forces to the disk what was written. Errors: GMV_ERR_ENVIRONMENT when any write to the stream failed. */
gmv_status gmv_output_sync(gmv_output *output);

/* Gives the complete file one name more: a hard link, or a copy where the file system has none. */
gmv_status gmv_output_also(const gmv_output *output, const char *path);

/* Syncs and gives the file its name; removes it when `status`, that of the work so far, is not GMV_OK or any of this
 * fails. Accepts one that was not begun. Returns `status` or GMV_ERR_ENVIRONMENT. */
gmv_status gmv_output_end(gmv_output *output, gmv_status status);

/* Removes what processes that were killed have left in a folder; with `name` only what was to become that file. Processes
 * of other hosts count as killed when they have not written for a day. Call it when no file of this process is begun. */
void gmv_output_clean(const char *folder, const char *name);

/* Opens a file of lines to append to. A link is not followed, and nothing is waited for. NULL with errno. */
FILE *gmv_file_append(const char *path);

/* Whether there is room for a file, which lies beside one of its name until it is complete, on the disk that `folder` is on
 * and below the limit on the size of files. @param[in] least  what it takes in any case; `bytes` is for the message
 * Errors: GMV_ERR_ENVIRONMENT, with `advice` on a full disk. */
gmv_status gmv_file_check_room(const char *folder, const char *path, double bytes, double least, const char *advice);

/* "PATH: cannot be written: WHY" of errno. Returns GMV_ERR_ENVIRONMENT. */
gmv_status gmv_file_unwritable(const char *path);

/* ---- folders ---- */

/* Makes a folder and those above it. */
gmv_status gmv_make_folders(const char *path);

/* Finds the nearest folder at or above `path` that is there, and whether files can be made in it; leaves nothing.
 * Errors: GMV_ERR_ENVIRONMENT when they cannot, when something else is in the way, or when a name is too long.
 * @param[in]  key     names the key that says where, for messages
 * @param[out] folder  [GMV_PATH_ROOM] */
gmv_status gmv_folder_check(const char *path, const char *key, char *folder);

/* ---- plug-ins ---- */

/* Finds a plug-in: what the environment's variable names, else the file beside the program, or where it is installed.
 * @param[out] path  [GMV_PATH_ROOM]. @return whether there is one (what a variable names is not looked at) */
bool gmv_plugin_file(const char *name, const char *variable, char *path);
