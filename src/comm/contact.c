/* Ranks that wait look at the clock. A rank that has waited, or worked alone, for half of runtime.timeout asks all others; who
 * waits, too, or is at work answers, and who has not answered when the time is over is lost: stopped, stuck, or cut off. News are
 * messages without contents whose tag says it all, on a communicator of their own. */
#include "contact.h"

#include "watch.h"

#include "gmvae/clock.h"
#include "gmvae/log.h"
#include "gmvae/signals.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum news { STOP, ASK, WAITING, AT_WORK, NUMBER, kinds }; /* from `kinds` on: the answer to NUMBER */
enum { host_room = 64, silent = 0, spins_between_looks = 16, most_named = 8 };
enum { nap = 50000 }; /* nanoseconds */

static struct {
    MPI_Comm news;
    int rank, size;
    pthread_t main_thread;
    bool open, patient, waiting;
    bool told;             /* the others, of a signal */
    int next, number;      /* rank 0: to be given out next; elsewhere: what was given, -1: not yet */
    double timeout;        /* seconds */
    double spin;           /* seconds of a wait before it naps */
    double stop, heard;    /* when a signal was known of, 0: none is; when news were last looked for */
    unsigned char *answer; /* [size] kind of the last answer */
    char *host;            /* [size, host_room] */
} contact = {.timeout = 600, .spin = 20e-3};

/* ---- news ---- */

static void tell(int rank, int kind)
{
    MPI_Request request;
    MPI_Isend(NULL, 0, MPI_BYTE, rank, kind, contact.news, &request);
    MPI_Request_free(&request);
}

static void tell_all(enum news kind)
{
    for (int r = 0; r < contact.size; r++) {
        if (r != contact.rank) {
            tell(r, kind);
        }
    }
}

static void take(int from, int kind)
{
    if (kind == STOP) {
        gmv_stop_ask();
    } else if (kind == ASK) {
        tell(from, contact.waiting ? WAITING : AT_WORK);
    } else if (kind == NUMBER) {
        tell(from, (int)kinds + contact.next++);
    } else if (kind >= (int)kinds) {
        contact.number = kind - (int)kinds;
    } else {
        contact.answer[from] = (unsigned char)kind;
    }
}

static void hear(double now)
{
    int there = 1;
    contact.heard = now;
    while (there) {
        MPI_Status news;
        MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, contact.news, &there, &news);
        if (there) {
            MPI_Recv(NULL, 0, MPI_BYTE, news.MPI_SOURCE, news.MPI_TAG, contact.news, MPI_STATUS_IGNORE);
            take(news.MPI_SOURCE, news.MPI_TAG);
        }
    }
    if (gmv_signal_seen() && !contact.told) {
        contact.told = true;
        tell_all(STOP);
    }
}

static void listen(void);

void gmv_contact_open(const gmv_comm *comm)
{
    contact.rank = comm->rank;
    contact.size = comm->size;
    contact.main_thread = pthread_self();
    contact.open = comm->size > 1 && MPI_Comm_dup((MPI_Comm)comm->world, &contact.news) == MPI_SUCCESS;
    if (contact.open) {
        gmv_stop_listen(listen);
    }
}

gmv_status gmv_contact_hosts(const gmv_comm *comm, const char *host)
{
    char mine[host_room] = "";
    snprintf(mine, sizeof mine, "%s", host);
    /* of the process, not of its work: no blocks that a test would count */
    contact.answer = calloc((size_t)comm->size, 1);
    contact.host = calloc((size_t)comm->size, host_room);
    bool good = contact.answer != NULL && contact.host != NULL;
    GMV_TRY(gmv_comm_agree(comm, good ? GMV_OK : GMV_FAIL(GMV_ERR_ENVIRONMENT, "out of memory: names of hosts")));
    gmv_comm_allgather(comm, mine, contact.host, host_room);
    return GMV_OK;
}

void gmv_contact_close(void)
{
    gmv_stop_listen(NULL);
    if (contact.open) {
        hear(gmv_clock());
        MPI_Comm_free(&contact.news);
    }
    contact.open = false;
    free(contact.answer);
    free(contact.host);
    contact.answer = NULL;
    contact.host = NULL;
}

void gmv_contact_spin(double seconds)
{
    contact.spin = seconds;
}

void gmv_contact_timeout(double seconds)
{
    contact.timeout = seconds;
}

double gmv_contact_limit(void)
{
    return contact.timeout;
}

void gmv_contact_be_patient(bool patient)
{
    contact.patient = patient;
}

/* ---- lost ranks ---- */

typedef struct patience {
    double since, looked;
    bool asked;
    int rounds; /* of asking to which all have answered that they wait */
} patience;

static patience working; /* since the last wait */

