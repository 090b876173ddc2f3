/* Loading cells that stay on disk: where the matrix is to live, and the pass that checks and counts it. */
#include "../fingerprint.h"
#include "../genes/gene_lists.h"
#include "../inputs.h"
#include "../rows/matrix_blocks.h"
#include "cell_cache.h"
#include "stream_file.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/stream.h"
#include "gmvae/work.h"

#include <inttypes.h>
#include <sys/resource.h>

enum {
    walked_values = 1 << 21,
    most_walked_rows = 1 << 18,
    least_walked_rows = 1 << 10,
    most_block_rows = 512,
    least_block_rows = 16
};

/* ---- where ---- */

/* What the packed matrix of the local rows takes in memory. */
static int64_t resident_bytes(const gmv_cells *cells, const gmv_config *config, gmv_nnz values)
{
    int keys = config->data_batch_keys.n;
    int64_t of_row = 8 + 8 * (int64_t)keys + 16; /* start, covariates twice, places in the order of an epoch */
    return values * (gmv_packer_is_wide(cells->genes) ? 5 : 3) + cells->count * of_row;
}

gmv_status gmv_choose_stream(const gmv_cells *cells, const gmv_comm *comm, const gmv_config *config, gmv_nnz values,
                             bool *stream)
{
    const double gigabyte = 1e9;
    int64_t asked = config->data_memory_mb * 1000000;
    int64_t room = asked > 0 ? asked : gmv_memory_available() / comm->local_size / 10 * 7;
    int64_t need = resident_bytes(cells, config, values), over = need > room ? 1 : 0, sum[2] = {need, over};
    *stream = config->data_residence == GMV_RESIDENCE_STREAM;
    if (config->data_residence != GMV_RESIDENCE_AUTO) {
        return GMV_OK;
    }
    gmv_comm_sum_i64(comm, sum, 2);
    *stream = sum[1] > 0;
    if (*stream) {
        gmv_log("residence: stream, from disk: the packed matrix of %.2f GB does not fit into the %.2f GB for it on "
                "rank%s; data.residence: host keeps it in memory all the same",
                (double)sum[0] / gigabyte, (double)room / gigabyte, comm->size == 1 ? " 0" : "s like rank 0");
    }
    return GMV_OK;
}

/* Three descriptors for each local file are too many for the limit that shells start with. */
static gmv_status allow_many_files(const gmv_cells *cells, const gmv_source *source)
{
    struct rlimit limit;
    rlim_t need = 128; /* for everything else */
    int files = 0;
    for (int f = 0; f < cells->files; f++) {
        int64_t first, end;
        gmv_local_rows(cells, &source[f], &first, &end);
        files += end > first;
        need += end > first ? 3 : 0;
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return GMV_OK;
    }
    if (limit.rlim_cur < need && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur < need) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT,
                        "data.residence: stream keeps %d files open on one rank, which takes %llu descriptors, and the "
                        "limit is %llu; raise it (ulimit -n), take more ranks, or data.residence: host",
                        files, (unsigned long long)need, (unsigned long long)limit.rlim_cur);
    }
    return GMV_OK;
}

/* Row stores while they are opened. */
typedef struct store_visit {
    const gmv_source *source;
    bool stream;
    int64_t refused; /* first file, from 1; 0: none */
} store_visit;

static gmv_status open_store(void *context, gmv_source *source, int64_t first, int64_t end)
{
    store_visit *visit = context;
    if (!source->shared && !visit->stream) {
        return GMV_OK;
    }
    GMV_TRY(gmv_csr_arrays_open(&source->store, &source->input->matrix, first, end, visit->stream));
    if (!source->store.is_open && end > first && visit->refused == 0) {
        visit->refused = source - visit->source + 1;
    }
    return GMV_OK;
}

gmv_status gmv_open_csr_arrays(const gmv_cells *cells, const gmv_comm *comm, gmv_source *source, bool stream,
                               int *refused)
{
    store_visit visit = {source, stream, 0};
    if (stream) {
        GMV_TRY(gmv_comm_agree(comm, allow_many_files(cells, source)));
    }
    GMV_TRY(gmv_sources_visit(cells, source, comm, open_store, &visit));
    gmv_comm_max_i64(comm, &visit.refused, 1);
    *refused = (int)visit.refused - 1;
    return GMV_OK;
}

gmv_status gmv_refuse_stream(const gmv_source *source)
{
    static const char *const kinds[] = {"a CSR matrix with other chunks", "a CSC matrix", "a dense matrix"};
    return GMV_FAIL(GMV_ERR_CONFIG,
                    "%s: %s is %s; data.residence: stream with data.cache: none reads CSR matrices that are not "
                    "compressed, or with gzip or lzf. Take data.cache: auto, which makes a packed copy on disk",
                    source->path, gmv_shown(source->place.name).at, kinds[source->kind]);
}

/* ---- the pass ---- */

/* For gmv_sort_stored_rows. */
typedef struct sorting {
    const gmv_comm *comm;
    const char *directory;
} sorting;

