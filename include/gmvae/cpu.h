/* The instruction sets that inner loops are built for, and the processor at hand. Not collective, cannot fail. */
#pragma once

#include <stdbool.h>

/* Variants in the order of the build's GMVAE_CPU_ISA, the best first; the last runs everywhere. */
int gmv_cpu_variants(void);

/* Whether this processor runs a variant. */
bool gmv_cpu_runs(int variant);

/* The first that it runs. */
int gmv_cpu_best(void);
