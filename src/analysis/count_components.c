/* Subspace iteration (Halko, Martinsson and Tropp 2011): directions are multiplied with the covariance of the genes, which is
 * never made, by passes over the cells, and made orthonormal. Sums over cells are of whole numbers: those of a batch are taken
 * in double, in its order, and rounded, so that ranks do not matter. */
#include "gmvae/count_components.h"
#include "row_sample.h"

#include "gmvae/mem.h"
#include "gmvae/rng.h"
#include "gmvae/stage.h"

#include <math.h>
#include <string.h>

static const double scale = 1e4, negligible = 1e-12;
static const double of_means = 0x1p32, of_products = 0x1p24; /* whole numbers a unit; a product's sum is below 2^39 */
enum { iterations = 6, seeded_draw = 1 << 15 };              /* the draw: layouts have no such */

typedef struct projecting {
    const gmv_projection *how;
    const gmv_cells *cells;
    int64_t *sum;      /* [G] of values, then [G, D] of products */
    double *direction; /* [G, D] orthonormal */
    double *gram;      /* [D, D] */
    double *centre;    /* [D] the mean cell, projected */
    double *y;         /* [GMV_EVAL_CELLS, D] cells of a batch, projected */
    float *at;         /* [n, D] those of this rank; NULL while directions are looked for */
} projecting;

static double value_at(const gmv_sample_batch *batch, int32_t at)
{
    return log1p(scale * (double)batch->count[at] / (double)batch->library[batch->cell[at]]);
}

static gmv_status add_values(void *context, const gmv_sample_batch *batch)
{
    projecting *p = context;
    for (int32_t g = 0; g < p->cells->genes; g++) {
        for (int32_t at = batch->start[g]; at < batch->start[g + 1]; at++) {
            p->sum[g] += llround(value_at(batch, at) * of_means);
        }
    }
    return GMV_OK;
}

/* y = (values - means) * directions */
static void project_batch(projecting *p, const gmv_sample_batch *batch)
{
    int dims = p->how->dims;
    for (int i = 0; i < batch->cells; i++) {
        for (int d = 0; d < dims; d++) {
            p->y[i * dims + d] = -p->centre[d];
        }
    }
    for (int32_t g = 0; g < p->cells->genes; g++) {
        const double *direction = p->direction + (int64_t)g * dims;
        for (int32_t at = batch->start[g]; at < batch->start[g + 1]; at++) {
            double value = value_at(batch, at), *y = p->y + (int64_t)batch->cell[at] * dims;
            for (int d = 0; d < dims; d++) {
                y[d] += value * direction[d];
            }
        }
    }
}

/* Adds values^T y; y adds up to zero over all cells, so that the means have no part in it. */
static gmv_status multiply(void *context, const gmv_sample_batch *batch)
{
    projecting *p = context;
    int dims = p->how->dims;
    project_batch(p, batch);
#pragma omp parallel for schedule(static)
    for (int32_t g = 0; g < p->cells->genes; g++) {
        for (int d = 0; d < dims && batch->start[g + 1] > batch->start[g]; d++) {
            double product = 0.0;
            for (int32_t at = batch->start[g]; at < batch->start[g + 1]; at++) {
                product += value_at(batch, at) * p->y[(int64_t)batch->cell[at] * dims + d];
            }
            p->sum[(int64_t)g * dims + d] += llround(product * of_products);
        }
    }
    return GMV_OK;
}

static gmv_status keep(void *context, const gmv_sample_batch *batch)
{
    projecting *p = context;
    int dims = p->how->dims;
    project_batch(p, batch);
    for (int i = 0; i < batch->cells; i++) {
        for (int d = 0; d < dims; d++) {
            p->at[batch->number[i] * dims + d] = (float)p->y[i * dims + d];
        }
    }
    return GMV_OK;
}

/* The lower triangle of M = L L^T, in place; 0 on its diagonal for what depends on the rows before. */
static void find_cholesky(int dims, double *gram)
{
    for (int d = 0; d < dims; d++) {
        double *row = gram + (int64_t)d * dims, own = row[d];
        for (int e = 0; e <= d; e++) {
            const double *other = gram + (int64_t)e * dims;
            double rest = row[e];
            for (int k = 0; k < e; k++) {
                rest -= row[k] * other[k];
            }
            row[e] = e < d ? (other[e] > 0.0 ? rest / other[e] : 0.0) : rest > negligible * own ? sqrt(rest) : 0.0;
        }
    }
}

