/* nearest: the nearest points of each, against distances in double. */
#include "harness.h"

#include <math.h>

typedef struct nearest_case {
    int n, m, dims, k, own;
    const float *among, *of; /* [n, dims], [m, dims]; of == NULL: rows [own, own + m) of among */
} nearest_case;

static void run(const void *context, t_outputs *out)
{
    const nearest_case *c = context;
    int entries = c->m * c->k;
    gmv_nearest_args args = {.among = t_mat(c->n, c->dims, c->among), .own = c->own, .k = c->k};
    args.of = c->of != NULL
                  ? t_mat(c->m, c->dims, c->of)
                  : (gmv_mat){args.among.at + (size_t)c->own * (size_t)args.among.ld, c->m, c->dims, args.among.ld};
    args.index = t_bytes(entries * (int64_t)sizeof *args.index, NULL);
    args.squared = t_bytes(entries * (int64_t)sizeof *args.squared, NULL);
    T_OP(nearest, &args);
    int32_t *index = t_alloc((size_t)entries, sizeof *index);
    float *as_floats = t_host_floats((size_t)entries), *squared = t_host_floats((size_t)entries);
    t_read(args.index, index, entries * (int64_t)sizeof *index);
    t_read(args.squared, squared, entries * (int64_t)sizeof *squared);
    for (int i = 0; i < entries; i++) {
        as_floats[i] = (float)index[i];
    }
    t_keep(out, as_floats, (size_t)entries);
    t_keep(out, squared, (size_t)entries);
}

/* Infinite for the point itself. */
static double distance_of(const nearest_case *c, int i, int j)
{
    const float *of = c->of != NULL ? c->of + i * c->dims : c->among + (c->own + i) * c->dims;
    double sum = 0.0;
    for (int d = 0; d < c->dims; d++) {
        double difference = (double)of[d] - (double)c->among[j * c->dims + d];
        sum += difference * difference;
    }
    return c->own >= 0 && j == c->own + i ? HUGE_VAL : sum;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Place of point j among the neighbours of i: how many are nearer, or as near with a lower number. */
static int place_of(const nearest_case *c, int i, int j)
{
    double at = distance_of(c, i, j);
    int before = 0;
    for (int other = 0; other < c->n; other++) {
        double distance = distance_of(c, i, other);
        before += distance < at || (distance <= at && other < j) ? 1 : 0;
    }
    return before;
}

/* @param[in] whole  distances are whole numbers, so that equal ones are equal in single precision, too */
static void check(const nearest_case *c, bool whole)
{
    t_outputs out = t_repeatable(run, c);
    double *sorted = t_doubles((size_t)c->n), *want = t_doubles((size_t)(c->m * c->k));
    double *found = t_doubles((size_t)(c->m * c->k));
    for (int i = 0; i < c->m; i++) {
        for (int j = 0; j < c->n; j++) {
            sorted[j] = distance_of(c, i, j);
        }
        qsort(sorted, (size_t)c->n, sizeof *sorted, ascending);
        for (int p = 0; p < c->k; p++) {
            int at = i * c->k + p, index = (int)out.at[0][at];
            assert_true(index >= 0 && index < c->n);
            want[at] = sorted[p];
            found[at] = distance_of(c, i, index);
            if (whole) {
                assert_int_equal(place_of(c, i, index), p);
            }
        }
    }
    t_pointwise("squared distances", out.at[1], want, (size_t)(c->m * c->k));
    t_pointwise("of the points that are named", out.at[1], found, (size_t)(c->m * c->k));
}

/* Whole numbers from 0 to `range`: many distances are equal. */
static float *grid_points(uint64_t seed, int n, int dims, int range)
{
    float *at = t_host_floats((size_t)(n * dims));
    for (int i = 0; i < n * dims; i++) {
        at[i] = (float)(t_mix(seed * 7919 + (uint64_t)i) % (uint64_t)(range + 1));
    }
    return at;
}

static void of_themselves(void **state)
{
    (void)state;
    static const int shapes[][5] = {{1, 1, 1, 0, 0},         {2, 2, 3, 1, 0},    {63, 63, 2, 62, 0},
                                    {64, 32, 1, 20, 32},     {65, 65, 5, 32, 0}, {300, 40, 33, 33, 7},
                                    {200, 70, 65, 128, 130}, {129, 0, 3, 5, 4},  {129, 33, 0, 5, 4},
                                    {150, 9, 2, 96, 141},    {150, 9, 2, 97, 0}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        int n = shapes[s][0], m = shapes[s][1], dims = shapes[s][2], k = shapes[s][3], own = shapes[s][4];
        nearest_case grid = {n, m, dims, k, own, grid_points(s, n, dims, 4), NULL};
        nearest_case smooth = {n, m, dims, k, own, t_random(s + 40, (size_t)(n * dims), 3.0), NULL};
        check(&grid, true);
        if (!t_few()) { /* other values, which others look at */
            check(&smooth, false);
        }
    }
}

static void of_others(void **state)
{
    (void)state;
    static const int shapes[][4] = {{1, 1, 1, 1},      {0, 5, 2, 0},      {31, 33, 4, 31},
                                    {128, 65, 20, 64}, {257, 31, 3, 128}, {500, 3, 80, 15}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        int n = shapes[s][0], m = shapes[s][1], dims = shapes[s][2], k = shapes[s][3];
        nearest_case grid = {n, m, dims, k, -1, grid_points(s + 20, n, dims, 3), grid_points(s + 30, m, dims, 3)};
        check(&grid, true);
    }
}

/* All as near: in the order of their numbers. Nearer ones last: each drives another out. */
static void orders(void **state)
{
    (void)state;
    enum { N = 200 };
    float *same = t_host_floats(N), *falling = t_host_floats(N);
    for (int i = 0; i < N; i++) {
        same[i] = 2.0f;
        falling[i] = (float)(N - i);
    }
    nearest_case equal = {N, 40, 1, 70, 3, same, NULL}, nearer = {N, 1, 1, 100, -1, falling, t_host_floats(1)};
    check(&equal, true);
    check(&nearer, true);
}

static const struct CMUnitTest tests[] = {
    T_TEST(of_themselves),
    T_TEST(of_others),
    T_TEST(orders),
};
T_MAIN_ON_BACKEND(tests)
