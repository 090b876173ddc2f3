/* Processes of a run. All of MPI is behind this header.
 *
 * Every function is collective over all ranks unless it says otherwise: all ranks must call it, in the
 * same order. `rank` and `size` always mean MPI rank and number of ranks.
 */
#pragma once

#include "gmvae/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct gmv_comm {
    int rank, size;
    int local_rank, local_size; /* among the ranks on this host */
    int cores;                  /* cores this rank may use: its share of the host's */
    void *world;                /* MPI_Comm, owned by comm.c */
} gmv_comm;

/* Starts MPI (thread level FUNNELED: only the main thread calls MPI), finds the ranks of this host and
 * divides the host's cores among them. A process started without mpirun is one rank with all cores. */
gmv_status gmv_comm_init(gmv_comm *comm, int *argc, char ***argv);

/* This process by itself, for work that is asked of a communicator. MPI must have been started. */
gmv_comm gmv_comm_alone(void);

/* Seconds without a sign of life (runtime.timeout) after which a rank counts as lost. A rank that waits in any function
 * below then names the lost ones and their hosts, and the run ends with 75; when a signal was seen, after 30 s. A rank
 * that works gives signs of life in gmv_stop_asked (signals.h), through which ranks also hear of each other's signals. */
void gmv_comm_set_timeout(double seconds);

/* Around work that waits for other ranks inside a library, as MPI-IO does: all meet first, then a thread ends the run
 * with 75 if it takes longer than that. @param[in] what  is kept, not copied. Collective. */
void gmv_comm_enter(const gmv_comm *comm, const char *what);
void gmv_comm_leave(const gmv_comm *comm);

/* The ranks that give the same `group`, in their order, as ranks of their own, for work that others have no part in. What
 * is said of hosts and cores stays as it was. Collective over `comm`. End it with gmv_comm_part_fini.
 * Errors: GMV_ERR_ENVIRONMENT. */
gmv_status gmv_comm_part(const gmv_comm *comm, int group, gmv_comm *part);
void gmv_comm_part_fini(gmv_comm *part);

/* Numbers 0, 1, 2, ... of work that is shared out: each is given to one caller only, by rank 0 of the program whenever it
 * waits or asks for signals (gmv_stop_asked). Not collective. The second begins at 0 again; collective over all ranks. */
int64_t gmv_comm_number(void);
void gmv_comm_restart_numbers(const gmv_comm *comm);

/* Ends MPI. */
void gmv_comm_fini(gmv_comm *comm);

/* For a failure in the middle of collective work, where the other ranks cannot be told: prints the message and ends
 * every rank. Returns `status` when it is GMV_OK, or when there is one rank only. Not collective. */
gmv_status gmv_comm_fail_alone(const gmv_comm *comm, gmv_status status);

/* All ranks get the status and the message of the lowest failing rank; GMV_OK when none fails.
 * Call at the end of every phase in which a rank may fail alone, before the next collective call. */
gmv_status gmv_comm_agree(const gmv_comm *comm, gmv_status status);

/* The same where others are at something that a signal must not cut short, as writing a checkpoint. */
gmv_status gmv_comm_agree_patiently(const gmv_comm *comm, gmv_status status);

/* Returns when every rank has called it. Collective. */
void gmv_comm_barrier(const gmv_comm *comm);

/* Copies `bytes` bytes of host memory from `root` to every rank. bytes may exceed 2^31. */
void gmv_comm_broadcast(const gmv_comm *comm, void *buffer, int64_t bytes, int root);

/* A string of any length from `root`; other ranks receive a new one in *text.
 * Ownership: the caller frees *text with gmv_free on every rank but root, where it stays as it was. */
gmv_status gmv_comm_broadcast_text(const gmv_comm *comm, char **text, int root);

/* A list of strings from `root`; other ranks receive a new list.
 * Ownership: on every rank but root the caller frees each string and the list with gmv_free. */
gmv_status gmv_comm_broadcast_texts(const gmv_comm *comm, char ***texts, int *n, int root);

/* In-place sums over all ranks of host arrays. n may exceed 2^31. The float sum gives the same bits on
 * every rank, and the same bits each time for the same number of ranks. */
void gmv_comm_sum_f32(const gmv_comm *comm, float *values, int64_t n);
void gmv_comm_sum_f64(const gmv_comm *comm, double *values, int64_t n);
void gmv_comm_sum_i64(const gmv_comm *comm, int64_t *values, int64_t n);

/* In-place largest value over all ranks. */
void gmv_comm_max_i64(const gmv_comm *comm, int64_t *values, int64_t n);

/* values[i] is a total that only one rank holds (zero elsewhere): after the call every rank holds all,
 * so that a sum taken in index order is the same for every number of ranks. The same as
 * gmv_comm_sum_f64, named for what it promises. */
void gmv_comm_share_f64(const gmv_comm *comm, double *values, int64_t n);

/* Every rank's block, in rank order, on every rank. @param[out] all  size * bytes */
void gmv_comm_allgather(const gmv_comm *comm, const void *mine, void *all, int64_t bytes);

/* The same for blocks of different lengths: the bytes of all ranks, one block behind the other.
 * @param[in]  mine   [bytes], may be NULL when there are none
 * @param[out] total  length of *all
 * Ownership: the caller frees *all with gmv_free. */
gmv_status gmv_comm_concatenate(const gmv_comm *comm, const void *mine, int64_t bytes, void **all, int64_t *total);

/* From one rank to another, not collective; the receiver knows how many bytes come. bytes may exceed 2^31. */
void gmv_comm_send(const gmv_comm *comm, const void *buffer, int64_t bytes, int to);
void gmv_comm_receive(const gmv_comm *comm, void *buffer, int64_t bytes, int from);
