#include "gene_stats.h"

#include "loess.h"

#include "gmvae/mem.h"
#include "gmvae/packed.h"
#include "gmvae/signals.h"

#include <math.h>
#include <stdlib.h>

__extension__ typedef __int128 wide;

enum { small_counts = 255, count_bits = 24, rows_between_looks = 4096 };

static const double log_scale = 16777216.0; /* log1p(c) < 16.7, so sums of squares over 10^9 rows fit */
static const double seurat_span = 0.3;

gmv_status gmv_gene_counts_init(gmv_gene_counts *counts, int32_t genes)
{
    *counts = (gmv_gene_counts){.genes = genes};
    return GMV_NEW(counts->table, (int64_t)genes * small_counts, "counts of genes");
}

void gmv_gene_counts_fini(gmv_gene_counts *counts)
{
    GMV_FREE(counts->table);
    GMV_FREE(counts->large);
}

static int compare_keys(const void *a, const void *b)
{
    const gmv_large_count *x = a, *y = b;
    return (x->key > y->key) - (x->key < y->key);
}

/* Joins equal entries of a full list; makes it larger when they were not many. */
static gmv_status make_room(gmv_gene_counts *counts)
{
    int64_t kept = 0;
    if (counts->larges > 0) {
        qsort(counts->large, (size_t)counts->larges, sizeof *counts->large, compare_keys);
    }
    for (int64_t i = 0; i < counts->larges; i++) {
        if (kept > 0 && counts->large[kept - 1].key == counts->large[i].key) {
            counts->large[kept - 1].rows += counts->large[i].rows;
        } else {
            counts->large[kept++] = counts->large[i];
        }
    }
    counts->larges = kept;
    if (2 * kept >= counts->capacity) {
        int64_t larger = 2 * counts->capacity + 1024;
        GMV_TRY(GMV_GROW(counts->large, counts->capacity, larger, "large counts of genes"));
        counts->capacity = larger;
    }
    return GMV_OK;
}

static gmv_status add_large(gmv_gene_counts *counts, int64_t gene, uint32_t count)
{
    if (counts->larges == counts->capacity) {
        GMV_TRY(make_room(counts));
    }
    counts->large[counts->larges++] = (gmv_large_count){(uint64_t)gene << count_bits | count, 1};
    return GMV_OK;
}

gmv_status gmv_gene_counts_add(gmv_gene_counts *counts, const gmv_packed *block, const gmv_split *split)
{
    GMV_CHECK(block->genes == counts->genes);
    for (int64_t i = 0; i < block->rows; i++) {
        GMV_TRY(i % rows_between_looks == 0 ? gmv_stop_check() : GMV_OK);
        if (split != NULL && gmv_split_holds_out(split, block->first_cell + i)) {
            continue;
        }
        counts->cells++;
        counts->empty += block->indptr[i + 1] == block->indptr[i];
        for (gmv_nnz at = block->indptr[i]; at < block->indptr[i + 1]; at++) {
            int64_t gene = block->gene16 != NULL ? (int64_t)block->gene16[at] : (int64_t)block->gene32[at];
            if (block->count8[at] < small_counts) {
                counts->table[gene * small_counts + block->count8[at]]++;
            } else {
                GMV_TRY(add_large(counts, gene, gmv_packed_count(block, at)));
            }
        }
    }
    return GMV_OK;
}

/* Takes an entry apart; returns its rows. */
static int64_t large_count(const gmv_large_count *large, int64_t *gene, int64_t *count)
{
    *gene = (int64_t)(large->key >> count_bits);
    *count = (int64_t)(large->key & 0xFFFFFFu);
    return large->rows;
}

/* Sums over ranks: of each gene the sum and the sum of squares of the counts up to clip[g], and how many are above it; in
 * the end the rows. Without a clip of all counts, and how many there are.
 * @param[out] sum  [3 * genes + 1] */
