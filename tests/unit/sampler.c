/* Order of the cells: every eligible cell once an epoch, batches that do not depend on who hosts what, in
 * proportion to the shards, and the bound on memory that a rank reserves for its part of a batch. */
#include "harness.h"

#include "gmvae/sampler.h"

enum { SEED = 5, MOST_SHARDS = 64 };

/* Shards as a run with R ranks would host them, but of any sizes. */
typedef struct layout {
    const char *name;
    int shards;
    int64_t size[MOST_SHARDS];
} layout;

static int64_t rows_of(const layout *l)
{
    int64_t n = 0;
    for (int s = 0; s < l->shards; s++) {
        n += l->size[s];
    }
    return n;
}

/* About one cell in nine has no counts. */
static bool is_empty(int64_t row)
{
    return t_mix((uint64_t)row + 77) % 9 == 0;
}

/* Shards [first, end) of a layout, as a rank has them after loading. */
static gmv_cells cells_of(const layout *l, int first, int end, double held_out)
{
    gmv_cells cells = {.total = rows_of(l),
                       .split = {.seed = SEED, .fraction = held_out},
                       .shards = l->shards,
                       .first_shard = first,
                       .end_shard = end,
                       .genes = 1};
    cells.shard_start = t_alloc((size_t)l->shards + 1, sizeof *cells.shard_start);
    for (int s = 0; s < l->shards; s++) {
        cells.shard_start[s + 1] = cells.shard_start[s] + l->size[s];
    }
    cells.first = cells.shard_start[first];
    cells.count = cells.shard_start[end] - cells.first;
    gmv_nnz *indptr = t_alloc((size_t)cells.count + 1, sizeof *indptr);
    for (int64_t i = 0; i < cells.count; i++) {
        indptr[i + 1] = indptr[i] + (is_empty(cells.first + i) ? 0 : 1);
    }
    cells.packed = (gmv_packed){.rows = cells.count, .genes = 1, .first_cell = cells.first, .indptr = indptr};
    return cells;
}

typedef struct host {
    gmv_cells *cells;
    gmv_sampler sampler;
} host;

static host open_host(const layout *l, int first, int end, double held_out, int64_t batch)
{
    host h = {.cells = t_alloc(1, sizeof *h.cells)};
    *h.cells = cells_of(l, first, end, held_out);
    gmv_status status = gmv_sampler_init(&h.sampler, &t_comm, h.cells, SEED, batch, 0);
    gmv_error_clear();
    /* alone in its communicator, a host of empty shards has no cell; it learns of the others' in join() */
    assert_true(status == GMV_OK || status == GMV_ERR_DATA);
    return h;
}

/* What the sums over all ranks would tell a host of a part. */
static void join(host *part, const host *whole)
{
    memcpy(part->sampler.count, whole->sampler.count, (size_t)whole->sampler.shards * sizeof *whole->sampler.count);
    part->sampler.total = whole->sampler.total;
    part->sampler.batches = whole->sampler.batches;
}

/* Local rows of a batch as global ones. */
static int64_t global_rows(host *h, int64_t epoch, int64_t t, int first, int end, int64_t *rows)
{
    int n = gmv_sampler_rows(&h->sampler, epoch, t, first, end, rows);
    for (int i = 0; i < n; i++) {
        rows[i] += h->cells->first;
    }
    return n;
}

static void check_every_cell_once(host *h, const layout *l, int64_t epoch)
{
    int64_t n = rows_of(l), done = 0;
    int *seen = t_alloc((size_t)n, sizeof *seen);
    int64_t *rows = t_alloc((size_t)n, sizeof *rows);
    for (int64_t t = 0; t < h->sampler.batches; t++) {
        int64_t cells = global_rows(h, epoch, t, 0, l->shards, rows);
        assert_int_equal(cells, gmv_sampler_batch_cells(&h->sampler, t));
        assert_true(cells == h->sampler.batch_size || (t == h->sampler.batches - 1 && cells > 0));
        for (int64_t i = 0; i < cells; i++) {
            assert_in_range(rows[i], 0, n - 1);
            seen[rows[i]]++;
        }
        done += cells;
    }
    assert_int_equal(done, h->sampler.total);
    for (int64_t i = 0; i < n; i++) {
        assert_int_equal(seen[i], is_empty(i) || gmv_split_holds_out(&h->cells->split, i) ? 0 : 1);
    }
}

