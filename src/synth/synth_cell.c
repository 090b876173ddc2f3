/* One cell: its type, batch and library, and its counts.
 *
 * A negative binomial count with mean mu and variance mu + phi mu^2 is the sum of a Poisson number of clusters, whose
 * sizes are logarithmic (Quenouille 1949): clusters of size s come as a Poisson number with mean q^s / (phi s),
 * q = phi mu / (1 + phi mu). So a cell's independent counts are drawn without a visit to every gene: a Poisson number
 * of candidates with mean L, each with a gene from an alias table of the shares, is an independent Poisson number with
 * mean mu_g for every gene; a candidate becomes a cluster of size s with probability q^s / (phi s mu), the first of
 * which, 1 / (1 + phi mu), nearly always decides, and is dropped with what is left. This is exact; the time is that of
 * a table look-up a candidate.
 */
#include "synth_model.h"

#include "gmvae/draw.h"
#include "gmvae/mem.h"

#include <math.h>

/* `draw` of GMV_STREAM_SYNTH_COUNT: the number of candidates, the candidates; blocks of words made at a time. */
enum { draw_number, draw_candidates, blocks_at_once = 32 };

/* Uniform on [0, 1), 24 bits. */
static float unit(uint32_t word)
{
    return (float)(word >> 8) * 0x1p-24f;
}

/* floor(word / 2^32 * n) */
static int32_t scaled(uint32_t word, int32_t n)
{
    return (int32_t)((uint64_t)word * (uint64_t)n >> 32);
}

gmv_synth_cell gmv_synth_cell_of(const gmv_synth_model *model, int64_t cell)
{
    float normal[4];
    gmv_philox words = gmv_random_block(model->seed, GMV_STREAM_SYNTH_CELL, 0, cell, 0, 0);
    gmv_normals(words, normal); /* of which the second pair is used */
    /* cells * types / cells in two parts: the product may not fit */
    int64_t whole = model->cells / model->types, rest = model->cells % model->types, long_part = rest * (whole + 1);
    int64_t in_order = cell < long_part ? cell / (whole + 1) : rest + (cell - long_part) / (whole > 0 ? whole : 1);
    return (gmv_synth_cell){.type = model->sorted ? (int32_t)in_order : scaled(words.word[0], model->types),
                            .batch = scaled(words.word[1], model->batches),
                            .library = (float)(model->library * exp(model->spread * (double)normal[2] -
                                                                    0.5 * model->spread * model->spread))};
}

gmv_status gmv_synth_bench_init(gmv_synth_bench *bench, const gmv_synth_model *model)
{
    *bench = (gmv_synth_bench){0};
    GMV_TRY(GMV_NEW(bench->count, model->genes, "counts of a cell"));
    return GMV_NEW(bench->seen, model->genes / 64 + 1, "genes of a cell");
}

void gmv_synth_bench_fini(gmv_synth_bench *bench)
{
    GMV_FREE(bench->count);
    GMV_FREE(bench->seen);
}

/* Size of a cluster that is not 1; 0 for none. The chances of sizes above s sum to less than (1 + x) times that of
 * s + 1, because each is less than x / (1 + x) of the one before: so no logarithm is needed to see that none is left.
 * @param[in] x  phi mu   @param[in] chance  1 / (1 + x), that of size 1   @param[in] u  uniform in [chance, 1) */
static uint32_t larger_cluster(double x, double chance, double u)
{
    double q = x * chance;
    u -= chance;
    chance *= 0.5 * q;
    for (uint32_t s = 2;; s++) {
        if (u < chance) {
            return s;
        }
        if (u >= chance * (1.0 + x)) {
            return 0;
        }
        u -= chance;
        chance *= q * s / (s + 1);
    }
}

/* Adds `n` candidates' clusters to the bench, in three rounds so that the look-ups of one round, which miss the nearest
 * caches, overlap. @param[in] block  two words for each candidate */
static void add_candidates(gmv_synth_bench *bench, const gmv_synth_column *column, const float *share, int32_t genes,
                           float slope, int n, const gmv_philox *block)
{
    uint64_t place[2 * blocks_at_once];
    int32_t gene[2 * blocks_at_once];
    for (int i = 0; i < n; i++) {
        place[i] = (uint64_t)block[i / 2].word[i % 2 * 2] * (uint64_t)genes;
        __builtin_prefetch(&column[place[i] >> 32]);
    }
    for (int i = 0; i < n; i++) {
        int32_t c = (int32_t)(place[i] >> 32), own = -((uint32_t)place[i] < column[c].threshold);
        gene[i] = (c & own) | (column[c].other & ~own); /* no branch: it could not be predicted */
        __builtin_prefetch(&share[gene[i]]);
    }
    for (int i = 0; i < n; i++) {
        int32_t g = gene[i];
        float x = slope * share[g], u = unit(block[i / 2].word[i % 2 * 2 + 1]);
        float once = 1.0f / (1.0f + x);
        uint32_t size = u < once ? 1 : larger_cluster((double)x, (double)once, (double)u);
        bench->count[g] += size;
        bench->seen[g >> 6] |= (uint64_t)(size > 0) << (g & 63);
    }
}

/* Takes the counts off the bench, in the order of the genes. */
static int64_t collect(gmv_synth_bench *bench, int32_t genes, int32_t *gene, float *count)
{
    int64_t n = 0;
    for (int32_t w = 0; w <= genes / 64; w++) {
        for (uint64_t bits = bench->seen[w]; bits != 0; bits &= bits - 1) {
            int32_t g = w * 64 + __builtin_ctzll(bits);
            gene[n] = g;
            count[n++] = (float)bench->count[g];
            bench->count[g] = 0;
        }
        bench->seen[w] = 0;
    }
    return n;
}

int64_t gmv_synth_draw(const gmv_synth_model *model, gmv_synth_bench *bench, int64_t cell, int32_t *gene, float *count)
{
    gmv_synth_cell drawn = gmv_synth_cell_of(model, cell);
    size_t pair = ((size_t)drawn.type * (size_t)model->batches + (size_t)drawn.batch) * (size_t)model->genes;
    float slope = (float)model->dispersion * drawn.library;
    gmv_uniforms u = {.seed = model->seed, .stream = GMV_STREAM_SYNTH_COUNT, .cell = cell, .draw = draw_number};
    int64_t left = (int64_t)gmv_draw_poisson((double)drawn.library, &u);
    gmv_philox block[blocks_at_once];
    for (uint32_t from = 0; left > 0; from += blocks_at_once) {
        int n = left < 2 * blocks_at_once ? (int)left : 2 * blocks_at_once;
        for (int i = 0; i < (n + 1) / 2; i++) {
            block[i] =
                gmv_random_block(model->seed, GMV_STREAM_SYNTH_COUNT, 0, cell, draw_candidates, from + (uint32_t)i);
        }
        add_candidates(bench, model->column + pair, model->share + pair, model->genes, slope, n, block);
        left -= n;
    }
    return collect(bench, model->genes, gene, count);
}
