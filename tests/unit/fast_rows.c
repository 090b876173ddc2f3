/* The inner loops of reading, of every instruction set that this machine has, against plain loops: every type that a
 * file can have, every length of a vector's tail, values at the edges. */
#include "harness.h"

#include "../../src/data/rows/fast_rows.h"
#include "gmvae/cpu.h"

enum { MOST = 150 };

static const struct {
    gmv_number_kind kind;
    int size;
} types[] = {
    {GMV_NUMBER_INT, 1},  {GMV_NUMBER_INT, 2},  {GMV_NUMBER_INT, 4},  {GMV_NUMBER_INT, 8},   {GMV_NUMBER_UINT, 1},
    {GMV_NUMBER_UINT, 2}, {GMV_NUMBER_UINT, 4}, {GMV_NUMBER_UINT, 8}, {GMV_NUMBER_FLOAT, 4}, {GMV_NUMBER_FLOAT, 8},
};
enum { TYPES = sizeof types / sizeof *types };

static const double edges[] = {0,
                               1,
                               2,
                               253,
                               254,
                               255,
                               256,
                               127,
                               128,
                               -1,
                               16777214,
                               16777215,
                               16777216,
                               65535,
                               65536,
                               32767,
                               32768,
                               2147483647,
                               -128,
                               4294967295.0,
                               4294967297.0,
                               -4294967295.0,
                               1e18,
                               0.5,
                               -0.25,
                               254.5,
                               (double)NAN,
                               (double)INFINITY,
                               (double)-INFINITY,
                               1e30};
enum { EDGES = sizeof edges / sizeof *edges };

/* Stores a number, rounded into the type as the compiler does where it fits; returns what a reader of the file sees. */
static double store(int type, void *at, int i, double value)
{
    int size = types[type].size;
    if (types[type].kind == GMV_NUMBER_FLOAT) {
        if (size == 4) {
            ((float *)at)[i] = (float)value;
            return (double)((float *)at)[i];
        }
        return ((double *)at)[i] = value;
    }
    bool has_sign = types[type].kind == GMV_NUMBER_INT;
    double low = has_sign ? -ldexp(1.0, 8 * size - 1) : 0.0, high = ldexp(1.0, 8 * size - has_sign);
    int64_t whole = value >= low && value < high && value < 9e18 ? (int64_t)value : 1;
    memcpy((char *)at + (int64_t)i * size, &whole, (size_t)size); /* little end first */
    return (double)whole;
}

static void check_counts(const gmv_fast_rows *narrow, int type, int n, int edge, int place)
{
    _Alignas(64) char stored[8 * MOST];
    uint8_t count8[MOST + 1];
    int expected = 0;
    double seen[MOST];
    for (int i = 0; i < n; i++) {
        seen[i] = store(type, stored, i, i == place ? edges[edge] : 1 + i % 120);
        bool good = seen[i] >= 0.0 && seen[i] < 16777216.0 && seen[i] == floor(seen[i]);
        expected |= good ? 0 : GMV_COUNTS_BAD;
        expected |= seen[i] == 0.0 ? GMV_COUNTS_ZERO : 0;
        expected |= good && seen[i] >= 255.0 ? GMV_COUNTS_LARGE : 0;
    }
    count8[n] = 77;
    int counts = narrow->counts((gmv_numbers){stored, types[type].kind, types[type].size}, n, count8);
    assert_int_equal(counts & GMV_COUNTS_BAD, expected & GMV_COUNTS_BAD);
    assert_int_equal(count8[n], 77);
    if ((expected & GMV_COUNTS_BAD) == 0) {
        assert_int_equal(counts, expected);
        for (int i = 0; i < n; i++) {
            assert_int_equal(count8[i], seen[i] < 255.0 ? (int)seen[i] : 255);
        }
    }
}

