#define _GNU_SOURCE /* pipe2 */
#include "h5_check.h"

#include "../h5/h5.h"
#include "h5_guard.h"

#include "gmvae/data.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* argv[1] of the process: what it does with each path; argv[2] is the time it may take for one, in whole seconds. */
static const char *const checker_word[] = {"--check-input-files", "--check-checkpoints", "--peek-checkpoints"};
enum { inputs, checkpoints, peeks, works };
enum { verdict = '\1' }; /* before a text that is no name of an object: what is wrong, or the step of a checkpoint */
static bool has_main;

/* ---- the other process ---- */

static void say(const char *object)
{
    size_t n = strlen(object) + 1;
    if (write(STDOUT_FILENO, object, n) != (ssize_t)n) {
        _exit(1); /* nobody listens */
    }
}

static void name_object(const char *object)
{
    say(object[0] != '\0' ? gmv_shown(object).at : "?"); /* an empty text means done */
}

/* Should the run itself be gone, nobody stops a loop but these limits. */
static void limit_cpu(long seconds)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    rlim_t most = (rlim_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec + seconds + 1);
    setrlimit(RLIMIT_CPU, &(struct rlimit){most, RLIM_INFINITY});
}

/* What HDF5 reads beside its memory should end this process rather than find something there: the blocks that it takes for
 * files are guarded. For others, and where they cannot be, little is kept behind the last block, pieces of a page and more
 * are mapped apart, and what is free does not look like what was there. */
static void harden_memory(void)
{
    mallopt(M_TOP_PAD, 0);
    mallopt(M_TRIM_THRESHOLD, 0);
    mallopt(M_MMAP_THRESHOLD, 4096);
    mallopt(M_PERTURB, 0xA5);
    gmv_h5_prepare();
    H5set_free_list_limits(0, 0, 0, 0, 0, 0);
    gmv_h5_guard_memory();
}

static void limit_rest(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* these reserve terabytes of addresses */
    const rlim_t most = (rlim_t)4 << 30; /* bytes of addresses; an honest file takes a tenth */
    setrlimit(RLIMIT_AS, &(struct rlimit){most, most});
#endif
}

/* Seconds of work that are enough for a checkpoint, all of which is read once. */
static long enough_for(const char *path)
{
    const long start = 5, bytes_a_second = 50000000;
    struct stat info;
    return start + (stat(path, &info) == 0 ? (long)(info.st_size / bytes_a_second) : 0);
}

static void check_checkpoint(gmv_checkpoint_reader *reader, const char *path, bool whole)
{
    char text[600];
    int64_t step = 0;
    gmv_status status = reader(path, whole, name_object, &step);
    if (status == GMV_OK) {
        snprintf(text, sizeof text, "%c%" PRId64, verdict, step);
    } else {
        snprintf(text, sizeof text, "%c!%s", verdict, gmv_error_message());
    }
    gmv_error_clear();
    say(text);
}

void gmv_checker_main(int argc, char **argv, gmv_checker_readers readers)
{
    char *path = NULL;
    size_t room = 0;
    int work = 0;
    has_main = true;
    while (work < works && (argc != 3 || strcmp(argv[1], checker_word[work]) != 0)) {
        work++;
    }
    if (work == works || (work != inputs && readers.checkpoint == NULL)) {
        return;
    }
    limit_rest();
    harden_memory();
    say(""); /* started */
    while (getdelim(&path, &room, '\0', stdin) > 0) {
        long most = strtol(argv[2], NULL, 10), enough = work == inputs ? most : enough_for(path);
        limit_cpu(enough < most ? enough : most);
        if (work == inputs) {
            gmv_h5_walk(path, name_object, readers.inspect);
        } else {
            check_checkpoint(readers.checkpoint, path, work == checkpoints);
        }
        malloc_trim(0);
        say("");
    }
    _exit(0);
}

/* ---- this one ---- */

typedef struct checker {
    pid_t pid;
    int work, to, from; /* pipes; texts end with a zero byte, an empty one means done */
    char object[600];   /* last one named */
    char verdict[600];
    size_t length;
} checker;

