#include "synthetic.h"

#include "gmvae/mem.h"

#include <math.h>
#include <string.h>

static uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static double unit(uint64_t *state)
{
    *state = mix(*state);
    return ((double)(*state >> 11) + 0.5) * 0x1p-53;
}

/* Chance that a cell has a gene: log-normal over genes, scaled until they sum to `nonzeros`. */
static void detection_rates(int32_t genes, int nonzeros, double *rate)
{
    uint64_t state = 7;
    for (int32_t g = 0; g < genes; g++) {
        double radius = sqrt(-2.0 * log(unit(&state))), angle = 6.283185307179586 * unit(&state);
        rate[g] = exp(1.6 * radius * cos(angle));
    }
    double low = 0.0, high = 1e3;
    for (int i = 0; i < 60; i++) {
        double scale = 0.5 * (low + high), sum = 0.0;
        for (int32_t g = 0; g < genes; g++) {
            sum += fmin(0.98, rate[g] * scale);
        }
        *(sum < (double)nonzeros ? &low : &high) = scale;
    }
    for (int32_t g = 0; g < genes; g++) {
        rate[g] = fmin(0.98, rate[g] * low);
    }
}

/* 70 % ones, 94 % at most 4, a long tail. */
static uint32_t draw_count(uint64_t *state)
{
    double u = unit(state);
    if (u < 0.70) {
        return 1;
    }
    if (u < 0.86) {
        return 2;
    }
    if (u < 0.94) {
        return u < 0.90 ? 3 : 4;
    }
    return (uint32_t)(5.0 * pow(1.0 - unit(state), -0.5));
}

typedef struct builder {
    gmv_packed *packed;
    uint16_t *gene16;
    uint32_t *gene32;
    uint8_t *count8;
    gmv_nnz *indptr, *overflow_at;
    uint32_t *overflow_count;
    int32_t *level;
} builder;

static gmv_status reserve(builder *b, int64_t rows, int32_t genes, int nonzeros)
{
    int64_t most = rows * ((int64_t)nonzeros + nonzeros / 4 + 64), large = most / 256 + 1024;
    GMV_TRY(GMV_NEW(b->indptr, rows + 1, "rows"));
    GMV_TRY(GMV_NEW(b->count8, most, "counts"));
    GMV_TRY(GMV_NEW(b->overflow_at, large, "large counts"));
    GMV_TRY(GMV_NEW(b->overflow_count, large, "large counts"));
    GMV_TRY(GMV_NEW(b->level, rows, "levels"));
    return genes <= 65536 ? GMV_NEW(b->gene16, most, "genes") : GMV_NEW(b->gene32, most, "genes");
}

static void fill(builder *b, int64_t rows, int32_t genes, const double *rate, int levels)
{
    int64_t n = 0, large = 0;
    for (int64_t r = 0; r < rows; r++) {
        uint64_t state = mix((uint64_t)r + 1);
        for (int32_t g = 0; g < genes; g++) {
            if (unit(&state) >= rate[g]) {
                continue;
            }
            uint32_t y = draw_count(&state);
            if (y >= 255) {
                b->overflow_at[large] = n;
                b->overflow_count[large++] = y < 100000 ? y : 100000;
            }
            if (b->gene16 != NULL) {
                b->gene16[n] = (uint16_t)g;
            } else {
                b->gene32[n] = (uint32_t)g;
            }
            b->count8[n++] = (uint8_t)(y < 255 ? y : 255);
        }
        b->indptr[r + 1] = n;
        b->level[r] = (int32_t)(r % levels);
    }
    b->packed->overflows = large;
}

gmv_status gmv_bench_cells_init(gmv_cells *cells, const gmv_comm *comm, int64_t rows, int32_t genes, int nonzeros,
                                int levels, int shards)
{
    memset(cells, 0, sizeof *cells);
    int first_shard = (int)((int64_t)shards * comm->rank / comm->size);
    int end_shard = (int)((int64_t)shards * (comm->rank + 1) / comm->size);
    *cells = (gmv_cells){.total = rows,
                         .shards = shards,
                         .first_shard = first_shard,
                         .end_shard = end_shard,
                         .first = rows * first_shard / shards,
                         .genes = genes,
                         .covariates = 1,
                         .levels = levels};
    cells->count = rows * end_shard / shards - cells->first;
    cells->packed = (gmv_packed){.rows = cells->count, .genes = genes, .first_cell = cells->first, .covariates = 1};
    builder b = {.packed = &cells->packed};
    double *rate = NULL;
    gmv_status status;
    GMV_GO(GMV_NEW(cells->shard_start, shards + 1, "shards"));
    for (int s = 0; s <= shards; s++) {
        cells->shard_start[s] = rows * s / shards;
    }
    GMV_GO(GMV_NEW(rate, genes, "rates"));
    detection_rates(genes, nonzeros, rate);
    GMV_GO(reserve(&b, cells->count, genes, nonzeros));
    fill(&b, cells->count, genes, rate, levels);
done:
    gmv_free(rate);
    cells->packed.indptr = b.indptr;
    cells->packed.gene16 = b.gene16;
    cells->packed.gene32 = b.gene32;
    cells->packed.count8 = b.count8;
    cells->packed.overflow_at = b.overflow_at;
    cells->packed.overflow_count = b.overflow_count;
    cells->packed.level = b.level;
    return status;
}

void gmv_bench_cells_fini(gmv_cells *cells)
{
    gmv_free(cells->shard_start);
    gmv_free((void *)(uintptr_t)cells->packed.indptr);
    gmv_free((void *)(uintptr_t)cells->packed.gene16);
    gmv_free((void *)(uintptr_t)cells->packed.gene32);
    gmv_free((void *)(uintptr_t)cells->packed.count8);
    gmv_free((void *)(uintptr_t)cells->packed.overflow_at);
    gmv_free((void *)(uintptr_t)cells->packed.overflow_count);
    gmv_free((void *)(uintptr_t)cells->packed.level);
    memset(cells, 0, sizeof *cells);
}
