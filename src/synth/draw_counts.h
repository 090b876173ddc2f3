/* Counts of a cell, drawn from what the heads of a model predict. */
#pragma once

#include "gmvae/model.h"

/* Random numbers are set aside for each gene: a model may have so many. */
enum { GMV_DRAWN_GENE_BITS = 20, GMV_DRAWN_GENES = 1 << GMV_DRAWN_GENE_BITS };

typedef struct gmv_count_drawing {
    const gmv_model *model;  /* of at most GMV_DRAWN_GENES genes */
    const float *gene_param; /* [G] as likelihoods have them; NULL: none */
    uint32_t seed;           /* below 2^24 */
} gmv_count_drawing;

/* Draws the counts of cell `cell`; they follow from its number, the drawing's seed and the model's.
 * @param[in]  predictor  of the first head [G]; those of the others begin `plane` floats later, each
 * @param[in]  library    expected total, where the model takes one
 * @param[in]  present    [G] 0: not measured, so not shared out to and without counts; NULL: all are
 * @param[out] count      [G]
 * @return whether all that was predicted is finite */
bool gmv_draw_counts(const gmv_count_drawing *drawing, int64_t cell, const float *predictor, int64_t plane,
                     float library, const uint8_t *present, int32_t *count);
