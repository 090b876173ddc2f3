/* What training would say to a file: the same look at the matrix it takes, at the names of its genes and at every value. */
#include "../data/rows/matrix_blocks.h"
#include "../data/rows/pack.h"
#include "inspect.h"

#include "gmvae/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* All values through the packer, whose rows are forgotten. */
static gmv_status read_all(const gmv_matrix *matrix, char *const *gene)
{
    gmv_block_reader reader;
    gmv_packer packer = {0};
    gmv_row_source source = {.matrix = matrix, .gene = gene};
    gmv_status status = gmv_block_reader_init(&reader, matrix, NULL, 0, matrix->rows);
    while (status == GMV_OK && reader.next < reader.end) {
        status = gmv_block_reader_next(&reader);
        if (status == GMV_OK && reader.block.rows > packer.row_capacity) {
            gmv_packer_fini(&packer);
            status = gmv_packer_init(&packer, (int32_t)matrix->cols, reader.block.rows, 0);
        }
        gmv_packer_reset(&packer);
        status = status == GMV_OK ? gmv_packer_add(&packer, &source, &reader.block) : status;
    }
    gmv_packer_fini(&packer);
    gmv_block_reader_fini(&reader);
    return status;
}

static gmv_status look_as_training(const gmv_inspected *found, const gmv_h5 *file, const gmv_config *config)
{
    gmv_matrix matrix = {0};
    gmv_texts genes = {NULL, 0};
    gmv_status status = GMV_OK;
    GMV_TRY(gmv_matrix_choose(&matrix, file, config->data_matrix, config->data_round));
    GMV_GO(gmv_matrix_genes(&matrix, &config->data_gene_column, &genes));
    if (matrix.rows == 0 || matrix.cols == 0) {
        GMV_GO(GMV_FAIL(GMV_ERR_DATA, "%s: %s is empty (%" PRId64 " cells, %" PRId64 " genes)", file->path, matrix.name,
                        matrix.rows, matrix.cols));
    }
    bool seen = found->main >= 0 && found->statistics.there &&
                strcmp(found->matrix[found->main].name, matrix.place.name) == 0; /* all its values, the same way */
    GMV_GO(seen ? GMV_OK : read_all(&matrix, genes.at));
done:
    gmv_texts_free(&genes);
    gmv_matrix_close(&matrix);
    return status;
}

gmv_status gmv_inspect_as_training(gmv_inspected *found, const gmv_h5 *file, const gmv_config *config)
{
    gmv_status status = look_as_training(found, file, config);
    if (status == GMV_ERR_DATA || status == GMV_ERR_CONFIG) {
        snprintf(found->problem, sizeof found->problem, "%s", gmv_error_message());
        found->refused = status == GMV_ERR_DATA;
        gmv_error_clear();
        status = GMV_OK;
    }
    return status;
}
