#include "watch.h"

#include "gmvae/clock.h"
#include "gmvae/log.h"
#include "gmvae/signals.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended;
static pthread_t thread;
static bool running, stop;
static struct {
    const char *what; /* NULL: nothing is watched */
    int rank;
    double seconds, since, asked; /* asked: when a signal was noticed, 0: none */
} watched;

static void leave(double seconds)
{
    char host[256] = "", rank[32] = "";
    gethostname(host, sizeof host - 1);
    if (watched.rank >= 0) {
        snprintf(rank, sizeof rank, "rank %d on ", watched.rank);
    }
    gmv_log_clear();
    fprintf(stderr,
            "gmvae_dist: error: [%s%s] no progress for %.0f s in %s: other ranks or the file system do not answer; "
            "checkpoints that are written are intact, run the same command again\n",
            rank, host, seconds, watched.what);
    gmv_signals_clear_away();
    _exit(gmv_exit_code(GMV_ERR_LOST));
}

static void look(void)
{
    double now = gmv_clock(), spent = now - watched.since;
    if (watched.asked <= 0.0 && gmv_signal_seen()) {
        watched.asked = now;
    }
    bool late =
        watched.asked > 0.0 && now - (watched.asked > watched.since ? watched.asked : watched.since) > gmv_grace;
    if (watched.what != NULL && (spent > watched.seconds || late)) {
        leave(spent);
    }
}

static void *watch(void *context)
{
    (void)context;
    pthread_mutex_lock(&lock);
    while (!stop) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += 250000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&ended, &lock, &until);
        look();
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

void gmv_watch_start(void)
{
    pthread_condattr_t clock;
    sigset_t all, before;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&ended, &clock);
    pthread_condattr_destroy(&clock);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    stop = false;
    running = pthread_create(&thread, NULL, watch, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void gmv_watch_stop(void)
{
    if (!running) {
        return;
    }
    pthread_mutex_lock(&lock);
    stop = true;
    pthread_cond_signal(&ended);
    pthread_mutex_unlock(&lock);
    pthread_join(thread, NULL);
    pthread_cond_destroy(&ended);
    running = false;
}

void gmv_watch_begin(const char *what, int rank, double seconds)
{
    pthread_mutex_lock(&lock);
    watched.what = what;
    watched.rank = rank;
    watched.seconds = seconds;
    watched.since = gmv_clock();
    pthread_mutex_unlock(&lock);
}

void gmv_watch_end(void)
{
    pthread_mutex_lock(&lock);
    watched.what = NULL;
    pthread_mutex_unlock(&lock);
}
