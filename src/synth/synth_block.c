#include "synth_block.h"

#include "gmvae/mem.h"
#include "gmvae/signals.h"

#include <string.h>

enum { element_bytes = 4, chunk_bytes = gmv_synth_chunk * element_bytes };

gmv_status gmv_synth_part_reserve(gmv_synth_part *part, int64_t cells, int64_t chunks, int64_t bytes)
{
    if (cells > part->cell_room) {
        GMV_TRY(GMV_GROW(part->end, part->cell_room, cells, "a block of cells"));
        GMV_TRY(GMV_GROW(part->cell, part->cell_room, cells, "a block of cells"));
        part->cell_room = cells;
    }
    if (chunks > part->chunk_room) {
        GMV_TRY(GMV_GROW(part->size, 2 * part->chunk_room, 2 * chunks, "chunks of the matrix"));
        part->chunk_room = chunks;
    }
    if (bytes > part->byte_room) {
        GMV_TRY(GMV_GROW(part->packed, part->byte_room, bytes, "chunks of the matrix"));
        part->byte_room = bytes;
    }
    return GMV_OK;
}

void gmv_synth_part_fini(gmv_synth_part *part)
{
    GMV_FREE(part->end);
    GMV_FREE(part->cell);
    GMV_FREE(part->size);
    GMV_FREE(part->packed);
}

gmv_status gmv_synth_block_init(gmv_synth_block *block, const gmv_synth_model *model, int level)
{
    *block = (gmv_synth_block){.model = model};
    GMV_TRY(gmv_synth_bench_init(&block->bench, model));
    if (level == 0) {
        return GMV_OK;
    }
    GMV_TRY(GMV_NEW(block->planes, chunk_bytes, "a chunk of the matrix"));
    block->compressor = libdeflate_alloc_compressor(level);
    return block->compressor != NULL ? GMV_OK : GMV_FAIL(GMV_ERR_ENVIRONMENT, "out of memory for a compressor");
}

void gmv_synth_block_fini(gmv_synth_block *block)
{
    gmv_synth_bench_fini(&block->bench);
    gmv_synth_part_fini(&block->part);
    GMV_FREE(block->gene);
    GMV_FREE(block->count);
    GMV_FREE(block->planes);
    if (block->compressor != NULL) {
        libdeflate_free_compressor(block->compressor);
    }
    block->compressor = NULL;
}

gmv_status gmv_synth_stopped(void)
{
    return GMV_FAIL(GMV_STOPPED, "stopped by a signal; nothing was written, run the same command again");
}

/* Draws the next cell, behind those drawn. */
static gmv_status draw_next(gmv_synth_block *block)
{
    int64_t genes = block->model->genes;
    if (gmv_stop_asked()) {
        return gmv_synth_stopped();
    }
    if (block->room - block->held < genes) {
        int64_t room = block->room + block->room / 2 + genes + gmv_synth_chunk;
        GMV_TRY(GMV_GROW(block->gene, block->room, room, "non-zeros of a block"));
        GMV_TRY(GMV_GROW(block->count, block->room, room, "non-zeros of a block"));
        block->room = room;
    }
    block->held += gmv_synth_draw(block->model, &block->bench, block->part.first + block->drawn,
                                  block->gene + block->held, block->count + block->held);
    block->drawn++;
    return GMV_OK;
}

gmv_status gmv_synth_block_draw(gmv_synth_block *block, int64_t first, int64_t cells)
{
    gmv_synth_part *part = &block->part;
    part->first = first;
    part->cells = cells;
    block->drawn = block->held = 0;
    GMV_TRY(gmv_synth_part_reserve(part, cells, 0, 0));
    for (int64_t i = 0; i < cells; i++) {
        GMV_TRY(draw_next(block));
        part->cell[i] = gmv_synth_cell_of(block->model, first + i);
        part->end[i] = block->held;
    }
    block->elements = block->held;
    return GMV_OK;
}

/* HDF5's shuffle filter: all first bytes, then all second ones ... */
static void shuffle(const unsigned char *from, unsigned char *to)
{
    for (int byte = 0; byte < element_bytes; byte++) {
        for (int i = 0; i < gmv_synth_chunk; i++) {
            uint32_t value; /* whole elements, which the compiler can take many at a time */
            memcpy(&value, from + element_bytes * i, sizeof value);
            to[byte * gmv_synth_chunk + i] = (unsigned char)(value >> 8 * byte);
        }
    }
}

/* Appends one chunk, as HDF5's filters would leave it. */
static gmv_status pack_chunk(gmv_synth_block *block, const void *values, int64_t *size)
{
    gmv_synth_part *part = &block->part;
    size_t bound = chunk_bytes;
    if (block->compressor != NULL) {
        bound = libdeflate_zlib_compress_bound(block->compressor, chunk_bytes);
    }
    if (part->byte_room - part->bytes < (int64_t)bound) {
        GMV_TRY(gmv_synth_part_reserve(part, 0, 0, 2 * part->byte_room + (int64_t)bound));
    }
    unsigned char *to = part->packed + part->bytes;
    size_t packed = chunk_bytes;
    if (block->compressor != NULL) {
        shuffle(values, block->planes);
        packed = libdeflate_zlib_compress(block->compressor, block->planes, chunk_bytes, to, bound);
        GMV_CHECK(packed > 0);
    } else {
        memcpy(to, values, chunk_bytes);
    }
    *size = (int64_t)packed;
    part->bytes += (int64_t)packed;
    return GMV_OK;
}

/* Draws on until `wanted` elements are held, or the cells are at an end; then the last chunk is filled with zeros. */
static gmv_status fill_up(gmv_synth_block *block, int64_t wanted)
{
    while (block->held < wanted && block->part.first + block->drawn < block->model->cells) {
        GMV_TRY(draw_next(block));
    }
    if (block->held < wanted) {
        if (block->room < wanted) {
            GMV_TRY(GMV_GROW(block->gene, block->room, wanted, "non-zeros of a block"));
            GMV_TRY(GMV_GROW(block->count, block->room, wanted, "non-zeros of a block"));
            block->room = wanted;
        }
        size_t missing = (size_t)(wanted - block->held);
        memset(block->gene + block->held, 0, missing * sizeof *block->gene);
        memset(block->count + block->held, 0, missing * sizeof *block->count);
    }
    return GMV_OK;
}

gmv_status gmv_synth_block_pack(gmv_synth_block *block, int64_t before)
{
    gmv_synth_part *part = &block->part;
    int64_t after = before + block->elements, next = (after + gmv_synth_chunk - 1) / gmv_synth_chunk;
    part->chunk = (before + gmv_synth_chunk - 1) / gmv_synth_chunk;
    part->chunks = next - part->chunk;
    part->bytes = 0;
    for (int64_t i = 0; i < part->cells; i++) {
        part->end[i] += before;
    }
    GMV_TRY(gmv_synth_part_reserve(part, 0, part->chunks, 0));
    GMV_TRY(fill_up(block, part->chunks > 0 ? next * gmv_synth_chunk - before : 0));
    for (int64_t c = 0; c < part->chunks; c++) {
        int64_t at = (part->chunk + c) * gmv_synth_chunk - before;
        GMV_TRY(pack_chunk(block, block->gene + at, &part->size[2 * c]));
        GMV_TRY(pack_chunk(block, block->count + at, &part->size[2 * c + 1]));
    }
    int64_t known = before + block->held, complete = next * gmv_synth_chunk;
    part->elements = known < complete ? known : complete;
    return GMV_OK;
}
