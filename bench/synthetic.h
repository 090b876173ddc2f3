/* A count matrix for benchmarks, in memory: skewed detection rates of genes, mostly small counts. */
#pragma once

#include "gmvae/data.h"

/* A matrix of `rows` x `genes` with about `nonzeros` counts in a row and `levels` levels of one covariate; the same
 * for the same arguments. Ownership: caller ends it with gmv_bench_cells_fini. */
gmv_status gmv_bench_cells_init(gmv_cells *cells, const gmv_comm *comm, int64_t rows, int32_t genes, int nonzeros,
                                int levels, int shards);
void gmv_bench_cells_fini(gmv_cells *cells);
