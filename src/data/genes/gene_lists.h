/* Lists of gene names as files have them, each kept once: the files of an atlas share a few. */
#pragma once

#include "gmvae/comm.h"
#include "gmvae/config.h"
#include "gmvae/names.h"

typedef struct gmv_gene_list {
    int32_t n;
    int32_t *gene;          /* [n] places of the names */
    int32_t *id;            /* [n] places of the ids that the files hold beside them, -1: none; NULL: they hold none */
    bool *by_place;         /* [n] told from others by its place alone: its name is repeated; NULL: none is */
    int32_t *map;           /* [n] genes in use or -1; NULL: the same. Set by the join */
    int32_t repeated;       /* names that are there for the second time or more; they got a suffix */
    int32_t first_repeated; /* place of the first of these as it was */
    uint64_t hash;          /* of names and ids as they were read */
} gmv_gene_list;

typedef struct gmv_gene_lists {
    gmv_names name; /* of all lists, each once */
    gmv_names id;   /* the same of ids */
    gmv_gene_list *list;
    int n, room;
} gmv_gene_lists;

/* Finds the list of these names and ids, or adds it. @param[in] ids  "" for none; n is 0 where the file has none
 * @param[out] which  its number */
gmv_status gmv_gene_lists_add(gmv_gene_lists *lists, const gmv_texts *names, const gmv_texts *ids, int *which);

/* The lists of all ranks in the order of the ranks, the same on every rank, repeated names made unique as anndata does:
 * the second "A" becomes "A-1". Equal ones are found by their hash, compared name by name by a rank that has one, and
 * sent once. Collective.
 * @param[in]  mine    of this rank; emptied
 * @param[out] number  [mine->n] what each is called in `all`. Ownership: gmv_free
 * Ownership: gmv_gene_lists_fini(all), also after an error. */
gmv_status gmv_gene_lists_share(gmv_gene_lists *all, gmv_gene_lists *mine, const gmv_comm *comm, int **number);

void gmv_gene_lists_fini(gmv_gene_lists *lists);
