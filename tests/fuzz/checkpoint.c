/* The checkpoint reader: bytes that changed must not pass the seal; sealed files that somebody wrote with other parts,
 * types, shapes and texts must be read or refused. */
#include "fuzz.h"

#include "../../src/io/checkpoint_files.h"
#include "../../src/io/h5io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char path[] = "fuzz-checkpoint.h5", unsealed[] = "fuzz-unsealed.h5";

static void prepare(void)
{
    fuzz_comm();
    gmv_h5io_quiet();
}

static void write_tensors(hid_t file)
{
    static const char *const groups[] = {"params", "adam", "adam/m", "adam/v"};
    float values[12] = {1, 2, 3};
    int64_t shape[2] = {4, 3};
    for (int g = 0; g < 4; g++) {
        hid_t group = H5Gcreate2(file, groups[g], H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        if (g != 1) {
            FUZZ_CHECK(gmv_h5io_write_f32(group, "a.weight", 2, shape, values) == GMV_OK);
            FUZZ_CHECK(gmv_h5io_write_f32(group, "a.bias", 1, shape, values) == GMV_OK);
        }
        H5Gclose(group);
    }
}

static void write_whole(hid_t file)
{
    char text[3][8] = {"gene a", "gene b", "gene c"}, *texts[] = {text[0], text[1], text[2]};
    double sum[5] = {0}, number = 1.5;
    hid_t input = H5Gcreate2(file, "input", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t state = H5Gcreate2(file, "state", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t covariates = H5Gcreate2(file, "covariates", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    gmv_h5io_put_text(file, "format", "gmvae_dist checkpoint");
    gmv_h5io_put_i64(file, "version", GMV_CHECKPOINT_VERSION);
    gmv_h5io_put_i64(file, "epoch", 3);
    gmv_h5io_put_i64(file, "step", 30);
    gmv_h5io_put_i64(file, "seed", 1);
    gmv_h5io_put_text(file, "config", "seed: 1\n");
    gmv_h5io_write_texts(file, "genes", 3, texts);
    gmv_h5io_write_texts(covariates, "gene a", 2, texts);
    gmv_h5io_put_texts(covariates, "order", 1, texts);
    gmv_h5io_put_f64(input, "mean", 1, &number);
    gmv_h5io_put_f64(input, "std", 1, &number);
    gmv_h5io_put_i64(state, "batch", 0);
    gmv_h5io_put_i64(state, "cells", 100);
    gmv_h5io_put_i64(state, "window", 0);
    gmv_h5io_put_f64(state, "sum", 5, sum);
    gmv_h5io_put_f64(state, "best", 1, &number);
    write_tensors(file);
    H5Gclose(covariates);
    H5Gclose(state);
    H5Gclose(input);
}

static hid_t some_type(fuzz_rng *rng)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    if (fuzz_once_in(rng, 2)) {
        H5Tset_size(type, fuzz_once_in(rng, 2) ? H5T_VARIABLE : 7);
        H5Tset_cset(type, fuzz_once_in(rng, 2) ? H5T_CSET_UTF8 : H5T_CSET_ASCII);
        return type;
    }
    H5Tclose(type);
    return H5Tcopy(fuzz_once_in(rng, 2) ? H5T_NATIVE_INT16 : H5T_NATIVE_DOUBLE);
}

/* Any shape: no elements, one without a dimension, many of which none was ever written. */
static hid_t some_space(fuzz_rng *rng, bool small)
{
    hsize_t size[3];
    for (int i = 0; i < 3; i++) {
        size[i] = (hsize_t)fuzz_below(rng, 6);
        if (!small && fuzz_once_in(rng, 6)) {
            size[i] = (hsize_t)1 << (20 + fuzz_below(rng, 30));
        }
    }
    return fuzz_once_in(rng, 5) ? H5Screate(H5S_SCALAR) : H5Screate_simple(1 + (int)fuzz_below(rng, 3), size, NULL);
}

static void put_dataset(fuzz_rng *rng, hid_t file, const char *name)
{
    hid_t type = some_type(rng), space = some_space(rng, false);
    H5Ldelete(file, name, H5P_DEFAULT);
    hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (dataset >= 0) {
        gmv_h5io_put_i64(dataset, "xxh3", (int64_t)fuzz_next(rng));
        H5Dclose(dataset);
    }
    H5Sclose(space);
    H5Tclose(type);
}

static void put_attribute(fuzz_rng *rng, hid_t file, const char *object, const char *name)
{
    unsigned char bytes[2048] = {0};
    hid_t type = some_type(rng), space = some_space(rng, true);
    H5Adelete_by_name(file, object, name, H5P_DEFAULT);
    hid_t attribute = H5Acreate_by_name(file, object, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute >= 0) {
        H5Awrite(attribute, type, bytes);
        H5Aclose(attribute);
    }
    H5Sclose(space);
    H5Tclose(type);
}

static void change_parts(fuzz_rng *rng, hid_t file)
{
    static const char *const datasets[] = {"genes", "covariates/gene a", "params/a.weight", "adam/m/a.bias", "params",
                                           "state"};
    static const char *const attributes[][2] = {
        {"/", "format"},   {"/", "version"},        {"/", "config"},
        {"/", "step"},     {"covariates", "order"}, {"state", "sum"},
        {"input", "mean"}, {"genes", "xxh3"},       {"params/a.weight", "xxh3"}};
    for (int64_t left = 1 + fuzz_below(rng, 2); left > 0; left--) {
        const char *dataset = datasets[fuzz_below(rng, sizeof datasets / sizeof *datasets)];
        const char *const *attribute = attributes[fuzz_below(rng, sizeof attributes / sizeof *attributes)];
        switch (fuzz_below(rng, 4)) {
        case 0:
            H5Ldelete(file, dataset, H5P_DEFAULT);
            break;
        case 1:
            put_dataset(rng, file, dataset);
            break;
        case 2:
            H5Adelete_by_name(file, attribute[0], attribute[1], H5P_DEFAULT);
            break;
        default:
            put_attribute(rng, file, attribute[0], attribute[1]);
        }
        gmv_error_clear();
    }
}

static unsigned char *read_all(const char *name, int64_t *n)
{
    FILE *in = fopen(name, "rb");
    FUZZ_CHECK(in != NULL && fseek(in, 0, SEEK_END) == 0);
    *n = ftell(in);
    rewind(in);
    unsigned char *bytes = malloc((size_t)*n);
    FUZZ_CHECK(fread(bytes, 1, (size_t)*n, in) == (size_t)*n);
    fclose(in);
    return bytes;
}

static void write_sealed(fuzz_rng *rng, bool changed)
{
    int64_t n;
    hid_t file = H5Fcreate(unsealed, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    write_whole(file);
    if (changed) {
        change_parts(rng, file);
    }
    H5Fclose(file);
    unsigned char *bytes = read_all(unsealed, &n);
    gmv_output out;
    FUZZ_CHECK(gmv_output_begin(&out, path) == GMV_OK && gmv_checkpoint_write_sealed(&out, bytes, n) == GMV_OK &&
               gmv_output_end(&out, GMV_OK) == GMV_OK);
    free(bytes);
    unlink(unsealed);
}

/* @return  whether any byte of the file is another one now */
static bool change_bytes(fuzz_rng *rng)
{
    int64_t n;
    unsigned char *bytes = read_all(path, &n), *before = malloc((size_t)n);
    memcpy(before, bytes, (size_t)n);
    fuzz_mutate(rng, bytes, n);
    bool changed = memcmp(bytes, before, (size_t)n) != 0;
    FILE *out = fopen(path, "wb");
    FUZZ_CHECK(out != NULL && fwrite(bytes, 1, (size_t)n, out) == (size_t)n && fclose(out) == 0);
    free(bytes);
    free(before);
    return changed;
}

static void one(fuzz_rng *rng)
{
    gmv_checkpoint checkpoint;
    bool parts = !fuzz_once_in(rng, 8), bytes = fuzz_once_in(rng, 4);
    write_sealed(rng, parts);
    bytes = bytes && change_bytes(rng);
    gmv_status status = gmv_checkpoint_verify(path, 0.0);
    FUZZ_CHECK(status == GMV_OK ? !bytes : (status == GMV_ERR_DATA && (parts || bytes)));
    gmv_error_clear();
    status = gmv_checkpoint_read(path, fuzz_comm(), &checkpoint);
    FUZZ_CHECK(status == GMV_OK ? !bytes : status == GMV_ERR_DATA);
    gmv_checkpoint_fini(&checkpoint);
    unlink(path);
}

const fuzz_target fuzz_checkpoint = {"checkpoint", prepare, one};
