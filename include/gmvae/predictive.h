/* Posterior predictive checks (Gelman, Meng and Stern 1996): counts of cells beside counts that the model draws for the same
 * cells. */
#pragma once

#include "gmvae/evaluate.h"

/* Of a gene, over cells. Whole numbers: sums over ranks are exact. */
typedef struct gmv_gene_sums {
    int64_t with_count, sum, squares;
} gmv_gene_sums;

typedef struct gmv_predictive {
    int64_t cells, of;                /* a sample, and of how many with counts */
    int32_t genes;                    /* G */
    int64_t *measured;                /* [G] cells of the sample that were measured for each */
    gmv_gene_sums *observed, *drawn;  /* [G] */
    int64_t *library, *drawn_library; /* [cells] totals over the genes in use, in the order of rows */
} gmv_predictive;

/* Draws x from q(x|y), and counts from the likelihood, once for each cell of an even sample with at most `most` cells; in
 * genes that a cell was not measured for there are none. Collective; the same on every rank and for every number of them.
 * Ownership: gmv_predictive_fini, also after an error.
 * Errors: GMV_ERR_NUMERIC when what the model predicts is not finite; GMV_ERR_CONFIG for more than 2^20 genes. */
gmv_status gmv_predict_counts(gmv_predictive *found, int64_t most, gmv_model *model, gmv_feed *feed,
                              const gmv_cells *cells, const gmv_comm *comm);
void gmv_predictive_fini(gmv_predictive *found);

/* Of a gene among the cells that were measured for it; NaN without any. */
double gmv_share_of_zeros(const gmv_gene_sums *sums, int64_t measured);
double gmv_mean_count(const gmv_gene_sums *sums, int64_t measured);
double gmv_variance_of_counts(const gmv_gene_sums *sums, int64_t measured); /* divided by n */

/* All genes in a few numbers; NaN where there are too few. */
typedef struct gmv_predictive_summary {
    double zeros, zeros_drawn; /* mean share of zeros of a gene */
    double zeros_difference;   /* mean absolute difference of these shares */
    double zeros_correlation;
    double mean_ratio, variance_ratio; /* medians, drawn over observed, of genes with a count in many cells */
    int64_t compared;                  /* those genes */
    double library_ratio;              /* median over cells */
} gmv_predictive_summary;

/* Not collective. */
gmv_status gmv_summarise_predictive(const gmv_predictive *found, gmv_predictive_summary *summary);
