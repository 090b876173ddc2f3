#include "gmvae/predictive.h"
#include "row_sample.h"

#include "gmvae/generate.h"
#include "gmvae/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int64_t many_cells = 20; /* with a count of a gene, for its mean and variance to be compared */

/* ---- sums ---- */

static void add_count(gmv_gene_sums *sums, int64_t count)
{
    sums->with_count++;
    sums->sum += count;
    sums->squares += count * count;
}

static gmv_status add_observed(void *context, const gmv_sample_batch *batch)
{
    gmv_predictive *found = context;
    for (int i = 0; i < batch->cells; i++) {
        found->library[batch->number[i]] = (int64_t)batch->library[i];
    }
    for (int32_t g = 0; g < found->genes; g++) {
        for (int32_t at = batch->start[g]; at < batch->start[g + 1]; at++) {
            add_count(&found->observed[g], (int64_t)batch->count[at]);
        }
    }
    return GMV_OK;
}

static gmv_status add_drawn(gmv_predictive *found, const gmv_row_sample *sample, const gmv_generated *generated)
{
    int64_t at = 0;
    for (int64_t i = 0; i < generated->count; i++) {
        GMV_CHECK(generated->source[i] == sample->row[generated->first + i]);
        for (; at < generated->end[i]; at++) {
            add_count(&found->drawn[generated->gene[at]], generated->value[at]);
            found->drawn_library[generated->first + i] += generated->value[at];
        }
    }
    return GMV_OK;
}

static gmv_status make_room(gmv_predictive *found)
{
    GMV_TRY(GMV_NEW(found->measured, found->genes, "counts of genes"));
    GMV_TRY(GMV_NEW(found->observed, found->genes, "counts of genes"));
    GMV_TRY(GMV_NEW(found->drawn, found->genes, "counts of genes"));
    GMV_TRY(GMV_NEW(found->library, found->cells, "counts of cells"));
    return GMV_NEW(found->drawn_library, found->cells, "counts of cells");
}

static void add_ranks(gmv_predictive *found, const gmv_comm *comm)
{
    int64_t of_sums = (int64_t)(sizeof *found->observed / sizeof(int64_t));
    gmv_comm_sum_i64(comm, &found->observed->with_count, found->genes * of_sums);
    gmv_comm_sum_i64(comm, &found->drawn->with_count, found->genes * of_sums);
    gmv_comm_sum_i64(comm, found->library, found->cells);
    gmv_comm_sum_i64(comm, found->drawn_library, found->cells);
}

gmv_status gmv_predict_counts(gmv_predictive *found, int64_t most, gmv_model *model, gmv_feed *feed,
                              const gmv_cells *cells, const gmv_comm *comm)
{
    gmv_row_sample sample = {0};
    gmv_generated generated = {0};
    gmv_status status;
    *found = (gmv_predictive){.genes = cells->genes};
    GMV_GO(gmv_row_sample_take(&sample, cells, comm, most));
    found->cells = sample.n;
    found->of = sample.of;
    GMV_GO(gmv_comm_agree(comm, make_room(found)));
    const gmv_generation how = {.origin = GMV_FROM_SAMPLE, .cells = sample.n, .key = -1};
    GMV_GO(gmv_generate(&generated, &how, model, feed, cells, comm));
    status = gmv_row_sample_visit(&sample, feed, cells, model->input, add_observed, found);
    status = status == GMV_OK ? add_drawn(found, &sample, &generated) : status;
    GMV_GO(gmv_comm_agree(comm, status));
    add_ranks(found, comm);
    gmv_row_sample_measured(&sample, cells, found->measured);
done:
    gmv_generated_fini(&generated);
    gmv_row_sample_fini(&sample);
    return status;
}

void gmv_predictive_fini(gmv_predictive *found)
{
    GMV_FREE(found->measured);
    GMV_FREE(found->observed);
    GMV_FREE(found->drawn);
    GMV_FREE(found->library);
    GMV_FREE(found->drawn_library);
}

/* ---- figures ---- */

double gmv_share_of_zeros(const gmv_gene_sums *sums, int64_t measured)
{
    return measured > 0 ? (double)(measured - sums->with_count) / (double)measured : NAN;
}

double gmv_mean_count(const gmv_gene_sums *sums, int64_t measured)
{
    return measured > 0 ? (double)sums->sum / (double)measured : NAN;
}

double gmv_variance_of_counts(const gmv_gene_sums *sums, int64_t measured)
{
    double mean = gmv_mean_count(sums, measured);
    return measured > 0 ? fmax(0.0, (double)sums->squares / (double)measured - mean * mean) : NAN;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts them. */
static double median_of(double *value, int64_t n)
{
    if (n == 0) {
        return NAN;
    }
    qsort(value, (size_t)n, sizeof *value, ascending);
    return 0.5 * (value[(n - 1) / 2] + value[n / 2]);
}

static void compare_zeros(const gmv_predictive *found, gmv_predictive_summary *summary)
{
    double n = 0.0, sum[2] = {0.0}, square[2] = {0.0}, product = 0.0, apart = 0.0;
    for (int32_t g = 0; g < found->genes; g++) {
        if (found->measured[g] == 0) {
            continue;
        }
        double x = gmv_share_of_zeros(&found->observed[g], found->measured[g]),
               y = gmv_share_of_zeros(&found->drawn[g], found->measured[g]);
        n += 1.0;
        sum[0] += x;
        sum[1] += y;
        square[0] += x * x;
        square[1] += y * y;
        product += x * y;
        apart += fabs(x - y);
    }
    double of_both = n * product - sum[0] * sum[1],
           of_each = (n * square[0] - sum[0] * sum[0]) * (n * square[1] - sum[1] * sum[1]);
    summary->zeros = sum[0] / n;
    summary->zeros_drawn = sum[1] / n;
    summary->zeros_difference = apart / n;
    summary->zeros_correlation = of_each > 0.0 ? of_both / sqrt(of_each) : NAN;
}

gmv_status gmv_summarise_predictive(const gmv_predictive *found, gmv_predictive_summary *summary)
{
    double *ratio = NULL;
    int64_t n = 0;
    int64_t most = found->cells > found->genes ? found->cells : found->genes;
    *summary = (gmv_predictive_summary){0};
    GMV_TRY(GMV_NEW(ratio, most, "figures of genes"));
    compare_zeros(found, summary);
    for (int of_variance = 0; of_variance < 2; of_variance++) {
        n = 0;
        for (int32_t g = 0; g < found->genes; g++) {
            double (*figure)(const gmv_gene_sums *, int64_t) = of_variance ? gmv_variance_of_counts : gmv_mean_count;
            double observed = figure(&found->observed[g], found->measured[g]);
            if (found->observed[g].with_count >= many_cells && observed > 0.0) {
                ratio[n++] = figure(&found->drawn[g], found->measured[g]) / observed;
            }
        }
        *(of_variance ? &summary->variance_ratio : &summary->mean_ratio) = median_of(ratio, n);
    }
    summary->compared = n;
    for (int64_t i = 0; i < found->cells; i++) {
        ratio[i] = (double)found->drawn_library[i] / (double)found->library[i];
    }
    summary->library_ratio = median_of(ratio, found->cells);
    GMV_FREE(ratio);
    return GMV_OK;
}
