/* "@file" in place of an obs column: the file that a cell comes from. */
#pragma once

#include "gmvae/config.h"
#include "gmvae/names.h"

#define GMV_FILE_KEY "@file"

/* Of each path the shortest tail, in whole parts, that no other of the paths ends with: "a.h5ad", "old/a.h5ad".
 * @param[out] tail  [files] point into the paths */
gmv_status gmv_file_tails(char *const *path, int files, const char **tail);

/* Adds the tails of all files to `level` as levels; `fixed`: finds them among those that are there, by the longest level
 * with which a path ends. code[f]: level of file f.
 * Errors: GMV_ERR_DATA for a file that is none of the fixed levels. */
gmv_status gmv_file_levels(gmv_names *level, bool fixed, char *const *path, int files, int32_t *code);
