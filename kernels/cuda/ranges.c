/* Stages, and the parts of a step, as NVIDIA's profilers name them (NVTX). Without a profiler a range costs a comparison;
 * where the toolkit lacks the header there are none. */
#include "cuda.h"

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>

static void begin(const char *name)
{
    nvtxRangePushA(name);
}

static void end(void)
{
    nvtxRangePop();
}

static const gmv_ranges ranges = {begin, end};

const gmv_ranges *gmv_cuda_ranges(void)
{
    return &ranges;
}
#else
const gmv_ranges *gmv_cuda_ranges(void)
{
    return NULL;
}
#endif
