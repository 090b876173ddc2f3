#include "synth_model.h"

#include "gmvae/mem.h"
#include "gmvae/rng.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* `draw` of GMV_STREAM_SYNTH_GENE. */
enum { draw_gene, draw_type, draw_batch };

/* Shares are counted by their logarithm for the search of the library size: 32 bins to a factor of e. */
enum { bins = 4096, bins_per_unit = 32, library_points = 41 };

static const double largest_library = 1e7;             /* a cell with more takes a second */
static const double largest_tables = 16.0 * (1 << 30); /* bytes */

/* Standard normals for all genes, of type or batch `which`. */
static void draw_normals(uint64_t seed, uint32_t draw, int64_t which, int32_t genes, float *normal)
{
    for (int32_t g = 0; g < genes; g += 4) {
        float four[4];
        gmv_normals(gmv_random_block(seed, GMV_STREAM_SYNTH_GENE, 0, which, draw, (uint32_t)(g / 4)), four);
        memcpy(normal + g, four, sizeof *normal * (size_t)(genes - g < 4 ? genes - g : 4));
    }
}

static double sum_of(const float *value, int32_t n)
{
    double sum = 0.0;
    for (int32_t i = 0; i < n; i++) {
        sum += (double)value[i];
    }
    return sum;
}

/* Rates of types: exp(gene_spread n_g + separation n_kg), scaled to a sum of 1. */
static gmv_status draw_rates(gmv_synth_model *m, const gmv_config *config)
{
    float *base = NULL;
    GMV_TRY(GMV_NEW(base, m->genes, "rates of genes"));
    draw_normals(m->seed, draw_gene, 0, m->genes, base);
    for (int32_t k = 0; k < m->types; k++) {
        float *rate = m->rate + (size_t)k * (size_t)m->genes;
        draw_normals(m->seed, draw_type, k, m->genes, rate);
        for (int32_t g = 0; g < m->genes; g++) {
            rate[g] =
                (float)exp(config->synth_gene_spread * (double)base[g] + config->synth_separation * (double)rate[g]);
        }
        double sum = sum_of(rate, m->genes);
        for (int32_t g = 0; g < m->genes; g++) {
            rate[g] = (float)((double)rate[g] / sum);
        }
    }
    gmv_free(base);
    return GMV_OK;
}

static void draw_factors(gmv_synth_model *m, double effect)
{
    for (int32_t b = 0; b < m->batches; b++) {
        float *factor = m->factor + (size_t)b * (size_t)m->genes;
        draw_normals(m->seed, draw_batch, b, m->genes, factor);
        for (int32_t g = 0; g < m->genes; g++) {
            factor[g] = (float)exp(effect * (double)factor[g]);
        }
    }
}

/* Walker's table by Vose's method: every column is filled up to 1 / n by one other gene.
 * @param[in,out] weight  n times the shares; used up   @param[out] stack  room for n */
static void build_columns(int32_t n, double *weight, int32_t *stack, gmv_synth_column *column)
{
    int32_t small = 0, large = n; /* two stacks in one array, from both ends */
    for (int32_t g = 0; g < n; g++) {
        column[g] = (gmv_synth_column){UINT32_MAX, g};
        stack[weight[g] < 1.0 ? small++ : --large] = g;
    }
    while (small > 0 && large < n) {
        int32_t poor = stack[--small], rich = stack[large];
        column[poor] = (gmv_synth_column){(uint32_t)(weight[poor] * 4294967296.0), rich};
        weight[rich] -= 1.0 - weight[poor];
        if (weight[rich] < 1.0) {
            large++;
            stack[small++] = rich;
        }
    }
    /* what is left on either stack has a weight of 1 but for rounding, and stands for itself */
}

/* Shares and alias table of type k in batch b. */
static void build_pair(gmv_synth_model *m, int32_t k, int32_t b, double *weight, int32_t *stack)
{
    size_t pair = (size_t)k * (size_t)m->batches + (size_t)b, genes = (size_t)m->genes;
    const float *rate = m->rate + (size_t)k * genes, *factor = m->factor + (size_t)b * genes;
    float *share = m->share + pair * genes;
    double sum = 0.0;
    for (int32_t g = 0; g < m->genes; g++) {
        weight[g] = (double)rate[g] * (double)factor[g];
        sum += weight[g];
    }
    for (int32_t g = 0; g < m->genes; g++) {
        weight[g] /= sum;
        share[g] = (float)weight[g];
        weight[g] *= (double)m->genes;
    }
    build_columns(m->genes, weight, stack, m->column + pair * genes);
}

static gmv_status build_pairs(gmv_synth_model *m)
{
    double *weight = NULL;
    int32_t *stack = NULL;
    gmv_status status;
    GMV_GO(GMV_NEW(weight, m->genes, "an alias table"));
    GMV_GO(GMV_NEW(stack, m->genes, "an alias table"));
    for (int32_t k = 0; k < m->types; k++) {
        for (int32_t b = 0; b < m->batches; b++) {
            build_pair(m, k, b, weight, stack);
        }
    }
done:
    gmv_free(weight);
    gmv_free(stack);
    return status;
}

