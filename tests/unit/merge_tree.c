/* The tree of components and where it is cut. */
#include "harness.h"

#include "gmvae/clusters.h"

#include <math.h>
#include <string.h>

enum { MOST = 24 };

/* Symmetric, with a heavy diagonal; some components have next to nothing. */
static void random_overlaps(int n, uint64_t seed, double *overlap)
{
    for (int a = 0; a < n; a++) {
        for (int b = a; b < n; b++) {
            double u = t_unit(seed, (uint64_t)(a * n + b)), s = a == b ? 50.0 + 100.0 * u : 20.0 * u * u * u * u;
            bool tiny = (t_mix(seed + (uint64_t)a) % 9 == 0 || t_mix(seed + (uint64_t)b) % 9 == 0) && a != b;
            s = a == b && t_mix(seed + (uint64_t)a) % 9 == 0 ? 0.1 : tiny ? s * 1e-4 : s;
            overlap[a * n + b] = overlap[b * n + a] = s;
        }
    }
}

/* Sum of the overlaps of the components of two sets. */
static double between(int n, const double *overlap, const bool *one, const bool *other)
{
    double sum = 0.0;
    for (int a = 0; a < n; a++) {
        for (int b = 0; b < n; b++) {
            sum += one[a] && other[b] ? overlap[a * n + b] : 0.0;
        }
    }
    return sum;
}

/* Every merge is one of the pair of largest lift, worked out anew from the sets; components without cells go first. */
static void check_tree(int n, const double *overlap, const double *tree)
{
    bool set[2 * MOST][MOST] = {{false}}, all[MOST], there[2 * MOST] = {false};
    double highest = 0.0;
    memset(all, true, sizeof all);
    for (int k = 0; k < n; k++) {
        set[k][k] = there[k] = true;
    }
    double total = between(n, overlap, all, all);
    for (int i = 0; i + 1 < n; i++) {
        int a = (int)tree[4 * i], b = (int)tree[4 * i + 1], size = 0;
        assert_true(a < b && b < n + i && there[a] && there[b]);
        double best = 0.0, lift = 0.0;
        bool empty_left = false, empty_taken = false;
        for (int c = 0; c < n + i; c++) {
            for (int d = 0; d < c && there[c]; d++) {
                double mc = between(n, overlap, set[c], all), md = between(n, overlap, set[d], all);
                bool empty = mc < 0.5 || md < 0.5;
                if (!there[d]) {
                    continue;
                }
                double found = between(n, overlap, set[c], set[d]) * total / (mc * md);
                lift = c == b && d == a ? found : lift;
                empty_taken = c == b && d == a ? empty : empty_taken;
                empty_left = empty_left || empty;
                best = !empty && found > best ? found : best;
            }
        }
        assert_int_equal(empty_taken, empty_left);
        double height = empty_taken ? 0.0 : 1.0 / (1.0 + lift);
        assert_true(empty_taken || lift >= best * (1.0 - 1e-9));
        highest = height > highest ? height : highest;
        assert_true(fabs(tree[4 * i + 2] - highest) <= 1e-9);
        there[a] = there[b] = false;
        there[n + i] = true;
        for (int k = 0; k < n; k++) {
            set[n + i][k] = set[a][k] || set[b][k];
            size += set[n + i][k];
        }
        assert_int_equal((int)tree[4 * i + 3], size);
    }
}

/* The first of the widest ratios between lifts that follow each other, of those from 0.2 to 0.8. */
static int widest_gap(int n, const double *tree)
{
    double lift[MOST + 1] = {INFINITY}, widest = 0.0;
    int best = -1;
    for (int i = 0; i + 1 < n; i++) {
        lift[i + 1] = tree[4 * i + 2] > 0.0 ? 1.0 / tree[4 * i + 2] - 1.0 : INFINITY;
    }
    lift[n] = 0.0;
    for (int i = 0; i < n; i++) {
        double upper = lift[i] > 0.8 ? 0.8 : lift[i], lower = lift[i + 1] < 0.2 ? 0.2 : lift[i + 1];
        double gap = lower >= upper ? 1.0 : upper / lower;
        if (gap > widest * (1.0 + 1e-12)) {
            widest = gap;
            best = i;
        }
    }
    return best;
}

