#define _GNU_SOURCE
#include "gmvae/comm.h"

#include "gmvae/mem.h"

#include <mpi.h>
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Counts of one MPI call are ints: longer arrays go in pieces of this many elements. */
enum { piece = 1 << 28 };

static MPI_Comm world_of(const gmv_comm *comm)
{
    return (MPI_Comm)comm->world;
}

/* Open MPI busy-waits. Where ranks outnumber the cores that starves the rank being waited for, so
 * waiting ranks are told to yield; it must be known before MPI starts. */
static void avoid_starving_neighbours(void)
{
    const char *local_size = getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
    if (local_size != NULL && atol(local_size) > sysconf(_SC_NPROCESSORS_ONLN)) {
        setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
    }
}

/* mpirun's default binds each of two ranks to one core, however many the host has, which would leave
 * OpenMP with one thread. Unless the binding was asked for, the rank's share of the cores is its own
 * slice of all cores the host (or its container) allows. SLURM's binding is always respected. */
static int take_share_of_cores(const gmv_comm *comm)
{
    cpu_set_t mine, all;
    sched_getaffinity(0, sizeof mine, &mine);
    bool asked = getenv("OMPI_MCA_hwloc_base_binding_policy") != NULL || getenv("SLURM_CPU_BIND") != NULL;
    bool launched = getenv("OMPI_COMM_WORLD_SIZE") != NULL;
    if (asked || !launched) {
        int cores = CPU_COUNT(&mine);
        /* without a binding all local ranks share the same cores */
        return launched && !asked ? cores / comm->local_size : cores;
    }
    CPU_ZERO(&all);
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        CPU_SET(i, &all);
    }
    if (sched_setaffinity(0, sizeof all, &all) != 0 || sched_getaffinity(0, sizeof all, &all) != 0) {
        return CPU_COUNT(&mine);
    }
    int total = CPU_COUNT(&all), share = total / comm->local_size;
    if (share < 1) {
        return 1;
    }
    cpu_set_t slice;
    CPU_ZERO(&slice);
    int position = 0, first = comm->local_rank * share;
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &all)) {
            if (position >= first && position < first + share) {
                CPU_SET(i, &slice);
            }
            position++;
        }
    }
    sched_setaffinity(0, sizeof slice, &slice);
    return share;
}

gmv_status gmv_comm_init(gmv_comm *comm, int *argc, char ***argv)
{
    memset(comm, 0, sizeof *comm);
    avoid_starving_neighbours();
    int provided = 0;
    if (MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS || provided < MPI_THREAD_FUNNELED) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "MPI does not start with thread level FUNNELED; rebuild it with threads");
    }
    comm->world = (void *)MPI_COMM_WORLD;
    MPI_Comm_rank(MPI_COMM_WORLD, &comm->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &comm->size);
    MPI_Comm host;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &host);
    MPI_Comm_rank(host, &comm->local_rank);
    MPI_Comm_size(host, &comm->local_size);
    MPI_Comm_free(&host);
    comm->cores = take_share_of_cores(comm);
    if (comm->cores < 1) {
        comm->cores = 1;
    }
    if (getenv("OMP_NUM_THREADS") != NULL) {
        comm->cores = omp_get_max_threads();
    }
    omp_set_num_threads(comm->cores);
    return GMV_OK;
}

gmv_comm gmv_comm_alone(void)
{
    return (gmv_comm){.size = 1, .local_size = 1, .cores = 1, .world = (void *)MPI_COMM_SELF};
}

void gmv_comm_fini(gmv_comm *comm)
{
    (void)comm;
    MPI_Finalize();
}

gmv_status gmv_comm_fail_alone(const gmv_comm *comm, gmv_status status)
{
    if (status == GMV_OK || comm->size == 1) {
        return status;
    }
    fflush(stdout);
    fprintf(stderr, "gmvae_dist: error: [rank %d] %s\n", comm->rank, gmv_error_message());
    MPI_Abort(world_of(comm), gmv_exit_code(status));
    _exit(gmv_exit_code(status));
}

gmv_status gmv_comm_agree(const gmv_comm *comm, gmv_status status)
{
    int mine = status == GMV_OK ? comm->size : comm->rank, failing = comm->size;
    MPI_Allreduce(&mine, &failing, 1, MPI_INT, MPI_MIN, world_of(comm));
    if (failing == comm->size) {
        return GMV_OK;
    }
    struct {
        int status;
        char message[2048];
    } report = {(int)status, ""};
    if (comm->rank == failing) {
        snprintf(report.message, sizeof report.message, "%s", gmv_error_message());
    }
    MPI_Bcast(&report, (int)sizeof report, MPI_BYTE, failing, world_of(comm));
    gmv_error_set(report.message);
    return (gmv_status)report.status;
}

void gmv_comm_barrier(const gmv_comm *comm)
{
    MPI_Barrier(world_of(comm));
}

