/* Counts of a few cells in the genes that vary most, as a picture shows them. */
#pragma once

#include "gmvae/evaluate.h"

typedef struct gmv_heat_map {
    int64_t cells, of; /* a sample, and of how many with counts */
    int genes;         /* M */
    int32_t *gene;     /* [M] of those in use, the largest variance first */
    double *variance;  /* [M] of log(1 + counts in 10,000) over the sample */
    gmv_gidx *row;     /* [cells] global rows, ascending */
    int64_t *library;  /* [cells] total counts over the genes in use */
    int64_t *count;    /* [cells, M]; -1: the cell was not measured for the gene */
} gmv_heat_map;

/* Of an even sample of at most `most_cells` cells, the `most_genes` genes that vary most in it. Collective; the same on every
 * rank and for every number of them. @param[in] input  of the model
 * Ownership: gmv_heat_map_fini, also after an error. */
gmv_status gmv_heat_map_take(gmv_heat_map *map, int64_t most_cells, int most_genes, gmv_feed *feed,
                             const gmv_cells *cells, const gmv_comm *comm, gmv_input input);
void gmv_heat_map_fini(gmv_heat_map *map);
