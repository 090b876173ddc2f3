/* Whole small h5ad files, sound as HDF5 but with any contents: CSR, CSC and dense matrices of many types, with pointers,
 * indices, counts, codes, shapes and names that may be wrong. Without damage they must load, to the counts they were made of. */
#include "fuzz.h"

#include "../../src/data/h5/h5.h"

#include "gmvae/data.h"
#include "gmvae/packed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { cells = 17, genes = 9, most = cells * genes };
static const char path[] = "fuzz-matrix.h5ad";

typedef enum kind { CSR, CSC, DENSE } kind;

/* The arrays of a file. */
typedef struct contents {
    kind kind;
    int64_t value[most], index[most], pointer[cells + genes + 1], code[cells], shape[2];
    int64_t values, indices, pointers, codes;
    int64_t sum;
    bool damaged;
} contents;

static void prepare(void)
{
    gmv_h5_prepare();
    fuzz_comm();
}

static void make_contents(fuzz_rng *rng, contents *c)
{
    int64_t count[cells][genes];
    memset(c, 0, sizeof *c);
    c->kind = (kind)fuzz_below(rng, 3);
    for (int64_t i = 0; i < cells; i++) {
        c->code[i] = fuzz_below(rng, 3);
        for (int64_t j = 0; j < genes; j++) {
            count[i][j] = fuzz_once_in(rng, 2) ? fuzz_below(rng, 100) : 0;
            c->sum += count[i][j];
        }
    }
    int64_t major = c->kind == CSC ? genes : cells, minor = c->kind == CSC ? cells : genes;
    for (int64_t i = 0; i < major; i++) {
        for (int64_t j = 0; j < minor; j++) {
            int64_t value = c->kind == CSC ? count[j][i] : count[i][j];
            if (value > 0 || c->kind == DENSE) {
                c->index[c->values] = j;
                c->value[c->values++] = value;
            }
        }
        c->pointer[i + 1] = c->values;
    }
    c->indices = c->values;
    c->pointers = major + 1;
    c->codes = cells;
    c->shape[0] = cells;
    c->shape[1] = genes;
}

static int64_t odd_number(fuzz_rng *rng)
{
    static const int64_t odd[] = {
        -1, 0, 1, 8, 9, 17, 255, 256, 65536, 16777216, INT32_MAX, INT64_C(1) << 32, INT64_MAX, INT64_MIN};
    return odd[fuzz_below(rng, sizeof odd / sizeof *odd)];
}

static void damage(fuzz_rng *rng, contents *c)
{
    int64_t *lengths[] = {&c->values, &c->indices, &c->pointers, &c->codes};
    int64_t *arrays[] = {c->value, c->index, c->pointer, c->code};
    c->damaged = true;
    for (int64_t left = 1 + fuzz_below(rng, 3); left > 0; left--) {
        int64_t which = fuzz_below(rng, 4);
        switch (fuzz_below(rng, 6)) {
        case 0:
            *lengths[which] = fuzz_below(rng, *lengths[which] + 1);
            break;
        case 1:
            c->shape[fuzz_below(rng, 2)] = odd_number(rng);
            break;
        case 2:
            arrays[which][fuzz_below(rng, *lengths[which])] = fuzz_below(rng, 20);
            break;
        default:
            arrays[which][fuzz_below(rng, *lengths[which])] = odd_number(rng);
        }
    }
}

/* ---- writing ---- */

static hid_t some_number_type(fuzz_rng *rng, bool real)
{
    static const hid_t *const types[] = {&H5T_STD_I32LE_g, &H5T_STD_I64LE_g, &H5T_STD_U32LE_g,  &H5T_STD_I16LE_g,
                                         &H5T_STD_I32BE_g, &H5T_STD_U8LE_g,  &H5T_IEEE_F32LE_g, &H5T_IEEE_F64LE_g};
    return *types[fuzz_below(rng, real ? 8 : 6)];
}

static void write_numbers(fuzz_rng *rng, hid_t file, const char *name, bool real, const int64_t *value, int64_t n)
{
    hsize_t size = (hsize_t)n, most_size = H5S_UNLIMITED, chunk = (hsize_t)(1 + fuzz_below(rng, 40));
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    bool chunked = fuzz_once_in(rng, 2);
    if (chunked) {
        H5Pset_chunk(properties, 1, &chunk);
        if (fuzz_once_in(rng, 2)) {
            H5Pset_shuffle(properties);
            H5Pset_deflate(properties, 1);
        }
    }
    hid_t space = H5Screate_simple(1, &size, chunked ? &most_size : NULL);
    hid_t type = some_number_type(rng, real);
    hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    if (n > 0) {
        H5Dwrite(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, value);
    }
    H5Dclose(dataset);
    H5Sclose(space);
    H5Pclose(properties);
}

static void write_texts(fuzz_rng *rng, hid_t file, const char *name, int64_t n)
{
    char fixed[32][16];
    const char *text[32];
    hsize_t size = (hsize_t)n;
    bool variable = fuzz_once_in(rng, 2);
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate_simple(1, &size, NULL);
    for (int64_t i = 0; i < n; i++) {
        snprintf(fixed[i], sizeof fixed[i], "name%lld", (long long)i);
        text[i] = fixed[i];
    }
    H5Tset_size(type, variable ? H5T_VARIABLE : sizeof fixed[0]);
    hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (n > 0) {
        H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, variable ? (const void *)text : (const void *)fixed);
    }
    H5Dclose(dataset);
    H5Sclose(space);
    H5Tclose(type);
}

