/* Copying obs of the input files into the embedding. */
#pragma once

#include "h5ad_write.h"

#include "gmvae/data.h"
#include "gmvae/embedding.h"

/* Writes the group obs with the index, the covariates and the label, whose codes are for the caller to write, and every
 * column of the input files that can be carried over, except `reserved` names; columns that cannot are named in one
 * warning. Not collective.
 * @param[in] name      of the file to be, for messages
 * @param[in] reserved  [n_reserved] columns that the caller writes; they end the column order */
gmv_status gmv_embedding_copy_obs(const gmv_h5ad *out, const gmv_cells *cells, const char *name, int n_reserved,
                                  const char *const *reserved);

/* The covariates and the label, in turn, as far as they are obs columns; NULL behind the last. */
const gmv_factor *gmv_embedding_factor(const gmv_cells *cells, int i);

/* Where the codes of an obs column are. */
void gmv_embedding_codes_at(const char *column, char *path, size_t size);
