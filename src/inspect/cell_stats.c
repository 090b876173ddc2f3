#include "cell_stats.h"

#include "gmvae/mem.h"
#include "gmvae/packed.h"

#include <math.h>

/* A value is kept to `half_bits` + 1 binary digits: values with e digits more share a bin with 2^e - 1 others. */
enum { half_bits = 13, half = 1 << half_bits, bins = (64 - half_bits) * half };

gmv_status gmv_histogram_init(gmv_histogram *histogram)
{
    *histogram = (gmv_histogram){0};
    return GMV_NEW(histogram->bin, bins, "a histogram");
}

void gmv_histogram_fini(gmv_histogram *histogram)
{
    GMV_FREE(histogram->bin);
}

void gmv_histogram_add(gmv_histogram *histogram, int64_t value)
{
    int more = 0;
    while (value >> more >= 2 * half) {
        more++;
    }
    histogram->bin[more * half + (value >> more)]++;
    histogram->least = histogram->n == 0 || value < histogram->least ? value : histogram->least;
    histogram->most = value > histogram->most ? value : histogram->most;
    histogram->sum += (double)value;
    histogram->n++;
}

int64_t gmv_histogram_quantile(const gmv_histogram *histogram, double share)
{
    int64_t below = 0, wanted = (int64_t)ceil(share * (double)histogram->n);
    for (int64_t b = 0; b < bins && histogram->n > 0; b++) {
        below += histogram->bin[b];
        if (below >= wanted && below > 0) {
            int64_t more = b < 2 * half ? 0 : b / half - 1, value = (b - more * half) << more;
            return value < histogram->least ? histogram->least : value;
        }
    }
    return 0;
}

void gmv_cell_stats_add(gmv_histogram *totals, gmv_histogram *genes, const gmv_packed *block)
{
    for (int64_t i = 0; i < block->rows; i++) {
        int64_t total = 0;
        for (gmv_nnz at = block->indptr[i]; at < block->indptr[i + 1]; at++) {
            total += gmv_packed_count(block, at);
        }
        gmv_histogram_add(totals, total);
        gmv_histogram_add(genes, block->indptr[i + 1] - block->indptr[i]);
    }
}
