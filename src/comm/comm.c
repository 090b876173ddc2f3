#define _GNU_SOURCE
#include "gmvae/comm.h"

#include "contact.h"
#include "watch.h"

#include "gmvae/files.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"

#include <mpi.h>
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Counts of one MPI call are ints: longer arrays go in pieces of this many elements. Sums of so many bytes go round. */
enum { piece = 1 << 28, round_bytes = 1 << 15, round_tag = 1 };

/* Memory of sum_around, kept from one to the next. */
static struct {
    char *block;
    int64_t room; /* bytes */
} around;

static MPI_Comm world_of(const gmv_comm *comm)
{
    return (MPI_Comm)comm->world;
}

/* A program started without a launcher has a session directory of its own. Open MPI 4 would give all those of a user one
 * name, and one that ends removes it while another, which then fails, begins. */
static void name_session_directory(void)
{
    static const char *const bases[] = {"OMPI_MCA_orte_tmpdir_base", "TMPDIR", "TEMP", "TMP", NULL};
    const char *base = NULL;
    for (int i = 0; (base == NULL || base[0] == '\0') && bases[i] != NULL; i++) {
        base = getenv(bases[i]);
    }
    char host[256] = "", path[GMV_PATH_ROOM];
    gethostname(host, sizeof host - 1);
    snprintf(path, sizeof path, "%.3800s/gmvae_dist.%s.%ld.%ld", base != NULL && base[0] != '\0' ? base : "/tmp", host,
             (long)getuid(), (long)getpid());
    setenv("OMPI_MCA_orte_top_session_dir", path, 0);
}

/* What Open MPI reads before it starts.
 * A program started without a launcher needs no daemon of its own: that would be half of its start, and be left behind
 * when it is killed.
 * Open MPI busy-waits. Where ranks outnumber the cores that starves the rank being waited for, so waiting ranks are told to
 * yield, which helps little beside a process that never does: then each piece of a message may cost a turn of the
 * scheduler, and pieces are larger. */
static void set_up_open_mpi(void)
{
    setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
    if (getenv("OMPI_COMM_WORLD_SIZE") == NULL && getenv("PMIX_RANK") == NULL && getenv("PMI_RANK") == NULL) {
        name_session_directory();
    }
    const char *local_size = getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
    if (local_size != NULL && atol(local_size) > sysconf(_SC_NPROCESSORS_ONLN)) {
        setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
        setenv("OMPI_MCA_btl_vader_max_send_size", "524288", 0);
    }
    const char *yields = getenv("OMPI_MCA_mpi_yield_when_idle");
    if (yields != NULL && strcmp(yields, "0") != 0) {
        gmv_contact_spin(0.2e-3);
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
    set_up_open_mpi();
    int provided = 0;
    gmv_watch_start();
    gmv_watch_begin("connecting the ranks", -1, gmv_contact_limit());
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
    gmv_contact_open(comm);
    gmv_watch_end();
    comm->cores = take_share_of_cores(comm);
    if (comm->cores < 1) {
        comm->cores = 1;
    }
    if (getenv("OMP_NUM_THREADS") != NULL) {
        comm->cores = omp_get_max_threads();
    }
    omp_set_num_threads(comm->cores);
    char name[MPI_MAX_PROCESSOR_NAME];
    int length;
    MPI_Get_processor_name(name, &length);
    return gmv_contact_hosts(comm, name);
}

void gmv_comm_set_timeout(double seconds)
{
    gmv_contact_timeout(seconds);
}

gmv_comm gmv_comm_alone(void)
{
    return (gmv_comm){.size = 1, .local_size = 1, .cores = 1, .world = (void *)MPI_COMM_SELF};
}

gmv_status gmv_comm_part(const gmv_comm *comm, int group, gmv_comm *part)
{
    MPI_Comm split;
    *part = *comm;
    gmv_comm_enter(comm, "dividing the ranks");
    int failed = MPI_Comm_split(world_of(comm), group, comm->rank, &split);
    gmv_comm_leave(comm);
    if (failed != MPI_SUCCESS) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "MPI cannot divide the ranks; run on fewer of them");
    }
    part->world = (void *)split;
    MPI_Comm_rank(split, &part->rank);
    MPI_Comm_size(split, &part->size);
    return GMV_OK;
}

