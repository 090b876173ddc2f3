/* Names, columns and attributes of any type, read as text and as numbers. */
#include "fuzz.h"

#include "../../src/data/h5/h5.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { most = 20, most_bytes = 4096 };
static const char path[] = "fuzz-text.h5";

static void prepare(void)
{
    gmv_h5_prepare();
}

static hid_t string_type(fuzz_rng *rng)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, fuzz_once_in(rng, 2) ? H5T_VARIABLE : (size_t)(1 + fuzz_below(rng, 40)));
    H5Tset_strpad(type, (H5T_str_t)fuzz_below(rng, 3));
    H5Tset_cset(type, fuzz_once_in(rng, 2) ? H5T_CSET_UTF8 : H5T_CSET_ASCII);
    return type;
}

static hid_t enum_type(fuzz_rng *rng)
{
    static const hid_t *const bases[] = {&H5T_STD_I8LE_g, &H5T_STD_U8LE_g, &H5T_STD_I16BE_g, &H5T_STD_I64LE_g};
    hid_t base = *bases[fuzz_below(rng, 4)], type = H5Tenum_create(base);
    int64_t no = 0, yes = 1;
    H5Tenum_insert(type, "FALSE", &no);
    H5Tenum_insert(type, "TRUE", &yes);
    return type;
}

static hid_t number_type(fuzz_rng *rng)
{
    static const hid_t *const types[] = {&H5T_STD_I8LE_g,  &H5T_STD_U8LE_g,   &H5T_STD_I16BE_g,  &H5T_STD_U32LE_g,
                                         &H5T_STD_I64LE_g, &H5T_STD_U64BE_g,  &H5T_IEEE_F32LE_g, &H5T_IEEE_F64BE_g,
                                         &H5T_STD_B16LE_g, &H5T_UNIX_D32LE_g, &H5T_STD_REF_OBJ_g};
    return H5Tcopy(*types[fuzz_below(rng, sizeof types / sizeof *types)]);
}

static hid_t simple_type(fuzz_rng *rng)
{
    switch (fuzz_below(rng, 4)) {
    case 0:
        return enum_type(rng);
    case 1:
        return number_type(rng);
    default:
        return string_type(rng);
    }
}

static hid_t some_type(fuzz_rng *rng)
{
    if (!fuzz_once_in(rng, 3)) {
        return simple_type(rng);
    }
    static const char *const fields[] = {"index", "a", "b"};
    hid_t type = H5Tcreate(H5T_COMPOUND, 512);
    size_t at = 0;
    for (int64_t i = 0; i <= fuzz_below(rng, 3); i++) {
        hid_t member = simple_type(rng);
        H5Tinsert(type, fields[i], at, member);
        at += H5Tget_size(member);
        H5Tclose(member);
    }
    H5Tset_size(type, at);
    return type;
}

/* A place for a text of variable length holds a pointer. */
static void fill(fuzz_rng *rng, hid_t type, unsigned char *at)
{
    static char text[4][12] = {"", "a", "text\x1b[31m", "\xff\xfe\xc3"};
    if (H5Tget_class(type) == H5T_COMPOUND) {
        for (int i = 0; i < H5Tget_nmembers(type); i++) {
            hid_t member = H5Tget_member_type(type, (unsigned)i);
            fill(rng, member, at + H5Tget_member_offset(type, (unsigned)i));
            H5Tclose(member);
        }
    } else if (H5Tis_variable_str(type) > 0) {
        char *to = fuzz_once_in(rng, 5) ? NULL : text[fuzz_below(rng, 4)];
        memcpy(at, &to, sizeof to);
    } else {
        for (size_t i = 0; i < H5Tget_size(type); i++) {
            at[i] = (unsigned char)(fuzz_once_in(rng, 3) ? 0 : fuzz_next(rng));
        }
    }
}

/* @return  elements */
static int64_t write_file(fuzz_rng *rng)
{
    unsigned char *bytes = calloc(most, most_bytes);
    hid_t type = some_type(rng);
    hsize_t n = (hsize_t)fuzz_below(rng, most);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), space = H5Screate_simple(1, &n, NULL);
    hid_t dataset = H5Dcreate2(file, "x", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t attribute = H5Acreate2(dataset, "a", type, space, H5P_DEFAULT, H5P_DEFAULT);
    for (hsize_t i = 0; i < n; i++) {
        fill(rng, type, bytes + i * H5Tget_size(type));
    }
    if (n > 0) {
        H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes);
        H5Awrite(attribute, type, bytes);
    }
    H5Aclose(attribute);
    H5Dclose(dataset);
    H5Sclose(space);
    H5Fclose(file);
    H5Tclose(type);
    free(bytes);
    return (int64_t)n;
}

static void read_texts(fuzz_rng *rng, const gmv_h5 *file, hid_t dataset, int64_t n)
{
    static const char *const fields[] = {NULL, "index", "a", "b", "none"};
    int64_t first = fuzz_below(rng, n), count = fuzz_below(rng, n - first + 1);
    char *text[most] = {NULL};
    gmv_status status =
        gmv_h5_read_texts(file, dataset, fields[fuzz_below(rng, sizeof fields / sizeof *fields)], first, count, text);
    FUZZ_CHECK(status == GMV_OK || status == GMV_ERR_DATA);
    for (int64_t i = 0; i < count; i++) {
        FUZZ_CHECK(status != GMV_OK || text[i] != NULL);
        if (text[i] != NULL) {
            fuzz_touch(text[i], (int64_t)strlen(text[i]) + 1);
        }
        gmv_free(text[i]);
    }
}

static void read_numbers(const gmv_h5 *file, hid_t dataset, int64_t n)
{
    int64_t zero = 0;
    double *value = malloc((size_t)n * sizeof *value + 1);
    gmv_status status = gmv_h5_read_f64(file, dataset, 1, &zero, &n, value);
    if (status == GMV_OK) {
        fuzz_touch(value, n * (int64_t)sizeof *value);
    }
    gmv_error_clear();
    gmv_h5_read_i64(file, dataset, 0, n, (int64_t *)value);
    free(value);
}

static void read_attribute(const gmv_h5 *file, int64_t n)
{
    gmv_texts texts = {NULL, 0};
    bool found = false;
    int64_t *values = malloc((size_t)n * sizeof *values + 1);
    if (gmv_h5_attribute_texts(file, "x", "a", &texts) == GMV_OK) {
        FUZZ_CHECK(texts.n == 0 || texts.n == n);
        gmv_texts_free(&texts);
    }
    gmv_error_clear();
    gmv_h5_attribute_i64(file, "x", "a", (int)n, values, &found);
    if (found) {
        fuzz_touch(values, n * (int64_t)sizeof *values);
    }
    free(values);
}

static void one(fuzz_rng *rng)
{
    gmv_h5 file;
    hid_t dataset = -1;
    int64_t n = 0, written = write_file(rng);
    FUZZ_CHECK(gmv_h5_open(&file, path, NULL) == GMV_OK);
    FUZZ_CHECK(gmv_h5_open_dataset(&file, "x", 1, &dataset, &n) == GMV_OK && n == written);
    read_texts(rng, &file, dataset, n);
    gmv_error_clear();
    read_numbers(&file, dataset, n);
    gmv_error_clear();
    read_attribute(&file, n);
    H5Dclose(dataset);
    gmv_h5_close(&file);
    unlink(path);
}

const fuzz_target fuzz_text = {"text", prepare, one};
