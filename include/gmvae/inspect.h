/* What an input file or a checkpoint holds, in print. */
#pragma once

#include "gmvae/config.h"

struct gmv_h5;

/* Prints what is in an input file (or a checkpoint) on stdout, as a screenful or as one JSON object.
 * Not collective: call on rank 0.
 * @param[in] config  data.matrix, data.gene_column, data.round and data.check_seconds count
 * Errors: GMV_ERR_DATA, all the same after the print, when train would refuse the file. */
gmv_status gmv_inspect(const char *path, bool json, const gmv_config *config);

/* What the process of checker.h does with a file beforehand: if it is a checkpoint, it is read as for that print.
 * @return  whether it is one */
bool gmv_inspect_look(const struct gmv_h5 *file);
