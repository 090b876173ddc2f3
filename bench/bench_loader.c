/* Cells a second from a file into the packed matrix, beside the time that decompression alone takes.
 *
 *   bench_loader FILE [matrix=auto] [repeats=5] [threads=1]
 *
 * `inflate` reads and decodes every chunk of the matrix and throws the values away: no reader can be faster with this
 * file and libdeflate. `load` is gmv_cells_load. The two take turns; medians are printed as one JSON line. */
#include "gmvae/data.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"

#include "../src/data/matrix.h"
#include "../src/data/read_rows.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { most_repeats = 101 };

typedef struct plan {
    char *file;
    const char *matrix;
    int repeats, threads;
} plan;

/* Seconds of the clock, and of all threads' work, which other programs on the machine disturb less. */
typedef struct duration {
    double clock, work;
} duration;

static duration now(void)
{
    struct timespec t, w;
    clock_gettime(CLOCK_MONOTONIC, &t);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &w);
    return (duration){(double)t.tv_sec + 1e-9 * (double)t.tv_nsec, (double)w.tv_sec + 1e-9 * (double)w.tv_nsec};
}

static duration since(duration start)
{
    duration end = now();
    return (duration){end.clock - start.clock, end.work - start.work};
}

static void decode_all(const gmv_stored *stored, int64_t *failures)
{
    int64_t chunks = (stored->end + stored->chunk - 1) / stored->chunk, piece = 64;
#pragma omp parallel
    {
        gmv_stored_cursor cursor;
        bool ready = gmv_stored_cursor_init(&cursor, stored) == GMV_OK;
#pragma omp for schedule(dynamic, 1)
        for (int64_t p = 0; p < (chunks + piece - 1) / piece; p++) {
            int64_t end = (p + 1) * piece * stored->chunk;
            end = end < stored->end ? end : stored->end;
            for (int64_t at = p * piece * stored->chunk; at < end; at += stored->chunk) {
                int64_t n = end - at < stored->chunk ? end - at : stored->chunk;
                if (!ready || gmv_stored_span(&cursor, at, n, end) == NULL) {
#pragma omp atomic
                    ++*failures;
                }
            }
        }
        gmv_stored_cursor_fini(&cursor);
    }
}

static gmv_status inflate(const plan *p, duration *seconds)
{
    gmv_h5 file;
    gmv_matrix matrix = {0};
    gmv_row_store store = {0};
    int64_t failures = 0;
    duration start = now();
    GMV_TRY(gmv_h5_open(&file, p->file, NULL));
    gmv_status status = gmv_matrix_choose(&matrix, &file, p->matrix);
    if (status == GMV_OK) {
        status = gmv_row_store_open(&store, &matrix, 0, matrix.rows, false);
    }
    if (status == GMV_OK && !store.is_open) {
        status = GMV_FAIL(GMV_ERR_CONFIG, "%s: only HDF5 can read this matrix", p->file);
    }
    if (status == GMV_OK) {
        decode_all(&store.column, &failures);
        decode_all(&store.value, &failures);
        *seconds = since(start);
        GMV_CHECK(failures == 0);
    }
    gmv_row_store_close(&store);
    gmv_matrix_close(&matrix);
    gmv_h5_close(&file);
    return status;
}

static gmv_status load(const plan *p, const gmv_comm *comm, duration *seconds, int64_t *cells, int64_t *nonzeros)
{
    char *file = p->file;
    gmv_texts path = {&file, 1}, none = {NULL, 0};
    gmv_cells_request request = {.paths = &path,
                                 .matrix = p->matrix,
                                 .batch_keys = &none,
                                 .label_key = "",
                                 .genes_mode = GMV_GENES_ALL,
                                 .shards = 64,
                                 .driver = GMV_DRIVER_POSIX};
    gmv_cells *loaded;
    duration start = now();
    GMV_TRY(gmv_cells_load(&loaded, comm, &request));
    *seconds = since(start);
    *cells = loaded->total;
    *nonzeros = loaded->packed.indptr[loaded->packed.rows];
    gmv_cells_destroy(&loaded);
    return GMV_OK;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Cells a second: [0] by the clock, [1] for each core that works. */
static void rates(const duration *seconds, int n, int64_t cells, double *rate)
{
    double clock[most_repeats], work[most_repeats];
    for (int i = 0; i < n; i++) {
        clock[i] = seconds[i].clock;
        work[i] = seconds[i].work;
    }
    qsort(clock, (size_t)n, sizeof *clock, by_size);
    qsort(work, (size_t)n, sizeof *work, by_size);
    rate[0] = (double)cells / clock[n / 2];
    rate[1] = (double)cells / work[n / 2];
}

static gmv_status run(const plan *p, const gmv_comm *comm)
{
    duration inflating[most_repeats], loading[most_repeats];
    int64_t cells = 0, nonzeros = 0;
    double ceiling[2], loaded[2];
    for (int r = 0; r < p->repeats; r++) {
        GMV_TRY(inflate(p, &inflating[r]));
        GMV_TRY(load(p, comm, &loading[r], &cells, &nonzeros));
    }
    rates(inflating, p->repeats, cells, ceiling);
    rates(loading, p->repeats, cells, loaded);
    const char *name = strrchr(p->file, '/');
    printf(
        "{\"bench\": \"loader\", \"program\": \"gmvae_dist\", \"version\": \"%s\", \"file\": \"%s\", \"cells\": %lld, "
        "\"nonzeros\": %.1f, \"threads\": %d, \"repeats\": %d, \"inflate_cells_per_s\": %.0f, "
        "\"inflate_cells_per_s_core\": %.0f, \"cells_per_s\": %.0f, \"cells_per_s_core\": %.0f, \"MB_per_s\": %.0f}\n",
        GMVAE_VERSION, name != NULL ? name + 1 : p->file, (long long)cells, (double)nonzeros / (double)cells,
        p->threads, p->repeats, ceiling[0], ceiling[1], loaded[0], loaded[1],
        8e-6 * (double)nonzeros / (double)cells * loaded[0]);
    return GMV_OK;
}

int main(int argc, char **argv)
{
    plan p = {.matrix = "auto", .repeats = 5, .threads = 1};
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "matrix=", 7) == 0) {
            p.matrix = argv[i] + 7;
        } else if (strncmp(argv[i], "repeats=", 8) == 0) {
            p.repeats = (int)strtol(argv[i] + 8, NULL, 10);
        } else if (strncmp(argv[i], "threads=", 8) == 0) {
            p.threads = (int)strtol(argv[i] + 8, NULL, 10);
        } else {
            p.file = argv[i];
        }
    }
    if (p.file == NULL || p.repeats < 1 || p.repeats > most_repeats || p.threads < 1) {
        fprintf(stderr, "usage: bench_loader FILE [matrix=auto] [repeats=5] [threads=1]\n");
        return 2;
    }
    gmv_comm comm;
    gmv_status status = gmv_comm_init(&comm, &argc, &argv);
    if (status == GMV_OK) {
        omp_set_num_threads(p.threads);
        status = run(&p, &comm);
        if (status != GMV_OK) {
            fprintf(stderr, "bench_loader: %s\n", gmv_error_message());
        }
        gmv_comm_fini(&comm);
    }
    return gmv_exit_code(status);
}
