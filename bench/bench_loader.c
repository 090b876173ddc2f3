/* Cells a second from a file into batches, beside the time that decompression alone takes.
 *
 *   bench_loader FILE [repeats=5] [threads=1] [KEY=VALUE ...]
 *
 * Keys are those of the config, such as data.matrix, data.window, train.batch_size.
 * In turns, `repeats` times; medians are printed as one JSON line, by the clock and by core (work of all threads):
 *   inflate    every chunk of the matrix is read and decoded, and the values thrown away: no reader can be faster with
 *              this file and libdeflate
 *   load       from opening the file to the packed matrix in memory
 *   touch      memory for that matrix is written for the first time, which `load` has to do as well
 *   stream     an epoch of streamed cells in its shuffled order, up to the windows in memory
 *   csr        an epoch of the matrix in memory, as CSR batches of int32 and float like those of Python's loaders
 *   stream_csr the same of streamed cells, from disk
 *   packed_csr the same of streamed cells, from the packed copy on disk that data.cache = all makes, not counted here
 *   batches    an epoch of the matrix in memory, as the CPU backend trains on it: CSR and CSC, with encoder input */
#include "gmvae/data.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/packed.h"
#include "gmvae/train.h"

#include "../src/data/rows/matrix.h"
#include "../src/data/rows/read_rows.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { most_repeats = 101 };

typedef enum measure { INFLATE, LOAD, TOUCH, STREAM, CSR, STREAM_CSR, PACKED_CSR, BATCHES, MEASURES } measure;
static const char *const measure_name[] = {"inflate", "load",       "touch",      "stream",
                                           "csr",     "stream_csr", "packed_csr", "batches"};

