/* predictive.json as pictures: zeros, means, variances and totals of the cells beside those that the model draws. */
#include "report.h"

#include "gmvae/mem.h"

#include <math.h>
#include <stdlib.h>

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Numbers of a list, NaN for null; those of two lists of one length. */
static gmv_status take_pair(const cJSON *object, const char *one, const char *other, gmv_dots *dots)
{
    const cJSON *list[2] = {cJSON_GetObjectItemCaseSensitive(object, one),
                            cJSON_GetObjectItemCaseSensitive(object, other)};
    double *value[2] = {NULL, NULL};
    int n = cJSON_GetArraySize(list[0]);
    if (!cJSON_IsArray(list[0]) || !cJSON_IsArray(list[1]) || cJSON_GetArraySize(list[1]) != n) {
        return GMV_FAIL(GMV_ERR_DATA,
                        "predictive.json: %s and %s are not two lists of one length; train writes it again", one,
                        other);
    }
    for (int i = 0; i < 2; i++) {
        const cJSON *item;
        double *at;
        gmv_status status = GMV_NEW(value[i], n, "figures of genes");
        *(i == 0 ? &dots->x : &dots->y) = at = value[i];
        GMV_TRY(status);
        cJSON_ArrayForEach(item, list[i])
        {
            *at++ = cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
        }
    }
    dots->n = n;
    return GMV_OK;
}

static void dots_fini(gmv_dots *dots)
{
    gmv_free((void *)(uintptr_t)dots->x);
    gmv_free((void *)(uintptr_t)dots->y);
    gmv_free((void *)(uintptr_t)dots->label);
    *dots = (gmv_dots){0};
}

/* Borrows the texts. */
static gmv_status take_names(const cJSON *list, gmv_dots *dots)
{
    char **label = NULL;
    const cJSON *item;
    int i = 0;
    GMV_TRY(GMV_NEW(label, dots->n, "names of genes"));
    dots->label = label;
    cJSON_ArrayForEach(item, list)
    {
        if (i < dots->n) {
            label[i++] = cJSON_GetStringValue(item);
        }
    }
    for (int named = 0; named < dots->n; named++) {
        label[named] = label[named] != NULL ? label[named] : (char *)(uintptr_t) "";
    }
    return GMV_OK;
}

static gmv_status draw_zeros(gmv_gallery *gallery, const cJSON *genes)
{
    gmv_dots dots = {0};
    gmv_status status;
    GMV_GO(take_pair(genes, "zeros", "zeros_drawn", &dots));
    GMV_GO(take_names(cJSON_GetObjectItemCaseSensitive(genes, "name"), &dots));
    status = gmv_draw_scatter(gallery, "check-zeros", "Share of zeros of each gene", "observed", "drawn from the model",
                              GMV_SCALES_EQUAL, 1, &dots);
done:
    dots_fini(&dots);
    return status;
}

static gmv_status draw_variances(gmv_gallery *gallery, const cJSON *genes)
{
    gmv_dots dots[2] = {{0}, {0}};
    gmv_status status;
    GMV_GO(take_pair(genes, "mean", "variance", &dots[0]));
    GMV_GO(take_pair(genes, "mean_drawn", "variance_drawn", &dots[1]));
    dots[0].name = "observed";
    dots[1].name = "drawn from the model";
    status = gmv_draw_scatter(gallery, "check-variance", "Mean and variance of each gene", "mean count", "variance",
                              GMV_SCALES_LOGARITHMIC, 2, dots);
done:
    dots_fini(&dots[0]);
    dots_fini(&dots[1]);
    return status;
}

/* Quantiles of one over those of the other. */
static gmv_status draw_libraries(gmv_gallery *gallery, const cJSON *predictive)
{
    gmv_dots dots = {0};
    gmv_status status;
    GMV_GO(take_pair(predictive, "library", "library_drawn", &dots));
    if (dots.n > 0) {
        qsort((void *)(uintptr_t)dots.x, (size_t)dots.n, sizeof *dots.x, ascending);
        qsort((void *)(uintptr_t)dots.y, (size_t)dots.n, sizeof *dots.y, ascending);
    }
    status = gmv_draw_scatter(gallery, "check-library", "Library sizes, quantile by quantile", "observed",
                              "drawn from the model", GMV_SCALES_EQUAL, 1, &dots);
done:
    dots_fini(&dots);
    return status;
}

gmv_status gmv_draw_checks(gmv_gallery *gallery, const cJSON *predictive)
{
    const cJSON *genes = cJSON_GetObjectItemCaseSensitive(predictive, "gene");
    if (predictive == NULL) {
        return GMV_OK;
    }
    GMV_TRY(draw_zeros(gallery, genes));
    GMV_TRY(draw_variances(gallery, genes));
    return draw_libraries(gallery, predictive);
}
