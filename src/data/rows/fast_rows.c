#include "fast_rows.h"

#define GMV_CPU_VARIANT(id, isa) extern const gmv_fast_rows gmv_fast_rows_##id;
#include "cpu_variants.def"
#undef GMV_CPU_VARIANT

static const gmv_fast_rows *const variants[] = {
#define GMV_CPU_VARIANT(id, isa) &gmv_fast_rows_##id,
#include "cpu_variants.def"
#undef GMV_CPU_VARIANT
};

const gmv_fast_rows *gmv_fast_rows_of(int variant)
{
    return variants[variant];
}
