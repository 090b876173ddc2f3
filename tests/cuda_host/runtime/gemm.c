/* cuBLAS over OpenBLAS: handles, checks of arguments, and products as queued work. */
#include "coh.h"

#include "annotate.h"
#include "cublas_v2.h"

#include <cblas.h>
#include <stdlib.h>
#include <string.h>

struct cublasContext {
    cudaStream_t stream;
    cublasMath_t mode;
};

typedef struct matrix {
    char *at;
    cudaDataType_t type;
    int rows, cols, ld;
    long long stride; /* elements, between products of a batch */
} matrix;

typedef struct product {
    cublasOperation_t transa, transb;
    int m, n, k, count;
    float alpha, beta;
    int bits; /* of the mantissa that inputs are rounded to; 0: as they are */
    matrix a, b, c;
} product;

/* ---- numbers ---- */

static float from_bits(uint32_t word)
{
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

static uint32_t to_bits(float value)
{
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    return word;
}

/* Rounds to nearest even; infinity and NaN stay. */
static float rounded(float value, int bits)
{
    uint32_t word = to_bits(value);
    if (bits == 0 || (word >> 23 & 0xffu) == 0xffu) {
        return value;
    }
    int dropped = 23 - bits;
    uint32_t half = (1u << (dropped - 1)) - 1u;
    return from_bits((word + half + (word >> dropped & 1u)) >> dropped << dropped);
}

static size_t width_of(cudaDataType_t type)
{
    return type == CUDA_R_16BF ? sizeof(uint16_t) : sizeof(float);
}

static size_t offset_of(const matrix *m, int which, int col)
{
    long long first = (long long)which * m->stride + (long long)col * m->ld;
    return (size_t)first * width_of(m->type);
}

/* A packed copy in float. */
static float *unpacked(const matrix *m, int which, int bits)
{
    float *copy = coh_new(((size_t)m->rows * (size_t)m->cols + 1) * sizeof *copy);
    for (int col = 0; col < m->cols; col++) {
        const char *from = m->at + offset_of(m, which, col);
        float *to = copy + (size_t)col * (size_t)m->rows;
        coh_reads(from, (size_t)m->rows * width_of(m->type));
        for (int row = 0; row < m->rows; row++) {
            if (m->type == CUDA_R_16BF) {
                uint16_t half;
                memcpy(&half, from + (size_t)row * sizeof half, sizeof half);
                to[row] = from_bits((uint32_t)half << 16);
            } else {
                memcpy(&to[row], from + (size_t)row * sizeof(float), sizeof(float));
                to[row] = rounded(to[row], bits);
            }
        }
    }
    return copy;
}

static void pack(const matrix *m, int which, const float *from)
{
    for (int col = 0; col < m->cols; col++) {
        char *to = m->at + offset_of(m, which, col);
        coh_writes(to, (size_t)m->rows * width_of(m->type));
        for (int row = 0; row < m->rows; row++) {
            float value = from[(size_t)col * (size_t)m->rows + (size_t)row];
            if (m->type == CUDA_R_16BF) {
                uint16_t half = (uint16_t)(value != value ? 0x7fffu : to_bits(rounded(value, 7)) >> 16);
                memcpy(to + (size_t)row * sizeof half, &half, sizeof half);
            } else {
                memcpy(to + (size_t)row * sizeof value, &value, sizeof value);
            }
        }
    }
}

/* ---- a product, when its turn comes ---- */

static size_t extent(const matrix *m, int count)
{
    if (m->rows == 0 || m->cols == 0) {
        return 0;
    }
    return offset_of(m, count - 1, m->cols - 1) + (size_t)m->rows * width_of(m->type);
}

/* OpenBLAS would read and write wherever it is told to. */
static void check_memory(const char *call, char name, const matrix *m, int count)
{
    size_t bytes = extent(m, count);
    if (bytes > 0 && !coh_on_device(m->at, bytes)) {
        coh_die("out of bounds: %s: matrix %c at %p, %d x %d with stride %d (%zu bytes), is not inside an allocation",
                call, name, (void *)m->at, m->rows, m->cols, m->ld, bytes);
    }
}

static void multiply(const product *p, int i)
{
    float *a = unpacked(&p->a, i, p->bits), *b = unpacked(&p->b, i, p->bits);
    float *c = p->beta != 0.0f ? unpacked(&p->c, i, 0) : coh_new((size_t)p->m * (size_t)p->n * sizeof(float));
    cblas_sgemm(CblasColMajor, p->transa == CUBLAS_OP_N ? CblasNoTrans : CblasTrans,
                p->transb == CUBLAS_OP_N ? CblasNoTrans : CblasTrans, p->m, p->n, p->k, p->alpha, a,
                p->a.rows > 0 ? p->a.rows : 1, b, p->b.rows > 0 ? p->b.rows : 1, p->beta, c, p->m);
    pack(&p->c, i, c);
    free(a);
    free(b);
    free(c);
}

static bool run_product(coh_op *op, coh_item *item)
{
    (void)item;
    const product *p = coh_payload(op);
    coh_arena_open_at(p->a.at);
    coh_arena_open_at(p->b.at);
    coh_arena_open_at(p->c.at);
    if (p->alpha != 0.0f && p->k > 0) {
        check_memory(op->name, 'A', &p->a, p->count);
        check_memory(op->name, 'B', &p->b, p->count);
    }
    check_memory(op->name, 'C', &p->c, p->count);
    for (int i = 0; i < p->count; i++) {
        multiply(p, i);
    }
    return true;
}

static bool bad_matrix(const matrix *m)
{
    return m->ld < (m->rows > 1 ? m->rows : 1);
}

static cublasStatus_t check(const product *p)
{
    if (p->m < 0 || p->n < 0 || p->k < 0 || p->count < 0 || bad_matrix(&p->a) || bad_matrix(&p->b) ||
        bad_matrix(&p->c) || (unsigned int)p->transa > CUBLAS_OP_C || (unsigned int)p->transb > CUBLAS_OP_C) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    bool supported = p->a.type == p->b.type && (p->a.type == CUDA_R_16BF || p->a.type == CUDA_R_32F) &&
                     (p->c.type == CUDA_R_32F || (p->c.type == CUDA_R_16BF && p->a.type == CUDA_R_16BF));
    return supported ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

static int bits_of(cublasComputeType_t compute, cublasMath_t mode)
{
    if (compute == CUBLAS_COMPUTE_32F_FAST_16BF) {
        return 7;
    }
    bool tf32 = compute == CUBLAS_COMPUTE_32F_FAST_TF32 ||
                (compute == CUBLAS_COMPUTE_32F && ((unsigned int)mode & 0xfu) == CUBLAS_TF32_TENSOR_OP_MATH);
    return tf32 ? 10 : 0;
}

static void set_shapes(product *p)
{
    p->a.rows = p->transa == CUBLAS_OP_N ? p->m : p->k;
    p->a.cols = p->transa == CUBLAS_OP_N ? p->k : p->m;
    p->b.rows = p->transb == CUBLAS_OP_N ? p->k : p->n;
    p->b.cols = p->transb == CUBLAS_OP_N ? p->n : p->k;
    p->c.rows = p->m;
    p->c.cols = p->n;
}

static cublasStatus_t submit(cublasHandle_t handle, const char *call, product *p, cublasComputeType_t compute)
{
    int injected = coh_injected(call);
    if (injected != 0) {
        return (cublasStatus_t)injected;
    }
    if (handle == NULL) {
        return CUBLAS_STATUS_NOT_INITIALIZED;
    }
    set_shapes(p);
    p->bits = bits_of(compute, handle->mode);
    cublasStatus_t status = check(p);
    if (status != CUBLAS_STATUS_SUCCESS || p->m == 0 || p->n == 0 || p->count == 0) {
        return status;
    }
    if (coh_device_error() != cudaSuccess || coh_check_stream(handle->stream) != cudaSuccess) {
        return CUBLAS_STATUS_EXECUTION_FAILED;
    }
    coh_op *op = coh_op_new(call, run_product, sizeof *p);
    coh_copy_quietly(coh_payload(op), p, sizeof *p);
    return coh_submit(handle->stream, op) == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

static matrix matrix_at(const void *at, cudaDataType_t type, int ld, long long stride)
{
    matrix m = {(char *)(size_t)at, type, 0, 0, ld, stride};
    return m;
}

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb,
                                          int m, int n, int k, const void *alpha, const void *a, cudaDataType type_a,
                                          int lda, long long stride_a, const void *b, cudaDataType type_b, int ldb,
                                          long long stride_b, const void *beta, void *c, cudaDataType type_c, int ldc,
                                          long long stride_c, int count, cublasComputeType_t compute,
                                          cublasGemmAlgo_t algorithm)
{
    (void)algorithm;
    COH_LOCKED;
    product p = {transa,
                 transb,
                 m,
                 n,
                 k,
                 count,
                 *(const float *)alpha,
                 *(const float *)beta,
                 0,
                 matrix_at(a, type_a, lda, stride_a),
                 matrix_at(b, type_b, ldb, stride_b),
                 matrix_at(c, type_c, ldc, stride_c)};
    return submit(handle, "cublasGemmStridedBatchedEx", &p, compute);
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n,
                            int k, const void *alpha, const void *a, cudaDataType type_a, int lda, const void *b,
                            cudaDataType type_b, int ldb, const void *beta, void *c, cudaDataType type_c, int ldc,
                            cublasComputeType_t compute, cublasGemmAlgo_t algorithm)
{
    (void)algorithm;
    COH_LOCKED;
    product p = {transa,
                 transb,
                 m,
                 n,
                 k,
                 1,
                 *(const float *)alpha,
                 *(const float *)beta,
                 0,
                 matrix_at(a, type_a, lda, 0),
                 matrix_at(b, type_b, ldb, 0),
                 matrix_at(c, type_c, ldc, 0)};
    return submit(handle, "cublasGemmEx", &p, compute);
}

cublasStatus_t cublasSgemm(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n,
                           int k, const float *alpha, const float *a, int lda, const float *b, int ldb,
                           const float *beta, float *c, int ldc)
{
    COH_LOCKED;
    product p = {transa,
                 transb,
                 m,
                 n,
                 k,
                 1,
                 *alpha,
                 *beta,
                 0,
                 matrix_at(a, CUDA_R_32F, lda, 0),
                 matrix_at(b, CUDA_R_32F, ldb, 0),
                 matrix_at(c, CUDA_R_32F, ldc, 0)};
    return submit(handle, "cublasSgemm", &p, CUBLAS_COMPUTE_32F);
}

cublasStatus_t cublasSgemmStridedBatched(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb,
                                         int m, int n, int k, const float *alpha, const float *a, int lda,
                                         long long stride_a, const float *b, int ldb, long long stride_b,
                                         const float *beta, float *c, int ldc, long long stride_c, int count)
{
    COH_LOCKED;
    product p = {transa,
                 transb,
                 m,
                 n,
                 k,
                 count,
                 *alpha,
                 *beta,
                 0,
                 matrix_at(a, CUDA_R_32F, lda, stride_a),
                 matrix_at(b, CUDA_R_32F, ldb, stride_b),
                 matrix_at(c, CUDA_R_32F, ldc, stride_c)};
    return submit(handle, "cublasSgemmStridedBatched", &p, CUBLAS_COMPUTE_32F);
}

/* ---- handles ---- */

/* First lines of the calls that only need a handle. */
#define CALL(name, handle)                                                                                             \
    COH_LOCKED;                                                                                                        \
    int injected = coh_injected(#name);                                                                                \
    if (injected != 0 || (handle) == NULL) {                                                                           \
        return injected != 0 ? (cublasStatus_t)injected : CUBLAS_STATUS_NOT_INITIALIZED;                               \
    }

cublasStatus_t cublasCreate(cublasHandle_t *handle)
{
    CALL(cublasCreate, handle)
    if (coh_setting()->devices == 0 || coh_device_error() != cudaSuccess) {
        return CUBLAS_STATUS_NOT_INITIALIZED;
    }
    openblas_set_num_threads(1);
    *handle = coh_new(sizeof **handle);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t handle)
{
    CALL(cublasDestroy, handle)
    free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetVersion(cublasHandle_t handle, int *version)
{
    CALL(cublasGetVersion, handle)
    *version = CUBLAS_VERSION;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream)
{
    CALL(cublasSetStream, handle)
    handle->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetStream(cublasHandle_t handle, cudaStream_t *stream)
{
    CALL(cublasGetStream, handle)
    *stream = handle->stream;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t handle, void *workspace, size_t bytes)
{
    CALL(cublasSetWorkspace, handle)
    bool usable = workspace == NULL || (coh_on_device(workspace, bytes) && (size_t)workspace % 256 == 0);
    if (!usable) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    coh_arena_idle(workspace); /* OpenBLAS has its own */
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode)
{
    CALL(cublasSetMathMode, handle)
    handle->mode = mode;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetMathMode(cublasHandle_t handle, cublasMath_t *mode)
{
    CALL(cublasGetMathMode, handle)
    *mode = handle->mode;
    return CUBLAS_STATUS_SUCCESS;
}

/* Scalars on the device are not emulated. */
cublasStatus_t cublasSetPointerMode(cublasHandle_t handle, cublasPointerMode_t mode)
{
    CALL(cublasSetPointerMode, handle)
    return mode == CUBLAS_POINTER_MODE_HOST ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

#define STATUSES(S)                                                                                                    \
    S(SUCCESS)                                                                                                         \
    S(NOT_INITIALIZED)                                                                                                 \
    S(ALLOC_FAILED)                                                                                                    \
    S(INVALID_VALUE)                                                                                                   \
    S(ARCH_MISMATCH) S(MAPPING_ERROR) S(EXECUTION_FAILED) S(INTERNAL_ERROR) S(NOT_SUPPORTED) S(LICENSE_ERROR)

const char *cublasGetStatusName(cublasStatus_t status)
{
    switch (status) {
#define STATUS(name)                                                                                                   \
    case CUBLAS_STATUS_##name:                                                                                         \
        return "CUBLAS_STATUS_" #name;
        STATUSES(STATUS)
#undef STATUS
    }
    return "unknown status";
}

const char *cublasGetStatusString(cublasStatus_t status)
{
    return cublasGetStatusName(status);
}
