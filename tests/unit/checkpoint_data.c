/* What a checkpoint keeps of its cells, and how it tells others from them. */
#include "harness.h"

#include "../../src/app/same_cells.h"
#include "../../src/io/checkpoint_data.h"
#include "../../src/io/h5io.h"

#include "gmvae/mem.h"

#include <unistd.h>

static const char path[] = "data.h5";
enum { FILES = 3, ROWS = 5000, HELD_OUT = 10 };

static char key[] = "donor", other_key[] = "site", file_a[] = "a.h5ad", file_b[] = "b.h5ad", file_c[] = "c.h5ad";

typedef struct made {
    gmv_cells cells;
    gmv_factor factor[2];
    uint64_t counts[FILES];
    char *file[FILES];
    gmv_sampled_cell sample[ROWS];
} made;

/* Sample: each hash twice, every tenth row held out. */
static void make(made *m)
{
    *m = (made){.file = {file_a, file_b, file_c}, .counts = {UINT64_MAX, 2, 3}};
    m->factor[0] = (gmv_factor){.key = key, .fingerprint = 11};
    m->factor[1] = (gmv_factor){.key = other_key, .fingerprint = UINT64_MAX - 1};
    for (int i = 0; i < ROWS; i++) {
        m->sample[i] = (gmv_sampled_cell){1000 + (uint64_t)(i / 2), i, i % HELD_OUT < 2};
    }
    m->cells = (gmv_cells){.covariates = 2,
                           .covariate = m->factor,
                           .files = FILES,
                           .file = m->file,
                           .file_counts = m->counts,
                           .fingerprint = {.cells = ROWS, .counts = 4, .order = 5, .held_out = 6, .genes = 8},
                           .sample = m->sample,
                           .samples = ROWS,
                           .sample_below = 9000};
}

/* The checkpoint of some cells, as it is read back. @param[in] written  NULL: one from before there were fingerprints */
static void remember(const gmv_cells *written, gmv_checkpoint *checkpoint, gmv_status expected)
{
    gmv_h5io_quiet();
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    if (written != NULL) {
        assert_int_equal(gmv_checkpoint_write_data(file, written), GMV_OK);
    }
    *checkpoint = (gmv_checkpoint){.factors = 2};
    assert_int_equal(GMV_NEW(checkpoint->factor, 2, "covariates"), GMV_OK);
    assert_int_equal(gmv_checkpoint_read_data(file, checkpoint), expected);
    gmv_error_clear();
    H5Fclose(file);
    unlink(path);
}

static void differs(const gmv_checkpoint *checkpoint, const gmv_cells *cells, unsigned parts, const char *what)
{
    gmv_cells_difference difference;
    gmv_find_difference(checkpoint, cells, parts, &difference);
    assert_string_equal(difference.what, what);
    assert_int_equal(difference.order, strstr(what, "another order") != NULL);
}

static void differences_have_words(void **state)
{
    (void)state;
    static made was, is;
    gmv_checkpoint checkpoint;
    const unsigned all = GMV_COMPARE_HELD_OUT | GMV_COMPARE_NAMED_GENES;
    make(&was);
    remember(&was.cells, &checkpoint, GMV_OK);
    make(&is);
    differs(&checkpoint, &is.cells, all, "");
    is.cells.fingerprint.held_out = is.cells.fingerprint.genes = 1;
    differs(&checkpoint, &is.cells, 0, "");
    differs(&checkpoint, &is.cells, all,
            "there are other genes, in data.train or data.genes.file, other cells are held out");
    make(&is);
    is.factor[1].fingerprint++;
    is.cells.fingerprint.order = 1;
    differs(&checkpoint, &is.cells, all, "cells have other levels of site, the cells are in another order");
    make(&is);
    is.cells.fingerprint.measured = 1;
    differs(&checkpoint, &is.cells, all, "the files lack other genes of the model than they did");
    make(&is);
    is.cells.fingerprint.validation = 1;
    differs(&checkpoint, &is.cells, all, "");
    gmv_cells_difference difference;
    gmv_find_difference(&checkpoint, &is.cells, all, &difference);
    assert_true(difference.validation);
    make(&is);
    is.cells.fingerprint.cells--;
    differs(&checkpoint, &is.cells, all, "there are 4999 cells instead of 5000");
    gmv_checkpoint_fini(&checkpoint);
}

static void files_with_other_counts_are_named(void **state)
{
    (void)state;
    static made was, is;
    gmv_checkpoint checkpoint;
    make(&was);
    remember(&was.cells, &checkpoint, GMV_OK);
    make(&is);
    is.cells.fingerprint.counts = is.counts[1] = 7;
    is.cells.samples = 0;
    differs(&checkpoint, &is.cells, 0, "b.h5ad has other counts");
    is.counts[2] = 7;
    differs(&checkpoint, &is.cells, 0, "b.h5ad and 1 other file have other counts");
    is.cells.files = 2; /* no longer the same cuts: nobody knows which */
    is.counts[1] = was.counts[1];
    differs(&checkpoint, &is.cells, 0, "a.h5ad and 1 other file have other counts");
    is.cells.files = 1;
    is.cells.samples = ROWS;
    for (int i = 0; i < ROWS / 2; i++) {
        is.sample[ROWS / 2 + i].hash = 5000 + (uint64_t)i; /* in no sample of before */
    }
    differs(&checkpoint, &is.cells, 0, "a.h5ad has other counts in about 60 % of the cells");
    gmv_checkpoint_fini(&checkpoint);
}

static void the_sample_is_of_cells_in_training(void **state)
{
    (void)state;
    static made was;
    gmv_checkpoint checkpoint;
    make(&was);
    remember(&was.cells, &checkpoint, GMV_OK);
    assert_int_equal(checkpoint.samples, ROWS / 2 / (HELD_OUT / 2) * (HELD_OUT / 2 - 1));
    assert_true(checkpoint.sample_below == 9000);
    for (int i = 0; i < checkpoint.samples; i++) {
        assert_true(checkpoint.sample[i] == 1001 + (uint64_t)(i / 4 * 5 + i % 4));
    }
    assert_true(gmv_trained_share(&checkpoint, &was.cells) > 79.9);
    assert_true(gmv_trained_share(&checkpoint, &was.cells) < 80.1);
    gmv_checkpoint_fini(&checkpoint);
    for (int i = 0; i < ROWS; i++) { /* more than are kept */
        was.sample[i] = (gmv_sampled_cell){(uint64_t)i, i, false};
    }
    remember(&was.cells, &checkpoint, GMV_OK);
    assert_int_equal(checkpoint.samples, 4096);
    assert_true(checkpoint.sample_below == 4095);
    assert_true(gmv_trained_share(&checkpoint, &was.cells) > 99.9);
    gmv_checkpoint_fini(&checkpoint);
}

static void others_are_read_or_refused(void **state)
{
    (void)state;
    static made was;
    gmv_checkpoint checkpoint;
    remember(NULL, &checkpoint, GMV_OK);
    assert_int_equal(checkpoint.data.cells, 0);
    make(&was);
    assert_true(gmv_trained_share(&checkpoint, &was.cells) < 0.1);
    gmv_checkpoint_fini(&checkpoint);
    was.cells.covariates = 1;
    remember(&was.cells, &checkpoint, GMV_ERR_DATA);
    gmv_checkpoint_fini(&checkpoint);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T_TEST(differences_have_words), T_TEST(files_with_other_counts_are_named),
                                       T_TEST(the_sample_is_of_cells_in_training), T_TEST(others_are_read_or_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