/* "rank 1 on a, rank 3 on b". @return how many have not answered */
static int name_silent(char *text, size_t room)
{
    int n = 0;
    text[0] = '\0';
    for (int r = 0; r < contact.size; r++) {
        if (r == contact.rank || contact.answer[r] != silent) {
            continue;
        }
        size_t used = strlen(text);
        if (n++ < most_named) {
            snprintf(text + used, room - used, "%srank %d on %s", used > 0 ? ", " : "", r,
                     contact.host + (size_t)r * host_room);
        }
    }
    if (n > most_named) {
        size_t used = strlen(text);
        snprintf(text + used, room - used, " and %d more", n - most_named);
    }
    return n;
}

static int lowest_waiting(void)
{
    int r = 0;
    while (r < contact.rank && contact.answer[r] != WAITING) {
        r++;
    }
    return r;
}

static void leave(const char *who, double seconds)
{
    bool stopped = gmv_stop_asked() && !contact.patient;
    fflush(stdout);
    gmv_log_clear();
    fprintf(stderr,
            "gmvae_dist: %s[rank %d on %s] no sign of life for %.0f s from %s%s; no new checkpoint is written, older "
            "ones are intact: run the same command again\n",
            stopped ? "stopped by a signal: " : "error: ", contact.rank,
            contact.host + (size_t)contact.rank * host_room, seconds, who, stopped ? "" : " (runtime.timeout)");
    gmv_signals_clear_away();
    gmv_watch_begin("ending the run", contact.rank, 5.0);
    MPI_Abort(MPI_COMM_WORLD, gmv_exit_code(GMV_ERR_LOST));
    _exit(gmv_exit_code(GMV_ERR_LOST));
}

/* The time is over. The lowest of those that wait speaks; the others give it a moment to end them. */
static void judge(patience *wait, double now, double over)
{
    char who[most_named * (host_room + 24) + 32];
    if (name_silent(who, sizeof who) == 0) {
        bool all_wait = contact.waiting;
        for (int r = 0; r < contact.size; r++) {
            all_wait = all_wait && (r == contact.rank || contact.answer[r] == WAITING);
        }
        wait->rounds = all_wait ? wait->rounds + 1 : 0;
        if (wait->rounds > 1) {
            leave("the network: all ranks wait for one another", 2 * (now - wait->since));
        }
        wait->since = now;
        wait->asked = false;
    } else if (lowest_waiting() == contact.rank || over > 1.5) {
        leave(who, now - wait->since);
    }
}

static void look(patience *wait)
{
    double now = gmv_clock();
    if (wait->since <= 0.0) {
        wait->since = wait->looked = now;
    }
    if (now - wait->looked < 1e-3) {
        return;
    }
    if (now - wait->looked > contact.timeout / 4) { /* it was this one that did nothing, stopped or in long work */
        wait->since = now;
        wait->asked = false;
    }
    wait->looked = now;
    hear(now);
    if (contact.stop <= 0.0 && gmv_stop_asked()) {
        contact.stop = now;
    }
    double limit = contact.timeout, spent = now - wait->since;
    if (contact.stop > 0.0 && !contact.patient) {
        limit = fmin(limit, fmax(contact.stop - wait->since, 0.0) + gmv_grace);
    }
    if (contact.answer == NULL) {
        return; /* the ranks are just being connected */
    }
    if (!wait->asked && spent > limit / 2) {
        wait->asked = true;
        memset(contact.answer, silent, (size_t)contact.size);
        tell_all(ASK);
    }
    if (wait->asked && spent > limit) {
        judge(wait, now, spent - limit);
    }
}

/* For gmv_stop_asked: whoever works looks up now and then, and the first two ranks, one of which may be lost itself, ask in
 * work that takes long, an evaluation of many cells, for the others. */
static void listen(void)
{
    if (!pthread_equal(pthread_self(), contact.main_thread) || contact.waiting) {
        return;
    }
    double now = gmv_clock();
    if (now - contact.heard <= 0.01) {
        return;
    }
    if (contact.rank < 2) {
        look(&working);
    } else {
        hear(now);
    }
}

void gmv_contact_wait(MPI_Request *request, int n)
{
    patience wait = {0};
    int done = 0;
    contact.waiting = true;
    bool naps = false;
    MPI_Testall(n, request, &done, MPI_STATUSES_IGNORE);
    double since = done ? 0.0 : gmv_clock();
    for (int spins = 1; !done; spins++) {
        MPI_Testall(n, request, &done, MPI_STATUSES_IGNORE);
        if (done || (!naps && spins % spins_between_looks != 0)) {
            continue;
        }
        if (contact.open) {
            look(&wait);
        }
        naps = naps || gmv_clock() - since > contact.spin;
        if (naps) {
            nanosleep(&(struct timespec){0, nap}, NULL);
        }
    }
    contact.waiting = false;
    working = (patience){0}; /* the others have just been heard of */
}

int64_t gmv_contact_number(void)
{
    patience wait = {0};
    if (!contact.open || contact.rank == 0) {
        return contact.next++;
    }
    contact.number = -1;
    contact.waiting = true;
    tell(0, NUMBER);
    while (contact.number < 0) {
        look(&wait);
        sched_yield();
    }
    contact.waiting = false;
    working = (patience){0};
    return contact.number;
}

void gmv_contact_restart_numbers(void)
{
    contact.next = 0;
}
