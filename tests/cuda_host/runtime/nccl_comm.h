/* Communicators and their operations, between nccl_comm.c and nccl_op.c. */
#pragma once

#include "coh.h"

#include "nccl.h"

#include <mpi.h>

#pragma GCC visibility push(hidden)

struct ncclComm {
    MPI_Comm mpi;
    int rank, size, device;
    int references; /* the caller's, and one for each op that refers to it */
    bool aborted;
    ncclResult_t error;
    coh_item *last; /* operations of a communicator run in the order of the calls */
};

/* Result of a call that fails for what is injected or for the state of the device. */
ncclResult_t coh_nccl_refuse(const char *call);
ncclResult_t coh_nccl_fail(ncclResult_t result, const char *why);
void coh_comm_release(ncclComm_t comm);

#pragma GCC visibility pop
