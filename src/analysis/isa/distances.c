#include "../distances.h"

#include <math.h>

#define NAME_(isa) gmv_distance_loops_##isa
#define NAME(isa)  NAME_(isa)

static double sum_roots(const float *squared, int n)
{
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (int j = 0; j < n; j++) {
        sum += (double)sqrtf(squared[j]);
    }
    return sum;
}

extern const gmv_distance_loops NAME(GMV_CPU_ISA);
const gmv_distance_loops NAME(GMV_CPU_ISA) = {gmv_squared_distances, sum_roots};
