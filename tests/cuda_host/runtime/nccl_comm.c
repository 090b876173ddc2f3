/* Communicators of NCCL: duplicates of MPI_COMM_WORLD, or of MPI_COMM_SELF for one rank. */
#include "nccl_comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char last_error[256];

ncclResult_t coh_nccl_fail(ncclResult_t result, const char *why)
{
    snprintf(last_error, sizeof last_error, "%s", why);
    return result;
}

ncclResult_t coh_nccl_refuse(const char *call)
{
    int injected = coh_injected(call);
    if (injected > 0) {
        return coh_nccl_fail((ncclResult_t)injected, "injected");
    }
    return coh_device_error() == cudaSuccess && coh_setting()->devices > 0 ? ncclSuccess : ncclUnhandledCudaError;
}

#define CALL(name)                                                                                                     \
    COH_LOCKED;                                                                                                        \
    ncclResult_t refusal = coh_nccl_refuse(#name);                                                                     \
    if (refusal != ncclSuccess) {                                                                                      \
        return refusal;                                                                                                \
    }

ncclResult_t ncclGetVersion(int *version)
{
    CALL(ncclGetVersion)
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

/* Differs from call to call and from process to process. */
ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    CALL(ncclGetUniqueId)
    static int calls;
    memset(id, 0, sizeof *id);
    snprintf(id->internal, sizeof id->internal, "cuda-on-host %ld %lld %d", (long)getpid(), (long long)time(NULL),
             ++calls);
    return ncclSuccess;
}

/* @return whether all ranks gave the same id, and a process each */
static bool agreed(MPI_Comm mpi, const ncclUniqueId *id)
{
    unsigned char low[NCCL_UNIQUE_ID_BYTES], high[NCCL_UNIQUE_ID_BYTES];
    MPI_Allreduce(id->internal, low, NCCL_UNIQUE_ID_BYTES, MPI_UNSIGNED_CHAR, MPI_MIN, mpi);
    MPI_Allreduce(id->internal, high, NCCL_UNIQUE_ID_BYTES, MPI_UNSIGNED_CHAR, MPI_MAX, mpi);
    return memcmp(low, high, sizeof low) == 0 && id->internal[0] != '\0';
}

static ncclResult_t init(ncclComm_t *comm, int nranks, const ncclUniqueId *id, int rank)
{
    int main_thread = 0, size = 0;
    MPI_Is_thread_main(&main_thread);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (comm == NULL || rank < 0 || rank >= nranks) {
        return coh_nccl_fail(ncclInvalidArgument, "rank is not in [0, nranks)");
    }
    if (main_thread == 0 || (nranks != 1 && nranks != size)) {
        return coh_nccl_fail(ncclInvalidUsage,
                             "cuda-on-host needs the main thread, and all ranks of MPI_COMM_WORLD or one");
    }
    MPI_Comm mpi;
    MPI_Comm_split(nranks == 1 ? MPI_COMM_SELF : MPI_COMM_WORLD, 0, rank, &mpi);
    if (!agreed(mpi, id)) {
        MPI_Comm_free(&mpi);
        return coh_nccl_fail(ncclInvalidUsage, "the ranks have different unique ids");
    }
    *comm = coh_new(sizeof **comm);
    (*comm)->mpi = mpi;
    (*comm)->size = nranks;
    (*comm)->device = coh_current_device();
    (*comm)->references = 1;
    MPI_Comm_rank(mpi, &(*comm)->rank);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int nranks, ncclUniqueId id, int rank)
{
    CALL(ncclCommInitRank)
    return init(comm, nranks, &id, rank);
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int nranks, ncclUniqueId id, int rank, ncclConfig_t *config)
{
    (void)config; /* the start is finished when this returns, which a non-blocking one may be */
    CALL(ncclCommInitRankConfig)
    return init(comm, nranks, &id, rank);
}

/* A communicator with unfinished operations keeps its MPI side, which MPI has no way to give up. */
void coh_comm_release(ncclComm_t comm)
{
    if (--comm->references == 0) {
        int finalized = 0;
        MPI_Finalized(&finalized);
        if (!comm->aborted && finalized == 0) {
            MPI_Comm_free(&comm->mpi);
        }
        free(comm);
    }
}

static void wait_for_last(ncclComm_t comm)
{
    if (comm->last != NULL) {
        coh_item_wait(comm->last);
        coh_item_release(&comm->last);
    }
}

ncclResult_t ncclCommFinalize(ncclComm_t comm)
{
    CALL(ncclCommFinalize)
    wait_for_last(comm);
    return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    COH_LOCKED;
    int injected = coh_injected("ncclCommDestroy");
    if (comm == NULL || injected > 0) {
        return injected > 0 ? (ncclResult_t)injected : ncclInvalidArgument;
    }
    wait_for_last(comm);
    coh_comm_release(comm);
    return ncclSuccess;
}

/* What is queued or under way ends without having done anything. */
ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    COH_LOCKED;
    int injected = coh_injected("ncclCommAbort");
    if (comm == NULL || injected > 0) {
        return injected > 0 ? (ncclResult_t)injected : ncclInvalidArgument;
    }
    comm->aborted = true;
    wait_for_last(comm);
    coh_comm_release(comm);
    return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error)
{
    COH_LOCKED;
    int injected = coh_injected("ncclCommGetAsyncError");
    if (comm->last != NULL) {
        coh_item_query(comm->last);
    }
    *error = comm->error;
    if (injected > 0) {
        *error = comm->error = (ncclResult_t)injected;
    } else if (coh_device_error() != cudaSuccess) {
        *error = ncclUnhandledCudaError;
    }
    return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int *count)
{
    CALL(ncclCommCount)
    *count = comm->size;
    return ncclSuccess;
}

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank)
{
    CALL(ncclCommUserRank)
    *rank = comm->rank;
    return ncclSuccess;
}

ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int *device)
{
    CALL(ncclCommCuDevice)
    *device = comm->device;
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result)
{
    static const char *const texts[] = {"no error",
                                        "unhandled cuda error",
                                        "unhandled system error",
                                        "internal error",
                                        "invalid argument",
                                        "invalid usage",
                                        "remote process exited or there was a network error",
                                        "NCCL operation in progress"};
    return (unsigned int)result < ncclNumResults ? texts[result] : "unknown result code";
}

const char *ncclGetLastError(ncclComm_t comm)
{
    (void)comm;
    return last_error;
}
