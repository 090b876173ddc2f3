/* Sums over ranks: NCCL on a stream of its own when every rank has its own GPU, through MPI when ranks share one; and
 * waiting for the device, which may wait for other ranks. */
#include "cuda.h"

#include "gmvae/log.h"
#include "gmvae/signals.h"

#include <stdlib.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

gmv_status gmv_cuda_reduce_open(gmv_backend *b, bool shared, bool lone)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    const gmv_comm *comm = b->comm;
    if (comm->size == 1 && !lone) {
        return GMV_OK;
    }
    if (shared) {
        if (comm->rank == 0) {
            gmv_warn("ranks share a GPU: sums over ranks go through the host and MPI, which is slow");
        }
        return GMV_OK;
    }
    /* NVLink's in-switch sums are not the same bits from call to call */
    setenv("NCCL_NVLS_ENABLE", "0", 0);
    ncclUniqueId id;
    gmv_status status = GMV_OK;
    if (comm->rank == 0) {
        ncclResult_t error = ncclGetUniqueId(&id);
        status = error == ncclSuccess ? GMV_OK : gmv_nccl_failed(__FILE__, __LINE__, "ncclGetUniqueId", error);
    }
    GMV_TRY(gmv_comm_agree(comm, status));
    gmv_comm_broadcast(comm, &id, sizeof id, 0);
    gmv_comm_enter(comm, "connecting GPUs by NCCL");
    ncclResult_t error = ncclCommInitRank(&state->nccl, comm->size, id, comm->rank);
    gmv_comm_leave(comm);
    status = error == ncclSuccess ? GMV_OK : gmv_nccl_failed(__FILE__, __LINE__, "ncclCommInitRank", error);
    return gmv_comm_agree(comm, status);
}

void gmv_cuda_reduce_close(gmv_cuda_state *state)
{
    if (state->nccl != NULL) {
        ncclCommDestroy(state->nccl);
    }
    if (state->staging != NULL) {
        cudaFreeHost(state->staging);
    }
}

bool gmv_cuda_sums_on_device(const gmv_backend *b)
{
    const gmv_cuda_state *state = (const gmv_cuda_state *)b->state;
    return b->comm->size == 1 || state->nccl != NULL;
}

/* Ends the communicator: kernels that wait for other ranks give up. */
static gmv_status lose_contact(gmv_backend *b, const char *why)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    ncclCommAbort(state->nccl);
    state->nccl = NULL;
    return GMV_FAIL(GMV_ERR_LOST,
                    "lost contact with other ranks in a sum over ranks: %s; run the same command again to "
                    "continue from the last checkpoint",
                    why);
}

static gmv_status watch_others(gmv_backend *b, double since)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    ncclResult_t error = ncclSuccess;
    if (ncclCommGetAsyncError(state->nccl, &error) != ncclSuccess ||
        (error != ncclSuccess && error != ncclInProgress)) {
        return lose_contact(b, ncclGetErrorString(error));
    }
    return now() - since > state->timeout ? lose_contact(b, "no answer within runtime.timeout") : GMV_OK;
}

gmv_status gmv_cuda_wait(gmv_backend *b, cudaEvent_t event)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    GMV_CHECK(!state->capturing);
    if (state->nccl == NULL) {
        GMV_CUDA(event != NULL ? cudaEventSynchronize(event) : cudaStreamSynchronize(state->compute));
        return GMV_OK;
    }
    double start = now(), watched = start;
    for (;;) {
        cudaError_t error = event != NULL ? cudaEventQuery(event) : cudaStreamQuery(state->compute);
        if (error == cudaSuccess) {
            return GMV_OK;
        }
        if (error != cudaErrorNotReady) {
            return gmv_cuda_failed(__FILE__, __LINE__, "waiting for the device", error);
        }
        cudaGetLastError();
        double time = now();
        if (time - start > 1e-3) { /* a step that takes so long leaves the core to others meanwhile */
            nanosleep(&(struct timespec){0, 20000}, NULL);
        }
        if (time - watched > 0.05) {
            watched = time;
            gmv_stop_asked(); /* a sign of life */
            GMV_TRY(watch_others(b, start));
        }
    }
}

/* Lets `sums` start when all work called so far is done. */
static gmv_status fork_sums(gmv_cuda_state *state)
{
    GMV_CUDA(cudaEventRecord(state->ready, state->compute));
    GMV_CUDA(cudaStreamWaitEvent(state->sums, state->ready, 0));
    return GMV_OK;
}

/* Brings `bytes` to pinned host memory, waits, and leaves them in state->staging. */
static gmv_status stage(gmv_backend *b, const void *from, int64_t bytes)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    if (bytes > state->staging_bytes) {
        if (state->staging != NULL) {
            GMV_CUDA(cudaFreeHost(state->staging));
        }
        state->staging = NULL;
        state->staging_bytes = 0;
        GMV_CUDA(cudaMallocHost(&state->staging, (size_t)bytes));
        state->staging_bytes = bytes;
    }
    GMV_CUDA(cudaMemcpyAsync(state->staging, from, (size_t)bytes, cudaMemcpyDeviceToHost, state->compute));
    return gmv_cuda_wait(b, NULL);
}

static gmv_status unstage(gmv_backend *b, void *to, int64_t bytes)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    GMV_CUDA(cudaMemcpyAsync(to, state->staging, (size_t)bytes, cudaMemcpyHostToDevice, state->compute));
    return gmv_cuda_wait(b, NULL); /* the staging memory has another user soon */
}

gmv_status gmv_cuda_allreduce_f32(gmv_backend *b, gmv_vec x)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    if ((b->comm->size == 1 && state->nccl == NULL) || x.n == 0) {
        return GMV_OK;
    }
    if (state->nccl != NULL) {
        GMV_TRY(fork_sums(state));
        GMV_NCCL(ncclAllReduce(x.at, x.at, (size_t)x.n, ncclFloat32, ncclSum, state->nccl, state->sums));
        return GMV_OK;
    }
    int64_t bytes = x.n * (int64_t)sizeof *x.at;
    GMV_TRY(stage(b, x.at, bytes));
    gmv_comm_sum_f32(b->comm, (float *)state->staging, x.n);
    return unstage(b, x.at, bytes);
}

gmv_status gmv_cuda_allreduce_i64(gmv_backend *b, int64_t *x, int64_t n)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    if ((b->comm->size == 1 && state->nccl == NULL) || n == 0) {
        return GMV_OK;
    }
    if (state->nccl != NULL) {
        GMV_TRY(fork_sums(state));
        GMV_NCCL(ncclAllReduce(x, x, (size_t)n, ncclInt64, ncclSum, state->nccl, state->sums));
        return GMV_OK;
    }
    GMV_TRY(stage(b, x, n * (int64_t)sizeof *x));
    gmv_comm_sum_i64(b->comm, (int64_t *)state->staging, n);
    return unstage(b, x, n * (int64_t)sizeof *x);
}

gmv_status gmv_cuda_allreduce_wait(gmv_backend *b)
{
    gmv_cuda_state *state = gmv_cuda_state_of(b);
    if (state->nccl == NULL) {
        return GMV_OK;
    }
    GMV_CUDA(cudaEventRecord(state->summed, state->sums));
    GMV_CUDA(cudaStreamWaitEvent(state->compute, state->summed, 0));
    return GMV_OK;
}