/* D <- D L^-T with D^T D = L L^T; directions that depend on others become zero. */
static void make_orthonormal(projecting *p)
{
    int dims = p->how->dims;
    memset(p->gram, 0, (size_t)dims * (size_t)dims * sizeof *p->gram);
    for (int64_t g = 0; g < p->cells->genes; g++) {
        const double *z = p->direction + g * dims;
        for (int d = 0; d < dims; d++) {
            for (int e = 0; e <= d; e++) {
                p->gram[d * dims + e] += z[d] * z[e];
            }
        }
    }
    find_cholesky(dims, p->gram);
    for (int64_t g = 0; g < p->cells->genes; g++) {
        double *z = p->direction + g * dims;
        for (int d = 0; d < dims; d++) {
            const double *row = p->gram + (int64_t)d * dims;
            for (int e = 0; e < d; e++) {
                z[d] -= row[e] * z[e];
            }
            z[d] = row[d] > 0.0 ? z[d] / row[d] : 0.0;
        }
    }
}

static void find_centre(projecting *p, const double *mean)
{
    int dims = p->how->dims;
    memset(p->centre, 0, (size_t)dims * sizeof *p->centre);
    for (int64_t g = 0; g < p->cells->genes; g++) {
        for (int d = 0; d < dims; d++) {
            p->centre[d] += mean[g] * p->direction[g * dims + d];
        }
    }
}

static void begin(projecting *p)
{
    int dims = p->how->dims;
    for (int64_t g = 0; g < p->cells->genes; g++) {
        for (int d = 0; d < dims; d += 4) {
            float normal[4];
            gmv_normals(
                gmv_random_block(p->how->seed, GMV_STREAM_LAYOUT, 0, g, (uint32_t)seeded_draw, (uint32_t)(d / 4)),
                normal);
            for (int k = 0; k < 4 && d + k < dims; k++) {
                p->direction[g * dims + d + k] = (double)normal[k];
            }
        }
    }
    make_orthonormal(p);
}

static gmv_status make_room(projecting *p, double **mean)
{
    int64_t genes = p->cells->genes, dims = p->how->dims;
    GMV_TRY(GMV_NEW(p->sum, genes * dims, "components of counts"));
    GMV_TRY(GMV_NEW(p->direction, genes * dims, "components of counts"));
    GMV_TRY(GMV_NEW(p->gram, dims * dims, "components of counts"));
    GMV_TRY(GMV_NEW(p->centre, dims, "components of counts"));
    GMV_TRY(GMV_NEW(p->y, GMV_EVAL_CELLS * dims, "components of counts"));
    return GMV_NEW(*mean, genes, "components of counts");
}

gmv_status gmv_project_counts(const gmv_projection *how, gmv_feed *feed, const gmv_cells *cells, const gmv_comm *comm,
                              gmv_input input, float *at)
{
    projecting p = {.how = how, .cells = cells, .at = at};
    const gmv_row_sample sample = {.n = how->n, .of = how->n, .row = (gmv_gidx *)(uintptr_t)how->row};
    int64_t genes = cells->genes, products = genes * how->dims;
    double *mean = NULL;
    gmv_status status;
    gmv_stage_detail("components of counts");
    GMV_GO(gmv_comm_agree(comm, make_room(&p, &mean)));
    GMV_GO(gmv_comm_agree(comm, gmv_row_sample_visit(&sample, feed, cells, input, add_values, &p)));
    gmv_comm_sum_i64(comm, p.sum, genes);
    for (int64_t g = 0; g < genes; g++) {
        mean[g] = (double)p.sum[g] / of_means / (double)how->n;
    }
    begin(&p);
    for (int t = 0; t < iterations; t++) {
        memset(p.sum, 0, (size_t)products * sizeof *p.sum);
        find_centre(&p, mean);
        GMV_GO(gmv_comm_agree(comm, gmv_row_sample_visit(&sample, feed, cells, input, multiply, &p)));
        gmv_comm_sum_i64(comm, p.sum, products);
        for (int64_t i = 0; i < products; i++) {
            p.direction[i] = (double)p.sum[i] / of_products;
        }
        make_orthonormal(&p);
    }
    find_centre(&p, mean);
    memset(at, 0, (size_t)how->n * (size_t)how->dims * sizeof *at);
    GMV_GO(gmv_comm_agree(comm, gmv_row_sample_visit(&sample, feed, cells, input, keep, &p)));
    gmv_comm_sum_f32(comm, at, how->n * how->dims); /* each row is of one rank, zero elsewhere */
done:
    GMV_FREE(p.sum);
    GMV_FREE(p.direction);
    GMV_FREE(p.gram);
    GMV_FREE(p.centre);
    GMV_FREE(p.y);
    GMV_FREE(mean);
    return status;
}
