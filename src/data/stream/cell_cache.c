#include "cell_cache.h"

#include "gmvae/mem.h"
#include "gmvae/stream.h"

#include <string.h>
#include <xxhash.h>

enum { written_together = 1 << 22 };

/* Behind it, without gaps: row_end [rows], large counts [large], genes [values], counts [values]; then zeros up to a
 * multiple of 8 bytes. */
typedef struct record_head {
    uint64_t hash; /* of all that follows: a disk may lose what it was given */
    gmv_gidx first;
    uint32_t rows, values, large, unused;
} record_head;

/* Where a row ends, counted from the start of the record. */
typedef struct row_end {
    uint32_t value, large;
} row_end;

static int64_t round_up(int64_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

static int64_t record_bytes(int64_t rows, int64_t values, int64_t large, bool wide)
{
    return round_up((int64_t)sizeof(record_head) + rows * (int64_t)sizeof(row_end) + large * (int64_t)sizeof(uint32_t) +
                    values * (wide ? 5 : 3));
}

int64_t gmv_cell_cache_bytes(int64_t rows, int64_t values, bool wide)
{
    return rows * (int64_t)sizeof(row_end) + values * (wide ? 5 : 3);
}

/* ---- writing ---- */

gmv_status gmv_cell_cache_open(gmv_cell_cache *cache, const gmv_cells *cells, const char *directory)
{
    memset(cache, 0, sizeof *cache);
    cache->wide = gmv_packer_is_wide(cells->genes);
    cache->blocks = cells->stream->block_start[cells->end_shard - cells->first_shard];
    GMV_TRY(GMV_NEW(cache->start, cache->blocks + 1, "blocks of cells"));
    return gmv_scratch_open(&cache->file, directory);
}

void gmv_cell_cache_close(gmv_cell_cache *cache)
{
    gmv_scratch_close(&cache->file);
    GMV_FREE(cache->start);
    GMV_FREE(cache->out);
}

static gmv_status flush(gmv_cell_cache *cache)
{
    int64_t held = cache->held;
    cache->held = 0;
    return gmv_scratch_append(&cache->file, cache->out, held);
}

static gmv_status make_room(gmv_cell_cache *cache, int64_t bytes)
{
    if (cache->held + bytes > cache->room) {
        GMV_TRY(flush(cache));
    }
    if (bytes > cache->room) {
        GMV_FREE(cache->out);
        cache->room = 0;
        GMV_TRY(GMV_NEW(cache->out, bytes > written_together ? bytes : written_together, "packed cells to write"));
        cache->room = bytes > written_together ? bytes : written_together;
    }
    return GMV_OK;
}

static unsigned char *put(unsigned char *to, const void *from, int64_t bytes)
{
    if (bytes > 0) {
        memcpy(to, from, (size_t)bytes);
    }
    return to + bytes;
}

/* Rows [i, end) of `packed` as one record; their large counts begin at `large` in its list. */
static gmv_status add_record(gmv_cell_cache *cache, const gmv_packed *packed, int64_t i, int64_t end, int64_t *large)
{
    gmv_nnz from = packed->indptr[i], values = packed->indptr[end] - from;
    int64_t first_large = *large, gene_bytes = cache->wide ? 4 : 2;
    while (*large < packed->overflows && packed->overflow_at[*large] < from + values) {
        ++*large;
    }
    GMV_CHECK(values <= UINT32_MAX);
    record_head head = {.first = packed->first_cell + i,
                        .rows = (uint32_t)(end - i),
                        .values = (uint32_t)values,
                        .large = (uint32_t)(*large - first_large)};
    int64_t bytes = record_bytes(end - i, values, head.large, cache->wide);
    GMV_TRY(make_room(cache, bytes));
    unsigned char *record = cache->out + cache->held, *to = record + sizeof head;
    int64_t passed = first_large;
    for (int64_t row = i; row < end; row++) {
        while (passed < *large && packed->overflow_at[passed] < packed->indptr[row + 1]) {
            passed++;
        }
        row_end ends = {(uint32_t)(packed->indptr[row + 1] - from), (uint32_t)(passed - first_large)};
        to = put(to, &ends, sizeof ends);
    }
    to = put(to, packed->overflow_count + first_large, head.large * (int64_t)sizeof(uint32_t));
    to = put(to, cache->wide ? (const void *)(packed->gene32 + from) : (const void *)(packed->gene16 + from),
             values * gene_bytes);
    to = put(to, packed->count8 + from, values);
    memset(to, 0, (size_t)(record + bytes - to));
    put(record, &head, sizeof head);
    head.hash = XXH3_64bits(record + sizeof head.hash, (size_t)bytes - sizeof head.hash);
    put(record, &head, sizeof head);
    cache->held += bytes;
    return GMV_OK;
}

/* Records from here on belong to `block` or a later one. */
static void begin_block(gmv_cell_cache *cache, int64_t block)
{
    while (cache->known <= block) {
        cache->start[cache->known++] = cache->file.bytes + cache->held;
    }
}

gmv_status gmv_cell_cache_add(gmv_cell_cache *cache, const gmv_cells *cells, const gmv_packed *packed)
{
    int64_t large = 0;
    for (int64_t i = 0; i < packed->rows;) {
        gmv_gidx block_end;
        begin_block(cache, gmv_stream_block(cells, packed->first_cell + i, &block_end));
        int64_t end = block_end - packed->first_cell < packed->rows ? block_end - packed->first_cell : packed->rows;
        GMV_TRY(add_record(cache, packed, i, end, &large));
        i = end;
    }
    return GMV_OK;
}

gmv_status gmv_cell_cache_finish(gmv_cell_cache *cache)
{
    begin_block(cache, cache->blocks);
    GMV_TRY(flush(cache));
    GMV_FREE(cache->out);
    cache->room = 0;
    return GMV_OK;
}

/* ---- reading ---- */

void gmv_cache_reader_init(gmv_cache_reader *reader, const gmv_cell_cache *cache)
{
    *reader = (gmv_cache_reader){.cache = cache, .block = -1};
}

void gmv_cache_reader_fini(gmv_cache_reader *reader)
{
    GMV_FREE(reader->bytes);
    GMV_FREE(reader->large);
}

static bool load_block(gmv_cache_reader *reader, int64_t block)
{
    const gmv_cell_cache *cache = reader->cache;
    int64_t at = cache->start[block], bytes = cache->start[block + 1] - at;
    reader->block = -1;
    if (bytes > reader->room) {
        GMV_FREE(reader->bytes);
        reader->room = 0;
        if (GMV_ROOM(reader->bytes, bytes, "a block of cells") != GMV_OK) {
            return false;
        }
        reader->room = bytes;
    }
    if (!gmv_scratch_read(&cache->file, at, bytes, reader->bytes)) {
        return false;
    }
    reader->block = block;
    reader->held = bytes;
    return true;
}

/* Whether what lies at reader->at is as it was written. */
static bool check_record(const gmv_cache_reader *reader, record_head *head)
{
    const unsigned char *record = reader->bytes + reader->at;
    int64_t left = reader->held - reader->at;
    if (left < (int64_t)sizeof *head) {
        return false;
    }
    memcpy(head, record, sizeof *head);
    int64_t bytes = record_bytes(head->rows, head->values, head->large, reader->cache->wide);
    return bytes <= left && head->rows > 0 &&
           XXH3_64bits(record + sizeof head->hash, (size_t)bytes - sizeof head->hash) == head->hash;
}

/* Turns to the record that has the row. */
static bool find_record(gmv_cache_reader *reader, gmv_gidx row, record_head *head)
{
    memcpy(head, reader->bytes + reader->at, sizeof *head); /* checked before, or the first of a block */
    while (row >= head->first + head->rows) {
        reader->at += record_bytes(head->rows, head->values, head->large, reader->cache->wide);
        if (!check_record(reader, head)) {
            return false;
        }
    }
    return row >= head->first;
}

/* Places of the large counts among n of a row. */
static bool find_large(gmv_cache_reader *reader, const uint8_t *count8, int64_t n, int64_t large)
{
    int64_t found = 0;
    if (large > reader->large_room) {
        GMV_FREE(reader->large);
        reader->large_room = 0;
        if (GMV_NEW(reader->large, large, "large counts") != GMV_OK) {
            return false;
        }
        reader->large_room = large;
    }
    for (int64_t i = 0; i < n && found < large; i++) {
        if (count8[i] == UINT8_MAX) {
            reader->large[found++] = i;
        }
    }
    return found == large;
}

bool gmv_cache_reader_add(gmv_cache_reader *reader, gmv_packer *packer, int64_t block, gmv_gidx row)
{
    record_head head;
    bool wide = reader->cache->wide;
    bool turns = reader->block != block || row < reader->row;
    reader->row = row;
    reader->at = turns ? 0 : reader->at;
    if ((turns && !(load_block(reader, block) && check_record(reader, &head))) || !find_record(reader, row, &head)) {
        reader->block = -1; /* what was read is not to be trusted */
        return false;
    }
    const unsigned char *record = reader->bytes + reader->at + sizeof head;
    const row_end *ends = (const void *)record;
    const uint32_t *large = (const void *)(ends + head.rows);
    const unsigned char *genes = (const void *)(large + head.large);
    const uint8_t *counts = genes + (int64_t)head.values * (wide ? 4 : 2);
    int64_t i = row - head.first;
    row_end from = i > 0 ? ends[i - 1] : (row_end){0, 0};
    gmv_nnz indptr[2] = {0, ends[i].value - from.value};
    int64_t n_large = ends[i].large - from.large;
    if (!find_large(reader, counts + from.value, indptr[1], n_large)) {
        return false;
    }
    gmv_packer one = {.genes = packer->genes,
                      .wide = wide,
                      .lent = true,
                      .rows = 1,
                      .indptr = indptr,
                      .gene16 = wide ? NULL : (uint16_t *)(uintptr_t)(genes + 2 * (int64_t)from.value),
                      .gene32 = wide ? (uint32_t *)(uintptr_t)(genes + 4 * (int64_t)from.value) : NULL,
                      .count8 = (uint8_t *)(uintptr_t)(counts + from.value),
                      .nnz = indptr[1],
                      .overflow_at = reader->large,
                      .overflow_count = (uint32_t *)(uintptr_t)(large + from.large),
                      .overflows = n_large};
    return gmv_packer_append(packer, &one) == GMV_OK;
}
