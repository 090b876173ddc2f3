/* A block of consecutive cells, and the chunks of the matrix that start in it.
 *
 * The non-zeros of all cells form one sequence, cut into chunks of a fixed number of elements. Who draws a block makes
 * the chunks that start in it, and draws the cells behind its end again as far as its last chunk reaches: cells are a
 * function of their number, so nothing but the number of elements before the block has to be known from others. */
#pragma once

#include "synth_model.h"

#include <libdeflate.h>

enum { gmv_synth_chunk = 1 << 16 }; /* elements of a chunk */

/* What goes into the file. */
typedef struct gmv_synth_part {
    int64_t first, cells;  /* cells of the block */
    int64_t elements;      /* size of the matrix as far as it is known behind this part */
    int64_t chunk, chunks; /* chunks that start in it */
    int64_t bytes;         /* of `packed` */
    int64_t *end;          /* [cells] elements of the matrix up to the end of a cell */
    gmv_synth_cell *cell;  /* [cells] */
    int64_t *size;         /* [2 * chunks] bytes of a chunk of indices, of data, of the next one's indices ... */
    unsigned char *packed; /* the chunks, as they stand in the file */
    int64_t cell_room, chunk_room, byte_room;
} gmv_synth_part;

/* Makes room, and keeps what is there. */
gmv_status gmv_synth_part_reserve(gmv_synth_part *part, int64_t cells, int64_t chunks, int64_t bytes);
void gmv_synth_part_fini(gmv_synth_part *part);

typedef struct gmv_synth_block {
    const gmv_synth_model *model;
    gmv_synth_bench bench;
    gmv_synth_part part;
    int64_t drawn;    /* cells drawn: those of the part, and then the ones behind */
    int64_t elements; /* non-zeros of the part's cells */
    int64_t held;     /* of all drawn cells */
    int64_t room;
    int32_t *gene;                            /* [room] */
    float *count;                             /* [room] whole numbers; float32 is what scanpy and its kin work in */
    unsigned char *planes;                    /* a chunk, shuffled */
    struct libdeflate_compressor *compressor; /* NULL: the matrix is stored as it is */
} gmv_synth_block;

/* @param[in] level  of gzip, 0 for none   Ownership: gmv_synth_block_fini. */
gmv_status gmv_synth_block_init(gmv_synth_block *block, const gmv_synth_model *model, int level);
void gmv_synth_block_fini(gmv_synth_block *block);

/* Records that a signal has ended the work. Returns GMV_STOPPED. */
gmv_status gmv_synth_stopped(void);

/* Draws cells [first, first + cells). Errors: GMV_STOPPED as soon as a signal has come. */
gmv_status gmv_synth_block_draw(gmv_synth_block *block, int64_t first, int64_t cells);

/* Makes the chunks. @param[in] before  elements of all cells before the block */
gmv_status gmv_synth_block_pack(gmv_synth_block *block, int64_t before);