static void sum_counts(const gmv_gene_counts *counts, const gmv_comm *comm, bool with_empty, const double *clip,
                       int64_t *sum)
{
    int64_t genes = counts->genes, *square = sum + genes, *above = square + genes;
    for (int64_t g = 0; g < genes; g++) {
        for (int64_t c = 1; c < small_counts; c++) {
            int64_t n = counts->table[g * small_counts + c];
            bool beyond = clip != NULL && (double)c > clip[g];
            sum[g] += beyond ? 0 : n * c;
            square[g] += beyond ? 0 : n * c * c;
            above[g] += beyond || clip == NULL ? n : 0;
        }
    }
    for (int64_t i = 0; i < counts->larges; i++) {
        int64_t g, c, n = large_count(&counts->large[i], &g, &c);
        bool beyond = clip != NULL && (double)c > clip[g];
        sum[g] += beyond ? 0 : n * c;
        square[g] += beyond ? 0 : n * c * c;
        above[g] += beyond || clip == NULL ? n : 0;
    }
    sum[3 * genes] = counts->cells - (with_empty ? 0 : counts->empty);
    gmv_comm_sum_i64(comm, sum, 3 * genes + 1);
}

static void moments(const int64_t *sum, int64_t genes, double *mean, double *variance)
{
    int64_t n = sum[3 * genes];
    for (int64_t g = 0; g < genes; g++) {
        /* n squares - sum^2 without a rounding: it cancels */
        wide spread = (wide)n * sum[genes + g] - (wide)sum[g] * sum[g];
        mean[g] = n > 0 ? (double)sum[g] / (double)n : 0.0;
        variance[g] = n > 1 ? (double)spread / (double)n / (double)(n - 1) : 0.0;
    }
}

gmv_status gmv_gene_moments(const gmv_gene_counts *counts, const gmv_comm *comm, bool with_empty, double *mean,
                            double *variance, int64_t *present, double *n)
{
    int64_t *sum = NULL;
    GMV_TRY(gmv_comm_agree(comm, GMV_NEW(sum, 3 * (int64_t)counts->genes + 1, "sums of genes")));
    sum_counts(counts, comm, with_empty, NULL, sum);
    moments(sum, counts->genes, mean, variance);
    for (int32_t g = 0; g < counts->genes; g++) {
        present[g] = sum[2 * (int64_t)counts->genes + g];
    }
    *n = (double)sum[3 * (int64_t)counts->genes];
    GMV_FREE(sum);
    return GMV_OK;
}

/* Sums of round(2^24 log1p(c)) and round(2^24 log1p(c)^2). */
static gmv_status score_logs(const gmv_gene_counts *counts, const gmv_comm *comm, bool with_empty, double *score)
{
    int64_t genes = counts->genes, *sum = NULL, small[2][small_counts];
    GMV_TRY(gmv_comm_agree(comm, GMV_NEW(sum, 2 * genes + 1, "sums of genes")));
    for (int c = 0; c < small_counts; c++) {
        double value = log1p(c);
        small[0][c] = llround(value * log_scale);
        small[1][c] = llround(value * value * log_scale);
    }
    for (int64_t g = 0; g < genes; g++) {
        for (int64_t c = 1; c < small_counts; c++) {
            int64_t n = counts->table[g * small_counts + c];
            sum[g] += n * small[0][c];
            sum[genes + g] += n * small[1][c];
        }
    }
    for (int64_t i = 0; i < counts->larges; i++) {
        int64_t g, c, n = large_count(&counts->large[i], &g, &c);
        double value = log1p((double)c);
        sum[g] += n * llround(value * log_scale);
        sum[genes + g] += n * llround(value * value * log_scale);
    }
    sum[2 * genes] = counts->cells - (with_empty ? 0 : counts->empty);
    gmv_comm_sum_i64(comm, sum, 2 * genes + 1);
    double n = (double)sum[2 * genes];
    for (int64_t g = 0; g < genes; g++) {
        double mean = (double)sum[g] / log_scale / n;
        score[g] = n > 0 ? (double)sum[genes + g] / log_scale / n - mean * mean : 0.0;
    }
    GMV_FREE(sum);
    return GMV_OK;
}

typedef struct ranked {
    double value;
    int32_t gene;
} ranked;

/* Descending, ties to the gene that comes first. */
static int compare_ranked(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->value != y->value) {
        return x->value < y->value ? 1 : -1;
    }
    return (x->gene > y->gene) - (x->gene < y->gene);
}

/* deviation[g] = the standard deviation that genes of this mean have, by a regression of log10 variance on log10 mean;
 * 1 for genes that do not vary. */