/* Webster: the last cell given to a shard was due no later than the next of any other, (2x-1)/n <= (2y+1)/m. */
static void check_proportions(const host *h, const int64_t *taken, bool even)
{
    const gmv_sampler *s = &h->sampler;
    double last = 0.0, next = INFINITY, cells = 0.0;
    for (int i = 0; i < s->shards; i++) {
        double n = (double)s->count[i], x = (double)taken[i];
        last = taken[i] > 0 ? fmax(last, (2.0 * x - 1.0) / n) : last;
        next = taken[i] < s->count[i] ? fmin(next, (2.0 * x + 1.0) / n) : next;
        cells += x;
    }
    assert_true(last <= next * (1.0 + 1e-12));
    for (int i = 0; even && i < s->shards; i++) {
        assert_true(fabs((double)taken[i] - cells * (double)s->count[i] / (double)s->total) <= 1.0);
    }
}

/* The batches of hosts of [0, cut), [cut, S), or of one shard each, put together, are those of one host. */
static void check_hosting(host *whole, const layout *l, double held_out, int parts, bool even)
{
    int64_t n = rows_of(l), batch = whole->sampler.batch_size;
    int64_t *want = t_alloc((size_t)n, sizeof *want), *got = t_alloc((size_t)n, sizeof *got);
    int64_t *taken = t_alloc((size_t)l->shards, sizeof *taken);
    host part[MOST_SHARDS];
    for (int p = 0; p < parts; p++) {
        part[p] = open_host(l, l->shards * p / parts, l->shards * (p + 1) / parts, held_out, batch);
        join(&part[p], whole);
    }
    for (int64_t t = 0; t < whole->sampler.batches; t++) {
        int64_t cells = global_rows(whole, 3, t, 0, l->shards, want), at = 0;
        for (int p = 0; p < parts; p++) {
            int first = part[p].cells->first_shard, end = part[p].cells->end_shard;
            int64_t mine = global_rows(&part[p], 3, t, first, end, got + at);
            if (mine > gmv_sampler_most(&part[p].sampler, first, end)) {
                fail_msg("%s: batch %lld of %lld cells takes %lld from shards [%d, %d), room for %d", l->name,
                         (long long)t, (long long)batch, (long long)mine, first, end,
                         gmv_sampler_most(&part[p].sampler, first, end));
            }
            for (int64_t i = at; parts == l->shards && i < at + mine; i++) {
                taken[p]++;
            }
            at += mine;
        }
        assert_int_equal(at, cells);
        t_same_bits("rows of a batch", got, want, (size_t)cells * sizeof *want);
        if (parts == l->shards) {
            check_proportions(whole, taken, even);
        }
    }
    for (int p = 0; p < parts; p++) {
        gmv_sampler_fini(&part[p].sampler);
    }
}

static layout even_layout(int shards, int64_t n)
{
    layout l = {.name = "even", .shards = shards};
    for (int s = 0; s < shards; s++) {
        l.size[s] = n * (s + 1) / shards - n * s / shards;
    }
    return l;
}

static void check_layout(const layout *l, int64_t batch, double held_out, bool even)
{
    host whole = open_host(l, 0, l->shards, held_out, batch);
    if (whole.sampler.total > 0) {
        check_every_cell_once(&whole, l, 0);
        check_every_cell_once(&whole, l, 41);
        check_hosting(&whole, l, held_out, l->shards, even);
        check_hosting(&whole, l, held_out, (l->shards + 2) / 3, even);
        check_hosting(&whole, l, held_out, (l->shards + 1) / 2, even);
    }
    gmv_sampler_fini(&whole.sampler);
    t_end_test(NULL);
}

static void every_cell_comes_once_an_epoch(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 13, 64, 257, 1000, 2003};
    static const int shards[] = {1, 2, 7, 13, 64};
    static const int64_t batches[] = {1, 7, 64, 101, 256, 1000, 5000};
    for (int i = 0; i < 7 * 5 * 7; i++) {
        int64_t n = sizes[i % 7], batch = batches[i / 35];
        if (n / batch > 300 || (t_thin(100) < 100 && n > 64)) {
            continue;
        }
        layout l = even_layout(shards[i / 7 % 5], n);
        check_layout(&l, batch, i % 2 == 0 ? 0.0 : 0.25, false);
    }
}

static void shards_of_any_sizes(void **state)
{
    (void)state;
    static const layout layouts[] = {
        {"one giant", 5, {3, 0, 2000, 1, 0}},
        {"empty ends", 6, {0, 0, 40, 40, 0, 0}},
        {"doubling", 11, {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024}},
        {"only one", 1, {97}},
    };
    static const int64_t batches[] = {1, 8, 37, 300, 100000};
    int count = t_thin(100) < 100 ? 2 : 5;
    for (int i = 0; i < 4 * count; i++) {
        check_layout(&layouts[i % 4], batches[i / 4 + (5 - count)], i % 3 == 0 ? 0.3 : 0.0, false);
    }
    /* many small shards that are due together, behind one large one */
    layout wave = {.name = "wave", .shards = MOST_SHARDS, .size = {1500}};
    for (int s = 1; s < MOST_SHARDS; s++) {
        wave.size[s] = 20 + s % 2;
    }
    check_layout(&wave, 60, 0.0, false);
    check_layout(&wave, 97, 0.1, false);
}

