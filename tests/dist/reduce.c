/* The reductions of the op table over all ranks: sums, the same bits on every rank, and twice the same. */
#define T_LONE_SUMS true
#include "harness.h"

static const int64_t lengths[] = {0, 1, 31, 33, 257, 65537, 1000003};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

/* Rank r's values; every rank can compute those of all. */
static float *part(int rank, int64_t n)
{
    return t_random((uint64_t)rank + 1, (size_t)n, 1.0);
}

/* `bytes` bytes of this rank are those of rank 0. */
static void same_on_every_rank(const char *what, const void *mine, int64_t bytes)
{
    unsigned char *first = t_alloc((size_t)bytes, 1);
    memcpy(first, mine, (size_t)bytes);
    gmv_comm_broadcast(&t_comm, first, bytes, 0);
    t_same_bits(what, mine, first, (size_t)bytes);
}

static void floats_are_summed(void **state)
{
    (void)state;
    for (int l = 0; l < LENGTHS; l++) {
        int64_t n = lengths[l];
        gmv_vec x = t_vec(n, part(t_comm.rank, n)), again = t_vec(n, part(t_comm.rank, n));
        double *want = t_doubles((size_t)n), *size = t_doubles((size_t)n);
        for (int r = 0; r < t_comm.size; r++) {
            const float *values = part(r, n);
            for (int64_t i = 0; i < n; i++) {
                want[i] += (double)values[i];
                size[i] += fabs((double)values[i]);
            }
        }
        T_OP(allreduce_f32, x);
        T_OP(allreduce_f32, again);
        T_CALL(allreduce_wait);
        float *sum = t_get_vec(x);
        t_sums("allreduce_f32", sum, want, size, (size_t)n, (double)t_comm.size);
        same_on_every_rank("allreduce_f32 on another rank", sum, n * (int64_t)sizeof *sum);
        t_same_bits("allreduce_f32 again", t_get_vec(again), sum, (size_t)n * sizeof *sum);
        t_end_test(NULL);
    }
}

/* Sums that pass through 2^63 and come back are right: addition of 64-bit integers has no order. */
static void integers_are_summed_exactly(void **state)
{
    (void)state;
    for (int l = 0; l < LENGTHS; l++) {
        int64_t n = lengths[l];
        int64_t *mine = t_alloc((size_t)n, sizeof *mine), *want = t_alloc((size_t)n, sizeof *want);
        for (int r = 0; r < t_comm.size; r++) {
            for (int64_t i = 0; i < n; i++) {
                int64_t value = (int64_t)(t_mix((uint64_t)(r * 7919 + i)) >> 4) - ((int64_t)1 << 59);
                want[i] += value;
                mine[i] = r == t_comm.rank ? value : mine[i];
            }
        }
        int64_t *x = t_bytes(n * 8, mine);
        T_OP(allreduce_i64, x, n);
        T_CALL(allreduce_wait);
        t_read(x, mine, n * 8);
        t_same_bits("allreduce_i64", mine, want, (size_t)n * 8);
        t_end_test(NULL);
    }
}

/* Fixed-point totals of the ranks' parts are those that one rank gets from all parts. */
static void exact_sums_do_not_depend_on_who_adds(void **state)
{
    (void)state;
    enum { N = 10007, PARTS = 4 };
    int64_t *split = t_bytes(N * 8, t_alloc(N, 8)), *whole = t_bytes(N * 8, t_alloc(N, 8));
    int64_t *overflow = t_bytes(8, t_alloc(1, 8)), *got = t_alloc(N, 8), *want = t_alloc(N, 8);
    for (int p = 0; p < PARTS; p++) {
        gmv_vec x = t_vec(N, part(p, N));
        T_OP(fixed_add, x, PARTS, whole, overflow);
        if (p % t_comm.size == t_comm.rank) {
            T_OP(fixed_add, x, PARTS, split, overflow);
        }
    }
    T_OP(allreduce_i64, split, N);
    T_CALL(allreduce_wait);
    t_read(split, got, N * 8);
    t_read(whole, want, N * 8);
    t_same_bits("exact sum", got, want, N * 8);
}

static const struct CMUnitTest tests[] = {
    T_TEST(floats_are_summed),
    T_TEST(integers_are_summed_exactly),
    T_TEST(exact_sums_do_not_depend_on_who_adds),
};
T_MAIN_ON_BACKEND(tests)
