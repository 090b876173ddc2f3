/* Distribution of the cells' totals and numbers of genes, from one pass over blocks of rows, in 8 MB. */
#pragma once

#include "gmvae/ops.h"
#include "gmvae/status.h"

/* How often each value was seen: exact below 16,384, to four digits above. */
typedef struct gmv_histogram {
    int64_t *bin;
    int64_t n, least, most;
    double sum;
} gmv_histogram;

/* Ownership: gmv_histogram_fini, also after an error. */
gmv_status gmv_histogram_init(gmv_histogram *histogram);
void gmv_histogram_fini(gmv_histogram *histogram);

/* @param[in] value  >= 0 */
void gmv_histogram_add(gmv_histogram *histogram, int64_t value);

/* The smallest value that at least this share of all values do not exceed (numpy: method="inverted_cdf"); 0 of none. */
int64_t gmv_histogram_quantile(const gmv_histogram *histogram, double share);

/* Adds the total and the number of genes of each row of a block. */
void gmv_cell_stats_add(gmv_histogram *totals, gmv_histogram *genes, const gmv_packed *block);