/* Only what the loader and HDF5 look at: the process must not take part in MPI, nor start threads. */
static int take_environment(char **variable, int room)
{
    static const char *const kept[] = {"LD_LIBRARY_PATH", "LD_PRELOAD", "HDF5_PLUGIN_PATH", "HDF5_USE_FILE_LOCKING"};
    static char alone[] = "OPENBLAS_NUM_THREADS=1", one[] = "OMP_NUM_THREADS=1";
    static char policy[] = "OMP_WAIT_POLICY=passive"; /* its being there spares the process a second start */
    static char sanitizer[] = "ASAN_OPTIONS=hard_rss_limit_mb=2048:detect_leaks=0";
    extern char **environ;
    int n = 0;
    variable[n++] = alone;
    variable[n++] = one;
    variable[n++] = policy;
    variable[n++] = sanitizer;
    for (char **at = environ; *at != NULL; at++) {
        for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
            size_t length = strlen(kept[i]);
            if (n < room - 1 && strncmp(*at, kept[i], length) == 0 && (*at)[length] == '=') {
                variable[n++] = *at;
            }
        }
    }
    variable[n] = NULL;
    return n;
}

static int spawn(checker *c, double seconds, const int *in, const int *out)
{
    char word[32], most[32], *variable[9];
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    snprintf(word, sizeof word, "%s", checker_word[c->work]);
    snprintf(most, sizeof most, "%.0f", seconds);
    char name[] = "gmvae_dist", *argv[] = {name, word, most, NULL};
    take_environment(variable, sizeof variable / sizeof *variable);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0); /* "free(): invalid pointer" */
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setpgroup(&attributes, 0); /* Ctrl-C is for the run */
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    int result = posix_spawn(&c->pid, "/proc/self/exe", &files, &attributes, argv, variable);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return result;
}

static gmv_status start(checker *c, double seconds)
{
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "no pipe to a process that looks at input files: %s", strerror(errno));
    }
    if (pipe2(out, O_CLOEXEC) != 0) {
        close(in[0]);
        close(in[1]);
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "no pipe to a process that looks at input files: %s", strerror(errno));
    }
    int result = spawn(c, seconds, in, out);
    close(in[0]);
    close(out[1]);
    c->to = in[1];
    c->from = out[0];
    if (result != 0) {
        c->pid = -1;
        return GMV_FAIL(GMV_ERR_ENVIRONMENT,
                        "the process that looks at input files cannot be started: %s; data.check_seconds=0 does "
                        "without it",
                        strerror(result));
    }
    return GMV_OK;
}

/* How the process ended, in words. */
static void take_end(checker *c, char *text, size_t size)
{
    int status = 0;
    pid_t ended;
    do {
        ended = waitpid(c->pid, &status, 0);
    } while (ended < 0 && errno == EINTR);
    c->pid = -1;
    if (ended > 0 && WIFSIGNALED(status)) {
        snprintf(text, size, "%s", strsignal(WTERMSIG(status)));
    } else if (ended > 0 && WIFEXITED(status) && WEXITSTATUS(status) == GMV_WALK_NO_MEMORY) {
        snprintf(text, size, "wants memory that no file needs");
    } else {
        snprintf(text, size, "exit status %d", ended > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    }
}

static void stop(checker *c)
{
    char text[64];
    if (c->pid > 0) {
        kill(c->pid, SIGKILL);
        take_end(c, text, sizeof text);
    }
    close(c->to);
    close(c->from);
}

/* Takes texts apart; the last one that is neither empty nor a verdict is the object at hand. @return an empty one was among them */
static bool take_texts(checker *c, char *next, const char *bytes, ssize_t n)
{
    for (ssize_t i = 0; i < n; i++) {
        next[c->length] = bytes[i];
        if (bytes[i] != '\0') {
            c->length += c->length + 1 < sizeof c->object;
        } else if (c->length == 0) {
            return true;
        } else {
            memcpy(next[0] == verdict ? c->verdict : c->object, next, c->length + 1);
            c->length = 0;
        }
    }
    return false;
}

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + 1e-9 * (double)at.tv_nsec;
}

/* How the wait for the process went. */
enum heard { DONE, ENDED, TOO_LATE, STOPPED };

