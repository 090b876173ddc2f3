#include "fast_rows.h"

#define GMV_CPU_VARIANT(id, isa) extern const gmv_narrow gmv_narrow_##id;
#include "cpu_variants.def"
#undef GMV_CPU_VARIANT

static const gmv_narrow *const variants[] = {
#define GMV_CPU_VARIANT(id, isa) &gmv_narrow_##id,
#include "cpu_variants.def"
#undef GMV_CPU_VARIANT
};

const gmv_narrow *gmv_narrow_of(int variant)
{
    return variants[variant];
}