static void check_columns(const gmv_fast_rows *narrow, int type, int n, int edge, int place)
{
    _Alignas(64) char stored[8 * MOST];
    int32_t column[MOST];
    double seen[MOST];
    for (int i = 0; i < n; i++) {
        seen[i] = store(type, stored, i, i == place ? edges[edge] : i % 120);
    }
    narrow->columns((gmv_numbers){stored, types[type].kind, types[type].size}, n, column);
    for (int i = 0; i < n; i++) {
        assert_int_equal(column[i], seen[i] >= 0.0 && seen[i] <= 2147483647.0 ? (int32_t)seen[i] : -1);
    }
}

/* All lengths with an edge in the last place, and all edges in the middle. */
static void check_all(void (*check)(const gmv_fast_rows *narrow, int type, int n, int edge, int place), int types_used)
{
    for (int variant = 0; variant < gmv_cpu_variants(); variant++) {
        for (int type = 0; gmv_cpu_runs(variant) && type < types_used; type++) {
            for (int n = 1; n <= MOST; n++) {
                check(gmv_fast_rows_of(variant), type, n, n % EDGES, n - 1);
            }
            for (int edge = 0; edge < EDGES; edge++) {
                check(gmv_fast_rows_of(variant), type, MOST, edge, edge);
            }
        }
    }
}

static void counts_are_those_stored(void **state)
{
    (void)state;
    check_all(check_counts, TYPES);
}

static void columns_are_those_stored(void **state)
{
    (void)state;
    check_all(check_columns, TYPES - 2); /* of whole numbers */
}

/* One pair in every place that does not ascend. */
static void order_is_seen(void **state)
{
    (void)state;
    for (int variant = 0; variant < gmv_cpu_variants(); variant++) {
        const gmv_fast_rows *narrow = gmv_fast_rows_of(variant);
        for (int n = 1; gmv_cpu_runs(variant) && n <= MOST; n++) {
            for (int equal = 0; equal < n; equal++) { /* 0: all ascend */
                int32_t column[MOST];
                uint16_t gene16[MOST];
                for (int i = 0; i < n; i++) {
                    column[i] = i == equal && i > 0 ? column[i - 1] - n % 2 : 437 * i;
                }
                assert_int_equal(narrow->ascends(column, n), equal == 0);
                assert_int_equal(narrow->genes(column, n, gene16), equal == 0);
                for (int i = 0; i < n; i++) {
                    assert_int_equal(gene16[i], (uint16_t)column[i]);
                }
            }
        }
    }
}

/* With a map and without, into 16 and 32 bits, over the counts themselves. */
static void zeros_and_genes_are_left_out(void **state)
{
    (void)state;
    int32_t column[MOST], map[2 * MOST];
    for (int i = 0; i < 2 * MOST; i++) {
        map[i] = i % 3 == 0 ? -1 : 100000 + i;
    }
    for (int variant = 0; variant < gmv_cpu_variants(); variant++) {
        for (int way = 0; gmv_cpu_runs(variant) && way < 4; way++) {
            uint8_t count[MOST];
            uint16_t gene16[MOST];
            uint32_t gene32[MOST];
            int k = 0;
            for (int i = 0; i < MOST; i++) {
                column[i] = 2 * i;
                count[i] = (uint8_t)(i % 5 == 0 ? 0 : i);
            }
            int64_t kept = gmv_fast_rows_of(variant)->keep(column, count, MOST, way % 2 == 1 ? map : NULL,
                                                           way < 2 ? gene16 : NULL, way < 2 ? NULL : gene32, count);
            for (int i = 0; i < MOST; i++) {
                int32_t gene = way % 2 == 1 ? map[2 * i] : 2 * i;
                if (i % 5 != 0 && gene >= 0) {
                    assert_int_equal(way < 2 ? gene16[k] : gene32[k], way < 2 ? (uint16_t)gene : (uint32_t)gene);
                    assert_int_equal(count[k], i);
                    k++;
                }
            }
            assert_int_equal(kept, k);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T_TEST(counts_are_those_stored),
        T_TEST(columns_are_those_stored),
        T_TEST(order_is_seen),
        T_TEST(zeros_and_genes_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
