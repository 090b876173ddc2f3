/* Statistics of genes and of cells from one pass over the rows, block after block. All sums are integers, so they are
 * the same for every order of the blocks, number of ranks and of threads. */
#pragma once

#include "gmvae/comm.h"
#include "gmvae/data.h"

/* Rows in which a gene has a count of 255 or more: key = gene << 24 | count. */
typedef struct gmv_large_count {
    uint64_t key;
    int64_t rows;
} gmv_large_count;

/* How often each gene has each count. From this every statistic follows that needs the counts again after a first
 * pass: it is kept in place of a second one. 1 kB a gene for counts below 255, and 16 to 64 bytes for every different
 * pair of a gene and a larger count. */
typedef struct gmv_gene_counts {
    int32_t genes;
    int64_t cells, empty;   /* rows added, and those of them without counts */
    uint32_t *table;        /* [genes, 255] rows with count 1 .. 254; [.., 0] is not used */
    gmv_large_count *large; /* [larges] a key may come again until the list is full */
    int64_t larges, capacity;
} gmv_gene_counts;

/* Ownership: gmv_gene_counts_fini, also after an error. Adds up to 2^32 - 1 rows. */
gmv_status gmv_gene_counts_init(gmv_gene_counts *counts, int32_t genes);
void gmv_gene_counts_fini(gmv_gene_counts *counts);

/* Adds the rows of a block that are not held out. Row i of it is global row block->first_cell + i. Not collective.
 * @param[in] split  NULL: all rows */
gmv_status gmv_gene_counts_add(gmv_gene_counts *counts, const gmv_packed *block, const gmv_split *split);

/* Of each gene, over the cells with counts or over all: mean and variance (n - 1), and how many cells have it.
 * @param[out] mean, variance, present  [genes]; n  cells. Collective. */
gmv_status gmv_gene_moments(const gmv_gene_counts *counts, const gmv_comm *comm, bool with_empty, double *mean,
                            double *variance, int64_t *present, double *n);

/* How much a gene varies, the larger the more: one figure a gene. Collective.
 * GMV_FLAVOR_LOG1P_VARIANCE: variance of log(1 + count), not of counts divided by the cell's total.
 * GMV_FLAVOR_SEURAT_V3: variance of standardised clipped counts (Stuart et al. 2019; math.md).
 * @param[in] with_empty  whether cells without counts are cells too
 * @param[out] score      [genes]; the same bits on every rank */
gmv_status gmv_gene_scores(const gmv_gene_counts *counts, const gmv_comm *comm, int flavor, bool with_empty,
                           double *score);

/* The n_top genes with the largest scores, ties to the one that comes first: map[g] is the new position, in the old
 * order, or -1. @param[out] kept  how many: n_top, or all genes when they are fewer */
gmv_status gmv_genes_top(const double *score, int32_t genes, int64_t n_top, int32_t *map, int32_t *kept);
