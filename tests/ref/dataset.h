/* Made-up counts, packed the way a rank keeps them, and batches fetched from them. */
#pragma once

#include "harness.h"

/* Host side of a packed matrix: dense counts and one-hot columns of the covariates. */
typedef struct t_dataset {
    int rows, genes, covariates, levels;
    gmv_gidx first_cell;
    double *count;    /* [rows, genes] */
    int32_t *level;   /* [rows, covariates] */
    int sets;         /* of genes that rows were measured for; 0: all for all */
    int32_t *set;     /* [rows] */
    uint8_t *present; /* [sets, genes] */
    gmv_gidx *cell;   /* [rows] global ids, or NULL: they follow from first_cell */
} t_dataset;

/* About `density` of the entries are counts, with a long tail: some above 255, few near 2^24. Every fifth
 * row is empty. */
static inline t_dataset t_counts(uint64_t seed, int rows, int genes, double density, int covariates)
{
    t_dataset data = {rows, genes, covariates, 0, (gmv_gidx)5000000000, NULL, NULL, 0, NULL, NULL, NULL};
    data.count = t_doubles((size_t)rows * (size_t)genes);
    data.level = t_alloc((size_t)rows * (size_t)covariates, sizeof(int32_t));
    for (int i = 0; i < rows * genes; i++) {
        uint64_t at = (uint64_t)i;
        if (i / genes % 5 == 3 || t_unit(seed, at) >= density) {
            continue;
        }
        double u = t_unit(seed + 1, at);
        double y = floor(1.0 + 2.0 / (u + 0.02));                   /* 1 .. 101, mostly small */
        y = u > 0.97 ? floor(250.0 + 10.0 * (u - 0.97) / 0.03) : y; /* around the 255 of the overflow list */
        y = u < 0.01 ? floor(255.0 + 1e6 * u) : y;
        data.count[i] = u < 0.0005 ? 16777215.0 : y;
    }
    for (int c = 0; c < covariates; c++) {
        int of_key = 2 + 3 * c;
        for (int i = 0; i < rows; i++) {
            data.level[i * covariates + c] =
                data.levels + (int32_t)(t_mix(seed + (uint64_t)(i * 7 + c)) % (uint64_t)of_key);
        }
        data.levels += of_key;
    }
    return data;
}

/* Gives rows one of four sets of genes: all, about two thirds, all but a stretch that is longer than a tile of a kernel
 * where there are so many, and one gene alone. What a row lacks has no count. */
static inline void t_add_sets(t_dataset *data, uint64_t seed)
{
    int genes = data->genes;
    data->sets = 4;
    data->set = t_alloc((size_t)data->rows, sizeof *data->set);
    data->present = t_alloc((size_t)(4 * genes), 1);
    for (int g = 0; g < genes; g++) {
        data->present[g] = 1;
        data->present[genes + g] = g == genes / 2 || t_unit(seed, (uint64_t)g) < 0.67;
        data->present[2 * genes + g] = g < genes / 8 || g >= genes - genes / 8 - 1;
        data->present[3 * genes + g] = g == genes - 1;
    }
    for (int i = 0; i < data->rows; i++) {
        data->set[i] = (int32_t)(t_mix(seed + 77 + (uint64_t)i) % 4);
        for (int g = 0; g < genes; g++) {
            data->count[(size_t)i * (size_t)genes + (size_t)g] *= data->present[data->set[i] * genes + g];
        }
    }
}

/* Uploads; `wide` stores genes in 32 bits. */
static inline gmv_packed t_pack(const t_dataset *data, int wide)
{
    size_t entries = (size_t)data->rows * (size_t)data->genes, n = 0, over = 0;
    gmv_nnz *indptr = t_alloc((size_t)data->rows + 1, sizeof *indptr), *at = t_alloc(entries, sizeof *at);
    uint16_t *gene16 = t_alloc(entries, sizeof *gene16);
    uint32_t *gene32 = t_alloc(entries, sizeof *gene32), *large = t_alloc(entries, sizeof *large);
    uint8_t *count8 = t_alloc(entries, sizeof *count8);
    for (int i = 0; i < data->rows; i++) {
        for (int g = 0; g < data->genes; g++) {
            double y = data->count[(size_t)i * (size_t)data->genes + (size_t)g];
            if (y == 0.0) {
                continue;
            }
            if (y >= 255.0) {
                at[over] = (gmv_nnz)n;
                large[over++] = (uint32_t)y;
            }
            gene16[n] = (uint16_t)g;
            gene32[n] = (uint32_t)g;
            count8[n++] = (uint8_t)(y >= 255.0 ? 255.0 : y);
        }
        indptr[i + 1] = (gmv_nnz)n;
    }
    gmv_packed packed = {.rows = data->rows, .genes = data->genes, .first_cell = data->first_cell, .sets = data->sets};
    packed.cell = data->cell != NULL ? t_bytes((int64_t)((size_t)data->rows * sizeof *data->cell), data->cell) : NULL;
    packed.indptr = t_bytes((int64_t)(((size_t)data->rows + 1) * sizeof *indptr), indptr);
    packed.gene16 = wide ? NULL : t_bytes((int64_t)(n * sizeof *gene16), gene16);
    packed.gene32 = wide ? t_bytes((int64_t)(n * sizeof *gene32), gene32) : NULL;
    packed.count8 = t_bytes((int64_t)n, count8);
    packed.overflows = (int64_t)over;
    packed.overflow_at = t_bytes((int64_t)(over * sizeof *at), at);
    packed.overflow_count = t_bytes((int64_t)(over * sizeof *large), large);
    packed.covariates = data->covariates;
    packed.level = t_bytes((int64_t)((size_t)data->rows * (size_t)data->covariates * sizeof(int32_t)), data->level);
    if (data->sets > 0) {
        packed.set = t_bytes((int64_t)((size_t)data->rows * sizeof(int32_t)), data->set);
        packed.present = t_bytes((int64_t)data->sets * data->genes, data->present);
    }
    return packed;
}

