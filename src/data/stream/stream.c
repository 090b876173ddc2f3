/* What is known in memory about cells that stay on disk. */
#include "gmvae/stream.h"

#include "cell_cache.h"
#include "stream_file.h"

#include "gmvae/mem.h"
#include "gmvae/packed.h"

#include <inttypes.h>
#include <string.h>

static int hosted(const gmv_cells *cells)
{
    return cells->end_shard - cells->first_shard;
}

gmv_status gmv_stream_create(gmv_stream **stream, const gmv_cells *cells, int64_t block_rows)
{
    GMV_TRY(GMV_NEW(*stream, 1, "the stream of cells"));
    gmv_stream *s = *stream;
    s->block_rows = block_rows;
    s->files = cells->files;
    GMV_TRY(GMV_NEW(s->file, cells->files, "the stream of cells"));
    GMV_TRY(GMV_NEW(s->block_start, hosted(cells) + 1, "blocks of cells"));
    for (int h = 0; h < hosted(cells); h++) {
        const int64_t *start = cells->shard_start + cells->first_shard + h;
        s->block_start[h + 1] = s->block_start[h] + (start[1] - start[0] + block_rows - 1) / block_rows;
    }
    int64_t blocks = s->block_start[hosted(cells)];
    GMV_TRY(GMV_NEW(s->values, blocks, "blocks of cells"));
    GMV_TRY(GMV_NEW(s->large, blocks, "blocks of cells"));
    GMV_TRY(GMV_NEW(s->filled, (cells->count + 7) / 8, "marks of cells"));
    GMV_TRY(GMV_NEW(s->shard_sums, 3 * (int64_t)cells->shards, "sums of shards"));
    return GMV_NEW(s->rows_of, (int64_t)cells->genes + 1, "lengths of rows");
}

void gmv_stream_destroy(gmv_stream **stream)
{
    gmv_stream *s = *stream;
    if (s == NULL) {
        return;
    }
    for (int f = 0; s->file != NULL && f < s->files; f++) {
        gmv_csr_arrays_close(&s->file[f].store);
        GMV_FREE(s->file[f].map);
        GMV_FREE(s->file[f].path);
    }
    if (s->cache != NULL) {
        gmv_cell_cache_close(s->cache);
        GMV_FREE(s->cache);
    }
    GMV_FREE(s->file);
    GMV_FREE(s->block_start);
    GMV_FREE(s->values);
    GMV_FREE(s->large);
    GMV_FREE(s->filled);
    GMV_FREE(s->rows_of);
    GMV_FREE(s->shard_sums);
    GMV_FREE(*stream);
}

gmv_status gmv_stream_take_file(struct gmv_stream_file *file, const gmv_row_source *source, gmv_csr_arrays *store,
                                gmv_gidx start, gmv_gidx first, gmv_gidx end, bool cached)
{
    const gmv_h5 *h5 = source->matrix->file;
    memset(file, 0, sizeof *file);
    file->stamp = h5->stamp;
    file->start = start;
    file->first = first;
    file->end = end;
    file->cols = source->matrix->stored_cols;
    file->cached = cached;
    GMV_TRY(gmv_copy_text(&file->path, h5->path));
    if (end <= first || cached) {
        return GMV_OK;
    }
    GMV_TRY(gmv_csr_reader_map(source, &file->map));
    file->store = *store;
    memset(store, 0, sizeof *store);
    return GMV_OK;
}

int64_t gmv_stream_block(const gmv_cells *cells, gmv_gidx row, gmv_gidx *end)
{
    const gmv_stream *stream = cells->stream;
    int shard = cells->first_shard, above = cells->end_shard;
    while (above - shard > 1) {
        int middle = shard + (above - shard) / 2;
        if (cells->shard_start[middle] <= row) {
            shard = middle;
        } else {
            above = middle;
        }
    }
    gmv_gidx start = cells->shard_start[shard], of_shard = cells->shard_start[shard + 1];
    int64_t block = (row - start) / stream->block_rows;
    *end = start + (block + 1) * stream->block_rows;
    *end = *end < of_shard ? *end : of_shard;
    return stream->block_start[shard - cells->first_shard] + block;
}

/* Sums of a row: its values, those of 255 and more, and what `input: standardize` needs. */
static void count_row(gmv_stream *stream, const gmv_packed *packed, int64_t i, int64_t block, double *sums)
{
    gmv_nnz from = packed->indptr[i], end = packed->indptr[i + 1];
    stream->values[block] += end - from;
    stream->rows_of[end - from]++;
    stream->nnz += end - from;
    int64_t large = 0;
    for (gmv_nnz at = from; at < end; at++) {
        large += packed->count8[at] == 255;
    }
    stream->large[block] += large;
    stream->most_large = large > stream->most_large ? large : stream->most_large;
    for (gmv_nnz at = from; sums != NULL && at < end; at++) {
        double count = gmv_packed_count(packed, at);
        sums[1] += count;
        sums[2] += count * count;
    }
}

void gmv_stream_count(gmv_stream *stream, const gmv_cells *cells, const gmv_packed *packed)
{
    int shard = cells->first_shard;
    for (int64_t i = 0; i < packed->rows; i++) {
        gmv_gidx row = packed->first_cell + i, local = row - cells->first;
        while (row >= cells->shard_start[shard + 1]) {
            shard++;
        }
        int64_t block =
            stream->block_start[shard - cells->first_shard] + (row - cells->shard_start[shard]) / stream->block_rows;
        double *sums = NULL;
        if (!gmv_split_holds_out(&cells->split, row)) {
            sums = stream->shard_sums + (int64_t)3 * shard;
            sums[0] += (double)gmv_cells_present(cells, local);
        }
        if (packed->indptr[i + 1] > packed->indptr[i]) {
            stream->filled[local / 8] |= (uint8_t)(1u << local % 8);
        }
        count_row(stream, packed, i, block, sums);
    }
}

int64_t gmv_stream_fullest(const gmv_stream *stream, int32_t genes, int64_t most)
{
    int64_t values = 0;
    for (int64_t length = genes; length > 0 && most > 0; length--) {
        int64_t rows = stream->rows_of[length] < most ? stream->rows_of[length] : most;
        values += rows * length;
        most -= rows;
    }
    return values;
}

bool gmv_cells_has_counts(const gmv_cells *cells, gmv_gidx row)
{
    int64_t local = row - cells->first;
    if (cells->stream != NULL) {
        return ((unsigned)cells->stream->filled[local / 8] >> (local % 8) & 1u) != 0;
    }
    return cells->packed.indptr[local + 1] > cells->packed.indptr[local];
}

int64_t gmv_cells_values(const gmv_cells *cells)
{
    return cells->stream != NULL ? cells->stream->nnz : cells->packed.indptr[cells->packed.rows];
}
