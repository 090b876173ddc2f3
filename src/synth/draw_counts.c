#include "draw_counts.h"

#include "gmvae/draw.h"
#include "gmvae/generate.h"
#include "gmvae/likelihoods.h"

#include <math.h>

static float draw_count(gmv_likelihood likelihood, const float *p, gmv_uniforms *u)
{
    switch (likelihood) {
#define GMV_LIKELIHOOD(name, heads, softmax, gene_params, names, description)                                          \
    case GMV_LIKELIHOOD_##name:                                                                                        \
        return gmv_lik_##name##_draw(p, u);
#include "gmvae/likelihoods.def"
#undef GMV_LIKELIHOOD
    case GMV_LIKELIHOODS:
        break;
    }
    return 0.0f;
}

bool gmv_takes_library(const gmv_model *model)
{
    return model->likelihood.softmax && model->observed_library;
}

static bool is_present(const uint8_t *present, int64_t gene)
{
    return present == NULL || present[gene] != 0;
}

/* What is added to head 0: log library - log normaliser. */
static float shift_of(const gmv_model *model, const float *logit, float library, const uint8_t *present)
{
    double top = -HUGE_VAL, sum = 0.0;
    if (!gmv_takes_library(model)) {
        return 0.0f;
    }
    for (int32_t g = 0; g < model->genes; g++) {
        top = is_present(present, g) && (double)logit[g] > top ? (double)logit[g] : top;
    }
    for (int32_t g = 0; g < model->genes; g++) {
        sum += is_present(present, g) ? exp((double)logit[g] - top) : 0.0;
    }
    return (float)(log((double)library) - top - log(sum));
}

bool gmv_draw_counts(const gmv_count_drawing *drawing, int64_t cell, const float *predictor, int64_t plane,
                     float library, const uint8_t *present, int32_t *count)
{
    const gmv_model *model = drawing->model;
    int heads = model->likelihood.heads;
    float shift = shift_of(model, predictor, library, present);
    bool finite = isfinite(shift);
    for (int64_t g = 0; g < model->genes; g++) {
        gmv_uniforms u = {.seed = model->seed,
                          .stream = GMV_STREAM_GENERATE_Y,
                          .epoch = drawing->seed,
                          .cell = cell,
                          .first = (uint32_t)g << (32 - GMV_DRAWN_GENE_BITS)};
        float p[GMV_MAX_HEADS + 1] = {0.0f};
        for (int h = 0; h < heads; h++) {
            p[h] = predictor[h * plane + g] + (h == 0 ? shift : 0.0f);
            finite = finite && isfinite(p[h]);
        }
        p[heads] = drawing->gene_param != NULL ? drawing->gene_param[g] : 0.0f;
        count[g] = finite && is_present(present, g) ? (int32_t)draw_count(model->likelihood_id, p, &u) : 0;
    }
    return finite;
}
