/* What metrics are made of, against obvious loops in double. */
#include "harness.h"

#include "gmvae/metrics.h"

#include <math.h>
#include <string.h>

enum { MOST = 300 };

/* Whole numbers from 0 to `range`: many distances are equal. */
static float *grid_points(uint64_t seed, int n, int dims, int range)
{
    float *at = t_host_floats((size_t)(n * dims));
    for (int i = 0; i < n * dims; i++) {
        at[i] = (float)(t_mix(seed * 7919 + (uint64_t)i) % (uint64_t)(range + 1));
    }
    return at;
}

static double squared(int dims, const float *a, const float *b)
{
    double sum = 0.0;
    for (int d = 0; d < dims; d++) {
        sum += ((double)a[d] - (double)b[d]) * ((double)a[d] - (double)b[d]);
    }
    return sum;
}

/* Place of point j among the neighbours of a point: how many are nearer, or as near with a lower number. */
static int place(const gmv_points *among, const float *of, int own, int j)
{
    int before = 0;
    double at = squared(among->dims, of, among->at + j * among->dims);
    for (int i = 0; i < among->n; i++) {
        double other = squared(among->dims, of, among->at + i * among->dims);
        before += i != own && (other < at || (other == at && i < j)) ? 1 : 0;
    }
    return before;
}

static void check_neighbours(const gmv_points *among, const gmv_points *of, int k)
{
    gmv_neighbours found;
    const gmv_points *from = of != NULL ? of : among;
    t_ok(gmv_find_neighbours(&found, among, of, k, t_backend), "neighbours");
    assert_true(found.n == from->n && found.k == k);
    for (int i = 0; i < from->n; i++) {
        for (int j = 0; j < k; j++) {
            int index = found.index[i * k + j];
            const float *at = from->at + i * from->dims;
            assert_true(index >= 0 && index < among->n && (of != NULL || index != i));
            assert_int_equal(place(among, at, of == NULL ? i : -1, index), j);
            t_near("distance", (double)found.distance[i * k + j],
                   sqrt(squared(among->dims, at, among->at + index * among->dims)), T_POINTWISE, 1.0);
        }
    }
    gmv_neighbours_fini(&found);
}

static void test_neighbours(void **state)
{
    (void)state;
    const int sizes[][3] = {{1, 1, 0}, {2, 3, 1}, {63, 2, 5}, {64, 1, 63}, {65, 5, 20}, {MOST, 3, 90}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        int n = sizes[s][0], dims = sizes[s][1], k = sizes[s][2];
        gmv_points points = {n, dims, grid_points(s, n, dims, 4)}, others = {33, dims, grid_points(s + 9, 33, dims, 4)};
        check_neighbours(&points, NULL, k);
        check_neighbours(&points, &others, k + 1);
    }
}

/* The same bits for every number of threads. */
static void test_threads(void **state)
{
    (void)state;
    enum { N = 200, D = 7, K = 20 };
    gmv_points points = {N, D, t_random(5, (size_t)N * D, 1.0)};
    double silhouette[2][N];
    int32_t group[N], cluster[2][N];
    gmv_neighbours found[2];
    for (int i = 0; i < N; i++) {
        group[i] = i % 3;
    }
    for (int r = 0; r < 2; r++) {
        omp_set_num_threads(1 + 2 * r);
        t_ok(gmv_find_neighbours(&found[r], &points, NULL, K, t_backend), "neighbours");
        t_ok(gmv_silhouettes(&points, group, 3, &t_comm, silhouette[r]), "silhouettes");
        t_ok(gmv_kmeans(&points, 4, 1, &t_comm, cluster[r]), "k-means");
    }
    t_same_bits("neighbours", found[0].index, found[1].index, sizeof(int32_t) * N * K);
    t_same_bits("distances", found[0].distance, found[1].distance, sizeof(float) * N * K);
    t_same_bits("silhouettes", silhouette[0], silhouette[1], sizeof silhouette[0]);
    t_same_bits("clusters", cluster[0], cluster[1], sizeof cluster[0]);
    gmv_neighbours_fini(&found[0]);
    gmv_neighbours_fini(&found[1]);
}

static double silhouette_of(const gmv_points *points, const int32_t *group, int groups, int i)
{
    double own = 0.0, nearest = INFINITY;
    int others = -1;
    for (int g = 0; g < groups; g++) {
        double sum = 0.0;
        int n = 0;
        for (int j = 0; j < points->n; j++) {
            if (group[j] == g) {
                sum += sqrt(squared(points->dims, points->at + i * points->dims, points->at + j * points->dims));
                n++;
            }
        }
        others = g == group[i] ? n - 1 : others;
        own = g == group[i] ? sum / (n - 1) : own;
        nearest = g != group[i] && sum / n < nearest ? sum / n : nearest;
    }
    return others > 0 && fmax(own, nearest) > 0.0 ? (nearest - own) / fmax(own, nearest) : 0.0;
}

