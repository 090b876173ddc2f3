/* Local regression of one variable on another. */
#pragma once

#include "gmvae/status.h"

#include <stdint.h>

/* Loess of degree 2 (Cleveland and Grosse 1991), as netlib's dloess fits it in one dimension with
 * surface = "interpolate" and cell = 0.2: at the vertices of a k-d tree a quadratic by tricube weights over the nearest
 * floor(span n) points, between vertices the cubic through their values and slopes. Equal points are no obstacle: a
 * neighbourhood grows until it has a width. Not collective.
 * @param[in] x     [n] ascending
 * @param[in] span  in (0, 1]
 * @param[out] fit  [n] fitted values at x */
gmv_status gmv_loess(const double *x, const double *y, int64_t n, double span, double *fit);
