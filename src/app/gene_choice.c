#include "gene_choice.h"

#include "../data/genes/genes.h"

#include "gmvae/mem.h"

#include <string.h>

/* Where a name, or an id, is among the model's genes. */
static gmv_status find_gene(const gmv_names *names, const gmv_cells *cells, const char *wanted, const char *key,
                            int32_t *at)
{
    int64_t found = gmv_names_find(names, wanted);
    for (int32_t g = 0; cells->gene_id != NULL && found < 0 && g < cells->genes; g++) {
        found = strcmp(cells->gene_id[g], wanted) == 0 ? g : -1;
    }
    *at = (int32_t)found;
    if (found >= 0) {
        return GMV_OK;
    }
    const char *near = gmv_nearest(wanted, cells->genes, (const char *const *)cells->gene);
    return near != NULL ? GMV_FAIL(GMV_ERR_CONFIG, "%s: the model has no gene \"%.100s\"; did you mean \"%.100s\"?",
                                   key, wanted, near)
                        : GMV_FAIL(GMV_ERR_CONFIG,
                                   "%s: the model has no gene \"%.100s\"; gmvae_dist inspect lists those of a file",
                                   key, wanted);
}

static gmv_status take_genes(gmv_gene_choice *choice, const gmv_cells *cells, int64_t n, char *const *wanted,
                             const char *key)
{
    gmv_names names = {0};
    uint8_t *taken = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(taken, cells->genes, "genes"));
    GMV_GO(GMV_NEW(choice->at, n, "genes"));
    GMV_GO(GMV_NEW(choice->gene, n, "genes"));
    if (cells->gene_id != NULL) {
        GMV_GO(GMV_NEW(choice->gene_id, n, "genes"));
    }
    for (int32_t g = 0; g < cells->genes && wanted != NULL; g++) {
        GMV_GO(gmv_names_add(&names, cells->gene[g], NULL, NULL));
    }
    for (int64_t i = 0; i < n; i++) {
        int32_t at = (int32_t)i;
        GMV_GO(wanted != NULL ? find_gene(&names, cells, wanted[i], key, &at) : GMV_OK);
        if (taken[at] != 0) {
            status = GMV_FAIL(GMV_ERR_CONFIG, "%s: \"%.100s\" is there twice; keep one", key, cells->gene[at]);
            goto done;
        }
        taken[at] = 1;
        choice->at[choice->n] = at;
        choice->gene[choice->n] = cells->gene[at];
        if (choice->gene_id != NULL) {
            choice->gene_id[choice->n] = cells->gene_id[at];
        }
        choice->n++;
    }
done:
    gmv_names_fini(&names);
    GMV_FREE(taken);
    return status;
}

gmv_status gmv_choose_genes(gmv_gene_choice *choice, const gmv_config *config, const gmv_cells *cells,
                            const gmv_comm *comm)
{
    const gmv_texts *genes = &config->denoise_genes;
    gmv_names listed = {0};
    gmv_status status = GMV_OK;
    *choice = (gmv_gene_choice){0};
    if (config->denoise_genes_file[0] != '\0') {
        status = gmv_genes_from_file(&listed, comm, config->denoise_genes_file, "denoise.genes_file");
        status = status == GMV_OK ? take_genes(choice, cells, listed.n, listed.at, "denoise.genes_file") : status;
    } else if (genes->n == 1 && strcmp(genes->at[0], "all") == 0) {
        status = take_genes(choice, cells, cells->genes, NULL, "");
    } else {
        status = take_genes(choice, cells, genes->n, genes->at, "denoise.genes");
    }
    gmv_names_fini(&listed);
    return gmv_comm_agree(comm, status);
}

void gmv_gene_choice_fini(gmv_gene_choice *choice)
{
    GMV_FREE(choice->at);
    gmv_free((void *)choice->gene);
    gmv_free((void *)choice->gene_id);
    *choice = (gmv_gene_choice){0};
}