static void test_silhouettes(void **state)
{
    (void)state;
    double found[MOST];
    int32_t group[MOST];
    for (int n = 2; n <= MOST; n = 3 * n + 5) {
        int groups = n < 20 ? 2 : 1 + n / 9, dims = 1 + n % 5;
        gmv_points points = {n, dims,
                             n == 2 ? grid_points(1, n, dims, 0) : t_random((uint64_t)n, (size_t)(n * dims), 2.0)};
        for (int i = 0; i < n; i++) { /* the last group has one point */
            group[i] = i + 1 == n ? groups - 1 : (int32_t)(t_mix((uint64_t)(n + i)) % (uint64_t)(groups - 1));
            group[i] = i < groups - 1 ? i : group[i];
        }
        t_ok(gmv_silhouettes(&points, group, groups, &t_comm, found), "silhouettes");
        for (int i = 0; i < n; i++) {
            t_near("silhouette", found[i], silhouette_of(&points, group, groups, i), T_POINTWISE, 1.0);
        }
    }
}

/* Reachability by Warshall's algorithm: the largest set of points of a label that all reach each other. */
static double connectivity_of(const gmv_neighbours *found, int others, const int32_t *label, int labels)
{
    static bool reach[MOST][MOST];
    int n = found->n;
    double mean = 0.0;
    memset(reach, 0, sizeof reach);
    for (int i = 0; i < n; i++) {
        reach[i][i] = true;
        for (int j = 0; j < others; j++) {
            int to = found->index[i * found->k + j];
            reach[i][to] = reach[i][to] || label[i] == label[to];
        }
    }
    for (int via = 0; via < n; via++) {
        for (int i = 0; i < n; i++) {
            for (int j = 0; reach[i][via] && j < n; j++) {
                reach[i][j] = reach[i][j] || reach[via][j];
            }
        }
    }
    for (int l = 0; l < labels; l++) {
        int largest = 0, all = 0;
        for (int i = 0; i < n; i++) {
            int size = 0;
            for (int j = 0; label[i] == l && j < n; j++) {
                size += reach[i][j] && reach[j][i] ? 1 : 0;
            }
            largest = size > largest ? size : largest;
            all += label[i] == l ? 1 : 0;
        }
        mean += (double)largest / all / labels;
    }
    return mean;
}

static void test_connectivity(void **state)
{
    (void)state;
    int32_t label[MOST];
    double lowest = 1.0;
    for (int n = 5; n <= MOST / 2; n += 48) {
        gmv_points points = {n, 2, t_random((uint64_t)n, (size_t)(n * 2), 1.0)};
        gmv_neighbours found;
        double mean;
        for (int i = 0; i < n; i++) {
            label[i] = points.at[2 * i] > 0.2f ? 1 : points.at[2 * i] < -0.3f ? 2 : 0;
        }
        label[0] = 0, label[1] = 1, label[2] = 2;
        t_ok(gmv_find_neighbours(&found, &points, NULL, 4, t_backend), "neighbours");
        t_ok(gmv_connectivity(&found, 4, label, 3, &mean), "connectivity");
        double wanted = connectivity_of(&found, 3, label, 3);
        t_near("connectivity", mean, wanted, 1e-12, 1.0);
        lowest = fmin(lowest, wanted);
        gmv_neighbours_fini(&found);
    }
    assert_true(lowest < 0.9); /* else this says little */
}

/* Tries every assignment of rows [row, rows) to the columns that are free. */
static int64_t best_of_all(const int64_t *table, int rows, int cols, int row, unsigned taken)
{
    int64_t best = row < rows && rows > cols ? best_of_all(table, rows, cols, row + 1, taken)
                   : row < rows              ? INT64_MIN
                                             : 0;
    for (int c = 0; row < rows && c < cols; c++) {
        if ((taken >> c & 1u) == 0) {
            int64_t sum = table[row * cols + c] + best_of_all(table, rows, cols, row + 1, taken | 1u << c);
            best = sum > best ? sum : best;
        }
    }
    return best;
}

