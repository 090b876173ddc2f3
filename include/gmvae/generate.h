/* Cells drawn from a model: latents, then counts. */
#pragma once

#include "gmvae/embedding.h"

typedef enum gmv_origin {
    GMV_FROM_PRIOR, /* of components, where the model has any */
    GMV_FROM_CELLS, /* posteriors of the cells at hand, one after the other */
    GMV_FROM_SAMPLE /* the same of as many of them, evenly taken from all; each has counts in the genes that its cell was
                     * measured for alone. No more than there are cells with counts */
} gmv_origin;

typedef struct gmv_generation {
    gmv_origin origin;
    const double *chance; /* [K] of the components, adding up to 1; NULL: the prior's weights */
    int64_t cells;
    double library; /* expected counts of all; 0: those of a cell at hand */
    int key;        /* a key that has the same level in all; -1: none, levels are those of that cell */
    int32_t column; /* one-hot column of this level */
    uint32_t seed;  /* below 2^24 */
} gmv_generation;

/* Generated cells [first, first + count) of `total`, this rank's. */
typedef struct gmv_generated {
    int64_t first, count, total;
    int covariates, components; /* C; K, 0: latents are not of components */
    int32_t *level;             /* [count, C] one-hot columns */
    float *library;             /* [count] NaN where the decoder has it */
    int32_t *component;         /* [count] */
    int64_t *source;       /* [count] global row of the cell at hand that each has library, levels or posterior of */
    int64_t *end;          /* [count] this rank's non-zeros up to the end of each */
    int32_t *gene, *value; /* [nonzeros] counts, genes ascending within a cell */
    int64_t nonzeros, room;
} gmv_generated;

/* Whether counts of a cell add up to a library that is given; else the decoder has it. */
bool gmv_takes_library(const gmv_model *model);

/* Generates them. Collective; the same cells for every number of ranks. Ownership: gmv_generated_fini, also after an error.
 * Errors: GMV_ERR_DATA when no cell at hand has counts; GMV_ERR_NUMERIC when what the model predicts is not finite. */
gmv_status gmv_generate(gmv_generated *generated, const gmv_generation *how, gmv_model *model, gmv_feed *feed,
                        const gmv_cells *cells, const gmv_comm *comm);
void gmv_generated_fini(gmv_generated *generated);

/* Writes PATH, an anndata file with the counts in X (CSR, int32), in the order of the cells. Collective; rank 0 writes.
 * @param[in] cells  those at hand: genes, and the levels' names
 * @param[in] from   what uns says of where it is from
 * Errors: GMV_ERR_ENVIRONMENT; nothing is left behind. */
gmv_status gmv_write_generated(const char *path, const gmv_generated *generated, const gmv_cells *cells,
                               const gmv_comm *comm, const gmv_embedding *from);
