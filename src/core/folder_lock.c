#include "gmvae/folder_lock.h"

#include "lock_record.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const gmv_lock_times GMV_LOCK_TIMES = {5.0, 30.0};

struct gmv_folder_lock {
    char path[GMV_PATH_ROOM];
    gmv_lock_record record;
    gmv_lock_times times;
    int fd; /* of the file while it is ours */
    pthread_t thread;
    bool beats; /* the thread runs */
    bool done;  /* guarded by `guard` */
    pthread_mutex_t guard;
    pthread_cond_t wake;
};

/* What a wait for the folder needs to know. */
typedef struct attempt {
    gmv_lock_times times;
    bool (*stop)(void);
    bool announced;
} attempt;

static void sleep_for(double seconds)
{
    nanosleep(&(struct timespec){(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)}, NULL);
}

/* ---- the holder's sign of life ---- */

/* A run that stood still so long that another took its folder must not go on writing there. */
static void leave_when_lost(const gmv_folder_lock *lock)
{
    gmv_lock_record now;
    if (gmv_lock_read(lock->path, &now) == GMV_LOCK_READ && now.whole && strcmp(now.token, lock->record.token) != 0) {
        gmv_lock_shown holder = gmv_lock_show(&now);
        fprintf(stderr, "gmvae_dist: error: %s: taken over by %s while this run showed no sign of life; it ends here\n",
                lock->path, holder.at);
        _exit(gmv_exit_code(GMV_ERR_ENVIRONMENT));
    }
}

static void *beat(void *data)
{
    gmv_folder_lock *lock = data;
    pthread_mutex_lock(&lock->guard);
    while (!lock->done) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        int64_t at = until.tv_nsec + (int64_t)(1e9 * lock->times.beat);
        until.tv_sec += (time_t)(at / 1000000000);
        until.tv_nsec = (long)(at % 1000000000);
        if (pthread_cond_timedwait(&lock->wake, &lock->guard, &until) == ETIMEDOUT && !lock->done) {
            lock->record.beat++;
            leave_when_lost(lock);
            gmv_lock_write(lock->fd, &lock->record);
        }
    }
    pthread_mutex_unlock(&lock->guard);
    return NULL;
}

/* The thread leaves signals to the others. */
static gmv_status start_beating(gmv_folder_lock *lock)
{
    sigset_t all, before;
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&lock->guard, NULL);
    pthread_cond_init(&lock->wake, &clock);
    pthread_condattr_destroy(&clock);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&lock->thread, NULL, beat, lock);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    lock->beats = result == 0;
    return lock->beats
               ? GMV_OK
               : GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: no thread for its sign of life: %s", lock->path, strerror(result));
}

/* ---- whose it is ---- */

/* Whether the lock at `path` changes while it is watched. GMV_OK: it did not, so nobody is there. */
static gmv_status watch(const char *path, const gmv_lock_record *seen, attempt *a)
{
    const double step = a->times.beat / 5.0;
    gmv_lock_shown holder = gmv_lock_show(seen);
    if (!a->announced) {
        gmv_log("note    %s: held by %s; looking for %g s whether it still runs", path, holder.at, a->times.watch);
        a->announced = true;
    }
    for (double waited = 0.0; waited < a->times.watch; waited += step) {
        gmv_lock_record now;
        sleep_for(step);
        if (a->stop != NULL && a->stop()) {
            return GMV_FAIL(GMV_STOPPED, "stopped by a signal before anything was written; run the same command again");
        }
        gmv_lock_reading reading = gmv_lock_read(path, &now);
        if (reading != GMV_LOCK_READ || strcmp(now.token, seen->token) != 0) {
            return GMV_OK; /* another state: to be judged anew */
        }
        if (now.beat != seen->beat) {
            return gmv_lock_refuse(path, &now);
        }
    }
    return GMV_OK;
}

/* GMV_OK when the holder is gone, or the lock is another one by now. */
static gmv_status judge(const char *path, const gmv_lock_record *other, attempt *a)
{
    switch (gmv_lock_holder(other)) {
    case GMV_HOLDER_RUNS:
        return gmv_lock_refuse(path, other);
    case GMV_HOLDER_GONE:
        return GMV_OK;
    default:
        return watch(path, other, a);
    }
}

/* ---- taking it ---- */

static gmv_status claim(const char *path, gmv_lock_record *mine, attempt *a, int depth, int *fd);

