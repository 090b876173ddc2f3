#include "cuda.h"

gmv_status gmv_cuda_failed(const char *file, int line, const char *call, cudaError_t error)
{
    cudaGetLastError(); /* a launch's error is reported once */
    return gmv_fail_at(file, line, GMV_ERR_ENVIRONMENT, "CUDA: %s: %s (%.80s, %s:%d)", cudaGetErrorName(error),
                       cudaGetErrorString(error), call, file, line);
}

gmv_status gmv_cublas_failed(const char *file, int line, const char *call, cublasStatus_t error)
{
    return gmv_fail_at(file, line, GMV_ERR_ENVIRONMENT, "cuBLAS: %s (%.80s, %s:%d)", cublasGetStatusString(error), call,
                       file, line);
}

gmv_status gmv_nccl_failed(const char *file, int line, const char *call, ncclResult_t error)
{
    return gmv_fail_at(file, line, error == ncclRemoteError ? GMV_ERR_LOST : GMV_ERR_ENVIRONMENT,
                       "NCCL: %s (%.80s, %s:%d); NCCL_DEBUG=WARN tells more", ncclGetErrorString(error), call, file,
                       line);
}
