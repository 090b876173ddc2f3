/* Loading cells that stay on disk: where the matrix is to live, and the pass that checks and counts it. */
#include "cell_cache.h"
#include "inputs.h"
#include "row_buckets.h"
#include "stream_file.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/stream.h"

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
static int64_t resident_bytes(const gmv_cells *cells, const gmv_cells_request *request, gmv_nnz values)
{
    int keys = request->batch_keys != NULL ? request->batch_keys->n : 0;
    int64_t of_row = 8 + 8 * (int64_t)keys + 16; /* start, covariates twice, places in the order of an epoch */
    return values * (gmv_packer_is_wide(cells->genes) ? 5 : 3) + cells->count * of_row;
}

gmv_status gmv_choose_stream(const gmv_cells *cells, const gmv_comm *comm, const gmv_cells_request *request,
                             gmv_nnz values, bool *stream)
{
    const double gigabyte = 1e9;
    int64_t room = request->memory > 0 ? request->memory : gmv_memory_available() / comm->local_size / 10 * 7;
    int64_t need = resident_bytes(cells, request, values), over = need > room ? 1 : 0, sum[2] = {need, over};
    *stream = request->residence == GMV_RESIDENCE_STREAM;
    if (request->residence != GMV_RESIDENCE_AUTO) {
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

/* Three descriptors for each file are too many for the limit that shells start with. */
static void allow_many_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

gmv_status gmv_open_row_stores(const gmv_cells *cells, const gmv_comm *comm, gmv_source *source, bool pointers,
                               int *refused)
{
    if (pointers) {
        allow_many_files();
    }
    int64_t bad = 0;
    for (int f = 0; f < cells->files; f++) {
        int64_t first, end;
        gmv_local_rows(cells, &source[f], &first, &end);
        GMV_TRY(gmv_comm_agree(comm, gmv_row_store_open(&source[f].store, &source[f].matrix, first, end, pointers)));
        if (!source[f].store.is_open && end > first) {
            bad = bad == 0 ? f + 1 : bad;
        }
    }
    gmv_comm_max_i64(comm, &bad, 1);
    *refused = (int)bad - 1;
    return GMV_OK;
}

gmv_status gmv_refuse_stream(const gmv_source *source)
{
    static const char *const kinds[] = {"a CSR matrix with other chunks", "a CSC matrix", "a dense matrix"};
    return GMV_FAIL(GMV_ERR_CONFIG,
                    "%s: %s is %s; data.residence: stream with data.cache: none reads CSR matrices that are not "
                    "compressed, or with gzip or lzf. Take data.cache: auto, which makes a packed copy on disk",
                    source->file.path, gmv_shown(source->matrix.name).at, kinds[source->matrix.kind]);
}

/* ---- the pass ---- */

gmv_status gmv_sort_stored_rows(const gmv_cells *cells, const gmv_comm *comm, const gmv_cells_request *request,
                                gmv_source *source)
{
    for (int f = 0; f < cells->files; f++) {
        gmv_matrix *matrix = &source[f].matrix;
        int64_t first, end;
        gmv_local_rows(cells, &source[f], &first, &end);
        if (end > first && gmv_matrix_needs_sorting(matrix)) {
            GMV_TRY(
                gmv_matrix_sort_rows(matrix, first, end, gmv_scratch_directory(request->cache_dir), comm->local_size));
            source[f].values = gmv_row_buckets_values(matrix->by_rows);
        }
    }
    return GMV_OK;
}

/* As many as have about walked_values values, from the mean of the file; whole chunks of a dense one. */
static int64_t rows_at_a_time(const gmv_matrix *matrix)
{
    int64_t rows = walked_values / (matrix->nnz / (matrix->rows + 1) + 1);
    rows = rows > most_walked_rows ? most_walked_rows : rows;
    rows = rows < least_walked_rows ? least_walked_rows : rows;
    return matrix->kind == GMV_MATRIX_DENSE && matrix->by_rows == NULL
               ? (rows + matrix->chunk_rows - 1) / matrix->chunk_rows * matrix->chunk_rows
               : rows;
}

/* Rows of one file. @param[in,out] done  of all local rows */
static gmv_status walk_file(const gmv_cells *cells, const gmv_source *source, int32_t genes, gmv_row_visitor visit,
                            void *context, int64_t *done)
{
    gmv_packer packer = {0};
    gmv_status status = GMV_OK;
    gmv_row_source rows = {&source->matrix, source->genes.at, source->map, source->index};
    int64_t first, end, at_a_time = rows_at_a_time(&source->matrix);
    gmv_local_rows(cells, source, &first, &end);
    GMV_GO(gmv_packer_init(&packer, genes, at_a_time < end - first ? at_a_time : end - first, 0));
    for (int64_t at = first, n; at < end; at += n) {
        n = at_a_time - at % at_a_time;
        n = end - at < n ? end - at : n;
        gmv_packer_reset(&packer);
        GMV_GO(gmv_read_rows(&packer, &rows, &source->store, at, at + n, n));
        gmv_packed packed = gmv_packer_view(&packer);
        packed.first_cell = source->first + at;
        GMV_GO(visit(context, &packed));
        *done += n;
        gmv_log_progress(false, "looking through the cells: %.0f%%", 100.0 * (double)*done / (double)cells->count);
    }
done:
    gmv_packer_fini(&packer);
    return status;
}

gmv_status gmv_walk_rows(const gmv_cells *cells, const gmv_source *source, int32_t genes, gmv_row_visitor visit,
                         void *context)
{
    int64_t done = 0;
    for (int f = 0; f < cells->files; f++) {
        GMV_TRY(walk_file(cells, &source[f], genes, visit, context, &done));
    }
    return GMV_OK;
}

/* ---- the census, and the packed copy ---- */

/* Whether the rows that this rank has of a file are to be read from a packed copy. */
static bool is_cached(const gmv_cells *cells, const gmv_cells_request *request, const gmv_source *source)
{
    int64_t first, end;
    gmv_local_rows(cells, source, &first, &end);
    return end > first && (request->cache == GMV_CACHE_ALL || !source->store.is_open);
}

/* Bytes of the copy of a file's local rows as far as they are known beforehand: neither of a dense matrix nor where
 * genes are left out. */
static bool foresee(const gmv_cells *cells, const gmv_source *source, int64_t *bytes)
{
    int64_t first, end;
    for (int64_t j = 0; source->map != NULL && j < source->genes.n; j++) {
        if (source->map[j] < 0) {
            return false;
        }
    }
    gmv_local_rows(cells, source, &first, &end);
    *bytes += gmv_cell_cache_bytes(end - first, source->values, gmv_packer_is_wide(cells->genes));
    return source->matrix.kind == GMV_MATRIX_CSR || source->matrix.by_rows != NULL;
}

/* What the pass works with. */
typedef struct census {
    gmv_cells *cells;
    gmv_cell_cache *cache;     /* of the file at hand; NULL: none */
    int64_t rows, cached_rows; /* written so far; of all cached files */
    bool foreseen;
} census;

static gmv_status open_cache(census *pass, const gmv_comm *comm, const gmv_cells_request *request,
                             const gmv_source *source)
{
    gmv_cells *cells = pass->cells;
    int64_t bytes = 0, freed = 0, most = 0, first, end; /* most: of the copy beyond what sorted rows have given back */
    pass->foreseen = true;
    for (int f = 0; f < cells->files; f++) {
        if (is_cached(cells, request, &source[f])) {
            gmv_local_rows(cells, &source[f], &first, &end);
            pass->cached_rows += end - first;
            pass->foreseen = foresee(cells, &source[f], &bytes) && pass->foreseen;
            most = bytes - freed > most ? bytes - freed : most;
            freed += source[f].matrix.by_rows != NULL ? gmv_row_buckets_bytes(source[f].matrix.by_rows) : 0;
        }
    }
    if (pass->cached_rows == 0) {
        return GMV_OK;
    }
    GMV_TRY(GMV_NEW(cells->stream->cache, 1, "packed cells on disk"));
    GMV_TRY(gmv_cell_cache_open(cells->stream->cache, cells, gmv_scratch_directory(request->cache_dir)));
    return pass->foreseen ? gmv_scratch_expect(&cells->stream->cache->file, bytes, bytes - most, comm->local_size)
                          : GMV_OK;
}

static gmv_status take_rows(void *context, const gmv_packed *packed)
{
    census *pass = context;
    gmv_stream_count(pass->cells->stream, pass->cells, packed);
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

gmv_status gmv_cells_to_stream(gmv_cells *cells, const gmv_comm *comm, const gmv_cells_request *request,
                               gmv_source *source)
{
    int64_t block_rows = request->window / cells->shards, done = 0;
    census pass = {.cells = cells};
    block_rows = block_rows > most_block_rows ? most_block_rows : block_rows;
    block_rows = block_rows < least_block_rows ? least_block_rows : block_rows;
    GMV_TRY(gmv_stream_create(&cells->stream, cells, block_rows));
    GMV_TRY(open_cache(&pass, comm, request, source));
    for (int f = 0; f < cells->files; f++) {
        gmv_row_source rows = {&source[f].matrix, source[f].genes.at, source[f].map, source[f].index};
        int64_t first, end;
        bool cached = is_cached(cells, request, &source[f]);
        gmv_local_rows(cells, &source[f], &first, &end);
        pass.cache = cached ? cells->stream->cache : NULL;
        GMV_TRY(walk_file(cells, &source[f], cells->genes, take_rows, &pass, &done));
        GMV_TRY(gmv_stream_take_file(&cells->stream->file[f], &rows, &source[f].store, source[f].first,
                                     source[f].first + first, source[f].first + end, cached));
        gmv_row_buckets_destroy(&source[f].matrix.by_rows);
    }
    return cells->stream->cache != NULL ? gmv_cell_cache_finish(cells->stream->cache) : GMV_OK;
}

void gmv_log_cache(const gmv_cells *cells, const gmv_comm *comm, const gmv_cells_request *request)
{
    const double gigabyte = 1e9;
    const char *directory = gmv_scratch_directory(request->cache_dir);
    int64_t bytes = cells->stream->cache != NULL ? cells->stream->cache->file.bytes : 0;
    gmv_comm_sum_i64(comm, &bytes, 1);
    if (bytes > 0) {
        gmv_log("cache: %.3f GB of packed cells in %s (data.cache_dir)%s%s", (double)bytes / gigabyte, directory,
                comm->size > 1 ? ", of all ranks together" : "",
                gmv_scratch_is_memory(directory) ? "; that is no disk but memory (tmpfs)" : "");
    }
}
