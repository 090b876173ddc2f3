/* Layouts of points in groups: near ones stay near, groups stay apart, and threads change nothing. */
#include "harness.h"

#include "gmvae/umap.h"

#include <math.h>
#include <omp.h>
#include <string.h>

enum { N = 600, GROUPS = 4, DIMS = 5, K = 12 };

typedef struct sample {
    float at[N * DIMS], distance[N * K], layout[2 * N];
    int32_t neighbour[N * K];
} sample;

static float square_between(const float *at, int dims, int a, int b)
{
    float sum = 0.0f;
    for (int d = 0; d < dims; d++) {
        float gap = at[a * dims + d] - at[b * dims + d];
        sum += gap * gap;
    }
    return sum;
}

/* The k points nearest to `i`, by insertion. */
static void nearest(const float *at, int dims, int i, int k, int32_t *found, float *distance)
{
    int n = 0;
    for (int j = 0; j < N; j++) {
        float square = square_between(at, dims, i, j);
        if (j == i || (n == k && square >= distance[k - 1])) {
            continue;
        }
        int place = n < k ? n++ : k - 1;
        for (; place > 0 && distance[place - 1] > square; place--) {
            distance[place] = distance[place - 1];
            found[place] = found[place - 1];
        }
        distance[place] = square;
        found[place] = j;
    }
    for (int e = 0; e < k; e++) {
        distance[e] = sqrtf(distance[e]);
    }
}

/* Group g of four lies about 6 on axis g; one in ten points is a copy of the one before. */
static void make_sample(sample *s)
{
    for (int i = 0; i < N; i++) {
        for (int d = 0; d < DIMS; d++) {
            double noise = t_unit(7, (uint64_t)(i * DIMS + d)) + t_unit(8, (uint64_t)(i * DIMS + d)) - 1.0;
            s->at[i * DIMS + d] = (float)(3.0 * noise + (d == i % GROUPS ? 6.0 : 0.0));
        }
        if (i % 10 == 9) {
            memcpy(s->at + i * DIMS, s->at + (i - GROUPS) * DIMS, DIMS * sizeof *s->at);
        }
    }
    for (int i = 0; i < N; i++) {
        nearest(s->at, DIMS, i, K, s->neighbour + i * K, s->distance + i * K);
    }
}

/* How far each of the nearest of point i is a neighbour: exponentials beyond the nearest that is not a copy, with the scale
 * for which they add up to log2(k + 1), found by steps of a hundredth. */
static void memberships(const float *distance, int k, double *member)
{
    double nearest_other = 1e30, mean = 0.0, scale = 1e-6, sum = 0.0;
    for (int e = 0; e < k; e++) {
        double d = (double)distance[e];
        nearest_other = d > 0.0 && d < nearest_other ? d : nearest_other;
        mean += d / k;
    }
    for (double step = 1.01; step > 1.0000001; step = sqrt(step)) {
        for (sum = 0.0; sum < log2(k + 1.0);) {
            scale *= step;
            sum = 0.0;
            for (int e = 0; e < k; e++) {
                sum += exp(-fmax(0.0, (double)distance[e] - nearest_other) / scale);
            }
        }
        scale /= step;
    }
    for (int e = 0; e < k; e++) {
        member[e] = exp(-fmax(0.0, (double)distance[e] - nearest_other) / fmax(scale, 1e-3 * mean));
    }
}

/* Of six of the twelve nearest: the fuzzy union of both directions, each edge with both its points, and no other edges. */
static void test_weights(void **state)
{
    (void)state;
    enum { FEW = K / 2 };
    sample *s = t_alloc(1, sizeof *s);
    double *one_way = t_alloc(N * N, sizeof *one_way), member[FEW];
    int edges = 0;
    make_sample(s);
    for (int i = 0; i < N; i++) {
        memberships(s->distance + i * K, FEW, member);
        for (int e = 0; e < FEW; e++) {
            one_way[i * N + s->neighbour[i * K + e]] = (double)(float)member[e]; /* 0 where a float is */
        }
    }
    gmv_neighbours near = {N, K, s->neighbour, s->distance};
    gmv_graph graph;
    assert_int_equal(gmv_fuzzy_graph(&graph, &near, FEW), GMV_OK);
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            edges += one_way[i * N + j] > 0.0 || one_way[j * N + i] > 0.0 ? 1 : 0;
        }
        for (int64_t e = graph.start[i]; e < graph.start[i + 1]; e++) {
            double to = one_way[i * N + graph.to[e]], from = one_way[graph.to[e] * N + i];
            t_near("weight", (double)graph.weight[e], to + from - to * from, 1e-4, 1e-6);
        }
    }
    assert_int_equal(graph.start[N], edges);
    gmv_graph_fini(&graph);
}

static void lay_out(sample *s, int threads, float *layout)
{
    gmv_neighbours near = {N, K, s->neighbour, s->distance};
    gmv_umap_input input = {&near, DIMS, s->at, .seed = 3};
    omp_set_num_threads(threads);
    assert_int_equal(gmv_umap_layout(&input, layout), GMV_OK);
}

/* Share of the K points that are nearest in the plane which are of the same group, and which were near before. */
static void check_layout(const sample *s)
{
    int same_group = 0, were_near = 0;
    for (int i = 0; i < N; i++) {
        int32_t found[K], before[3 * K];
        float distance[3 * K];
        nearest(s->layout, 2, i, K, found, distance);
        nearest(s->at, DIMS, i, 3 * K, before, distance);
        for (int e = 0; e < K; e++) {
            same_group += found[e] % GROUPS == i % GROUPS;
            for (int f = 0; f < 3 * K; f++) {
                were_near += before[f] == found[e];
            }
        }
    }
    assert_true(same_group > 0.97 * N * K);
    assert_true(were_near > 0.75 * N * K);
}

static void test_near_stays_near(void **state)
{
    (void)state;
    sample *s = t_alloc(1, sizeof *s);
    float *other = t_alloc(2 * N, sizeof *other);
    make_sample(s);
    lay_out(s, 1, s->layout);
    check_layout(s);
    lay_out(s, 3, other);
    assert_memory_equal(s->layout, other, sizeof s->layout);
}

/* Points that are all the same, and one neighbour each. */
static void test_ends(void **state)
{
    (void)state;
    const float at[3] = {1.0f, 1.0f, 1.0f};
    float layout[6], distance[3] = {0.0f, 0.0f, 0.0f};
    int32_t neighbour[3] = {1, 0, 0};
    gmv_neighbours near = {3, 1, neighbour, distance};
    gmv_umap_input input = {&near, 1, at, .seed = 3, .epochs = 20};
    assert_int_equal(gmv_umap_layout(&input, layout), GMV_OK);
    for (int i = 0; i < 6; i++) {
        assert_true(isfinite(layout[i]) && fabsf(layout[i]) < 100.0f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_weights), cmocka_unit_test(test_near_stays_near),
                                       cmocka_unit_test(test_ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
