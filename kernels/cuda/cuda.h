/* What the files of the CUDA backend share. Host code is C, kernels and their launchers are in .cu files; every
 * operation is gmv_cuda_<op>, file for file beside its twin in kernels/cpu. */
#pragma once

#include "gmvae/backend.h"

#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <nccl.h>

#if defined(__cplusplus)
extern "C" {
#endif

/* Hidden, so that one that is missing is an error of the link, not of the day when the plug-in is loaded. */
#define GMV_OP(name, parameters) __attribute__((visibility("hidden"))) gmv_status gmv_cuda_##name parameters;
#include "gmvae/ops.def"
#undef GMV_OP

/* Scratch memory has one user at a time in each of these places; different places may be used together. */
typedef enum gmv_cuda_place {
    GMV_CUDA_SCRATCH,  /* of an operation */
    GMV_CUDA_OPERANDS, /* rounded operands of a product */
    GMV_CUDA_SUMS,     /* partial sums of columns */
    GMV_CUDA_FETCH,    /* of batch_fetch, which may run aside */
    GMV_CUDA_PLACES
} gmv_cuda_place;

typedef struct gmv_cuda_block gmv_cuda_block;     /* mem.c: an allocation */
typedef struct gmv_cuda_mapping gmv_cuda_mapping; /* host_memory.c: host memory that kernels read */
typedef struct gmv_cuda_record gmv_cuda_record;   /* sequence.c: a recorded step */

/* Private data of an open CUDA backend. */
typedef struct gmv_cuda_state {
    int device;
    gmv_precision precision;
    cudaStream_t compute; /* operations */
    cudaStream_t sums;    /* sums over ranks, beside them */
    cudaStream_t copies;  /* batches on their way, beside them */
    cudaEvent_t ready, summed, forked, copied;
    bool aside; /* operations go to `copies` */
    cublasHandle_t blas;
    void *blas_workspace;

    ncclComm_t nccl; /* NULL: one rank, or sums through MPI */
    double timeout;  /* seconds to wait for other ranks */
    void *staging;   /* pinned host memory for sums through MPI */
    int64_t staging_bytes;

    gmv_cuda_block *blocks;
    gmv_cuda_mapping *mappings;
    void *scratch[GMV_CUDA_PLACES];
    int64_t scratch_bytes[GMV_CUDA_PLACES];

    gmv_cuda_record *sequences;
    int64_t clock; /* of their use */
    gmv_cuda_record *under_way;
    bool capturing;

    char *reports; /* pinned host memory [GMV_REPORTS, GMV_REPORT_BYTES] */
    cudaEvent_t reported[GMV_REPORTS];
    int64_t reports_made, reports_collected;
} gmv_cuda_state;

static inline gmv_cuda_state *gmv_cuda_state_of(gmv_backend *b)
{
    return (gmv_cuda_state *)b->state;
}

static inline cudaStream_t gmv_cuda_stream(gmv_backend *b)
{
    const gmv_cuda_state *state = gmv_cuda_state_of(b);
    return state->aside ? state->copies : state->compute;
}

/* ---- errors: one line with the library's own words ---- */

gmv_status gmv_cuda_failed(const char *file, int line, const char *call, cudaError_t error);
gmv_status gmv_cublas_failed(const char *file, int line, const char *call, cublasStatus_t error);
gmv_status gmv_nccl_failed(const char *file, int line, const char *call, ncclResult_t error);

#define GMV_CUDA(call)                                                                                                 \
    do {                                                                                                               \
        cudaError_t gmv_error_ = (call);                                                                               \
        if (gmv_error_ != cudaSuccess) {                                                                               \
            return gmv_cuda_failed(__FILE__, __LINE__, #call, gmv_error_);                                             \
        }                                                                                                              \
    } while (0)

#define GMV_CUBLAS(call)                                                                                               \
    do {                                                                                                               \
        cublasStatus_t gmv_error_ = (call);                                                                            \
        if (gmv_error_ != CUBLAS_STATUS_SUCCESS) {                                                                     \
            return gmv_cublas_failed(__FILE__, __LINE__, #call, gmv_error_);                                           \
        }                                                                                                              \
    } while (0)

#define GMV_NCCL(call)                                                                                                 \
    do {                                                                                                               \
        ncclResult_t gmv_error_ = (call);                                                                              \
        if (gmv_error_ != ncclSuccess) {                                                                               \
            return gmv_nccl_failed(__FILE__, __LINE__, #call, gmv_error_);                                             \
        }                                                                                                              \
    } while (0)

/* Behind a launch: was it accepted? */
#define GMV_LAUNCHED() GMV_CUDA(cudaGetLastError())

/* ---- memory ---- */

/* At least `bytes` of scratch, 256-byte aligned, contents undefined; valid until the next call with the same place. */
gmv_status gmv_cuda_scratch(gmv_backend *b, gmv_cuda_place place, int64_t bytes, void **scratch);

/* Releases what mem.c still holds. */
void gmv_cuda_release_all(gmv_cuda_state *state);

/* Ends all mappings of host memory. */
void gmv_cuda_unmap_all(gmv_cuda_state *state);

/* ---- waiting ---- */

/* Waits for an event, or for all work when it is NULL, watching the other ranks.
 * Errors: GMV_ERR_LOST when they do not answer within the time-out. */
gmv_status gmv_cuda_wait(gmv_backend *b, cudaEvent_t event);

/* ---- sums over ranks ---- */

/* Collective. `shared`: some ranks have the same GPU. `lone`: NCCL also for one rank. */
gmv_status gmv_cuda_reduce_open(gmv_backend *b, bool shared, bool lone);
void gmv_cuda_reduce_close(gmv_cuda_state *state);

/* Whether sums over ranks can be part of a recorded sequence. */
bool gmv_cuda_sums_on_device(const gmv_backend *b);

/* What profilers are told by; NULL where it was built without their header. */
const gmv_ranges *gmv_cuda_ranges(void);

/* ---- recorded sequences ---- */

gmv_status gmv_cuda_sequences_open(gmv_cuda_state *state);

/* Gives up a recording that failed half-way. */
void gmv_cuda_sequence_drop(gmv_cuda_state *state);

/* Memory moved: every record holds stale addresses. */
void gmv_cuda_forget_sequences(gmv_cuda_state *state);
void gmv_cuda_sequences_close(gmv_cuda_state *state);

/* ---- matrix products ---- */

/* One product in the backend's precision on the compute stream: c = alpha op(a) op(b2) + beta c. */
gmv_status gmv_cuda_product(gmv_backend *b, gmv_trans ta, gmv_trans tb, float alpha, gmv_mat a, gmv_mat b2, float beta,
                            gmv_mat c);

/* A matrix of bf16 elements. Products on the tensor cores need rows that start on 16 bytes: `ld` a multiple of 8. */
typedef struct gmv_cuda_rounded {
    void *at;
    int rows, cols, ld;
} gmv_cuda_rounded;

/* `ld` of a rounded copy. */
static inline int gmv_cuda_padded(int cols)
{
    return (cols + 7) / 8 * 8;
}

/* `to` = `from` rounded; columns up to to.ld become 0. */
gmv_status gmv_cuda_round(gmv_backend *b, gmv_mat from, gmv_cuda_rounded to);

/* c = op(a) op(b2) + beta c of rounded matrices, sums in fp32. */
gmv_status gmv_cuda_product_of_rounded(gmv_backend *b, gmv_trans ta, gmv_trans tb, gmv_cuda_rounded a,
                                       gmv_cuda_rounded b2, float alpha, float beta, gmv_mat c);

#if defined(__cplusplus)
}
#endif
