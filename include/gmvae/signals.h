/* Stopping on request: SIGINT, SIGTERM, SIGHUP, SIGXCPU and SIGUSR1.
 *
 * A signal sets a flag. Whatever takes longer than a second looks at it, and gives up with GMV_STOPPED; a training run
 * writes a checkpoint first. Ranks tell each other (comm.h), so that a signal to one of them stops all.
 */
#pragma once

#include "gmvae/status.h"

#include <stdbool.h>

/* Installs the handlers; to be called first in main. A second signal ends the process at once, unless it is SIGUSR1 or
 * the SIGXCPU that a limit of CPU time repeats every second. SIGHUP stays ignored where it is so (nohup). */
void gmv_signals_install(void);

/* Whether a signal has reached this process. */
bool gmv_signal_seen(void);

/* Whether a signal has reached this rank or, as far as it has been told, another. From any thread. */
bool gmv_stop_asked(void);

/* GMV_STOPPED when it has, else GMV_OK: for loops that give up where they are. Not collective. */
gmv_status gmv_stop_check(void);

/* Another rank has seen a signal. */
void gmv_stop_ask(void);

/* `listen` is called by every gmv_stop_asked, from its thread; NULL: nothing is. It may call gmv_stop_ask. */
void gmv_stop_listen(void (*listen)(void));

/* A file without worth that the handler removes at once, whatever the process waits for: mpirun gives its ranks a second
 * after Ctrl-C. `path` is kept, not copied; NULL for none. */
void gmv_signals_unlink(const char *path);

/* Removes that file, for a process that leaves without an end. */
void gmv_signals_clear_away(void);
