/* Scalars of the optimiser. */
#pragma once

#include "gmvae/hd.h"

#include <math.h>

/* Factor that brings a gradient with this sum of squares down to the norm `limit`; 1 when it is below, or limit 0. */
GMV_HD float gmv_clip_scale(double squares, double limit)
{
    double norm = sqrt(squares);
    return limit > 0.0 && norm > limit ? (float)(limit / norm) : 1.0f;
}
