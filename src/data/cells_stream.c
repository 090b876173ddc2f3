/* Loading cells that stay on disk: where the matrix is to live, and the pass that checks and counts it. */
#include "inputs.h"
#include "stream_file.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/stream.h"

#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>

enum {
    walked_values = 1 << 21,
    most_walked_rows = 1 << 18,
    least_walked_rows = 1 << 10,
    most_block_rows = 256,
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
    GMV_TRY(gmv_row_store_open(&source->store, &source->input->matrix, first, end, visit->stream));
    if (!source->store.is_open && end > first && visit->refused == 0) {
        visit->refused = source - visit->source + 1;
    }
    return GMV_OK;
}

gmv_status gmv_open_row_stores(const gmv_cells *cells, const gmv_comm *comm, gmv_source *source, bool stream,
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
                    "%s: %s is %s; data.residence: stream reads CSR matrices that are not compressed, or with gzip or "
                    "lzf. Write the file so, or take data.residence: host",
                    source->path, gmv_shown(source->place.name).at, kinds[source->kind]);
}

/* ---- the pass ---- */

/* As many as have about walked_values values, from the mean of the file. */
static int64_t rows_at_a_time(const gmv_source *source)
{
    int64_t rows = walked_values / (source->nnz / (source->rows + 1) + 1);
    rows = rows > most_walked_rows ? most_walked_rows : rows;
    return rows < least_walked_rows ? least_walked_rows : rows;
}

typedef struct row_walk {
    const gmv_cells *cells;
    const gmv_gene_lists *lists;
    int32_t genes;
    gmv_row_visitor visit;
    void *context;
    int64_t done; /* rows */
} row_walk;

static gmv_status walk_file(void *context, gmv_source *source, int64_t first, int64_t end)
{
    row_walk *walk = context;
    gmv_packer packer = {0};
    gmv_row_source rows = gmv_source_rows(source, walk->lists);
    int64_t at_a_time = rows_at_a_time(source);
    gmv_status status = GMV_OK;
    GMV_GO(gmv_packer_init(&packer, walk->genes, at_a_time < end - first ? at_a_time : end - first, 0));
    for (int64_t at = first; at < end; at += at_a_time) {
        int64_t n = end - at < at_a_time ? end - at : at_a_time;
        gmv_packer_reset(&packer);
        GMV_GO(gmv_read_rows(&packer, &rows, &source->store, at, at + n, n));
        gmv_packed packed = gmv_packer_view(&packer);
        packed.first_cell = source->first + at;
        walk->visit(walk->context, &packed);
        walk->done += n;
        gmv_log_progress(false, "looking through the cells: %.0f%%",
                         100.0 * (double)walk->done / (double)walk->cells->count);
    }
done:
    gmv_packer_fini(&packer);
    return status;
}

gmv_status gmv_walk_rows(const gmv_cells *cells, gmv_source *source, const gmv_gene_lists *lists, int32_t genes,
                         gmv_row_visitor visit, void *context)
{
    row_walk walk = {cells, lists, genes, visit, context, 0};
    return gmv_sources_visit(cells, source, NULL, walk_file, &walk);
}

static void count_rows(void *context, const gmv_packed *packed)
{
    gmv_cells *cells = context;
    gmv_stream_count(cells->stream, cells, packed);
}

/* The stream's files, while their stores are handed over. */
typedef struct taken_files {
    const gmv_source *source;
    const gmv_gene_lists *lists;
    gmv_stream *stream;
} taken_files;

static gmv_status take_file(void *context, gmv_source *source, int64_t first, int64_t end)
{
    const taken_files *taken = context;
    gmv_row_source rows = gmv_source_rows(source, taken->lists);
    return gmv_stream_take_file(&taken->stream->file[source - taken->source], &rows, &source->store, source->first,
                                source->first + first, source->first + end);
}

gmv_status gmv_cells_to_stream(gmv_cells *cells, const gmv_cells_request *request, gmv_source *source,
                               const gmv_gene_lists *lists)
{
    int64_t block_rows = request->window / cells->shards;
    block_rows = block_rows > most_block_rows ? most_block_rows : block_rows;
    block_rows = block_rows < least_block_rows ? least_block_rows : block_rows;
    GMV_TRY(gmv_stream_create(&cells->stream, cells, block_rows));
    GMV_TRY(gmv_walk_rows(cells, source, lists, cells->genes, count_rows, cells));
    taken_files taken = {source, lists, cells->stream};
    return gmv_sources_visit(cells, source, NULL, take_file, &taken);
}