typedef struct plan {
    char *file;
    int repeats, threads;
    gmv_config config;
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

static void decode_all(const gmv_h5_array *stored, int64_t *failures)
{
    int64_t chunks = (stored->end + stored->chunk - 1) / stored->chunk, piece = 64;
#pragma omp parallel
    {
        gmv_h5_array_cursor cursor;
        bool ready = gmv_h5_array_cursor_init(&cursor, stored) == GMV_OK;
#pragma omp for schedule(dynamic, 1)
        for (int64_t p = 0; p < (chunks + piece - 1) / piece; p++) {
            int64_t end = (p + 1) * piece * stored->chunk;
            end = end < stored->end ? end : stored->end;
            for (int64_t at = p * piece * stored->chunk; at < end; at += stored->chunk) {
                int64_t n = end - at < stored->chunk ? end - at : stored->chunk;
                if (!ready || gmv_h5_array_span(&cursor, at, n, end) == NULL) {
#pragma omp atomic
                    ++*failures;
                }
            }
        }
        gmv_h5_array_cursor_fini(&cursor);
    }
}

static gmv_status inflate(const plan *p, duration *seconds)
{
    gmv_h5 file;
    gmv_matrix matrix = {0};
    gmv_csr_arrays store = {0};
    int64_t failures = 0;
    duration start = now();
    GMV_TRY(gmv_h5_open(&file, p->file, NULL));
    gmv_status status = gmv_matrix_choose(&matrix, &file, p->config.data_matrix, p->config.data_round);
    if (status == GMV_OK) {
        status = gmv_csr_arrays_open(&store, &matrix, 0, matrix.rows, false);
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
    gmv_csr_arrays_close(&store);
    gmv_matrix_close(&matrix);
    gmv_h5_close(&file);
    return status;
}

/* ---- what the program does ---- */

static gmv_status open_cells(const plan *p, const gmv_comm *comm, int residence, int cache, gmv_cells **cells)
{
    char *file = p->file;
    gmv_texts path = {&file, 1};
    gmv_config config = p->config; /* borrows all of it */
    config.data_residence = residence;
    config.data_cache = cache;
    gmv_reading how = {.paths = &path};
    return gmv_cells_load(cells, comm, &config, &how);
}

/* Of a run's reading: the order of an epoch, its windows, its batches. */
typedef struct reading {
    gmv_sampler sampler;
    gmv_order order;
    gmv_backend *backend;
    gmv_feed feed;
    int64_t epoch;
} reading;

static gmv_status begin(reading *r, const plan *p, const gmv_comm *comm, const gmv_cells *cells)
{
    gmv_backend_options options = {.name = "cpu", .precision = GMV_FP32};
    int all[2] = {0, cells->shards};
    memset(r, 0, sizeof *r);
    GMV_TRY(gmv_sampler_init(&r->sampler, comm, cells, (uint64_t)p->config.seed, p->config.train_batch_size,
                             p->config.data_window));
    GMV_TRY(gmv_order_init(&r->order, &r->sampler, all, 1, p->threads));
    GMV_TRY(gmv_backend_open(&r->backend, &options, comm));
    return gmv_feed_open(&r->feed, r->backend, cells, (int)p->config.train_batch_size, GMV_RESIDENCE_HOST,
                         cells->stream != NULL ? &r->order.slots : NULL);
}

static void end(reading *r)
{
    if (r->backend != NULL) {
        gmv_feed_close(&r->feed);
        gmv_backend_close(&r->backend);
    }
    gmv_order_fini(&r->order);
    gmv_sampler_fini(&r->sampler);
}

static void gather(const gmv_packed *packed, const int64_t *row, int n, gmv_batch *batch)
{
    batch->indptr[0] = 0;
    for (int i = 0; i < n; i++) {
        batch->indptr[i + 1] = batch->indptr[i] + (int32_t)(packed->indptr[row[i] + 1] - packed->indptr[row[i]]);
    }
#pragma omp parallel for schedule(static)
    for (int i = 0; i < n; i++) {
        gmv_nnz from = packed->indptr[row[i]];
        gmv_packed_prefetch(packed, row[i + 1 < n ? i + 1 : i]);
        int32_t *restrict gene = batch->gene + batch->indptr[i], length = batch->indptr[i + 1] - batch->indptr[i];
        float *restrict count = batch->x + batch->indptr[i];
        for (int32_t k = 0; k < length; k++) {
            gene[k] = packed->gene16 != NULL ? (int32_t)packed->gene16[from + k] : (int32_t)packed->gene32[from + k];
        }
        for (int32_t k = 0; k < length; k++) {
            count[k] = packed->count8[from + k];
        }
        const uint8_t *large = packed->count8 + from, *end = large + length;
        while ((large = memchr(large, 255, (size_t)(end - large))) != NULL) {
            count[large - packed->count8 - from] = (float)gmv_packed_count(packed, large - packed->count8);
            large++;
        }
    }
}

static gmv_status read_epoch(reading *r, measure what, duration *seconds)
{
    gmv_input input = {GMV_INPUT_LOG1P, 0.0f, 1.0f};
    gmv_order *order = &r->order;
    duration start = now();
    for (int64_t t = 0; t < r->sampler.batches; t = order->end) {
        GMV_TRY(gmv_order_take(order, r->epoch, t));
        GMV_TRY(gmv_feed_set_order(&r->feed, order->row, order->start[order->end - order->first], order->room));
        for (int64_t i = 0; i < order->end - order->first; i++) {
            int n = (int)(order->start[i + 1] - order->start[i]);
            if (i == 1 && order->end < r->sampler.batches) {
                gmv_order_prepare(order);
            }
            if (what == CSR || what == STREAM_CSR || what == PACKED_CSR) {
                gather(&r->feed.matrix.packed, order->row + order->start[i], n, &r->feed.batch);
            } else if (what == BATCHES) {
                GMV_TRY(gmv_feed_next(&r->feed, &order->start[i], NULL, n, input));
            }
        }
    }
    r->epoch++;
    *seconds = since(start);
    return GMV_OK;
}

/* What is measured of the whole file in memory. */
static gmv_status measure_loaded(const plan *p, const gmv_comm *comm, int repeat, duration (*took)[most_repeats],
                                 int64_t *cells, int64_t *nonzeros, int64_t *bytes)
{
    gmv_cells *loaded;
    reading r = {0};
    duration start = now();
    GMV_TRY(open_cells(p, comm, GMV_RESIDENCE_HOST, GMV_CACHE_NONE, &loaded));
    took[LOAD][repeat] = since(start);
    *cells = loaded->total;
    *nonzeros = loaded->packed.indptr[loaded->packed.rows];
    *bytes = *nonzeros * (loaded->packed.gene16 != NULL ? 3 : 5);
    gmv_status status;
    GMV_GO(begin(&r, p, comm, loaded));
    GMV_GO(read_epoch(&r, BATCHES, &took[BATCHES][repeat])); /* which is also the first to use this memory */
    GMV_GO(read_epoch(&r, CSR, &took[CSR][repeat]));
done:
    end(&r);
    gmv_cells_destroy(&loaded);
    return status;
}

static gmv_status touch(int64_t bytes, duration *seconds)
{
    char *memory;
    duration start = now();
    GMV_TRY(GMV_ROOM(memory, bytes, "memory"));
    memset(memory, 1, (size_t)bytes);
    *seconds = since(start);
    GMV_FREE(memory);
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

static void print(const plan *p, duration (*took)[most_repeats], int64_t cells, int64_t nonzeros)
{
    const char *name = strrchr(p->file, '/');
    printf(
        "{\"bench\": \"loader\", \"program\": \"gmvae_dist\", \"version\": \"%s\", \"file\": \"%s\", \"cells\": %lld, "
        "\"nonzeros\": %.1f, \"threads\": %d, \"repeats\": %d, \"batch\": %lld, \"window\": %lld",
        GMVAE_VERSION, name != NULL ? name + 1 : p->file, (long long)cells, (double)nonzeros / (double)cells,
        p->threads, p->repeats, (long long)p->config.train_batch_size, (long long)p->config.data_window);
    for (int m = 0; m < MEASURES; m++) {
        double rate[2];
        rates(took[m], p->repeats, cells, rate);
        printf(", \"%s_cells_per_s\": %.0f, \"%s_cells_per_s_core\": %.0f", measure_name[m], rate[0], measure_name[m],
               rate[1]);
    }
    printf("}\n");
}

static gmv_status run(const plan *p, const gmv_comm *comm)
{
    static duration took[MEASURES][most_repeats];
    int64_t cells = 0, nonzeros = 0, bytes = 0;
    gmv_cells *streamed = NULL, *packed = NULL;
    reading r = {0}, of_packed = {0};
    gmv_status status;
    GMV_GO(open_cells(p, comm, GMV_RESIDENCE_STREAM, GMV_CACHE_NONE, &streamed));
    GMV_GO(begin(&r, p, comm, streamed));
    GMV_GO(read_epoch(&r, STREAM_CSR, &took[STREAM][0])); /* the windows' memory is there from now on */
    GMV_GO(open_cells(p, comm, GMV_RESIDENCE_STREAM, GMV_CACHE_ALL, &packed));
    GMV_GO(begin(&of_packed, p, comm, packed));
    GMV_GO(read_epoch(&of_packed, PACKED_CSR, &took[PACKED_CSR][0]));
    for (int i = 0; i < p->repeats; i++) {
        GMV_GO(inflate(p, &took[INFLATE][i]));
        GMV_GO(read_epoch(&r, STREAM, &took[STREAM][i]));
        GMV_GO(read_epoch(&r, STREAM_CSR, &took[STREAM_CSR][i]));
        GMV_GO(read_epoch(&of_packed, PACKED_CSR, &took[PACKED_CSR][i]));
        GMV_GO(measure_loaded(p, comm, i, took, &cells, &nonzeros, &bytes));
        GMV_GO(touch(bytes, &took[TOUCH][i]));
    }
    print(p, took, cells, nonzeros);
done:
    end(&of_packed);
    end(&r);
    gmv_cells_destroy(&packed);
    gmv_cells_destroy(&streamed);
    return status;
}

/* The words of the command line; those that are keys of the config are moved to its beginning. */
static gmv_status read_plan(plan *p, int argc, char **argv)
{
    int overrides = 0;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "repeats=", 8) == 0) {
            p->repeats = (int)strtol(argv[i] + 8, NULL, 10);
        } else if (strncmp(argv[i], "threads=", 8) == 0) {
            p->threads = (int)strtol(argv[i] + 8, NULL, 10);
        } else if (p->file == NULL) {
            p->file = argv[i];
        } else {
            argv[overrides++] = argv[i];
        }
    }
    if (p->file == NULL || p->repeats < 1 || p->repeats > most_repeats || p->threads < 1) {
        return GMV_FAIL(GMV_ERR_CONFIG, "usage: bench_loader FILE [repeats=5] [threads=1] [KEY=VALUE ...]");
    }
    static const char settings[] = "data: {driver: posix, check_seconds: 0}";
    return gmv_config_parse(&p->config, "bench_loader", settings, (int64_t)strlen(settings), overrides,
                            (const char *const *)argv);
}

int main(int argc, char **argv)
{
    plan p = {.repeats = 5, .threads = 1};
    gmv_comm comm;
    gmv_status status = gmv_comm_init(&comm, &argc, &argv);
    if (status == GMV_OK) {
        status = read_plan(&p, argc, argv);
        if (status == GMV_OK) {
            omp_set_num_threads(p.threads);
            status = run(&p, &comm);
        }
        if (status != GMV_OK) {
            fprintf(stderr, "bench_loader: %s\n", gmv_error_message());
        }
        gmv_config_fini(&p.config);
        gmv_comm_fini(&comm);
    }
    return gmv_exit_code(status);
}