void gmv_comm_broadcast(const gmv_comm *comm, void *buffer, int64_t bytes, int root)
{
    for (int64_t at = 0; at < bytes; at += piece) {
        int count = (int)(bytes - at < piece ? bytes - at : piece);
        MPI_Bcast((char *)buffer + at, count, MPI_BYTE, root, world_of(comm));
    }
}

gmv_status gmv_comm_broadcast_text(const gmv_comm *comm, char **text, int root)
{
    int64_t length = comm->rank == root ? (int64_t)strlen(*text) : 0;
    gmv_comm_broadcast(comm, &length, sizeof length, root);
    gmv_status status = GMV_OK;
    if (comm->rank != root) {
        status = GMV_NEW(*text, length + 1, "a text from another rank");
    }
    GMV_TRY(gmv_comm_agree(comm, status));
    gmv_comm_broadcast(comm, *text, length, root);
    return GMV_OK;
}

gmv_status gmv_comm_broadcast_texts(const gmv_comm *comm, char ***texts, int *n, int root)
{
    gmv_comm_broadcast(comm, n, sizeof *n, root);
    gmv_status status = GMV_OK;
    if (comm->rank != root) {
        status = GMV_NEW(*texts, *n, "texts from another rank");
    }
    GMV_TRY(gmv_comm_agree(comm, status));
    for (int i = 0; i < *n; i++) {
        GMV_TRY(gmv_comm_broadcast_text(comm, &(*texts)[i], root));
    }
    return GMV_OK;
}

static void reduce(const gmv_comm *comm, void *values, int64_t n, size_t size, MPI_Datatype type, MPI_Op op)
{
    for (int64_t at = 0; at < n; at += piece) {
        int count = (int)(n - at < piece ? n - at : piece);
        MPI_Allreduce(MPI_IN_PLACE, (char *)values + (size_t)at * size, count, type, op, world_of(comm));
    }
}

void gmv_comm_sum_f32(const gmv_comm *comm, float *values, int64_t n)
{
    reduce(comm, values, n, sizeof *values, MPI_FLOAT, MPI_SUM);
}

void gmv_comm_sum_f64(const gmv_comm *comm, double *values, int64_t n)
{
    reduce(comm, values, n, sizeof *values, MPI_DOUBLE, MPI_SUM);
}

void gmv_comm_sum_i64(const gmv_comm *comm, int64_t *values, int64_t n)
{
    reduce(comm, values, n, sizeof *values, MPI_INT64_T, MPI_SUM);
}

void gmv_comm_max_i64(const gmv_comm *comm, int64_t *values, int64_t n)
{
    reduce(comm, values, n, sizeof *values, MPI_INT64_T, MPI_MAX);
}

void gmv_comm_share_f64(const gmv_comm *comm, double *values, int64_t n)
{
    gmv_comm_sum_f64(comm, values, n);
}

void gmv_comm_allgather(const gmv_comm *comm, const void *mine, void *all, int64_t bytes)
{
    MPI_Allgather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, world_of(comm));
}

gmv_status gmv_comm_concatenate(const gmv_comm *comm, const void *mine, int64_t bytes, void **all, int64_t *total)
{
    int64_t *length = NULL, at = 0;
    char *block = NULL;
    *all = NULL;
    *total = 0;
    gmv_status status = gmv_comm_agree(comm, GMV_NEW(length, comm->size, "lengths of blocks"));
    if (status == GMV_OK) {
        gmv_comm_allgather(comm, &bytes, length, sizeof bytes);
        for (int r = 0; r < comm->size; r++) {
            *total += length[r];
        }
        status = gmv_comm_agree(comm, GMV_NEW(block, *total, "blocks of all ranks"));
    }
    if (status != GMV_OK) {
        GMV_FREE(block);
    }
    for (int r = 0; r < comm->size && block != NULL; at += length[r++]) {
        if (r == comm->rank && bytes > 0) {
            memcpy(block + at, mine, (size_t)bytes);
        }
        gmv_comm_broadcast(comm, block + at, length[r], r);
    }
    GMV_FREE(length);
    *all = block;
    return status;
}

void gmv_comm_send(const gmv_comm *comm, const void *buffer, int64_t bytes, int to)
{
    for (int64_t at = 0; at < bytes; at += piece) {
        int count = (int)(bytes - at < piece ? bytes - at : piece);
        MPI_Send((const char *)buffer + at, count, MPI_BYTE, to, 0, world_of(comm));
    }
}

void gmv_comm_receive(const gmv_comm *comm, void *buffer, int64_t bytes, int from)
{
    for (int64_t at = 0; at < bytes; at += piece) {
        int count = (int)(bytes - at < piece ? bytes - at : piece);
        MPI_Recv((char *)buffer + at, count, MPI_BYTE, from, 0, world_of(comm), MPI_STATUS_IGNORE);
    }
}