static void test_pairs_of_largest_lift(void **state)
{
    (void)state;
    double overlap[MOST * MOST], tree[4 * MOST];
    int gaps = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        int n = 1 + (int)(t_mix(seed) % MOST);
        random_overlaps(n, seed, overlap);
        assert_int_equal(gmv_merge_tree(n, overlap, tree), GMV_OK);
        check_tree(n, overlap, tree);
        gaps |= 1 << widest_gap(n, tree);
        assert_int_equal(gmv_widest_gap(n, tree), widest_gap(n, tree));
    }
    assert_true(gaps != (gaps & -gaps)); /* not the same every time */
}

/* Three groups of two components, cells undecided within them, and one component without a cell. */
static void test_groups_are_found(void **state)
{
    (void)state;
    enum { N = 7 };
    double overlap[N * N] = {0}, tree[4 * N];
    int cluster[N], wanted[N] = {0, 1, 0, 2, 1, 2, 0};
    const int pair[3][2] = {{0, 2}, {1, 4}, {3, 5}};
    for (int g = 0; g < 3; g++) {
        int a = pair[g][0], b = pair[g][1];
        overlap[a * N + a] = overlap[b * N + b] = 60.0;
        overlap[a * N + b] = overlap[b * N + a] = 30.0 + g;
    }
    overlap[0 * N + 1] = overlap[1 * N + 0] = 0.9;
    overlap[6 * N + 2] = overlap[2 * N + 6] = 0.2;
    overlap[6 * N + 1] = overlap[1 * N + 6] = 0.1;
    assert_int_equal(gmv_merge_tree(N, overlap, tree), GMV_OK);
    assert_true((int)tree[0] == 2 && (int)tree[1] == 6);
    int merges = gmv_widest_gap(N, tree);
    assert_int_equal(merges, 4);
    assert_int_equal(gmv_cut_tree(N, tree, merges, cluster), 3);
    assert_memory_equal(cluster, wanted, sizeof wanted);
    double cut = gmv_cut_height(N, tree, merges);
    assert_true(tree[4 * (merges - 1) + 2] < cut && cut < tree[4 * merges + 2]);
}

static void test_ends_of_the_rule(void **state)
{
    (void)state;
    double overlap[9] = {50, 25, 25, 25, 50, 25, 25, 25, 50}, tree[8];
    int cluster[3];
    assert_int_equal(gmv_merge_tree(3, overlap, tree), GMV_OK); /* nothing tells them apart */
    assert_int_equal(gmv_widest_gap(3, tree), 2);
    assert_int_equal(gmv_cut_tree(3, tree, 2, cluster), 1);
    for (int i = 0; i < 9; i++) {
        overlap[i] = i % 4 == 0 ? 100.0 : 0.01;
    }
    assert_int_equal(gmv_merge_tree(3, overlap, tree), GMV_OK); /* everything does */
    assert_int_equal(gmv_widest_gap(3, tree), 0);
    assert_int_equal(gmv_cut_tree(3, tree, 0, cluster), 3);
    assert_int_equal(gmv_merge_tree(1, overlap, tree), GMV_OK);
    assert_int_equal(gmv_widest_gap(1, tree), 0);
    assert_int_equal(gmv_cut_tree(1, tree, 0, cluster), 1);
    memset(overlap, 0, sizeof overlap); /* no cells at all */
    assert_int_equal(gmv_merge_tree(3, overlap, tree), GMV_OK);
    assert_true(tree[2] <= tree[6] && (int)tree[7] == 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs_of_largest_lift),
        cmocka_unit_test(test_groups_are_found),
        cmocka_unit_test(test_ends_of_the_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
