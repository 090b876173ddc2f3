/* What the files of the CPU backend share. The folder is compiled once per instruction set; every
 * symbol with external linkage carries its name: gmv_cpu_<isa>_<op>. */
#pragma once

#include "gmvae/backend.h"
#include "gmvae/hd.h"

#include <string.h>

#define GMV_CPU_PASTE_(isa, name) gmv_cpu_##isa##_##name
#define GMV_CPU_PASTE(isa, name)  GMV_CPU_PASTE_(isa, name)
#define GMV_CPU(name)             GMV_CPU_PASTE(GMV_CPU_ISA, name)

#define GMV_OP(name, parameters) gmv_status GMV_CPU(name) parameters;
#include "gmvae/ops.def"
#undef GMV_OP

/* Opens this variant; `backend` has its name and comm set. */
gmv_status GMV_CPU(open)(gmv_backend *backend);

/* Private data of an open CPU backend: scratch that grows to the largest call and is then reused. */
typedef struct gmv_cpu_state {
    void *scratch;
    int64_t scratch_bytes;
    char report[GMV_REPORTS][GMV_REPORT_BYTES];
    int64_t reported, collected;
} gmv_cpu_state;

/* At least `bytes` of 64-byte aligned scratch, contents undefined; valid until the next call. */
gmv_status GMV_CPU(scratch)(gmv_backend *backend, int64_t bytes, void **scratch);

/* Single-threaded c[m,n] = alpha op(a) op(b2) + beta c; any dimension may be 0. */
void GMV_CPU(sgemm)(gmv_trans ta, gmv_trans tb, int m, int n, int k, float alpha, const float *a, int lda,
                    const float *b2, int ldb, float beta, float *c, int ldc);

/* total[n] += the rows of partial [pieces, n], in order. */
void GMV_CPU(add_partials)(const float *partial, int pieces, int n, float *total);

/* Work is cut into pieces of this many rows or columns: fixed, so that sums do not depend on threads. */
enum { GMV_CPU_ROWS = 64 };

/* n zeros; n copies. Unlike memset and memcpy they take a NULL for nothing. */
static inline void gmv_cpu_zero(float *to, size_t n)
{
    if (n > 0) {
        memset(to, 0, n * sizeof *to);
    }
}

static inline void gmv_cpu_copy(float *to, const float *from, size_t n)
{
    if (n > 0) {
        memcpy(to, from, n * sizeof *to);
    }
}

/* Rows of a batch of `rows` that are cells. */
static inline int gmv_cpu_filled(const int32_t *filled, int rows)
{
    return filled != NULL && *filled < rows ? *filled : rows;
}

static inline int gmv_cpu_pieces(int64_t n, int64_t piece)
{
    return (int)((n + piece - 1) / piece);
}