void gmv_comm_part_fini(gmv_comm *part)
{
    MPI_Comm world = world_of(part);
    if (world != NULL) {
        MPI_Comm_free(&world);
        part->world = NULL;
    }
}

int64_t gmv_comm_number(void)
{
    return gmv_contact_number();
}

void gmv_comm_restart_numbers(const gmv_comm *comm)
{
    gmv_comm_barrier(comm); /* nobody asks for one of before */
    gmv_contact_restart_numbers();
    gmv_comm_barrier(comm);
}

void gmv_comm_fini(gmv_comm *comm)
{
    gmv_comm_enter(comm, "leaving MPI");
    gmv_contact_close();
    MPI_Finalize();
    gmv_comm_leave(comm);
    gmv_watch_stop();
    free(around.block);
    around.block = NULL;
    around.room = 0;
}

void gmv_comm_enter(const gmv_comm *comm, const char *what)
{
    gmv_comm_barrier(comm);
    if (comm->size > 1) {
        gmv_watch_begin(what, comm->rank, gmv_contact_limit());
    }
}

void gmv_comm_leave(const gmv_comm *comm)
{
    if (comm->size > 1) {
        gmv_watch_end();
    }
}

gmv_status gmv_comm_fail_alone(const gmv_comm *comm, gmv_status status)
{
    if (status == GMV_OK || comm->size == 1) {
        return status;
    }
    fflush(stdout);
    fprintf(stderr, "gmvae_dist: error: [rank %d] %s\n", comm->rank, gmv_error_message());
    gmv_signals_clear_away();
    gmv_watch_begin("ending the run", comm->rank, 5.0);
    MPI_Abort(MPI_COMM_WORLD, gmv_exit_code(status));
    _exit(gmv_exit_code(status));
}

/* ---- collective calls: begun, then waited for (contact.h) ---- */

static void reduce(const gmv_comm *comm, void *values, int64_t n, size_t size, MPI_Datatype type, MPI_Op op)
{
    for (int64_t at = 0; at < n; at += piece) {
        int count = (int)(n - at < piece ? n - at : piece);
        MPI_Request request;
        MPI_Iallreduce(MPI_IN_PLACE, (char *)values + (size_t)at * size, count, type, op, world_of(comm), &request);
        gmv_contact_wait(&request, 1);
    }
}

gmv_status gmv_comm_agree(const gmv_comm *comm, gmv_status status)
{
    int failing = status == GMV_OK ? comm->size : comm->rank;
    reduce(comm, &failing, 1, sizeof failing, MPI_INT, MPI_MIN);
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
    gmv_comm_broadcast(comm, &report, sizeof report, failing);
    gmv_error_set(report.message);
    return (gmv_status)report.status;
}

gmv_status gmv_comm_agree_patiently(const gmv_comm *comm, gmv_status status)
{
    gmv_contact_be_patient(true);
    status = gmv_comm_agree(comm, status);
    gmv_contact_be_patient(false);
    return status;
}

void gmv_comm_barrier(const gmv_comm *comm)
{
    MPI_Request request;
    MPI_Ibarrier(world_of(comm), &request);
    gmv_contact_wait(&request, 1);
}

