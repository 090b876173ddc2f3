/* Copying obs of the input files into the embedding. */
#pragma once

#include "h5ad_write.h"

#include "gmvae/data.h"

/* Writes the group obs with the index and every column of the input files that can be carried over, except
 * `reserved` names; columns that cannot are named in one warning. Not collective.
 * @param[in] reserved  [n_reserved] columns that the caller writes; they end the column order */
gmv_status gmv_embedding_copy_obs(const gmv_h5ad *out, const gmv_cells *cells, int n_reserved,
                                  const char *const *reserved);
