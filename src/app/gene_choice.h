/* Which of a model's genes a command is about. */
#pragma once

#include "gmvae/config.h"
#include "gmvae/data.h"

typedef struct gmv_gene_choice {
    int n;
    int32_t *at;    /* [n] places among the model's genes */
    char **gene;    /* [n] their names, and ids, which are the cells' */
    char **gene_id; /* NULL: none */
} gmv_gene_choice;

/* Those that denoise.genes or denoise.genes_file names, or all. Collective. Ownership: gmv_gene_choice_fini, also after an
 * error. Errors: GMV_ERR_CONFIG for a name that the model does not have, with the nearest one, and for one that is there twice. */
gmv_status gmv_choose_genes(gmv_gene_choice *choice, const gmv_config *config, const gmv_cells *cells,
                            const gmv_comm *comm);
void gmv_gene_choice_fini(gmv_gene_choice *choice);