static void batches_are_in_proportion(void **state)
{
    (void)state;
    static const int64_t batches[] = {13, 64, 256, 1000};
    for (int i = 0; i < (t_thin(100) < 100 ? 1 : 4); i++) {
        layout l = even_layout(16, 3001);
        check_layout(&l, batches[i], 0.1, true);
    }
}

/* Contiguous groups of equal shards, as ranks host them, get equal parts of every batch. */
static void ranks_get_equal_parts(void **state)
{
    (void)state;
    layout l = {.name = "equal", .shards = 64};
    for (int s = 0; s < 64; s++) {
        l.size[s] = 60;
    }
    static const int64_t batches[] = {33, 64, 100, 256, 1000};
    for (int i = 0; i < 5; i++) {
        host h = open_host(&l, 0, 64, 0.0, batches[i]);
        for (int s = 0; s < 64; s++) {
            h.sampler.count[s] = 40; /* the same number of eligible cells, whichever have counts */
        }
        h.sampler.total = 64 * 40;
        h.sampler.batches = (h.sampler.total + batches[i] - 1) / batches[i];
        int64_t rows[1000];
        for (int64_t t = 0; t < h.sampler.batches; t++) {
            for (int ranks = 2; ranks <= 16; ranks *= 2) {
                int64_t cells = gmv_sampler_batch_cells(&h.sampler, t);
                for (int r = 0; r < ranks; r++) {
                    int n = gmv_sampler_rows(&h.sampler, 0, t, 64 / ranks * r, 64 / ranks * (r + 1), rows);
                    assert_true(fabs((double)n - (double)cells / ranks) <= 2.0);
                }
            }
        }
        gmv_sampler_fini(&h.sampler);
        t_end_test(NULL);
    }
}

static void permutations_are_bijections(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 7, 16, 17, 64, 100, 257, 1024, 1025, 4096, 4097, 10007};
    for (int i = 0; i < 16; i++) {
        int64_t n = sizes[i];
        int same = 0;
        for (int use = 0; use < 3; use++) {
            int *seen = t_alloc((size_t)n, sizeof *seen);
            double product = 0.0, half = 0.5 * (double)(n - 1);
            for (int64_t k = 0; k < n; k++) {
                int64_t to = gmv_permute(k, n, SEED, use == 1 ? 8 : 7, use == 2 ? 4 : 3);
                assert_in_range(to, 0, n - 1);
                assert_int_equal(seen[to]++, 0);
                product += ((double)k - half) * ((double)to - half);
                same += use > 0 && to == gmv_permute(k, n, SEED, 7, 3);
            }
            double correlation = product / ((double)n * ((double)n * (double)n - 1.0) / 12.0 + 1e-9);
            t_near("correlation with the old order", n > 100 ? correlation : 0.0, 0.0, T_SIGMAS, 1.0 / sqrt((double)n));
        }
        assert_true(n < 64 || same < 20); /* of 2 n, by chance 2 */
    }
    int64_t n = (int64_t)1 << 40, before = -1;
    for (int64_t k = n - 50; k < n; k++) {
        int64_t to = gmv_permute(k, n - 3, SEED, 0, 0); /* walks until it lands below n - 3 */
        assert_true(to >= 0 && to < n - 3 && to != before);
        before = to;
        if (k == n - 4) {
            break;
        }
    }
}

static void nothing_to_train_on_is_an_error(void **state)
{
    (void)state;
    layout l = {.name = "nothing", .shards = 3};
    gmv_cells cells = cells_of(&l, 0, 3, 0.0);
    gmv_sampler sampler;
    assert_int_equal(gmv_sampler_init(&sampler, &t_comm, &cells, SEED, 8, 0), GMV_ERR_DATA);
    assert_non_null(strstr(gmv_error_message(), "no cell is left"));
    gmv_error_clear();
    gmv_sampler_fini(&sampler);
}

static const struct CMUnitTest tests[] = {
    T_TEST(every_cell_comes_once_an_epoch), T_TEST(shards_of_any_sizes),
    T_TEST(batches_are_in_proportion),      T_TEST(ranks_get_equal_parts),
    T_TEST(permutations_are_bijections),    T_TEST(nothing_to_train_on_is_an_error),
};
T_MAIN_ON_BACKEND(tests)