/* Puts our lock in the place of a stale one. Only who holds the claim to its successor may do that, a file named after
 * its token, so of several that come at the same time one succeeds; claims that were left are taken over in the same way.
 * @param[out] fd  -1 when it is another lock by now */
static gmv_status succeed(const char *path, const gmv_lock_record *stale, gmv_lock_record *mine, attempt *a, int depth,
                          int *fd)
{
    char successor[GMV_PATH_ROOM];
    gmv_lock_record now;
    int length = snprintf(successor, sizeof successor, "%s.%s", path, stale->token);
    *fd = -1;
    if (length >= (int)sizeof successor || depth == 8) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: cannot be taken over; remove it when no run works in that folder",
                        path);
    }
    GMV_TRY(claim(successor, mine, a, depth + 1, fd));
    bool same = gmv_lock_read(path, &now) == GMV_LOCK_READ && strcmp(now.token, stale->token) == 0;
    if (same && rename(successor, path) == 0) {
        return GMV_OK;
    }
    gmv_status status = same ? gmv_file_unwritable(path) : GMV_OK;
    unlink(successor);
    close(*fd);
    *fd = -1;
    return status;
}

/* Creates the lock, or takes a stale one over. */
static gmv_status claim(const char *path, gmv_lock_record *mine, attempt *a, int depth, int *fd)
{
    gmv_lock_record other;
    for (;;) {
        *fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (*fd >= 0) {
            break;
        }
        if (errno != EEXIST) {
            return gmv_file_unwritable(path);
        }
        gmv_lock_reading reading = gmv_lock_read(path, &other);
        if (reading == GMV_LOCK_GONE) {
            continue;
        }
        if (reading == GMV_LOCK_NO_FILE) {
            return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: is no lock of gmvae_dist; remove it, or set another output.dir",
                            path);
        }
        GMV_TRY(judge(path, &other, a));
        GMV_TRY(succeed(path, &other, mine, a, depth, fd));
        if (*fd >= 0) {
            if (depth == 0) {
                gmv_lock_shown holder = gmv_lock_show(&other);
                gmv_log("note    %s: left by %s, which runs no more; taken over", path, holder.at);
            }
            return GMV_OK;
        }
    }
    if (!gmv_lock_write(*fd, mine)) {
        gmv_status status = gmv_file_unwritable(path);
        unlink(path);
        close(*fd);
        return status;
    }
    return GMV_OK;
}

gmv_status gmv_folder_lock_take(gmv_folder_lock **lock, const char *folder, const char *command, gmv_lock_times times,
                                bool (*stop)(void))
{
    gmv_folder_lock *taken;
    attempt a = {times, stop, false};
    *lock = NULL;
    GMV_TRY(GMV_NEW(taken, 1, "the lock of a folder"));
    taken->times = times;
    snprintf(taken->path, sizeof taken->path, "%.4000s/run.lock", folder);
    gmv_status status = gmv_lock_describe(&taken->record, command);
    if (status == GMV_OK) {
        status = claim(taken->path, &taken->record, &a, 0, &taken->fd);
    }
    if (status != GMV_OK) {
        gmv_free(taken);
        return status;
    }
    status = start_beating(taken);
    *lock = taken;
    if (status != GMV_OK) {
        gmv_folder_lock_release(lock);
    }
    return status;
}

gmv_status gmv_folder_lock_check(const char *folder, gmv_lock_times times, bool (*stop)(void))
{
    char path[GMV_PATH_ROOM];
    gmv_lock_record other;
    attempt a = {times, stop, false};
    snprintf(path, sizeof path, "%.4000s/run.lock", folder);
    return gmv_lock_read(path, &other) == GMV_LOCK_READ ? judge(path, &other, &a) : GMV_OK;
}

void gmv_folder_lock_release(gmv_folder_lock **lock)
{
    gmv_folder_lock *l = *lock;
    gmv_lock_record now;
    *lock = NULL;
    if (l == NULL) {
        return;
    }
    if (l->beats) {
        pthread_mutex_lock(&l->guard);
        l->done = true;
        pthread_cond_signal(&l->wake);
        pthread_mutex_unlock(&l->guard);
        pthread_join(l->thread, NULL);
    }
    if (gmv_lock_read(l->path, &now) == GMV_LOCK_READ && strcmp(now.token, l->record.token) == 0) {
        unlink(l->path);
    }
    close(l->fd);
    pthread_cond_destroy(&l->wake);
    pthread_mutex_destroy(&l->guard);
    gmv_free(l);
}
