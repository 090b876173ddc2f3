#include "gmvae/cpu.h"

#include <string.h>

static const char *const isa_of[] = {
#define GMV_CPU_VARIANT(id, isa) isa,
#include "cpu_variants.def"
#undef GMV_CPU_VARIANT
};

int gmv_cpu_variants(void)
{
    return (int)(sizeof isa_of / sizeof *isa_of);
}

bool gmv_cpu_runs(int variant)
{
    const char *isa = isa_of[variant];
    if (strcmp(isa, "x86-64-v4") == 0) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    }
    if (strcmp(isa, "x86-64-v3") == 0) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    }
    return true;
}

int gmv_cpu_best(void)
{
    int variant = 0;
    while (variant + 1 < gmv_cpu_variants() && !gmv_cpu_runs(variant)) {
        variant++;
    }
    return variant;
}
