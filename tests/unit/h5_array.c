/* Datasets read past HDF5 against HDF5's own reading: layouts, filters, formats, ranges, damage. */
#include "harness.h"

#include "../../src/data/h5/h5_array.h"

#include <lzf.h>
#include <unistd.h>

typedef struct dataset_case {
    const char *name;
    int64_t length, chunk; /* chunk 0: contiguous */
    hid_t type;
    bool shuffle, deflate, lzf, random; /* random: nothing that a filter could make smaller */
    int user_block;
    H5F_libver_t version; /* of the format, at least */
    int64_t written;      /* elements; chunks behind are never written */
    bool can;
} dataset_case;

static const char path[] = "stored.h5";

static int64_t value_at(const dataset_case *c, int64_t i)
{
    if (c->random) {
        return (int64_t)(gmv_philox4x32((uint32_t)i, 0, 0, 0, 0, 0).word[0] & 127u);
    }
    return (i * 7919) % 251 - (i % 5 == 0 ? 100 : 0);
}

/* So many that the header goes on in other blocks. */
static void add_attributes(hid_t dataset)
{
    hid_t scalar = H5Screate(H5S_SCALAR);
    for (int i = 0; i < 6; i++) {
        char name[24];
        snprintf(name, sizeof name, "attribute %d", i);
        hid_t attribute = H5Acreate2(dataset, name, H5T_NATIVE_INT32, scalar, H5P_DEFAULT, H5P_DEFAULT);
        H5Awrite(attribute, H5T_NATIVE_INT32, &i);
        H5Aclose(attribute);
    }
    H5Sclose(scalar);
}

static void write_file(const dataset_case *c)
{
    hid_t creation = H5Pcreate(H5P_FILE_CREATE), access = H5Pcreate(H5P_FILE_ACCESS);
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    hsize_t length = (hsize_t)c->length, chunk = (hsize_t)c->chunk, first = 0, written = (hsize_t)c->written;
    int32_t fill = 42;
    H5Pset_userblock(creation, (hsize_t)c->user_block);
    H5Pset_libver_bounds(access, c->version, H5F_LIBVER_LATEST);
    H5Pset_fill_value(properties, H5T_NATIVE_INT32, &fill);
    if (c->chunk > 0) {
        H5Pset_chunk(properties, 1, &chunk);
    }
    if (c->shuffle) {
        H5Pset_shuffle(properties);
    }
    if (c->deflate) {
        H5Pset_deflate(properties, 4);
    }
    if (c->lzf) {
        unsigned client[3] = {4, 261, (unsigned)(c->chunk * (int64_t)H5Tget_size(c->type))};
        H5Pset_filter(properties, 32000, H5Z_FLAG_OPTIONAL, 3, client);
    }
    hsize_t most = c->chunk > 0 ? H5S_UNLIMITED : length;
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, creation, access), space = H5Screate_simple(1, &length, &most);
    hid_t dataset = H5Dcreate2(file, "x", c->type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    assert_true(dataset >= 0);
    add_attributes(dataset);
    int64_t *values = t_alloc((size_t)c->length + 1, sizeof *values);
    for (int64_t i = 0; i < c->length; i++) {
        values[i] = value_at(c, i);
    }
    if (c->written > 0) {
        hid_t here = H5Screate_simple(1, &written, NULL);
        H5Sselect_hyperslab(space, H5S_SELECT_SET, &first, NULL, &written, NULL);
        assert_true(H5Dwrite(dataset, H5T_NATIVE_INT64, here, space, H5P_DEFAULT, values) >= 0);
        H5Sclose(here);
    }
    H5Dclose(dataset);
    H5Sclose(space);
    H5Fclose(file);
    H5Pclose(properties);
    H5Pclose(access);
    H5Pclose(creation);
}

