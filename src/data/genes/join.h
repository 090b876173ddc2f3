/* Genes of several files as one list, joined by name. Files that have the same list are one. */
#pragma once

#include "../inputs.h"
#include "gene_lists.h"

/* Where the genes of a list are in a file. */
typedef struct gmv_gene_match {
    int32_t *at;       /* [list] gene of the file, -1: not there */
    int64_t found;     /* genes of the list that are there */
    int64_t versions;  /* of these, found by their names without Ensembl versions */
    int64_t ambiguous; /* genes not found because several differ in nothing but the version */
    int32_t example;   /* the first of `versions`, else of `ambiguous`: gene of the list; -1: none */
} gmv_gene_match;

/* Files and list while they are being joined. A gene is its place in lists->name. */
typedef struct gmv_gene_join {
    const gmv_comm *comm;
    const gmv_config *config;
    const gmv_known *known;   /* NULL: there is no checkpoint */
    const gmv_source *source; /* [files] */
    int files;
    gmv_gene_lists *lists;
    int32_t *list; /* [genes] the first file's, or those that are asked for; then those in use */
    int64_t genes;
    int32_t *plain;        /* [lists->name.n] each name without its version, or itself */
    gmv_gene_match *match; /* [lists->n] */
    bool reference;        /* the list is asked for: a file may lack some of it */
    struct {
        int64_t joined, apart; /* genes whose ids contradict each other: joined all the same, and kept apart */
        int32_t gene;          /* of the list, the first of `apart`, else of `joined` */
        int32_t place[2];      /* it in two lists of files */
        int list[2];           /* the first is -1 for the model */
    } other_ids;
    char name[256]; /* of the list, for messages */
} gmv_gene_join;

static inline const char *gmv_join_name(const gmv_gene_join *join, int64_t g)
{
    return join->lists->name.at[join->list[g]];
}

static inline const gmv_gene_list *gmv_join_list(const gmv_gene_join *join, int f)
{
    return &join->lists->list[join->source[f].list];
}

static inline const gmv_gene_match *gmv_join_match(const gmv_gene_join *join, int f)
{
    return &join->match[join->source[f].list];
}

/* Whether every file has a gene of the list. */
bool gmv_join_everywhere(const gmv_gene_join *join, int64_t g);

/* An Ensembl name without its version: "ENSG00000123456.7" becomes "ENSG00000123456", "ENSG00000182378.14_PAR_Y"
 * becomes "ENSG00000182378_PAR_Y". False when it has none. */
bool gmv_gene_drop_version(const char *name, char *plain, size_t size);

/* The genes in use before n_top has chosen, and every list's map to them: those of a checkpoint or of
 * data.genes.file, else those that all files have, in the order of the first. Collective; the same on every rank.
 * @param[out] id  as gene_id in gmv_cells: the checkpoint's, else the first file's that has one. Ownership: the caller's
 * Errors: GMV_ERR_CONFIG, GMV_ERR_DATA. Ownership: gmv_names_fini(used), also after an error. */
gmv_status gmv_genes_join(gmv_names *used, char ***id, gmv_gene_lists *lists, const gmv_source *source, int files,
                          const gmv_comm *comm, const gmv_config *config, const gmv_known *known);

/* The ids of genes in use, see gmv_genes_join. NULL: no gene has one. Not collective. */
gmv_status gmv_join_take_ids(const gmv_gene_join *join, char ***id);

/* Looks for genes of one name to which files, or the model and files, give other ids. Those whose names are repeated in a file, so that suffixes by
 * place tell them apart, are kept apart: they count as missing. Not collective. */
gmv_status gmv_join_compare_ids(gmv_gene_join *join);

/* Warns of them, on rank 0. Not collective. */
gmv_status gmv_join_report_ids(const gmv_gene_join *join);

/* What the person must know of a join. Before genes that some file lacks are dropped: errors for names that do not fit.
 * Afterwards, on rank 0: lines of the log, at most a dozen for any number of files. */
gmv_status gmv_join_check(const gmv_gene_join *join);
gmv_status gmv_join_report(const gmv_gene_join *join);
