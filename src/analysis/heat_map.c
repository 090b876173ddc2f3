/* The sample is gone through twice: for the variances of all genes, then for the counts of those that are shown. */
#include "gmvae/heat_map.h"
#include "row_sample.h"

#include "gmvae/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double scale = 1e4, fixed_point = 0x1p32; /* sums of whole numbers do not mind their order */

typedef struct taking {
    gmv_heat_map *map;
    const gmv_cells *cells;
    int64_t *sum, *squares; /* [G] in 1 / fixed_point */
} taking;

/* ---- which genes ---- */

static gmv_status add_values(void *context, const gmv_sample_batch *batch)
{
    taking *t = context;
    for (int32_t g = 0; g < t->cells->genes; g++) {
        for (int32_t at = batch->start[g]; at < batch->start[g + 1]; at++) {
            double value = log1p(scale * (double)batch->count[at] / (double)batch->library[batch->cell[at]]);
            t->sum[g] += llround(value * fixed_point);
            t->squares[g] += llround(value * value * fixed_point);
        }
    }
    return GMV_OK;
}

typedef struct candidate {
    double variance;
    int32_t gene;
} candidate;

static int largest_first(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    return x->variance != y->variance ? (x->variance < y->variance ? 1 : -1)
                                      : (x->gene > y->gene) - (x->gene < y->gene);
}

/* Over the cells that were measured for each. */
static gmv_status choose_genes(taking *t, const gmv_row_sample *sample, int most)
{
    gmv_heat_map *map = t->map;
    candidate *of = NULL;
    int64_t *measured = NULL;
    int32_t genes = t->cells->genes;
    gmv_status status;
    GMV_GO(GMV_NEW(of, genes, "variances of genes"));
    GMV_GO(GMV_NEW(measured, genes, "variances of genes"));
    gmv_row_sample_measured(sample, t->cells, measured);
    for (int32_t g = 0; g < genes; g++) {
        int64_t n = measured[g];
        double mean = n > 0 ? (double)t->sum[g] / fixed_point / (double)n : 0.0;
        of[g].gene = g;
        of[g].variance = n > 0 ? (double)t->squares[g] / fixed_point / (double)n - mean * mean : 0.0;
    }
    qsort(of, (size_t)genes, sizeof *of, largest_first);
    for (map->genes = 0; map->genes < most && map->genes < genes && of[map->genes].variance > 0.0; map->genes++) {
        map->gene[map->genes] = of[map->genes].gene;
        map->variance[map->genes] = of[map->genes].variance;
    }
done:
    GMV_FREE(of);
    GMV_FREE(measured);
    return status;
}

/* ---- their counts ---- */

static gmv_status take_counts(void *context, const gmv_sample_batch *batch)
{
    taking *t = context;
    gmv_heat_map *map = t->map;
    for (int i = 0; i < batch->cells; i++) {
        map->library[batch->number[i]] = (int64_t)batch->library[i];
    }
    for (int m = 0; m < map->genes; m++) {
        int32_t g = map->gene[m];
        for (int32_t at = batch->start[g]; at < batch->start[g + 1]; at++) {
            map->count[batch->number[batch->cell[at]] * map->genes + m] = (int64_t)batch->count[at];
        }
    }
    return GMV_OK;
}

static void mark_unmeasured(gmv_heat_map *map, const gmv_cells *cells)
{
    for (int64_t i = 0; i < map->cells; i++) {
        const uint8_t *measured = gmv_genes_measured(cells, map->row[i]);
        for (int m = 0; m < map->genes && measured != NULL; m++) {
            if (measured[map->gene[m]] == 0) {
                map->count[i * map->genes + m] = -1;
            }
        }
    }
}

/* ---- all of it ---- */

static gmv_status make_room(taking *t, int most)
{
    int32_t genes = t->cells->genes;
    GMV_TRY(GMV_NEW(t->sum, 2 * (int64_t)genes, "variances of genes"));
    t->squares = t->sum + genes;
    GMV_TRY(GMV_NEW(t->map->gene, most, "genes of a picture"));
    return GMV_NEW(t->map->variance, most, "genes of a picture");
}

gmv_status gmv_heat_map_take(gmv_heat_map *map, int64_t most_cells, int most_genes, gmv_feed *feed,
                             const gmv_cells *cells, const gmv_comm *comm, gmv_input input)
{
    taking t = {.map = map, .cells = cells};
    gmv_row_sample sample = {0};
    gmv_status status;
    *map = (gmv_heat_map){0};
    GMV_GO(gmv_row_sample_take(&sample, cells, comm, most_cells));
    GMV_GO(gmv_comm_agree(comm, make_room(&t, most_genes)));
    GMV_GO(gmv_comm_agree(comm, gmv_row_sample_visit(&sample, feed, cells, input, add_values, &t)));
    gmv_comm_sum_i64(comm, t.sum, 2 * (int64_t)cells->genes);
    GMV_GO(gmv_comm_agree(comm, choose_genes(&t, &sample, most_genes)));
    status = GMV_NEW(map->library, sample.n, "cells of a picture");
    status = status == GMV_OK ? GMV_NEW(map->count, sample.n * map->genes, "cells of a picture") : status;
    GMV_GO(gmv_comm_agree(comm, status));
    GMV_GO(gmv_comm_agree(comm, gmv_row_sample_visit(&sample, feed, cells, input, take_counts, &t)));
    map->cells = sample.n;
    map->of = sample.of;
    map->row = sample.row;
    sample.row = NULL;
    gmv_comm_sum_i64(comm, map->library, map->cells);
    gmv_comm_sum_i64(comm, map->count, map->cells * map->genes);
    mark_unmeasured(map, cells);
done:
    gmv_row_sample_fini(&sample);
    GMV_FREE(t.sum);
    return status;
}

void gmv_heat_map_fini(gmv_heat_map *map)
{
    GMV_FREE(map->gene);
    GMV_FREE(map->variance);
    GMV_FREE(map->row);
    GMV_FREE(map->library);
    GMV_FREE(map->count);
}
