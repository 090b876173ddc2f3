/* Packing of rows: any columns and values, as blocks through HDF5 and as rows past it. What is accepted is compared with a
 * plain list of the counts. */
#include "fuzz.h"

#include "../../src/data/rows/pack.h"

#include "gmvae/cpu.h"
#include "gmvae/packed.h"

#include <math.h>
#include <string.h>

enum { most_cols = 300, most_rows = 12, most_values = most_rows * 40 };

typedef struct row_case {
    int64_t cols, rows;
    int32_t genes;
    int32_t map[most_cols];
    bool mapped, in_order; /* the map keeps the order of the columns */
    int64_t start[most_rows + 1], column[most_values];
    double value[most_values];
} row_case;

static char *names[most_cols];

static void prepare(void)
{
    static char name[] = "gene";
    for (int j = 0; j < most_cols; j++) {
        names[j] = name;
    }
}

/* Mostly counts; sometimes what is none. */
static double some_value(fuzz_rng *rng, bool damaged)
{
    static const double odd[] = {-1, 0.5, 16777216, 16777215, 1e300, -0.0, (double)INFINITY, (double)NAN, 255, 256};
    if (damaged && fuzz_once_in(rng, 30)) {
        return odd[fuzz_below(rng, sizeof odd / sizeof *odd)];
    }
    return (double)fuzz_below(rng, fuzz_once_in(rng, 10) ? 16777216 : 300);
}

static int64_t some_column(fuzz_rng *rng, int64_t cols)
{
    return fuzz_once_in(rng, 4) ? cols : (int64_t)fuzz_next(rng) >> fuzz_below(rng, 64);
}

static void make_case(fuzz_rng *rng, row_case *c)
{
    bool damaged = fuzz_once_in(rng, 2);
    c->cols = 1 + fuzz_below(rng, most_cols);
    c->rows = 1 + fuzz_below(rng, most_rows);
    c->mapped = fuzz_once_in(rng, 2);
    c->genes = c->mapped ? 0 : (int32_t)c->cols;
    for (int64_t j = 0; j < c->cols && c->mapped; j++) {
        c->map[j] = fuzz_once_in(rng, 3) ? -1 : c->genes++;
    }
    c->in_order = !c->mapped || fuzz_once_in(rng, 2);
    for (int64_t j = c->cols - 1; j > 0 && !c->in_order; j--) {
        int64_t with = fuzz_below(rng, j + 1);
        int32_t kept = c->map[j];
        c->map[j] = c->map[with];
        c->map[with] = kept;
    }
    c->start[0] = 0;
    for (int64_t i = 0; i < c->rows; i++) {
        int64_t at = c->start[i], column = 0;
        for (; at < c->start[i] + 40 && column < c->cols; at++) {
            column += fuzz_below(rng, 20);
            if (column >= c->cols) {
                break;
            }
            c->column[at] = damaged && fuzz_once_in(rng, 60) ? some_column(rng, c->cols) : column;
            c->value[at] = some_value(rng, damaged);
            column++;
        }
        c->start[i + 1] = at;
    }
}

/* Packed row i against the case: every stored count is there, once, and no other. */
static void compare_row(const row_case *c, const gmv_packed *packed, int64_t i)
{
    uint32_t expected[most_cols] = {0};
    for (int64_t j = c->start[i]; j < c->start[i + 1]; j++) {
        int64_t column = c->column[j];
        FUZZ_CHECK(column >= 0 && column < c->cols);
        int32_t gene = c->mapped ? c->map[column] : (int32_t)column;
        if (gene >= 0) {
            expected[gene] += (uint32_t)c->value[j];
        }
    }
    for (gmv_nnz at = packed->indptr[i]; at < packed->indptr[i + 1]; at++) {
        int32_t gene = packed->gene16[at];
        FUZZ_CHECK(gene < c->genes && expected[gene] == gmv_packed_count(packed, at));
        expected[gene] = 0;
    }
    for (int32_t g = 0; g < c->genes; g++) {
        FUZZ_CHECK(expected[g] == 0);
    }
}

static bool add_block(gmv_packer *packer, row_case *c)
{
    gmv_h5 file = {.path = names[0]};
    gmv_matrix matrix = {.file = &file, .name = "X", .rows = c->rows, .cols = c->cols, .stored_cols = c->cols};
    gmv_row_source source = {.matrix = &matrix, .gene = names, .map = c->mapped ? c->map : NULL};
    gmv_block block = {.rows = c->rows, .start = c->start, .column = c->column, .value = c->value};
    return gmv_packer_add(packer, &source, &block) == GMV_OK;
}

static bool add_rows(gmv_packer *packer, const row_case *c)
{
    for (int64_t i = 0; i < c->rows; i++) {
        int32_t column[40];
        uint32_t count[40];
        int64_t n = c->start[i + 1] - c->start[i];
        for (int64_t j = 0; j < n; j++) {
            double value = c->value[c->start[i] + j];
            bool whole = value >= 0 && value < 16777216 && value == floor(value);
            column[j] = (int32_t)c->column[c->start[i] + j];
            count[j] = whole ? (uint32_t)value : UINT32_MAX; /* as read_rows.c converts */
        }
        if (!gmv_packer_add_row(packer, column, count, n, c->cols, c->mapped ? c->map : NULL)) {
            return false;
        }
    }
    return true;
}

/* Rows that are as nearly all are; any other must leave the packer as it was. */
static bool add_numbers(gmv_packer *packer, const row_case *c, const gmv_fast_rows *narrow)
{
    for (int64_t i = 0; i < c->rows; i++) {
        const int64_t from = c->start[i], n = c->start[i + 1] - from;
        gmv_numbers column = {c->column + from, GMV_NUMBER_INT, 8}, value = {c->value + from, GMV_NUMBER_FLOAT, 8};
        int64_t rows = packer->rows, values = packer->nnz, large = packer->overflows;
        if (!gmv_packer_add_numbers(packer, narrow, column, value, n, c->cols, c->mapped ? c->map : NULL)) {
            FUZZ_CHECK(packer->rows == rows && packer->nnz == values && packer->overflows == large);
            return false;
        }
    }
    return true;
}

static void one(fuzz_rng *rng)
{
    static row_case c;
    gmv_packer packer;
    gmv_packed packed = {0};
    make_case(rng, &c);
    FUZZ_CHECK(gmv_packer_init(&packer, c.genes, c.rows, fuzz_below(rng, 100)) == GMV_OK);
    bool narrow = true; /* add_row takes columns of 32 bits */
    for (int64_t j = 0; j < c.start[c.rows]; j++) {
        narrow = narrow && c.column[j] == (int32_t)c.column[j];
    }
    int variant = (int)fuzz_below(rng, gmv_cpu_variants());
    bool taken = c.in_order && fuzz_once_in(rng, 2) && gmv_cpu_runs(variant)
                     ? add_numbers(&packer, &c, gmv_fast_rows_of(variant))
                 : narrow && fuzz_once_in(rng, 2) ? add_rows(&packer, &c)
                                                  : add_block(&packer, &c);
    if (taken) {
        FUZZ_CHECK(gmv_packer_finish(&packer, &packed) == GMV_OK);
        for (int64_t i = 0; i < c.rows; i++) {
            compare_row(&c, &packed, i);
        }
    }
    gmv_packer_fini(&packer);
    gmv_packed_fini(&packed);
}

const fuzz_target fuzz_rows = {"rows", prepare, one};
