#include "block.h"

#include "gmvae/mem.h"

#include <inttypes.h>
#include <string.h>

gmv_status gmv_row_too_long(const gmv_matrix *m, int64_t row, int64_t values)
{
    return GMV_FAIL(GMV_ERR_DATA,
                    "%s: %s, row %" PRId64 " has %" PRId64 " values for %" PRId64
                    " genes: a gene is repeated; run X.sum_duplicates() and write the file again",
                    m->file->path, m->name, row, values, m->stored_cols);
}

gmv_status gmv_block_reserve(gmv_block *block, int64_t rows, int64_t values)
{
    if (rows > block->row_room) {
        GMV_FREE(block->start);
        block->row_room = 0;
        GMV_TRY(GMV_NEW(block->start, rows + 1, "row starts"));
        block->row_room = rows;
    }
    if (values > block->room) {
        GMV_FREE(block->column);
        GMV_FREE(block->value);
        block->room = 0;
        GMV_TRY(GMV_NEW(block->column, values, "a block of the matrix"));
        GMV_TRY(GMV_NEW(block->value, values, "a block of the matrix"));
        block->room = values;
    }
    return GMV_OK;
}

void gmv_block_fini(gmv_block *block)
{
    GMV_FREE(block->start);
    GMV_FREE(block->column);
    GMV_FREE(block->value);
    memset(block, 0, sizeof *block);
}
