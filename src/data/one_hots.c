/* Covariates as batches have them. */
#include "inputs.h"

#include "gmvae/mem.h"

/* One-hot column of every local row and key: the key's offset plus its level. */
static gmv_status fill_levels(gmv_cells *cells)
{
    int32_t *level = NULL;
    GMV_TRY(GMV_NEW(level, cells->count * cells->covariates, "covariates of cells"));
    int offset = 0;
    for (int c = 0; c < cells->covariates; c++) {
        const gmv_factor *factor = &cells->covariate[c];
        for (int64_t i = 0; i < cells->count; i++) {
            level[i * cells->covariates + c] = offset + gmv_factor_code(factor, i);
        }
        offset += factor->levels;
    }
    cells->levels = offset;
    cells->packed.level = level;
    cells->packed.covariates = cells->covariates;
    return GMV_OK;
}

gmv_status gmv_factors_finish(gmv_cells *cells, const gmv_comm *comm)
{
    if (cells->stream == NULL) {
        return gmv_comm_agree(comm, fill_levels(cells));
    }
    for (int c = 0; c < cells->covariates; c++) {
        cells->levels += cells->covariate[c].levels;
    }
    return GMV_OK;
}
