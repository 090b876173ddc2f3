/* What is read past HDF5: the index of chunks, and chunks under places and bytes that may be anything. HDF5 has the file
 * open as it was; our own code reads a copy that is damaged. */
#include "fuzz.h"

#include "../../src/data/h5/h5_array.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { files = 8, length = 3000, chunk = 100, chunks = length / chunk };

typedef struct chunk_file {
    char path[32];
    gmv_h5 h5;
    hid_t dataset;
    gmv_h5_array stored;
    unsigned char *bytes;
    int64_t size;
} chunk_file;

static chunk_file file[files];
static int copy = -1; /* the damaged one */

static void write_file(const char *path, int number)
{
    int32_t values[length];
    hsize_t n = length, piece = chunk, most = H5S_UNLIMITED;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), creation = H5Pcreate(H5P_FILE_CREATE);
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &n, &most);
    for (int i = 0; i < length; i++) {
        values[i] = (i * 7919) % 251 * (i % 3 == 0);
    }
    H5Pset_libver_bounds(access, number % 2 == 0 ? H5F_LIBVER_EARLIEST : H5F_LIBVER_V18, H5F_LIBVER_V18);
    H5Pset_userblock(creation, number == 5 ? 512 : 0);
    H5Pset_chunk(properties, 1, &piece);
    if (number >= 2 && number < 6) {
        H5Pset_shuffle(properties);
        H5Pset_deflate(properties, 4);
    } else if (number >= 6) {
        unsigned client[3] = {4, 261, chunk * sizeof(int32_t)};
        H5Pset_filter(properties, 32000, H5Z_FLAG_OPTIONAL, 3, client);
    }
    hid_t out = H5Fcreate(path, H5F_ACC_TRUNC, creation, access);
    hid_t dataset = H5Dcreate2(out, "x", H5T_STD_I32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    FUZZ_CHECK(H5Dwrite(dataset, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Dclose(dataset);
    H5Fclose(out);
    H5Sclose(space);
    H5Pclose(properties);
    H5Pclose(creation);
    H5Pclose(access);
}

static void prepare(void)
{
    char name[] = "/tmp/fuzz-chunks-XXXXXX";
    gmv_h5_prepare();
    for (int f = 0; f < files; f++) {
        bool can = false;
        snprintf(file[f].path, sizeof file[f].path, "fuzz-chunks-%d.h5", f);
        write_file(file[f].path, f);
        FUZZ_CHECK(gmv_h5_open(&file[f].h5, file[f].path, NULL) == GMV_OK);
        file[f].dataset = H5Dopen2(file[f].h5.id, "x", H5P_DEFAULT);
        FUZZ_CHECK(gmv_h5_array_open(&file[f].stored, &file[f].h5, file[f].dataset, 0, length, &can) == GMV_OK && can);
        file[f].size = lseek(file[f].stored.fd, 0, SEEK_END);
        file[f].bytes = malloc((size_t)file[f].size);
        FUZZ_CHECK(pread(file[f].stored.fd, file[f].bytes, (size_t)file[f].size, 0) == file[f].size);
        unlink(file[f].path);
    }
    copy = mkstemp(name);
    FUZZ_CHECK(copy >= 0);
    unlink(name);
}

/* Places of chunks that no index would tell, beside those found. */
static void damage_places(fuzz_rng *rng, gmv_chunk_place *place)
{
    for (int64_t left = fuzz_below(rng, 6); left > 0; left--) {
        gmv_chunk_place *at = &place[fuzz_below(rng, chunks)];
        switch (fuzz_below(rng, 4)) {
        case 0:
            at->bytes = (uint32_t)(fuzz_once_in(rng, 8) ? fuzz_next(rng) : (uint64_t)fuzz_below(rng, 2000));
            break;
        case 1:
            at->skipped = (uint32_t)fuzz_below(rng, 16);
            break;
        case 2:
            at->at = place[fuzz_below(rng, chunks)].at;
            break;
        default:
            at->at = fuzz_below(rng, 40000);
        }
    }
}

static void read_spans(fuzz_rng *rng, const gmv_h5_array *stored)
{
    gmv_h5_array_cursor cursor;
    FUZZ_CHECK(gmv_h5_array_cursor_init(&cursor, stored) == GMV_OK);
    for (int i = 0; i < 20; i++) {
        int64_t first = fuzz_below(rng, length), n = 1 + fuzz_below(rng, length - first < 400 ? length - first : 400);
        const void *span = gmv_h5_array_span(&cursor, first, n, first + n + fuzz_below(rng, length - first - n + 1));
        if (span != NULL) {
            fuzz_touch(span, n * stored->size);
        }
    }
    gmv_h5_array_cursor_fini(&cursor);
}

static void one(fuzz_rng *rng)
{
    const chunk_file *f = &file[fuzz_below(rng, files)];
    gmv_chunk_place place[chunks];
    unsigned char *bytes = malloc((size_t)f->size);
    memcpy(bytes, f->bytes, (size_t)f->size);
    fuzz_mutate(rng, bytes, fuzz_once_in(rng, 2) && f->size > 4096 ? 4096 : f->size);
    FUZZ_CHECK(pwrite(copy, bytes, (size_t)f->size, 0) == f->size);
    FUZZ_CHECK(ftruncate(copy, fuzz_once_in(rng, 8) ? fuzz_below(rng, f->size) : f->size) == 0);
    free(bytes);
    gmv_h5_array stored = f->stored;
    stored.fd = copy;
    stored.place = place;
    if (!gmv_chunk_index_read(&f->h5, f->dataset, copy, chunk, 0, chunks, place) || fuzz_once_in(rng, 2)) {
        memcpy(place, f->stored.place, sizeof place);
        damage_places(rng, place);
    }
    read_spans(rng, &stored);
}

const fuzz_target fuzz_chunks = {"chunks", prepare, one};
