/* Rows of a matrix, however it is stored, in blocks. */
#pragma once

#include "block.h"
#include "transpose.h"

/* Reads a range of rows block by block with bounded buffers. */
typedef struct gmv_block_reader {
    const gmv_matrix *matrix;
    int64_t next, end; /* rows still to come */
    int64_t *indptr;   /* [end - first + 1] of the whole range; NULL for dense */
    int64_t first;
    gmv_block block;
    gmv_transpose *by_rows, *own; /* read in place of the matrix: what it was given, or what was made here */
    int64_t values;               /* stored values of the rows, when they are known to the reader alone; else 0 */
} gmv_block_reader;

/* CSR: where rows [first, end) start, and where the last ends, checked. Independent.
 * Ownership: caller frees *indptr ([end - first + 1]) with gmv_free, also after an error. */
gmv_status gmv_matrix_pointers(const gmv_matrix *matrix, int64_t first, int64_t end, int64_t **indptr);

/* Reader of rows [first, end). Independent. Every rank may read other rows. Those of a matrix that is stored by genes are
 * put together in memory, 3 bytes a value, in one pass, unless they were before. @param[in] by_rows  then; else NULL
 * Ownership: gmv_block_reader_fini, also after an error. */
gmv_status gmv_block_reader_init(gmv_block_reader *reader, const gmv_matrix *matrix, gmv_transpose *by_rows,
                                 int64_t first, int64_t end);
/* The next block in reader->block; block.rows == 0 at the end. */
gmv_status gmv_block_reader_next(gmv_block_reader *reader);
void gmv_block_reader_fini(gmv_block_reader *reader);

/* Whether rows can be had only with the whole matrix in memory, or by reading it again for every few of them: it is
 * stored by genes, or in chunks of very many rows. Then gmv_matrix_sort_rows puts them together, in one pass over the matrix,
 * for rows [first, end), with a file in a directory (NULL: in memory), on a host where `ranks` do so. Independent.
 * Ownership: gmv_transpose_destroy, also after an error. Errors: GMV_ERR_DATA; GMV_ERR_ENVIRONMENT when there is no room for the file. */
bool gmv_matrix_needs_sorting(const gmv_matrix *matrix);
gmv_status gmv_matrix_sort_rows(gmv_transpose **rows, const gmv_matrix *matrix, int64_t first, int64_t end,
                                const char *directory, int ranks);