/* Every element of [first, end), in spans of changing length, is what HDF5 reads. */
static void compare_range(const dataset_case *c, const gmv_h5 *file, hid_t dataset, int64_t first, int64_t end)
{
    gmv_h5_array stored;
    gmv_h5_array_cursor cursor;
    bool can = false;
    assert_int_equal(gmv_h5_array_open(&stored, file, dataset, first, end, &can), GMV_OK);
    if (can != c->can) {
        fail_msg("%s, elements %lld to %lld: %s", c->name, (long long)first, (long long)end,
                 can ? "can be read, unexpectedly" : "cannot be read");
    }
    if (!can) {
        return;
    }
    size_t size = H5Tget_size(c->type);
    char *theirs = t_alloc((size_t)(end - first) + 1, size);
    int64_t n = end - first;
    assert_int_equal(gmv_h5_read(file, dataset, 1, &first, &n, c->type, theirs), GMV_OK);
    assert_int_equal(gmv_h5_array_cursor_init(&cursor, &stored), GMV_OK);
    int64_t step = 1;
    for (int64_t at = first; at < end; at += n) {
        step = step * 3 % 1009;
        n = step < end - at ? step : end - at;
        const void *ours = gmv_h5_array_span(&cursor, at, n, end);
        if (ours == NULL || memcmp(ours, theirs + (size_t)(at - first) * size, (size_t)n * size) != 0) {
            fail_msg("%s: elements %lld to %lld are %s", c->name, (long long)at, (long long)(at + n),
                     ours == NULL ? "not read" : "others than HDF5 reads");
        }
    }
    gmv_h5_array_cursor_fini(&cursor);
    gmv_h5_array_close(&stored);
}

static void check_case(const dataset_case *c)
{
    gmv_h5 file;
    gmv_h5_prepare();
    write_file(c);
    assert_int_equal(gmv_h5_open(&file, path, NULL), GMV_OK);
    hid_t dataset = H5Dopen2(file.id, "x", H5P_DEFAULT);
    compare_range(c, &file, dataset, 0, c->length);
    if (c->length > 10) {
        compare_range(c, &file, dataset, c->length / 3, c->length / 2 + 1);
        compare_range(c, &file, dataset, c->length - 1, c->length);
    }
    H5Dclose(dataset);
    gmv_h5_close(&file);
    unlink(path);
}

#define EARLY .version = H5F_LIBVER_EARLIEST

