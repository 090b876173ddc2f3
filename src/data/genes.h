/* Which genes are used, and where each gene of a file goes. */
#pragma once

#include "names.h"

#include "gmvae/data.h"

/* Reads a file's gene names and makes repeated ones unique as anndata does: the second "A" becomes "A-1". */
gmv_status gmv_genes_read(gmv_names *genes, const char *path, const gmv_texts *raw);

/* The genes of `genes_file`, one a line, each of them in `all`. Collective. */
gmv_status gmv_genes_from_file(gmv_names *wanted, const gmv_comm *comm, const char *genes_file, const gmv_names *all,
                               const char *path);

/* The genes of a checkpoint, each of which must be in `all`. */
gmv_status gmv_genes_known(gmv_names *wanted, const gmv_cells_request *request, const gmv_names *all, const char *path);

/* map[j] = position in `used` of gene j of a file, -1 for one that is not used. Every gene of `used` must
 * be there. *same: all are used, in the same order. */
gmv_status gmv_genes_map(const gmv_names *file_genes, const gmv_names *used, int32_t *map, bool *same);
