#include "gmvae/train.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t seen;
static const char *volatile unfinished;

static void note(int signal_number)
{
    if (seen != 0 && signal_number != SIGUSR1) {
        /* asked twice: leave now; checkpoints already written stay intact */
        signal(signal_number, SIG_DFL);
        raise(signal_number);
    }
    seen = 1;
    if (unfinished != NULL) {
        unlink(unfinished);
    }
}

void gmv_signals_install(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = note;
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
}

void gmv_signals_unlink(const char *path)
{
    unfinished = path;
}

bool gmv_signal_seen(void)
{
    return seen != 0;
}