static enum heard listen_to(checker *c, double seconds)
{
    const double between_looks = 0.1;
    char bytes[4096], next[sizeof c->object];
    double end = now() + seconds;
    for (double left = seconds; left > 0; left = end - now()) {
        struct pollfd pipe_end = {.fd = c->from, .events = POLLIN};
        int ready = poll(&pipe_end, 1, (int)(1000 * (left < between_looks ? left : between_looks)) + 1);
        if (gmv_stop_asked()) {
            return STOPPED; /* the signal may have ended the process, too */
        }
        if (ready <= 0) {
            continue;
        }
        ssize_t n = read(c->from, bytes, sizeof bytes);
        if (n <= 0) {
            return ENDED;
        }
        if (take_texts(c, next, bytes, n)) {
            return DONE;
        }
    }
    return TOO_LATE;
}

static bool send_path(const checker *c, const char *path)
{
    size_t n = strlen(path) + 1;
    for (size_t done = 0; done < n;) {
        ssize_t put = write(c->to, path + done, n - done);
        if (put < 0 && errno != EINTR) {
            return false;
        }
        done += put > 0 ? (size_t)put : 0;
    }
    return true;
}

static gmv_status check_one(checker *c, const char *path, double seconds)
{
    char end[64];
    c->object[0] = '\0';
    enum heard how = send_path(c, path) ? listen_to(c, seconds) : ENDED;
    if (how == DONE || how == STOPPED) {
        return gmv_stop_check();
    }
    if (how == ENDED) {
        take_end(c, end, sizeof end);
        return GMV_FAIL(GMV_ERR_DATA, "%s: HDF5 crashes on %s (%s); the file is damaged, copy it again", path,
                        c->object, end);
    }
    return GMV_FAIL(GMV_ERR_DATA,
                    "%s: HDF5 is not done with %s after %g s; the file is damaged, copy it again, or set "
                    "data.check_seconds higher if the disk is that slow",
                    path, c->object, seconds);
}

/* Looks at files by one process that does this `work`. */
static gmv_status check_all(checker *c, char *const *path, int n, double seconds)
{
    char end[64];
    GMV_TRY(start(c, seconds));
    gmv_status status = GMV_OK;
    enum heard how = listen_to(c, seconds);
    if (how == STOPPED) {
        status = gmv_stop_check();
    } else if (how != DONE) {
        kill(c->pid, SIGKILL);
        take_end(c, end, sizeof end);
        status = GMV_FAIL(GMV_ERR_ENVIRONMENT,
                          "the process that looks at input files does not start (%s); data.check_seconds=0 does "
                          "without it",
                          end);
    }
    for (int f = 0; f < n && status == GMV_OK; f++) {
        status = check_one(c, path[f], seconds);
    }
    stop(c);
    return status;
}

gmv_status gmv_h5_check(char *const *path, int n, double seconds)
{
    checker c = {.pid = -1, .work = inputs};
    return !has_main || seconds <= 0 || n == 0 ? GMV_OK : check_all(&c, path, n, seconds);
}

gmv_status gmv_h5_check_checkpoint(gmv_checkpoint_reader *reader, const char *path, bool whole, double seconds,
                                   int64_t *step)
{
    checker c = {.pid = -1, .work = whole ? checkpoints : peeks};
    char *copy = NULL;
    if (!has_main || seconds <= 0) {
        return reader(path, whole, NULL, step);
    }
    GMV_TRY(gmv_copy_text(&copy, path));
    gmv_status status = check_all(&c, &copy, 1, seconds);
    gmv_free(copy);
    GMV_TRY(status);
    for (char *at = c.verdict + 1; c.verdict[0] == verdict && *at != '\0'; at++) {
        *at = (unsigned char)*at < 0x20 || *at == 0x7f ? '?' : *at;
    }
    if (c.verdict[0] != verdict || c.verdict[1] == '!') {
        return GMV_FAIL(GMV_ERR_DATA, "%s", c.verdict[0] == verdict ? c.verdict + 2 : "it cannot be read");
    }
    *step = strtoll(c.verdict + 1, NULL, 10);
    return GMV_OK;
}
