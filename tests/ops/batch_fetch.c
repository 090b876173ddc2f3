/* batch_fetch against the dense counts: both orders of storage, inputs, libraries, levels, ids. */
#include "harness.h"
#include "ref/dataset.h"

typedef struct fetch_case {
    t_dataset data;
    int64_t *rows;
    int n, wide;
    gmv_input input;
    int behind; /* rows without cells */
} fetch_case;

static void run(const void *context, t_outputs *out)
{
    const fetch_case *c = context;
    gmv_batch batch = t_fetch_filled(&c->data, c->wide, c->rows, c->n, c->behind, c->input);
    int z = t_nonzeros(&c->data, c->rows, c->n), genes = c->data.genes, cells = c->n + c->behind;
    assert_int_equal(batch.cells, cells);
    assert_int_equal(batch.genes, genes);
    assert_int_equal(batch.covariates, c->data.covariates);
    /* integers travel as the bits of floats */
    t_keep_vec(out, gmv_vec_of((float *)batch.indptr, cells + 1));
    t_keep_vec(out, gmv_vec_of((float *)batch.gene, z));
    t_keep_vec(out, gmv_vec_of(batch.x, z));
    t_keep_vec(out, gmv_vec_of((float *)batch.colptr, genes + 1));
    t_keep_vec(out, gmv_vec_of((float *)batch.cell, z));
    t_keep_vec(out, gmv_vec_of(batch.col_x, z));
    t_keep_vec(out, gmv_vec_of(batch.col_count, z));
    t_keep_vec(out, gmv_vec_of(batch.library, cells));
    t_keep_vec(out, gmv_vec_of((float *)batch.level, (int64_t)cells * c->data.covariates));
    t_keep_vec(out, gmv_vec_of((float *)(void *)batch.cell_id, 2 * (int64_t)cells));
    t_keep_vec(out, gmv_vec_of((float *)batch.set, c->data.sets > 0 ? cells : 0));
    assert_true((batch.present != NULL) == (c->data.sets > 0));
}

static const double *counts_of(const fetch_case *c, int i)
{
    return c->data.count + (size_t)c->rows[i] * (size_t)c->data.genes;
}

/* Rows that fill a batch up have no counts, and what an operation may look up. */
static void check_behind(const fetch_case *c, const t_outputs *out)
{
    const int32_t *indptr = (int32_t *)out->at[0], *level = (int32_t *)out->at[8], *set = (int32_t *)out->at[10];
    const int64_t *id = (int64_t *)(void *)out->at[9];
    for (int i = c->n; i < c->n + c->behind; i++) {
        assert_int_equal(indptr[i + 1], indptr[c->n]);
        assert_true(out->at[7][i] == 0.0f && id[i] == 0);
        assert_true(c->data.sets == 0 || set[i] == 0);
        for (int k = 0; k < c->data.covariates; k++) {
            assert_int_equal(level[i * c->data.covariates + k], 0);
        }
    }
}

static void check(fetch_case *c)
{
    t_outputs out = t_repeatable(run, c);
    int z = t_nonzeros(&c->data, c->rows, c->n), genes = c->data.genes, at = 0;
    const int32_t *indptr = (int32_t *)out.at[0], *gene = (int32_t *)out.at[1], *colptr = (int32_t *)out.at[3];
    const int32_t *cell = (int32_t *)out.at[4], *level = (int32_t *)out.at[8];
    const int64_t *id = (int64_t *)(void *)out.at[9];
    const int32_t *set = (int32_t *)out.at[10];
    /* non-zeros carry the input without its constant part: that of `standardize` enters with the product */
    double *x = ref_inputs(&c->data, c->rows, c->n, c->input);
    double constant = c->input.kind == GMV_INPUT_STANDARDIZE ? ref_input(0.0, c->input, 0.0) : 0.0;
    assert_int_equal(indptr[0], 0);
    for (int i = 0; i < c->n; i++) {
        const double *y = counts_of(c, i);
        double library = 0.0;
        for (int g = 0; g < genes; g++) {
            library += y[g];
            if (y[g] > 0.0) {
                assert_int_equal(gene[at], g);
                t_near("input", (double)out.at[2][at], x[i * genes + g] - constant, T_POINTWISE, 0.0);
                at++;
            }
        }
        assert_int_equal(indptr[i + 1], at);
        assert_true(out.at[7][i] == (float)library);
        assert_true(c->data.sets == 0 || set[i] == c->data.set[c->rows[i]]);
        assert_true(id[i] == (c->data.cell != NULL ? c->data.cell[c->rows[i]] : c->data.first_cell + c->rows[i]));
        for (int k = 0; k < c->data.covariates; k++) {
            assert_int_equal(level[i * c->data.covariates + k], c->data.level[c->rows[i] * c->data.covariates + k]);
        }
    }
    assert_int_equal(at, z);
    check_behind(c, &out);
    at = 0;
    for (int g = 0; g < genes; g++) {
        assert_int_equal(colptr[g], at);
        for (int i = 0; i < c->n; i++) {
            double y = counts_of(c, i)[g];
            if (y > 0.0) {
                assert_int_equal(cell[at], i);
                assert_true(out.at[6][at] == (float)y);
                t_near("transposed input", (double)out.at[5][at], x[i * genes + g] - constant, T_POINTWISE, 0.0);
                at++;
            }
        }
    }
    assert_int_equal(colptr[genes], z);
}

