/* Files for what memory cannot hold: rows put together from values by genes, and packed rows in records. Both against
 * the matrix in memory; damage is found; nothing has a name. */
#define _GNU_SOURCE
#include "harness.h"

#include "../../src/data/rows/matrix_blocks.h"
#include "../../src/data/stream/cell_cache.h"

#include "gmvae/mem.h"
#include "gmvae/stream.h"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

enum { rows = 700, genes = 300 };

static double dense[rows][genes];

/* Rows of very different lengths: none, one value, all; large counts of every size. */
static void fill_matrix(void)
{
    for (int i = 0; i < rows; i++) {
        double filled = i % 97 == 5 ? 1.0 : i % 7 == 0 ? 0.0 : 0.4 * t_unit(1, (uint64_t)i);
        for (int j = 0; j < genes; j++) {
            uint64_t place = (uint64_t)(i * genes + j);
            bool large = t_unit(2, place) < 0.02;
            double count = 1 + floor((large ? 16777215.0 : 260.0) * t_unit(3, place));
            dense[i][j] = t_unit(4, place) < filled ? (count < 16777216 ? count : 16777215) : 0;
        }
    }
}

/* Damages the file without a name that is open: one bit of the byte at `at`. */
static void damage(int fd, int64_t at)
{
    unsigned char byte;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 16;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

static int nameless_file(void)
{
    char path[64], target[256];
    for (int fd = 3; fd < 256; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(path, target, sizeof target - 1);
        target[n > 0 ? n : 0] = '\0';
        if (strstr(target, "(deleted)") != NULL) {
            return fd;
        }
    }
    return -1;
}

/* ---- rows put together ---- */

static gmv_matrix a_matrix(const gmv_h5 *file)
{
    return (gmv_matrix){
        .file = file, .name = "X", .kind = GMV_MATRIX_CSC, .rows = rows, .cols = genes, .stored_cols = genes};
}

/* All values of rows [first, end), gene after gene. */
static void put_all(gmv_transpose **by_rows, const gmv_matrix *matrix, int64_t first, int64_t end, int64_t values,
                    gmv_transpose_limits limits, const char *directory)
{
    assert_int_equal(gmv_transpose_create(by_rows, matrix, first, end, values, directory, 1, limits), GMV_OK);
    for (int j = 0; j < genes; j++) {
        for (int64_t i = end - 1; i >= first; i--) {
            if (dense[i][j] != 0.0) { /* true for NaN */
                assert_int_equal(gmv_transpose_put(*by_rows, i - first, j, dense[i][j]), GMV_OK);
            }
        }
    }
    assert_int_equal(gmv_transpose_finish(*by_rows), GMV_OK);
}

static void check_rows(gmv_transpose *by_rows, const gmv_matrix *matrix, int64_t first, int64_t end)
{
    gmv_block_reader reader;
    int64_t row = first;
    assert_int_equal(gmv_block_reader_init(&reader, matrix, by_rows, first, end), GMV_OK);
    for (;;) {
        assert_int_equal(gmv_block_reader_next(&reader), GMV_OK);
        if (reader.block.rows == 0) {
            break;
        }
        assert_int_equal(reader.block.first, row);
        for (int64_t i = 0; i < reader.block.rows; i++, row++) {
            int64_t at = reader.block.start[i];
            for (int j = 0; j < genes; j++) {
                if (dense[row][j] > 0) {
                    assert_true(at < reader.block.start[i + 1]);
                    assert_int_equal(reader.block.column[at], j);
                    assert_true(reader.block.value[at++] == dense[row][j]);
                }
            }
            assert_int_equal(at, reader.block.start[i + 1]);
        }
    }
    assert_int_equal(row, end);
    gmv_block_reader_fini(&reader);
}

/* Few and many buckets, pieces and sortings of a bucket; guesses that are right and wrong; ranges in any order. */
static void check_all_rows(const char *directory)
{
    char path[] = "a.h5ad";
    const gmv_h5 file = {.path = path};
    const gmv_transpose_limits limits[] = {{100, 1}, {1000, 1 << 16}, {100000, 1 << 20}};
    const int64_t guesses[] = {0, 40000, rows * genes, 100 * rows * genes};
    fill_matrix();
    for (size_t l = 0; l < sizeof limits / sizeof limits[0]; l++) {
        for (size_t g = 0; g < sizeof guesses / sizeof guesses[0]; g++) {
            gmv_matrix matrix = a_matrix(&file);
            gmv_transpose *by_rows = NULL;
            put_all(&by_rows, &matrix, 0, rows, guesses[g], limits[l], directory);
            check_rows(by_rows, &matrix, 0, rows);
            check_rows(by_rows, &matrix, 350, 351);
            check_rows(by_rows, &matrix, 3, 360);
            gmv_transpose_destroy(&by_rows);
            put_all(&by_rows, &matrix, 123, 601, guesses[g], limits[l], directory);
            for (int64_t row = 123, n = 1; row < 601; row += n, n = n % 41 + 3) {
                check_rows(by_rows, &matrix, row, row + n < 601 ? row + n : 601);
            }
            gmv_transpose_destroy(&by_rows);
        }
    }
    assert_int_equal(gmv_alloc_live(), 0);
}

static void values_by_genes_become_rows(void **state)
{
    (void)state;
    check_all_rows(".");
    check_all_rows(NULL); /* in memory */
}

/* The first in the order of rows is handed out as it is, for the message. */
static void the_first_bad_value_is_kept(void **state)
{
    (void)state;
    char path[] = "a.h5ad";
    const gmv_h5 file = {.path = path};
    gmv_matrix matrix = a_matrix(&file);
    gmv_transpose *by_rows = NULL;
    gmv_block_reader reader;
    int64_t seen = 0;
    fill_matrix();
    dense[300][20] = -3;
    dense[300][10] = 0.5;
    dense[299][250] = (double)NAN;
    dense[400][0] = 16777216;
    put_all(&by_rows, &matrix, 100, rows, 40000, (gmv_transpose_limits){1000, 1}, ".");
    assert_int_equal(gmv_block_reader_init(&reader, &matrix, by_rows, 100, rows), GMV_OK);
    do {
        assert_int_equal(gmv_block_reader_next(&reader), GMV_OK);
        for (int64_t i = 0; i < reader.block.rows; i++) {
            for (int64_t at = reader.block.start[i]; at < reader.block.start[i + 1]; at++) {
                if (reader.block.value[at] != reader.block.value[at]) {
                    assert_int_equal(reader.block.first + i, 299);
                    assert_int_equal(reader.block.column[at], 250);
                    seen++;
                }
                assert_true(!(reader.block.value[at] < 0));
            }
        }
    } while (reader.block.rows > 0);
    assert_int_equal(seen, 1);
    gmv_block_reader_fini(&reader);
    gmv_transpose_destroy(&by_rows);
}

static void a_row_with_a_gene_too_often_is_refused(void **state)
{
    (void)state;
    char path[] = "a.h5ad";
    const gmv_h5 file = {.path = path};
    gmv_matrix matrix = a_matrix(&file);
    gmv_transpose *by_rows = NULL;
    gmv_block_reader reader;
    fill_matrix();
    assert_int_equal(gmv_transpose_create(&by_rows, &matrix, 0, rows, 1, ".", 1, (gmv_transpose_limits){9, 1}), GMV_OK);
    for (int j = 0; j <= genes; j++) {
        assert_int_equal(gmv_transpose_put(by_rows, 12, j < genes ? j : genes - 1, 1), GMV_OK);
    }
    assert_int_equal(gmv_transpose_finish(by_rows), GMV_OK);
    assert_int_equal(gmv_block_reader_init(&reader, &matrix, by_rows, 12, 13), GMV_OK);
    assert_int_equal(gmv_block_reader_next(&reader), GMV_ERR_DATA);
    assert_non_null(strstr(gmv_error_message(), "row 12 has 301 values for 300 genes"));
    gmv_error_clear();
    gmv_block_reader_fini(&reader);
    gmv_transpose_destroy(&by_rows);
}

static void damage_of_values_is_found(void **state)
{
    (void)state;
    char path[] = "a.h5ad";
    const gmv_h5 file = {.path = path};
    fill_matrix();
    for (int64_t at = 0; at < 4000; at += 331) {
        gmv_matrix matrix = a_matrix(&file);
        gmv_transpose *by_rows = NULL;
        gmv_block_reader reader;
        put_all(&by_rows, &matrix, 0, rows, 1, (gmv_transpose_limits){100, 1},
                "."); /* one bucket, whose pieces are full */
        damage(nameless_file(), at);
        assert_int_equal(gmv_block_reader_init(&reader, &matrix, by_rows, 0, rows), GMV_OK);
        gmv_status status = GMV_OK;
        while (status == GMV_OK && reader.next < reader.end) {
            status = gmv_block_reader_next(&reader);
        }
        assert_int_equal(status, GMV_ERR_ENVIRONMENT);
        gmv_error_clear();
        gmv_block_reader_fini(&reader);
        gmv_transpose_destroy(&by_rows);
    }
}

/* ---- packed rows ---- */

/* Cells of `shards` shards in blocks of 16 rows; rows [first, end) are local. */
static gmv_cells some_cells(int64_t *shard_start, int shards, int first, int end, int32_t of_genes)
{
    for (int s = 0; s <= shards; s++) {
        shard_start[s] = (int64_t)rows * s / shards;
    }
    gmv_cells cells = {.total = rows, .shards = shards, .first_shard = first, .end_shard = end, .genes = of_genes};
    cells.shard_start = shard_start;
    cells.first = shard_start[first];
    cells.count = shard_start[end] - cells.first;
    assert_int_equal(gmv_stream_create(&cells.stream, &cells, 16), GMV_OK);
    assert_int_equal(GMV_NEW(cells.stream->cache, 1, "a cache"), GMV_OK);
    assert_int_equal(gmv_cell_cache_open(cells.stream->cache, &cells, "."), GMV_OK);
    return cells;
}

/* Packs rows [first, end), genes `apart` from each other. */
static gmv_packed pack(gmv_packer *packer, int64_t first, int64_t end, int32_t apart)
{
    gmv_packer_reset(packer);
    for (int64_t i = first; i < end; i++) {
        int32_t column[genes];
        uint32_t count[genes];
        int64_t n = 0;
        for (int j = 0; j < genes; j++) {
            if (dense[i][j] > 0) {
                column[n] = j * apart;
                count[n++] = (uint32_t)dense[i][j];
            }
        }
        assert_true(gmv_packer_add_row(packer, column, count, n, packer->genes, NULL));
    }
    gmv_packed packed = gmv_packer_view(packer);
    packed.first_cell = first;
    return packed;
}

static void same_row(const gmv_packer *got, const gmv_packer *wanted)
{
    size_t n = (size_t)wanted->nnz;
    assert_int_equal(got->rows, 1);
    assert_int_equal(got->nnz, wanted->nnz);
    assert_int_equal(got->overflows, wanted->overflows);
    assert_true(n == 0 || memcmp(got->count8, wanted->count8, n) == 0);
    assert_true(n == 0 || wanted->wide || memcmp(got->gene16, wanted->gene16, 2 * n) == 0);
    assert_true(n == 0 || !wanted->wide || memcmp(got->gene32, wanted->gene32, 4 * n) == 0);
    for (int64_t i = 0; i < wanted->overflows; i++) {
        assert_int_equal(got->overflow_at[i], wanted->overflow_at[i]);
        assert_int_equal(got->overflow_count[i], wanted->overflow_count[i]);
    }
}

/* Some rows are in the cache: those of every third of a few dozen. */
static bool is_kept(int64_t row)
{
    return row / 37 % 3 != 1;
}

static void write_cache(gmv_cells *cells, gmv_packer *packer, int32_t apart)
{
    gmv_gidx end = cells->first + cells->count;
    for (gmv_gidx row = cells->first, next; row < end; row = next) {
        next = (row / 37 + 1) * 37 < end ? (row / 37 + 1) * 37 : end;
        if (is_kept(row)) {
            gmv_packed packed = pack(packer, row, next, apart);
            assert_int_equal(gmv_cell_cache_add(cells->stream->cache, cells, &packed), GMV_OK);
        }
    }
    assert_int_equal(gmv_cell_cache_finish(cells->stream->cache), GMV_OK);
}

static void packed_rows_come_back(void **state)
{
    (void)state;
    int64_t shard_start[9];
    fill_matrix();
    for (int test = 0; test < 4; test++) {
        int32_t apart = test % 2 == 0 ? 1 : 300; /* 16-bit and 32-bit genes */
        gmv_cells cells = some_cells(shard_start, 8, test / 2 * 3, test / 2 * 3 + 5, genes * apart);
        gmv_packer some, one, got;
        assert_int_equal(gmv_packer_init(&some, cells.genes, rows, 0), GMV_OK);
        assert_int_equal(gmv_packer_init(&one, cells.genes, 1, 0), GMV_OK);
        assert_int_equal(gmv_packer_init(&got, cells.genes, 1, 0), GMV_OK);
        write_cache(&cells, &some, apart);
        gmv_cache_reader reader;
        gmv_cache_reader_init(&reader, cells.stream->cache);
        for (int order = 0; order < 3; order++) { /* all, some, and one here and one there */
            for (gmv_gidx i = 0; i < cells.count; i += 1 + order % 2 * 4) {
                gmv_gidx end, row = cells.first + (order < 2 ? i : i * 277 % cells.count);
                int64_t block = gmv_stream_block(&cells, row, &end);
                assert_true(end > row && end <= row + 16);
                gmv_packer_reset(&got);
                if (is_kept(row)) {
                    pack(&one, row, row + 1, apart);
                    assert_true(gmv_cache_reader_add(&reader, &got, block, row));
                    same_row(&got, &one);
                }
            }
        }
        gmv_cache_reader_fini(&reader);
        gmv_packer_fini(&some);
        gmv_packer_fini(&one);
        gmv_packer_fini(&got);
        gmv_stream_destroy(&cells.stream);
    }
    assert_int_equal(gmv_alloc_live(), 0);
}

static void damage_of_packed_rows_is_found(void **state)
{
    (void)state;
    int64_t shard_start[5];
    fill_matrix();
    gmv_cells cells = some_cells(shard_start, 4, 0, 4, genes);
    gmv_packer packer, got;
    assert_int_equal(gmv_packer_init(&packer, genes, rows, 0), GMV_OK);
    assert_int_equal(gmv_packer_init(&got, genes, 1, 0), GMV_OK);
    write_cache(&cells, &packer, 1);
    const gmv_cell_cache *cache = cells.stream->cache;
    for (int64_t at = 0; at < cache->start[1]; at += 13) {
        gmv_cache_reader reader;
        gmv_cache_reader_init(&reader, cache);
        gmv_packer_reset(&got);
        damage(cache->file.fd, at);
        assert_false(gmv_cache_reader_add(&reader, &got, 0, 0));
        damage(cache->file.fd, at);
        assert_true(gmv_cache_reader_add(&reader, &got, 0, 0));
        gmv_cache_reader_fini(&reader);
    }
    gmv_packer_fini(&packer);
    gmv_packer_fini(&got);
    gmv_stream_destroy(&cells.stream);
}

/* ---- the file ---- */

static int entries_of(const char *path)
{
    int n = 0;
    DIR *folder = opendir(path);
    assert_non_null(folder);
    while (readdir(folder) != NULL) {
        n++;
    }
    closedir(folder);
    return n;
}

static void the_file_has_no_name_and_an_end(void **state)
{
    (void)state;
    char path[] = "scratch-XXXXXX", text[8] = "1234567";
    gmv_scratch scratch;
    struct rlimit before, few;
    assert_non_null(mkdtemp(path));
    assert_int_equal(gmv_scratch_open(&scratch, path), GMV_OK);
    assert_int_equal(entries_of(path), 2); /* . and .. */
    assert_int_equal(gmv_scratch_expect(&scratch, 1000, 0, 1), GMV_OK);
    assert_int_equal(gmv_scratch_expect(&scratch, INT64_C(1) << 60, (INT64_C(1) << 60) - 1000, 1), GMV_OK);
    assert_int_equal(gmv_scratch_expect(&scratch, INT64_C(1) << 60, 0, 1), GMV_ERR_ENVIRONMENT);
    assert_non_null(strstr(gmv_error_message(), "scratch-"));
    assert_non_null(strstr(gmv_error_message(), "1152921504.6 GB"));
    assert_non_null(strstr(gmv_error_message(), "data.cache_dir"));
    gmv_error_clear();
    getrlimit(RLIMIT_FSIZE, &before);
    few = (struct rlimit){21, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &few);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(gmv_scratch_append(&scratch, text, 7), GMV_OK);
    }
    scratch.needed = 12345;
    assert_int_equal(gmv_scratch_append(&scratch, text, 7), GMV_ERR_ENVIRONMENT);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_non_null(
        strstr(gmv_error_message(),
               "no room is left after 21 bytes of packed cells of this rank, which needs about 12345 bytes"));
    gmv_error_clear();
    assert_true(gmv_scratch_read(&scratch, 14, 7, text));
    assert_string_equal(text, "1234567");
    assert_false(gmv_scratch_read(&scratch, 15, 7, text));
    gmv_scratch_close(&scratch);
    assert_int_equal(rmdir(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T_TEST(values_by_genes_become_rows),
        T_TEST(the_first_bad_value_is_kept),
        T_TEST(a_row_with_a_gene_too_often_is_refused),
        T_TEST(damage_of_values_is_found),
        T_TEST(packed_rows_come_back),
        T_TEST(damage_of_packed_rows_is_found),
        T_TEST(the_file_has_no_name_and_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
