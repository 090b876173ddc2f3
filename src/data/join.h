/* Genes of several files as one list, joined by name. */
#pragma once

#include "inputs.h"

/* Where the genes of a list are in a file. */
typedef struct gmv_gene_match {
    int32_t *at;       /* [list] gene of the file, -1: not there */
    int64_t found;     /* genes of the list that are there */
    int64_t versions;  /* of these, found by their names without Ensembl versions */
    int64_t ambiguous; /* genes not found because several differ in nothing but the version */
    int32_t example;   /* the first of `versions`, else of `ambiguous`: gene of the list; -1: none */
} gmv_gene_match;

/* Files and list while they are being joined. */
typedef struct gmv_gene_join {
    const gmv_cells_request *request;
    gmv_source *source; /* [files] */
    int files;
    gmv_names list;        /* the first file's genes, or those that are asked for; then those in use */
    gmv_gene_match *match; /* [files] */
    bool reference;        /* the list is asked for: a file may lack some of it */
    char name[256];        /* of the list, for messages */
} gmv_gene_join;

/* An Ensembl name without its version: "ENSG00000123456.7" becomes "ENSG00000123456", "ENSG00000182378.14_PAR_Y"
 * becomes "ENSG00000182378_PAR_Y". False when it has none. */
bool gmv_gene_drop_version(const char *name, char *plain, size_t size);

/* Finds the genes of a list in a file: by equal names; then, where neither side has two that differ in it alone, without
 * the version. Ownership: gmv_free match->at, also after an error. */
gmv_status gmv_genes_match(gmv_gene_match *match, const gmv_names *list, const gmv_names *file);

/* The genes in use before n_top has chosen, and every source's map to them: those of a checkpoint or of
 * data.genes.file, else those that all files have, in the order of the first. Collective; the same on every rank.
 * Errors: GMV_ERR_CONFIG, GMV_ERR_DATA. Ownership: gmv_names_fini(used), also after an error. */
gmv_status gmv_genes_join(gmv_names *used, gmv_source *source, int files, const gmv_comm *comm,
                          const gmv_cells_request *request);

/* What the person must know of a join. Before genes that some file lacks are dropped: errors for names that do not fit.
 * Afterwards, on rank 0: lines of the log, at most a dozen for any number of files. */
gmv_status gmv_join_check(const gmv_gene_join *join);
gmv_status gmv_join_report(const gmv_gene_join *join);