void gmv_comm_broadcast(const gmv_comm *comm, void *buffer, int64_t bytes, int root)
{
    for (int64_t at = 0; at < bytes; at += piece) {
        int count = (int)(bytes - at < piece ? bytes - at : piece);
        MPI_Request request;
        MPI_Ibcast((char *)buffer + at, count, MPI_BYTE, root, world_of(comm), &request);
        gmv_contact_wait(&request, 1);
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

/* Block b of an array of n that is divided among the ranks, at most `piece` elements. */
static int64_t block_start(const gmv_comm *comm, int64_t n, int b)
{
    return n / comm->size * b + n % comm->size * b / comm->size;
}

/* Sends block `out` to the next rank while block `in` comes from the one before, into `to`. */
static void pass_on(const gmv_comm *comm, char *values, int64_t n, size_t size, MPI_Datatype type, int out, int in,
                    void *to)
{
    int next = (comm->rank + 1) % comm->size, before = (comm->rank + comm->size - 1) % comm->size;
    int64_t first = block_start(comm, n, out);
    int64_t count = block_start(comm, n, in + 1) - block_start(comm, n, in);
    MPI_Request request[2];
    MPI_Irecv(to, (int)count, type, before, round_tag, world_of(comm), &request[0]);
    MPI_Isend(values + (size_t)first * size, (int)(block_start(comm, n, out + 1) - first), type, next, round_tag,
              world_of(comm), &request[1]);
    gmv_contact_wait(request, 2);
}

/* Sums of gradients: each block goes round and is added to, then the sums go round. MPI's own calls that can be waited for
 * took half as long again. Without memory for a block: false, on all ranks. */
static bool sum_around(const gmv_comm *comm, char *values, int64_t n, size_t size, MPI_Datatype type)
{
    int ranks = comm->size;
    int64_t room = (n / ranks + 1) * (int64_t)size;
    if (room > around.room) {
        free(around.block);
        around.block = malloc((size_t)room);
        around.room = around.block != NULL ? room : 0;
        int all = around.block != NULL;
        reduce(comm, &all, 1, sizeof all, MPI_INT, MPI_MIN);
        if (all == 0) {
            free(around.block);
            around.block = NULL;
            around.room = 0;
            return false;
        }
    }
    for (int s = 0; s < ranks - 1; s++) {
        int in = (comm->rank + 2 * ranks - s - 1) % ranks;
        int64_t first = block_start(comm, n, in);
        pass_on(comm, values, n, size, type, (in + 1) % ranks, in, around.block);
        MPI_Reduce_local(around.block, values + (size_t)first * size, (int)(block_start(comm, n, in + 1) - first), type,
                         MPI_SUM);
    }
    for (int s = 0; s < ranks - 1; s++) {
        int in = (comm->rank + 2 * ranks - s) % ranks;
        pass_on(comm, values, n, size, type, (in + 1) % ranks, in, values + (size_t)block_start(comm, n, in) * size);
    }
    return true;
}

static void sum(const gmv_comm *comm, void *values, int64_t n, size_t size, MPI_Datatype type)
{
    for (int64_t at = 0; at < n; at += piece) {
        int64_t count = n - at < piece ? n - at : piece;
        char *from = (char *)values + (size_t)at * size;
        if (comm->size == 1 || count * (int64_t)size < round_bytes || !sum_around(comm, from, count, size, type)) {
            reduce(comm, from, count, size, type, MPI_SUM);
        }
    }
}

void gmv_comm_sum_f32(const gmv_comm *comm, float *values, int64_t n)
{
    sum(comm, values, n, sizeof *values, MPI_FLOAT);
}

void gmv_comm_sum_f64(const gmv_comm *comm, double *values, int64_t n)
{
    sum(comm, values, n, sizeof *values, MPI_DOUBLE);
}

void gmv_comm_sum_i64(const gmv_comm *comm, int64_t *values, int64_t n)
{
    sum(comm, values, n, sizeof *values, MPI_INT64_T);
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
    MPI_Request request;
    MPI_Iallgather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, world_of(comm), &request);
    gmv_contact_wait(&request, 1);
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
        MPI_Request request;
        MPI_Isend((const char *)buffer + at, count, MPI_BYTE, to, 0, world_of(comm), &request);
        gmv_contact_wait(&request, 1);
    }
}

void gmv_comm_receive(const gmv_comm *comm, void *buffer, int64_t bytes, int from)
{
    for (int64_t at = 0; at < bytes; at += piece) {
        int count = (int)(bytes - at < piece ? bytes - at : piece);
        MPI_Request request;
        MPI_Irecv((char *)buffer + at, count, MPI_BYTE, from, 0, world_of(comm), &request);
        gmv_contact_wait(&request, 1);
    }
}