static void layouts_and_filters_are_read_as_hdf5_reads_them(void **state)
{
    (void)state;
    gmv_h5_prepare(); /* types are known from here on */
    const dataset_case cases[] = {
        {"contiguous", 100000, 0, H5T_STD_I32LE, EARLY, .written = 100000, .can = true},
        {"chunks", 10007, 1000, H5T_STD_I32LE, EARLY, .written = 10007, .can = true},
        {"one chunk", 10, 1000, H5T_STD_I32LE, EARLY, .written = 10, .can = true},
        {"deflate", 10007, 1000, H5T_STD_I32LE, EARLY, .deflate = true, .written = 10007, .can = true},
        {"shuffle and deflate", 10007, 512, H5T_STD_I32LE, EARLY, .shuffle = true, .deflate = true, .written = 10007,
         .can = true},
        {"shuffle of 8 bytes", 10007, 512, H5T_STD_I64LE, EARLY, .shuffle = true, .deflate = true, .written = 10007,
         .can = true},
        {"shuffle", 10007, 512, H5T_STD_I16LE, EARLY, .shuffle = true, .written = 10007, .can = true},
        {"lzf", 10007, 512, H5T_STD_I32LE, EARLY, .lzf = true, .written = 10007, .can = true},
        {"lzf that is not applied", 10007, 512, H5T_STD_I8LE, EARLY, .lzf = true, .random = true, .written = 10007,
         .can = true},
        {"float", 10007, 512, H5T_IEEE_F32LE, EARLY, .deflate = true, .written = 10007, .can = true},
        {"double", 10007, 512, H5T_IEEE_F64LE, EARLY, .deflate = true, .written = 10007, .can = true},
        {"bytes", 10007, 512, H5T_STD_U8LE, EARLY, .deflate = true, .written = 10007, .can = true},
        {"a deep index", 30011, 3, H5T_STD_I32LE, EARLY, .written = 30011, .can = true},
        {"chunks never written", 10007, 1000, H5T_STD_I32LE, EARLY, .deflate = true, .written = 3500, .can = true},
        {"user block", 10007, 1000, H5T_STD_I32LE, EARLY, .user_block = 512, .written = 10007, .can = true},
        {"user block, contiguous", 10007, 0, H5T_STD_I32LE, EARLY, .user_block = 1024, .written = 10007, .can = true},
        {"format of 1.8", 10007, 100, H5T_STD_I32LE, .version = H5F_LIBVER_V18, .deflate = true, .written = 10007,
         .can = true},
        {"newest format", 10007, 100, H5T_STD_I32LE, .version = H5F_LIBVER_LATEST, .deflate = true, .written = 10007,
         .can = H5_VERSION_GE(1, 14, 0)},
        {"big-endian", 1007, 100, H5T_STD_I32BE, EARLY, .written = 1007, .can = false},
        {"long doubles", 1007, 100, H5T_NATIVE_LDOUBLE, EARLY, .written = 1007, .can = false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("%s\n", cases[i].name);
        check_case(&cases[i]);
    }
}

static void change_byte(long at, int by)
{
    FILE *file = fopen(path, "r+b");
    fseek(file, at, SEEK_SET);
    int was = fgetc(file);
    fseek(file, at, SEEK_SET);
    fputc(was ^ by, file);
    fclose(file);
}

/* With the index found before the damage: elements are what they were, or not read. @return spans not read */
static int read_damaged(const dataset_case *c, const gmv_h5_array *stored)
{
    gmv_h5_array_cursor cursor;
    int unread = 0;
    assert_int_equal(gmv_h5_array_cursor_init(&cursor, stored), GMV_OK);
    for (int64_t at = 0; at + 100 <= stored->length; at += 100) {
        const int32_t *values = gmv_h5_array_span(&cursor, at, 100, stored->length);
        unread += values == NULL;
        for (int64_t i = 0; values != NULL && i < 100; i++) {
            assert_int_equal(values[i], value_at(c, at + i));
        }
    }
    gmv_h5_array_cursor_fini(&cursor);
    return unread;
}

/* Any byte of the file: what is read of it ends, within bounds, and values that changed are not taken for good. */
static void damage_is_not_read_as_values(void **state)
{
    (void)state;
    gmv_h5_prepare();
    const dataset_case c = {"damage", 5000, 50, H5T_STD_I32LE, EARLY, .deflate = true, .written = 5000, .can = true};
    gmv_h5 file;
    gmv_h5_array stored;
    bool can = false;
    gmv_chunk_place *place = t_alloc(100, sizeof *place);
    int unread = 0, lost = 0, moved = 0;
    write_file(&c);
    assert_int_equal(gmv_h5_open(&file, path, NULL), GMV_OK);
    hid_t dataset = H5Dopen2(file.id, "x", H5P_DEFAULT);
    assert_int_equal(gmv_h5_array_open(&stored, &file, dataset, 0, c.length, &can), GMV_OK);
    assert_true(can);
    long bytes = (long)lseek(stored.fd, 0, SEEK_END), step = t_thin(100) == 100 ? 1 : 17;
    for (long at = 0; at < bytes; at += step) {
        change_byte(at, 0x55);
        unread += read_damaged(&c, &stored);
        bool found = gmv_chunk_index_read(&file, dataset, stored.fd, c.chunk, 0, 100, place);
        lost += !found;
        moved += found && memcmp(place, stored.place, 100 * sizeof *place) != 0;
        change_byte(at, 0x55);
    }
    print_message("%ld bytes: %d spans not read, %d indices not found, %d with other places\n", bytes, unread, lost,
                  moved);
    assert_true(unread > 0 && lost > 0 && moved > 0);
    assert_int_equal(read_damaged(&c, &stored), 0);
    gmv_h5_array_close(&stored);
    H5Dclose(dataset);
    gmv_h5_close(&file);
    unlink(path);
}

/* Of a damaged index: more bytes than a chunk can take, fewer than a filter that was skipped leaves, and addresses beyond any
 * disk. Nothing outside the buffers may be read, nor gigabytes reserved. */
static void places_that_cannot_be_are_not_read(void **state)
{
    (void)state;
    gmv_h5_prepare();
    const dataset_case c = {"places",        5000,       50, H5T_STD_I32LE, EARLY, .shuffle = true, .deflate = true,
                            .written = 5000, .can = true};
    const unsigned deflate_skipped = 2, both_skipped = 3;
    const gmv_chunk_place bad[] = {
        {2000, 4000000000u, 0}, {2000, 40, deflate_skipped}, {2000, 40, both_skipped}, {INT64_MAX, 200, 0}};
    gmv_h5 file;
    gmv_h5_array stored;
    gmv_h5_array_cursor cursor;
    bool can = false;
    write_file(&c);
    assert_int_equal(gmv_h5_open(&file, path, NULL), GMV_OK);
    hid_t dataset = H5Dopen2(file.id, "x", H5P_DEFAULT);
    assert_int_equal(gmv_h5_array_open(&stored, &file, dataset, 0, c.length, &can), GMV_OK);
    assert_true(can);
    assert_int_equal(gmv_h5_array_cursor_init(&cursor, &stored), GMV_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        stored.place[7] = bad[i];
        assert_null(gmv_h5_array_span(&cursor, 7 * 50, 50, 8 * 50));
        assert_true(cursor.room < 1 << 20);
    }
    gmv_h5_array_cursor_fini(&cursor);
    gmv_h5_array_close(&stored);
    H5Dclose(dataset);
    gmv_h5_close(&file);
    unlink(path);
}

/* Whole in itself, but of 40 bytes where a chunk has 200: HDF5 would take what lies behind them for the rest. */
static void a_chunk_that_is_too_short_is_not_read(void **state)
{
    (void)state;
    gmv_h5_prepare();
    const dataset_case c = {"short", 500, 50, H5T_STD_I32LE, EARLY, .lzf = true, .written = 500, .can = true};
    const char zeros[40] = {0};
    unsigned char packed[64];
    int32_t values[500];
    hsize_t first = 50;
    write_file(&c);
    unsigned bytes = lzf_compress(zeros, sizeof zeros, packed, sizeof packed);
    assert_true(bytes > 0);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), dataset = H5Dopen2(file, "x", H5P_DEFAULT);
    assert_true(H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, &first, bytes, packed) >= 0);
    H5Dclose(dataset);
    H5Fclose(file);
    file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    dataset = H5Dopen2(file, "x", H5P_DEFAULT);
    assert_true(H5Dread(dataset, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0);
    H5Dclose(dataset);
    H5Fclose(file);
    unlink(path);
}

