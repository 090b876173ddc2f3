/* Sums over the rows of a matrix, in an order that depends on its shape alone. */
#pragma once

#include "cuda.h"

/* to[j] += factor * (*scale, NULL for 1) * sum over r of x[r, j]. Uses GMV_CUDA_SUMS. */
gmv_status gmv_cuda_add_columns(gmv_backend *b, gmv_mat x, const float *scale, float factor, float *to);
