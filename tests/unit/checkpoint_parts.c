/* Parts of a checkpoint that somebody wrote with other shapes than ours: refused, and not read into too little room. */
#include "harness.h"

#include "../../src/io/h5io.h"

#include "gmvae/mem.h"

#include <unistd.h>

static const char path[] = "parts.h5";

static void put(hid_t file, const char *name, hid_t type, int dims, const hsize_t *size)
{
    hid_t space = H5Screate_simple(dims, size, NULL);
    hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(dataset >= 0);
    assert_int_equal(gmv_h5io_put_i64(dataset, "xxh3", 0), GMV_OK);
    H5Dclose(dataset);
    H5Sclose(space);
}

static void refused(gmv_status status, const char *words)
{
    assert_int_equal(status, GMV_ERR_DATA);
    if (strstr(gmv_error_message(), words) == NULL) {
        fail_msg("'%s' is not in '%s'", words, gmv_error_message());
    }
    gmv_error_clear();
}

static void other_shapes_are_refused(void **state)
{
    (void)state;
    const hsize_t table[2] = {2, 100}, huge[1] = {((hsize_t)1 << 32) + 2},
                  wide[2] = {(hsize_t)1 << 20, (hsize_t)1 << 15};
    char first[] = "a", second[] = "b", *two[] = {first, second}, **texts = NULL, *one = NULL;
    int n = 0, dims = 0;
    int64_t shape[2], live = gmv_alloc_live();
    gmv_h5io_quiet();
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), text = H5Tcopy(H5T_C_S1);
    H5Tset_size(text, H5T_VARIABLE);
    H5Tset_cset(text, H5T_CSET_UTF8);
    put(file, "table", text, 2, table);
    put(file, "huge", text, 1, huge);
    put(file, "wide", H5T_NATIVE_FLOAT, 2, wide);
    assert_int_equal(gmv_h5io_put_texts(file, "two", 2, two), GMV_OK);
    refused(gmv_h5io_read_texts(file, "table", &n, &texts), "table");
    refused(gmv_h5io_read_texts(file, "huge", &n, &texts), "huge declares more than the file holds");
    refused(gmv_h5io_shape(file, "wide", &dims, shape), "wide declares more than the file holds");
    refused(gmv_h5io_get_text(file, "two", &one), "two is not one text");
    assert_null(one);
    assert_int_equal(gmv_alloc_live(), live);
    H5Tclose(text);
    H5Fclose(file);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T_TEST(other_shapes_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