static gmv_status sort_rows(void *context, gmv_source *source, int64_t first, int64_t end)
{
    const sorting *how = context;
    const gmv_matrix *matrix = &source->input->matrix;
    if (gmv_matrix_needs_sorting(matrix)) {
        GMV_TRY(gmv_matrix_sort_rows(&source->by_rows, matrix, first, end, how->directory, how->comm->local_size));
        source->values = gmv_transpose_values(source->by_rows);
    }
    return GMV_OK;
}

gmv_status gmv_sort_stored_rows(const gmv_cells *cells, const gmv_comm *comm, const gmv_config *config,
                                gmv_source *source)
{
    sorting how = {comm, gmv_scratch_directory(config->data_cache_dir)};
    for (int f = 0; f < cells->files; f++) {
        GMV_TRY(source[f].kind != GMV_MATRIX_CSR ? gmv_source_visit(cells, &source[f], sort_rows, &how) : GMV_OK);
    }
    return GMV_OK;
}

/* As many as have about walked_values values, from the mean of the file; whole chunks of a dense one. */
static int64_t rows_at_a_time(const gmv_source *source)
{
    int64_t rows = walked_values / (source->nnz / (source->rows + 1) + 1);
    rows = rows > most_walked_rows ? most_walked_rows : rows;
    rows = rows < least_walked_rows ? least_walked_rows : rows;
    const gmv_matrix *matrix = &source->input->matrix;
    return matrix->kind == GMV_MATRIX_DENSE && source->by_rows == NULL
               ? (rows + matrix->chunk_rows - 1) / matrix->chunk_rows * matrix->chunk_rows
               : rows;
}

typedef struct row_walk {
    const gmv_cells *cells;
    const gmv_gene_lists *lists;
    int32_t genes;
    gmv_row_visitor visit;
    void *context;
    int64_t done; /* rows */
    gmv_work work;
} row_walk;

static gmv_work looking_at(const gmv_cells *cells)
{
    return gmv_work_begin((double)cells->count, "looking at cells");
}

static gmv_status walk_file(void *context, gmv_source *source, int64_t first, int64_t end)
{
    row_walk *walk = context;
    gmv_packer packer = {0};
    gmv_row_source rows = gmv_source_rows(source, walk->lists);
    int64_t at_a_time = rows_at_a_time(source);
    gmv_status status = GMV_OK;
    source->rounded = rows.by_rows != NULL ? gmv_transpose_rounded(rows.by_rows) : 0;
    GMV_GO(gmv_packer_init(&packer, walk->genes, at_a_time < end - first ? at_a_time : end - first, 0));
    for (int64_t at = first, n; at < end; at += n) {
        n = at_a_time - at % at_a_time;
        n = end - at < n ? end - at : n;
        gmv_packer_reset(&packer);
        GMV_GO(gmv_read_rows(&packer, &rows, &source->store, at, at + n, NULL));
        source->rounded += packer.rounded;
        gmv_packed packed = gmv_packer_view(&packer);
        packed.first_cell = source->first + at;
        GMV_GO(walk->visit(walk->context, &packed));
        walk->done += n;
        gmv_work_at(&walk->work, (double)walk->done);
    }
done:
    gmv_packer_fini(&packer);
    return status;
}

gmv_status gmv_walk_rows(const gmv_cells *cells, gmv_source *source, const gmv_gene_lists *lists, int32_t genes,
                         gmv_row_visitor visit, void *context)
{
    row_walk walk = {cells, lists, genes, visit, context, 0, looking_at(cells)};
    return gmv_sources_visit(cells, source, NULL, walk_file, &walk);
}

/* ---- the census, and the packed copy ---- */

/* Whether the rows that this rank has of a file are to be read from a packed copy. */
static bool is_cached(const gmv_cells *cells, const gmv_config *config, const gmv_source *source)
{
    int64_t first, end;
    gmv_local_rows(cells, source, &first, &end);
    return end > first && (config->data_cache == GMV_CACHE_ALL || !source->store.is_open);
}

/* Bytes of the copy of a file's local rows as far as they are known beforehand: neither of a dense matrix nor where
 * genes are left out. */
static bool foresee(const gmv_cells *cells, const gmv_source *source, const gmv_gene_list *list, int64_t *bytes)
{
    int64_t first, end;
    for (int64_t j = 0; list->map != NULL && j < list->n; j++) {
        if (list->map[j] < 0) {
            return false;
        }
    }
    gmv_local_rows(cells, source, &first, &end);
    *bytes += gmv_cell_cache_bytes(end - first, source->values, gmv_packer_is_wide(cells->genes));
    return source->kind == GMV_MATRIX_CSR || source->by_rows != NULL;
}

/* What the pass works with. */
typedef struct census {
    gmv_cells *cells;
    const gmv_config *config;
    const gmv_source *source; /* the first */
    row_walk walk;
    gmv_prints *prints;
    gmv_cell_cache *cache;     /* of the file at hand; NULL: none */
    int64_t rows, cached_rows; /* written so far; of all cached files */
    bool foreseen;
} census;