/* Non-zeros of the rows that `rows` names. */
static inline int t_nonzeros(const t_dataset *data, const int64_t *rows, int n)
{
    int z = 0;
    for (int i = 0; i < n; i++) {
        for (int g = 0; g < data->genes; g++) {
            z += data->count[(size_t)rows[i] * (size_t)data->genes + (size_t)g] > 0.0;
        }
    }
    return z;
}

/* A batch with room for these rows and no more; every array has its own guards. */
static inline gmv_batch t_batch_room(const t_dataset *data, int n, int nonzeros)
{
    gmv_batch batch = {0};
    int64_t z = (int64_t)nonzeros * 4;
    batch.indptr = t_bytes(((int64_t)n + 1) * 4, NULL);
    batch.gene = t_bytes(z, NULL);
    batch.x = t_bytes(z, NULL);
    batch.colptr = t_bytes(((int64_t)data->genes + 1) * 4, NULL);
    batch.cell = t_bytes(z, NULL);
    batch.col_x = t_bytes(z, NULL);
    batch.col_count = t_bytes(z, NULL);
    batch.library = t_bytes((int64_t)n * 4, NULL);
    batch.level = t_bytes((int64_t)n * data->covariates * 4, NULL);
    batch.cell_id = t_bytes((int64_t)n * 8, NULL);
    batch.set = data->sets > 0 ? t_bytes((int64_t)n * 4, NULL) : NULL;
    return batch;
}

/* A batch of these n rows, and `behind` more that fill it up. */
static inline gmv_batch t_fetch_filled(const t_dataset *data, int wide, const int64_t *rows, int n, int behind,
                                       gmv_input input)
{
    gmv_packed packed = t_pack(data, wide);
    gmv_batch batch = t_batch_room(data, n + behind, t_nonzeros(data, rows, n));
    enum { BEFORE = 3 }; /* rows of other batches in the list */
    int64_t *list = t_alloc((size_t)n + BEFORE, sizeof *list), first = BEFORE;
    memset(list, 0x7F, BEFORE * sizeof *list);
    memcpy(list + BEFORE, rows, (size_t)n * sizeof *list);
    const int64_t *index = t_bytes(((int64_t)n + BEFORE) * 8, list), *start = t_bytes(8, &first);
    T_OP(batch_fetch, &packed, index, start, behind > 0 ? t_filled(n) : NULL, n + behind, input, &batch);
    return batch;
}

static inline gmv_batch t_fetch(const t_dataset *data, int wide, const int64_t *rows, int n, gmv_input input)
{
    return t_fetch_filled(data, wide, rows, n, 0, input);
}

/* Rows in an order that is not theirs. */
static inline int64_t *t_rows(uint64_t seed, int n, int of)
{
    int64_t *rows = t_alloc((size_t)n, sizeof *rows);
    int64_t *all = t_alloc((size_t)of, sizeof *all);
    for (int i = 0; i < of; i++) {
        all[i] = i;
    }
    for (int i = 0; i < n; i++) {
        int j = i + (int)(t_mix(seed + (uint64_t)i) % (uint64_t)(of - i));
        rows[i] = all[j];
        all[j] = all[i];
    }
    return rows;
}

/* Encoder input of count y in a row with sum of squares `norm2` of log1p. */
static inline double ref_input(double y, gmv_input input, double norm2)
{
    switch (input.kind) {
    case GMV_INPUT_LOG1P:
        return log1p(y);
    case GMV_INPUT_STANDARDIZE:
        return (y - (double)input.mean) / (double)input.std;
    case GMV_INPUT_UNIT_SPHERE:
        return y > 0.0 ? log1p(y) / sqrt(norm2) : 0.0;
    case GMV_INPUT_NONE:
        break;
    }
    return y;
}

/* Dense encoder input [n, genes] of the named rows. */
static inline double *ref_inputs(const t_dataset *data, const int64_t *rows, int n, gmv_input input)
{
    size_t genes = (size_t)data->genes;
    double *x = t_doubles((size_t)n * genes);
    for (int i = 0; i < n; i++) {
        const double *y = data->count + (size_t)rows[i] * genes;
        double norm2 = 0.0;
        for (size_t g = 0; g < genes; g++) {
            norm2 += log1p(y[g]) * log1p(y[g]);
        }
        for (size_t g = 0; g < genes; g++) {
            x[(size_t)i * genes + g] = ref_input(y[g], input, norm2);
        }
    }
    return x;
}