/* How often each share occurs over all pairs and genes, in bins of its logarithm, with the mean share of each. */
typedef struct histogram {
    double n[bins], share[bins], total;
} histogram;

static void count_shares(const gmv_synth_model *m, histogram *h)
{
    int64_t n = (int64_t)m->types * m->batches * m->genes;
    memset(h, 0, sizeof *h);
    for (int64_t i = 0; i < n; i++) {
        double share = (double)m->share[i];
        double at = share > 0.0 ? bins + bins_per_unit * log(share) : 0.0; /* shares are at most 1 */
        int bin = at < 0.0 ? 0 : at >= bins ? bins - 1 : (int)at;
        h->n[bin] += 1.0;
        h->share[bin] += share;
    }
    for (int i = 0; i < bins; i++) {
        h->share[i] /= h->n[i] > 0.0 ? h->n[i] : 1.0;
    }
    h->total = (double)n;
}

/* Expected fraction of non-zeros with mean library `library`: over bins of shares, and over the log-normal by the
 * trapezoid rule from -5 to 5 standard deviations. */
static double expected_density(const gmv_synth_model *m, const histogram *h, double library)
{
    double sum = 0.0, weights = 0.0;
    for (int j = 0; j < library_points; j++) {
        double z = -5.0 + 10.0 * j / (library_points - 1), weight = exp(-0.5 * z * z), zeros = 0.0;
        double size = library * exp(m->spread * z - 0.5 * m->spread * m->spread);
        for (int i = 0; i < bins; i++) {
            double mean = size * h->share[i], phi = m->dispersion;
            zeros += h->n[i] > 0.0 ? h->n[i] * exp(phi > 0.0 ? -log1p(phi * mean) / phi : -mean) : 0.0;
        }
        sum += weight * (1.0 - zeros / h->total);
        weights += weight;
    }
    return sum / weights;
}

static gmv_status find_library(gmv_synth_model *m, double wanted)
{
    histogram *h = NULL;
    GMV_TRY(GMV_NEW(h, 1, "the search of the library size"));
    count_shares(m, h);
    double low = log(1e-6), high = log(largest_library), reached = expected_density(m, h, largest_library);
    for (int i = 0; i < 48; i++) {
        double middle = 0.5 * (low + high);
        *(expected_density(m, h, exp(middle)) < wanted ? &low : &high) = middle;
    }
    m->library = exp(high);
    m->density = expected_density(m, h, m->library);
    gmv_free(h);
    if (reached < wanted) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "synth.density: %.3g cannot be reached, a mean library of %.0e counts gives %.3g; lower it, or "
                        "synth.gene_spread, synth.library_spread or synth.dispersion",
                        wanted, largest_library, reached);
    }
    return GMV_OK;
}

static gmv_status reserve(gmv_synth_model *m)
{
    int64_t pairs = (int64_t)m->types * m->batches;
    double bytes = (double)m->genes * (4.0 * (double)(m->types + m->batches) + 12.0 * (double)pairs);
    if (bytes > largest_tables) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "synth.types x synth.batches x synth.genes: tables of %.0f GB in every rank, at most %.0f are "
                        "possible; lower one of them",
                        bytes / (1 << 30), largest_tables / (1 << 30));
    }
    GMV_TRY(GMV_NEW(m->rate, (int64_t)m->types * m->genes, "rates of types"));
    GMV_TRY(GMV_NEW(m->factor, (int64_t)m->batches * m->genes, "factors of batches"));
    GMV_TRY(GMV_NEW(m->share, pairs * m->genes, "shares of genes"));
    return GMV_NEW(m->column, pairs * m->genes, "alias tables");
}

gmv_status gmv_synth_model_init(gmv_synth_model *model, const gmv_config *config)
{
    *model = (gmv_synth_model){.seed = (uint64_t)config->seed,
                               .cells = config->synth_cells,
                               .genes = (int32_t)config->synth_genes,
                               .types = (int32_t)config->synth_types,
                               .batches = (int32_t)config->synth_batches,
                               .sorted = config->synth_sort == GMV_SORT_TYPE,
                               .spread = config->synth_library_spread,
                               .dispersion = config->synth_dispersion};
    GMV_TRY(reserve(model));
    GMV_TRY(draw_rates(model, config));
    draw_factors(model, config->synth_batch_effect);
    GMV_TRY(build_pairs(model));
    return find_library(model, config->synth_density);
}

void gmv_synth_model_fini(gmv_synth_model *model)
{
    GMV_FREE(model->rate);
    GMV_FREE(model->factor);
    GMV_FREE(model->share);
    GMV_FREE(model->column);
}
