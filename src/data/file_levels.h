/* "@file" in place of an obs column: the file that a cell comes from. */
#pragma once

#include "names.h"

#include "gmvae/config.h"

#define GMV_FILE_KEY "@file"

/* Shortest tail of file f's path, in whole parts, that no other of the paths ends with: "a.h5ad", "old/a.h5ad". Points
 * into the path. */
const char *gmv_file_tail(char *const *path, int files, int f);

/* Adds the tails of all files to `level` as levels; `fixed`: finds them among those that are there, by the longest level
 * with which a path ends. code[f]: level of file f.
 * Errors: GMV_ERR_DATA for a file that is none of the fixed levels. */
gmv_status gmv_file_levels(gmv_names *level, bool fixed, char *const *path, int files, int32_t *code);