static void test_assignment(void **state)
{
    (void)state;
    int64_t table[36], sum;
    for (uint64_t seed = 0; seed < 60; seed++) {
        int rows = 1 + (int)(t_mix(seed) % 6), cols = 1 + (int)(t_mix(seed + 1000) % 6);
        for (int i = 0; i < rows * cols; i++) {
            table[i] = (int64_t)(t_mix(seed * 100 + (uint64_t)i) % 9) * (seed % 7 == 0 ? 0 : 1);
        }
        t_ok(gmv_largest_assignment(table, rows, cols, &sum), "assignment");
        assert_int_equal(sum, best_of_all(table, rows, cols, 0, 0));
    }
}

/* Each point has the centre that is nearest, and each centre is the mean of its points. */
static void check_kmeans(const gmv_points *points, int k, const int32_t *cluster)
{
    double *centre = t_doubles((size_t)(k * points->dims));
    int *count = t_alloc((size_t)k, sizeof *count);
    for (int i = 0; i < points->n; i++) {
        assert_true(cluster[i] >= 0 && cluster[i] < k);
        count[cluster[i]]++;
        for (int d = 0; d < points->dims; d++) {
            centre[cluster[i] * points->dims + d] += (double)points->at[i * points->dims + d];
        }
    }
    for (int i = 0; i < points->n; i++) {
        double own = 0.0, nearest = INFINITY;
        for (int c = 0; c < k; c++) {
            double sum = 0.0;
            assert_true(count[c] > 0);
            for (int d = 0; d < points->dims; d++) {
                double x = centre[c * points->dims + d] / count[c] - (double)points->at[i * points->dims + d];
                sum += x * x;
            }
            own = c == cluster[i] ? sum : own;
            nearest = sum < nearest ? sum : nearest;
        }
        assert_true(sqrt(own) <= sqrt(nearest) + 0.1); /* centres move less than 0.01 of a deviation in the last step */
    }
}

static void test_kmeans(void **state)
{
    (void)state;
    enum { N = 240, D = 3 };
    int32_t cluster[N], group_of[6];
    float *at = t_random(3, (size_t)N * D, 1.0);
    for (int k = 1; k <= 12; k++) {
        gmv_points points = {N, D, at};
        t_ok(gmv_kmeans(&points, k, 1, &t_comm, cluster), "k-means");
        check_kmeans(&points, k, cluster);
    }
    for (int i = 0; i < N; i++) { /* six groups that are far apart */
        at[i * D] += (float)(100 * (i % 6));
        at[i * D + 1] -= (float)(50 * (i % 3));
    }
    for (uint64_t seed = 0; seed < 5; seed++) {
        gmv_points points = {N, D, at};
        t_ok(gmv_kmeans(&points, 6, seed, &t_comm, cluster), "k-means");
        memset(group_of, -1, sizeof group_of);
        for (int i = 0; i < N; i++) {
            group_of[cluster[i]] = group_of[cluster[i]] < 0 ? i % 6 : group_of[cluster[i]];
            assert_int_equal(group_of[cluster[i]], i % 6);
        }
    }
    gmv_points same = {4, D, grid_points(1, 4, D, 0)};
    t_ok(gmv_kmeans(&same, 3, 1, &t_comm, cluster), "k-means of one point four times");
}

/* Values of tables of the distribution, and the closed form of even degrees of freedom. */
static void test_chi_square(void **state)
{
    (void)state;
    const struct {
        double statistic, tail;
        int freedom;
    } known[] = {
        {3.841458821, 0.05, 1}, {6.634896601, 0.01, 1}, {7.814727903, 0.05, 3}, {16.91897760, 0.05, 9}, {0.0, 1.0, 4}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        t_near("tail", gmv_chi_square_tail(known[i].statistic, known[i].freedom), known[i].tail, 1e-9, 1.0);
    }
    for (int freedom = 2; freedom <= 40; freedom += 2) {
        for (double x = 0.1; x < 80.0; x *= 1.7) {
            double term = exp(-0.5 * x), sum = term;
            for (int j = 1; j < freedom / 2; j++) {
                term *= 0.5 * x / j;
                sum += term;
            }
            t_near("tail", gmv_chi_square_tail(x, freedom), sum, 1e-12, 1.0);
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_neighbours),   cmocka_unit_test(test_threads),    cmocka_unit_test(test_silhouettes),
        cmocka_unit_test(test_connectivity), cmocka_unit_test(test_assignment), cmocka_unit_test(test_kmeans),
        cmocka_unit_test(test_chi_square),
    };
    if (gmv_comm_init(&t_comm, &argc, &argv) != GMV_OK || t_open_backend(&t_backend, "cpu") != GMV_OK) {
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    gmv_backend_close(&t_backend);
    gmv_comm_fini(&t_comm);
    return failed;
}
