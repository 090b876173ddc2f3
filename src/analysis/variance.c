/* Variance between groups. Principal components only turn the points, so their regressions on the group add up to this. */
#include "gmvae/mem.h"
#include "gmvae/metrics.h"

gmv_status gmv_share_between(const gmv_points *points, const int32_t *group, int groups, double *share)
{
    int dims = points->dims, n = points->n;
    double *sum = NULL, *mean = NULL, between = 0.0, total = 0.0;
    int32_t *size = NULL;
    gmv_status status;
    GMV_GO(GMV_NEW(sum, (int64_t)groups * dims, "means of groups"));
    GMV_GO(GMV_NEW(mean, dims, "means of groups"));
    GMV_GO(GMV_NEW(size, groups, "sizes of groups"));
    for (int i = 0; i < n; i++) {
        size[group[i]]++;
        for (int d = 0; d < dims; d++) {
            mean[d] += (double)points->at[(int64_t)i * dims + d] / n;
        }
    }
    for (int i = 0; i < n; i++) {
        for (int d = 0; d < dims; d++) {
            double away = (double)points->at[(int64_t)i * dims + d] - mean[d];
            sum[(int64_t)group[i] * dims + d] += away;
            total += away * away;
        }
    }
    for (int g = 0; g < groups; g++) {
        for (int d = 0; d < dims; d++) {
            between += sum[(int64_t)g * dims + d] * sum[(int64_t)g * dims + d] / size[g];
        }
    }
    *share = total > 0.0 ? between / total : 0.0;
done:
    GMV_FREE(sum);
    GMV_FREE(mean);
    GMV_FREE(size);
    return status;
}
