/* Under which names embed and eval write. Results of cells that were not trained on go beside those of the training. */
#pragma once

#include "gmvae/config.h"
#include "gmvae/data.h"

#include <stdio.h>

enum { GMV_RESULT_ROOM = 4400, GMV_RESULT_NAME = 208 };

/* What stands behind embedding and evaluation in the names: "" for the training's own cells, else output.name, or what
 * the files of the cells are called. @param[out] name  GMV_RESULT_NAME bytes */
void gmv_result_name(const gmv_config *config, const gmv_cells *cells, char *name);

/* output.dir/KIND.END or output.dir/KIND-NAME.END. @param[out] path  GMV_RESULT_ROOM bytes */
void gmv_result_path(const gmv_config *config, const char *kind, const char *name, const char *end, char *path);

/* The line of evaluation.json that says which files the cells are from. */
void gmv_put_files(FILE *out, const gmv_cells *cells);

/* Whether a result may take this path: it is free, was asked for by output.name, or is of the same files. Rank 0.
 * Errors: GMV_ERR_CONFIG for a result of other files. */
gmv_status gmv_result_check(const gmv_config *config, const gmv_cells *cells, const char *name, const char *path);