static void every_shape_and_input(void **state)
{
    (void)state;
    static const int shapes[][2] = {{0, 5},   {1, 1},    {1, 257},    {3, 31},   {32, 33},
                                    {61, 97}, {256, 40}, {300, 1009}, {1100, 37}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        for (int kind = GMV_INPUT_LOG1P; kind <= GMV_INPUT_NONE; kind++) {
            if (t_few() && !t_case(s, kind - GMV_INPUT_LOG1P, GMV_INPUT_NONE - GMV_INPUT_LOG1P + 1, s == 3)) {
                continue; /* the inputs differ in values alone, which others look at */
            }
            int n = shapes[s][0];
            fetch_case c = {t_counts(10 + s, n + 9, shapes[s][1], 0.3, (int)s % 3),
                            NULL,
                            n,
                            kind % 2,
                            {(gmv_input_kind)kind, 0.14f, 2.38f},
                            kind % 2 == 0 ? (int)s : 0};
            c.rows = t_rows(s, n, n + 9);
            if (s % 2 == 0) {
                t_add_sets(&c.data, s);
            }
            check(&c);
        }
    }
}

static void batches_without_a_count(void **state)
{
    (void)state;
    for (int kind = GMV_INPUT_LOG1P; kind <= GMV_INPUT_NONE; kind++) {
        fetch_case c = {t_counts(3, 40, 50, 0.0, 1), NULL, 33, 0, {(gmv_input_kind)kind, 0.14f, 2.38f}, 31};
        c.rows = t_rows(1, 33, 40);
        check(&c);
    }
}

/* All counts in the overflow list, and none there; the same row twice. */
static void overflow_list_and_repeated_rows(void **state)
{
    (void)state;
    for (int high = 0; high < 2; high++) {
        fetch_case c = {t_counts(4, 20, 37, 0.6, 2), NULL, 12, 1, {GMV_INPUT_LOG1P, 0.0f, 1.0f}, 0};
        for (int i = 0; i < 20 * 37; i++) {
            if (c.data.count[i] > 0.0) {
                c.data.count[i] = high ? 255.0 + (double)(i % 3) * 5592000.0 : (double)(1 + i % 254);
            }
        }
        c.rows = t_rows(2, 12, 20);
        c.rows[5] = c.rows[0];
        c.rows[11] = c.rows[0];
        check(&c);
    }
}

/* Rows as they are when they come from all over the files. */
static void ids_that_do_not_follow(void **state)
{
    (void)state;
    fetch_case c = {t_counts(5, 50, 41, 0.3, 1), NULL, 33, 0, {GMV_INPUT_LOG1P, 0.0f, 1.0f}, 0};
    c.data.cell = t_alloc(50, sizeof *c.data.cell);
    for (int i = 0; i < 50; i++) {
        c.data.cell[i] = (gmv_gidx)(t_mix(9 + (uint64_t)i) >> 24);
    }
    c.rows = t_rows(6, 33, 50);
    check(&c);
}

static const struct CMUnitTest tests[] = {
    T_TEST(every_shape_and_input),
    T_TEST(batches_without_a_count),
    T_TEST(overflow_list_and_repeated_rows),
    T_TEST(ids_that_do_not_follow),
};
T_MAIN_ON_BACKEND(tests)