/* Between its opening and the look for its chunks: the same bytes, written again under the same name. */
static void a_file_that_was_replaced_is_not_read(void **state)
{
    (void)state;
    gmv_h5_prepare();
    const dataset_case c = {"replaced", 500, 50, H5T_STD_I32LE, EARLY, .written = 500, .can = true};
    gmv_h5 file;
    gmv_h5_array stored;
    bool can = true;
    write_file(&c);
    assert_int_equal(gmv_h5_open(&file, path, NULL), GMV_OK);
    hid_t dataset = H5Dopen2(file.id, "x", H5P_DEFAULT);
    assert_int_equal(gmv_h5_unchanged(&file), GMV_OK);
    unlink(path);
    assert_int_equal(gmv_h5_unchanged(&file), GMV_ERR_DATA);
    write_file(&c);
    gmv_error_clear();
    assert_int_equal(gmv_h5_unchanged(&file), GMV_ERR_DATA);
    gmv_error_clear();
    assert_int_equal(gmv_h5_array_open(&stored, &file, dataset, 0, c.length, &can), GMV_ERR_DATA);
    assert_false(can);
    assert_non_null(strstr(gmv_error_message(), "stored.h5: the file has changed"));
    gmv_error_clear();
    H5Dclose(dataset);
    gmv_h5_close(&file);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T_TEST(layouts_and_filters_are_read_as_hdf5_reads_them),
        T_TEST(a_chunk_that_is_too_short_is_not_read),
        T_TEST(a_file_that_was_replaced_is_not_read),
        T_TEST(places_that_cannot_be_are_not_read),
        T_TEST(damage_is_not_read_as_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
