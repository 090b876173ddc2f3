/* Names of genes in files and lists, and the choice of variable ones. */
#pragma once

#include "names.h"

#include "gmvae/data.h"

/* Reads a file's gene names and makes repeated ones unique as anndata does: the second "A" becomes "A-1". */
gmv_status gmv_genes_read(gmv_names *genes, const char *path, const gmv_texts *raw);

/* The genes of `genes_file`, one a line. Collective. Ownership: gmv_names_fini, also after an error. */
gmv_status gmv_genes_from_file(gmv_names *wanted, const gmv_comm *comm, const char *genes_file);

/* The genes of a checkpoint. Ownership: gmv_names_fini, also after an error. */
gmv_status gmv_genes_known(gmv_names *wanted, const gmv_cells_request *request);

/* The n_top genes with the largest variance of log(1 + count) over the rows of all ranks that are
 * neither held out nor empty: map[g] is the new position or -1. Sums are 64-bit fixed-point, so every
 * number of ranks chooses the same genes; ties go to the gene that comes first; the order is kept. Collective. */
gmv_status gmv_genes_top(const gmv_packed *packed, const gmv_comm *comm, const gmv_split *split, int64_t n_top,
                         int32_t *map, int32_t *kept);
