/* The distribution that an atlas is drawn from, and its draws of single cells. */
#pragma once

#include "gmvae/config.h"
#include "gmvae/status.h"

#include <stdbool.h>
#include <stdint.h>

/* Walker's alias table: column c stands for gene c with probability threshold / 2^32, else for gene `other`. */
typedef struct gmv_synth_column {
    uint32_t threshold;
    int32_t other;
} gmv_synth_column;

typedef struct gmv_synth_model {
    uint64_t seed;
    int64_t cells;
    int32_t genes, types, batches;
    bool sorted; /* by type */
    double spread, dispersion;
    double library, density;  /* mean library size, found for the density; the density it gives */
    float *rate;              /* [types, genes] shares of the genes in a type's counts, without batch effect */
    float *factor;            /* [batches, genes] */
    float *share;             /* [types * batches, genes] p_kbg: rate * factor, scaled to a sum of 1 */
    gmv_synth_column *column; /* [types * batches, genes] alias tables of the shares */
} gmv_synth_model;

/* Draws rates and factors, finds the library size, builds the tables. Ownership: gmv_synth_model_fini. */
gmv_status gmv_synth_model_init(gmv_synth_model *model, const gmv_config *config);
void gmv_synth_model_fini(gmv_synth_model *model);

/* What is drawn once for a cell. */
typedef struct gmv_synth_cell {
    int32_t type, batch;
    float library; /* expected sum of its counts */
} gmv_synth_cell;

gmv_synth_cell gmv_synth_cell_of(const gmv_synth_model *model, int64_t cell);

/* Room for one cell's counts; clear between cells. */
typedef struct gmv_synth_bench {
    uint32_t *count; /* [genes] */
    uint64_t *seen;  /* [genes / 64 + 1] bits */
} gmv_synth_bench;

gmv_status gmv_synth_bench_init(gmv_synth_bench *bench, const gmv_synth_model *model);
void gmv_synth_bench_fini(gmv_synth_bench *bench);

/* Draws the counts of a cell. @param[out] gene, count  room for all genes; ascending genes
 * Returns the number of counts that are not zero. */
int64_t gmv_synth_draw(const gmv_synth_model *model, gmv_synth_bench *bench, int64_t cell, int32_t *gene, float *count);
