/* Names of genes in files and lists, and the choice of variable ones. */
#pragma once

#include "gmvae/data.h"
#include "gmvae/names.h"

/* Names with repeated ones made unique as anndata does: the second "A" becomes "A-1". Ownership: gmv_names_fini, also
 * after an error. */
gmv_status gmv_genes_make_unique(gmv_names *genes, const gmv_texts *raw);

/* The genes of `genes_file`, one a line, which `key` of the config names. Collective. Ownership: gmv_names_fini, also after an error. */
gmv_status gmv_genes_from_file(gmv_names *wanted, const gmv_comm *comm, const char *genes_file, const char *key);

/* The genes of a checkpoint. Ownership: gmv_names_fini, also after an error. */
gmv_status gmv_genes_known(gmv_names *wanted, const gmv_known *known);
