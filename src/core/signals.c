#include "gmvae/signals.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static atomic_bool seen, told;
static _Atomic(const char *) unfinished;
static _Atomic(void (*)(void)) listener;

/* A second signal that somebody has sent to have the process gone. */
static bool insists(const siginfo_t *info)
{
    bool limit = info->si_signo == SIGXCPU && info->si_code == SI_KERNEL; /* comes again every second */
    return info->si_signo != SIGUSR1 && !limit;
}

static void note(int signal_number, siginfo_t *info, void *context)
{
    int kept = errno;
    (void)context;
    if (seen && insists(info)) { /* leave now; checkpoints already written stay intact */
        signal(signal_number, SIG_DFL);
        raise(signal_number);
    }
    seen = true;
    gmv_signals_clear_away();
    errno = kept;
}

void gmv_signals_install(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGUSR1, SIGXCPU, SIGHUP};
    struct sigaction action, before;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = note;
    action.sa_flags = SA_RESTART | SA_SIGINFO;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        bool ignored = sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler == SIG_IGN;
        if (!ignored || numbers[i] != SIGHUP) {
            sigaction(numbers[i], &action, NULL);
        }
    }
}

bool gmv_signal_seen(void)
{
    return seen;
}

void gmv_stop_ask(void)
{
    told = true;
}

void gmv_stop_listen(void (*listen)(void))
{
    listener = listen;
}

bool gmv_stop_asked(void)
{
    void (*listen)(void) = listener;
    if (listen != NULL) {
        listen();
    }
    return seen || told;
}

gmv_status gmv_stop_check(void)
{
    return gmv_stop_asked() ? GMV_FAIL(GMV_STOPPED, "stopped by a signal; run the same command again") : GMV_OK;
}

void gmv_signals_unlink(const char *path)
{
    unfinished = path;
}

void gmv_signals_clear_away(void)
{
    const char *path = unfinished;
    if (path != NULL) {
        unlink(path);
    }
}