static gmv_status open_cache(census *pass, const gmv_comm *comm, const gmv_config *config, const gmv_source *source)
{
    gmv_cells *cells = pass->cells;
    int64_t bytes = 0, freed = 0, most = 0, first, end; /* most: of the copy beyond what sorted rows have given back */
    pass->foreseen = true;
    for (int f = 0; f < cells->files; f++) {
        if (is_cached(cells, config, &source[f])) {
            gmv_local_rows(cells, &source[f], &first, &end);
            pass->cached_rows += end - first;
            pass->foreseen =
                foresee(cells, &source[f], &pass->walk.lists->list[source[f].list], &bytes) && pass->foreseen;
            most = bytes - freed > most ? bytes - freed : most;
            freed += source[f].by_rows != NULL ? gmv_transpose_bytes(source[f].by_rows) : 0;
        }
    }
    if (pass->cached_rows == 0) {
        return GMV_OK;
    }
    GMV_TRY(GMV_NEW(cells->stream->cache, 1, "packed cells on disk"));
    GMV_TRY(gmv_cell_cache_open(cells->stream->cache, cells, gmv_scratch_directory(config->data_cache_dir)));
    return pass->foreseen ? gmv_scratch_expect(&cells->stream->cache->file, bytes, bytes - most, comm->local_size)
                          : GMV_OK;
}

static gmv_status take_rows(void *context, const gmv_packed *packed)
{
    census *pass = context;
    gmv_stream_count(pass->cells->stream, pass->cells, packed);
    GMV_TRY(gmv_prints_add(pass->prints, pass->cells, packed));
    if (pass->cache == NULL) {
        return GMV_OK;
    }
    gmv_scratch *file = &pass->cache->file;
    if (!pass->foreseen && pass->rows > 0) {
        int64_t written = file->bytes + pass->cache->held;
        file->needed = (int64_t)((double)written / (double)pass->rows * (double)pass->cached_rows);
    }
    pass->rows += packed->rows;
    return gmv_cell_cache_add(pass->cache, pass->cells, packed);
}

/* Counts the rows of a file, copies them if need be, and hands its store to the stream. */
static gmv_status take_file(void *context, gmv_source *source, int64_t first, int64_t end)
{
    census *pass = context;
    gmv_stream *stream = pass->cells->stream;
    gmv_row_source rows = gmv_source_rows(source, pass->walk.lists);
    bool cached = is_cached(pass->cells, pass->config, source);
    pass->cache = cached ? stream->cache : NULL;
    GMV_TRY(walk_file(&pass->walk, source, first, end));
    gmv_transpose_destroy(&source->by_rows);
    return gmv_stream_take_file(&stream->file[source - pass->source], &rows, &source->store, source->first,
                                source->first + first, source->first + end, cached);
}

/* One block of every shard makes a window, or more of them. The blocks of a shard have all but the same size: a window
 * that happened to get the small ends of many shards would have few cells. */
static int64_t rows_of_block(const gmv_cells *cells, int64_t window)
{
    int64_t most = window / cells->shards, rows = (cells->total + cells->shards - 1) / cells->shards;
    most = most > most_block_rows ? most_block_rows : most < least_block_rows ? least_block_rows : most;
    int64_t blocks = (rows + most - 1) / most;
    return blocks > 0 ? (rows + blocks - 1) / blocks : most;
}

gmv_status gmv_cells_to_stream(gmv_cells *cells, const gmv_comm *comm, const gmv_config *config, gmv_source *source,
                               const gmv_gene_lists *lists, gmv_prints *prints)
{
    GMV_TRY(gmv_stream_create(&cells->stream, cells, rows_of_block(cells, config->data_window)));
    census pass = {.cells = cells, .config = config, .source = source, .prints = prints};
    pass.walk = (row_walk){cells, lists, cells->genes, take_rows, &pass, 0, looking_at(cells)};
    GMV_TRY(open_cache(&pass, comm, config, source));
    GMV_TRY(gmv_sources_visit(cells, source, NULL, take_file, &pass));
    return cells->stream->cache != NULL ? gmv_cell_cache_finish(cells->stream->cache) : GMV_OK;
}

void gmv_log_cache(const gmv_cells *cells, const gmv_comm *comm, const gmv_config *config)
{
    const double gigabyte = 1e9;
    const char *directory = gmv_scratch_directory(config->data_cache_dir);
    int64_t bytes = cells->stream->cache != NULL ? cells->stream->cache->file.bytes : 0;
    gmv_comm_sum_i64(comm, &bytes, 1);
    if (bytes > 0) {
        gmv_log("cache: %.3f GB of packed cells in %s (data.cache_dir)%s%s", (double)bytes / gigabyte, directory,
                comm->size > 1 ? ", of all ranks together" : "",
                gmv_scratch_is_memory(directory) ? "; that is no disk but memory (tmpfs)" : "");
    }
}