static gmv_status expected_deviation(const double *mean, const double *variance, int64_t genes, double *deviation)
{
    ranked *order = NULL;
    double *x = NULL;
    int64_t n = 0;
    gmv_status status;
    GMV_GO(GMV_NEW(order, genes, "an order of genes"));
    GMV_GO(GMV_NEW(x, 3 * genes, "a regression"));
    double *y = x + genes, *fit = y + genes;
    for (int64_t g = 0; g < genes; g++) {
        deviation[g] = 1.0;
        if (variance[g] > 0.0) {
            order[n++] = (ranked){-mean[g], (int32_t)g};
        }
    }
    qsort(order, (size_t)n, sizeof *order, compare_ranked);
    for (int64_t i = 0; i < n; i++) {
        x[i] = log10(mean[order[i].gene]);
        y[i] = log10(variance[order[i].gene]);
    }
    GMV_GO(gmv_loess(x, y, n, seurat_span, fit));
    for (int64_t i = 0; i < n; i++) {
        deviation[order[i].gene] = sqrt(pow(10.0, fit[i]));
    }
done:
    GMV_FREE(order);
    GMV_FREE(x);
    return status;
}

/* Variance of (count - mean) / deviation, with counts cut at mean + sqrt(n) deviation. */
static gmv_status score_seurat(const gmv_gene_counts *counts, const gmv_comm *comm, bool with_empty, double *score)
{
    int64_t genes = counts->genes, *sum = NULL, *below = NULL;
    double *mean = NULL;
    gmv_status status;
    GMV_GO(GMV_NEW(sum, 3 * genes + 1, "sums of genes"));
    GMV_GO(GMV_NEW(below, 3 * genes + 1, "sums of genes"));
    GMV_GO(GMV_NEW(mean, 4 * genes, "statistics of genes"));
done:
    status = gmv_comm_agree(comm, status);
    if (status == GMV_OK) {
        double *variance = mean + genes, *deviation = variance + genes, *clip = deviation + genes;
        sum_counts(counts, comm, with_empty, NULL, sum);
        moments(sum, genes, mean, variance);
        status = gmv_comm_agree(comm, expected_deviation(mean, variance, genes, deviation));
        double n = (double)sum[3 * genes];
        for (int64_t g = 0; g < genes; g++) {
            clip[g] = deviation[g] * sqrt(n) + mean[g];
        }
        if (status == GMV_OK) {
            sum_counts(counts, comm, with_empty, clip, below);
        }
        for (int64_t g = 0; g < genes && status == GMV_OK; g++) {
            double cut = (double)below[2 * genes + g], s = (double)below[g] + cut * clip[g];
            double squares = (double)below[genes + g] + cut * clip[g] * clip[g];
            double spread = n * mean[g] * mean[g] + squares - 2.0 * mean[g] * s;
            score[g] = variance[g] > 0.0 ? spread / ((n - 1.0) * deviation[g] * deviation[g]) : 0.0;
        }
    }
    GMV_FREE(sum);
    GMV_FREE(below);
    GMV_FREE(mean);
    return status;
}

gmv_status gmv_gene_scores(const gmv_gene_counts *counts, const gmv_comm *comm, int flavor, bool with_empty,
                           double *score)
{
    return flavor == GMV_FLAVOR_SEURAT_V3 ? score_seurat(counts, comm, with_empty, score)
                                          : score_logs(counts, comm, with_empty, score);
}

gmv_status gmv_genes_top(const double *score, int32_t genes, int64_t n_top, int32_t *map, int32_t *kept)
{
    ranked *order = NULL;
    GMV_TRY(GMV_NEW(order, genes, "an order of genes"));
    for (int32_t g = 0; g < genes; g++) {
        order[g] = (ranked){score[g], g};
        map[g] = -1;
    }
    qsort(order, (size_t)genes, sizeof *order, compare_ranked);
    *kept = (int32_t)(n_top < genes ? n_top : genes);
    for (int32_t k = 0; k < *kept; k++) {
        map[order[k].gene] = 0;
    }
    for (int32_t g = 0, next = 0; g < genes; g++) {
        map[g] = map[g] == 0 ? next++ : -1;
    }
    GMV_FREE(order);
    return GMV_OK;
}