static void write_attribute(hid_t file, const char *object, const char *name, const char *text)
{
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, strlen(text));
    hid_t attribute = H5Acreate_by_name(file, object, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(attribute, type, text);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
}

static void write_shape(hid_t file, const int64_t *shape)
{
    hsize_t two = 2;
    hid_t space = H5Screate_simple(1, &two, NULL);
    hid_t attribute =
        H5Acreate_by_name(file, "X", "shape", H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(attribute, H5T_NATIVE_INT64, shape);
    H5Aclose(attribute);
    H5Sclose(space);
}

static void write_dense(fuzz_rng *rng, hid_t file, const contents *c)
{
    bool whole = c->values == most;
    hsize_t size[2] = {cells, whole ? genes : (hsize_t)(c->values / cells)}, chunk[2] = {5, size[1] > 0 ? size[1] : 1};
    hid_t space = H5Screate_simple(2, size, NULL), properties = H5Pcreate(H5P_DATASET_CREATE);
    if (fuzz_once_in(rng, 2)) {
        H5Pset_chunk(properties, 2, chunk);
        H5Pset_deflate(properties, 1);
    }
    hid_t type = some_number_type(rng, true);
    hid_t dataset = H5Dcreate2(file, "X", type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    H5Dwrite(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, c->value);
    H5Dclose(dataset);
    H5Pclose(properties);
    H5Sclose(space);
}

static void write_matrix(fuzz_rng *rng, hid_t file, const contents *c)
{
    if (c->kind == DENSE) {
        write_dense(rng, file, c);
        return;
    }
    H5Gclose(H5Gcreate2(file, "X", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    write_attribute(file, "X", "encoding-type", c->kind == CSR ? "csr_matrix" : "csc_matrix");
    write_shape(file, c->shape);
    write_numbers(rng, file, "X/data", true, c->value, c->values);
    write_numbers(rng, file, "X/indices", false, c->index, c->indices);
    write_numbers(rng, file, "X/indptr", false, c->pointer, c->pointers);
}

static void write_file(fuzz_rng *rng, const contents *c)
{
    static const char *const parts[] = {"obs/_index", "var/_index", "obs/b/codes", "obs/b/categories", "X", "X/data",
                                        "obs",        "var",        "obs/b"};
    static const char *const groups[] = {"obs", "var", "obs/b"};
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    for (int i = 0; i < 3; i++) {
        H5Gclose(H5Gcreate2(file, groups[i], H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    }
    write_texts(rng, file, "obs/_index", cells);
    write_texts(rng, file, "var/_index", genes);
    write_numbers(rng, file, "obs/b/codes", false, c->code, c->codes);
    write_texts(rng, file, "obs/b/categories", 3);
    write_matrix(rng, file, c);
    if (c->damaged && fuzz_once_in(rng, 4)) { /* something else where a part should be */
        const char *part = parts[fuzz_below(rng, sizeof parts / sizeof *parts)];
        H5Ldelete(file, part, H5P_DEFAULT);
        if (fuzz_once_in(rng, 2)) {
            H5Lcreate_soft(parts[fuzz_below(rng, sizeof parts / sizeof *parts)], file, part, H5P_DEFAULT, H5P_DEFAULT);
        } else {
            H5Lcreate_hard(file, parts[fuzz_below(rng, 4)], file, part, H5P_DEFAULT, H5P_DEFAULT);
        }
    }
    H5Fclose(file);
}

/* ---- loading ---- */

static void compare(const contents *c, const gmv_cells *loaded)
{
    int64_t sum = 0;
    for (gmv_nnz at = 0; at < loaded->packed.indptr[loaded->count]; at++) {
        int64_t gene = loaded->packed.gene16[at];
        FUZZ_CHECK(gene < loaded->genes);
        sum += gmv_packed_count(&loaded->packed, at);
    }
    for (int64_t i = 0; i < loaded->count; i++) {
        int32_t level = loaded->packed.level[i];
        FUZZ_CHECK(level >= 0 && level < loaded->levels);
    }
    FUZZ_CHECK(c->damaged || (sum == c->sum && loaded->total == cells && loaded->genes == genes));
}

static gmv_status load(gmv_cells **loaded)
{
    static const char settings[] =
        "data: {train: fuzz-matrix.h5ad, batch_keys: [b], validation: 0, shards: 4, check_seconds: 0}";
    gmv_config config;
    GMV_TRY(gmv_config_parse(&config, "settings", settings, (int64_t)strlen(settings), 0, NULL));
    gmv_reading how = {.paths = &config.data_train};
    gmv_status status = gmv_cells_load(loaded, fuzz_comm(), &config, &how);
    gmv_config_fini(&config);
    return status;
}

static void one(fuzz_rng *rng)
{
    static contents c;
    gmv_cells *loaded = NULL;
    make_contents(rng, &c);
    if (!fuzz_once_in(rng, 8)) {
        damage(rng, &c);
    }
    write_file(rng, &c);
    gmv_status status = load(&loaded);
    if (status == GMV_OK) {
        compare(&c, loaded);
    } else {
        FUZZ_CHECK(c.damaged && (status == GMV_ERR_DATA || status == GMV_ERR_CONFIG));
        FUZZ_CHECK(gmv_error_message()[0] != '\0' && strpbrk(gmv_error_message(), "\n\x1b") == NULL);
    }
    gmv_cells_destroy(&loaded);
    unlink(path);
}

const fuzz_target fuzz_matrix = {"matrix", prepare, one};
