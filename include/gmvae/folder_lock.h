/* A folder that one run works in at a time: the file run.lock there says which. It needs nothing of the file system but
 * that a file can be created once only and renamed, so it holds on network file systems, and it outlives a killed holder:
 * such a lock is recognised and taken over. Not collective: one rank of a run holds it.
 *
 * A lock is stale when its process is gone: on the same host this is known at once. A process of another host, or of
 * another container, is known by its sign of life, a number in the file that a thread of the holder raises every `beat`
 * seconds. Whoever wants the folder watches whether it changes for `watch` seconds; clocks of hosts are not compared. */
#pragma once

#include "gmvae/files.h"

typedef struct gmv_lock_times {
    double beat, watch; /* seconds */
} gmv_lock_times;

/* 5 and 30 seconds. */
extern const gmv_lock_times GMV_LOCK_TIMES;

typedef struct gmv_folder_lock gmv_folder_lock;

/* Takes the lock of a folder that is there.
 * @param[in]  command  what holds it, for messages
 * @param[in]  stop     asked while it watches whether it shall give up; may be NULL
 * @param[out] lock     NULL on failure
 * Errors: GMV_ERR_ENVIRONMENT naming the holder, or when the file cannot be written; GMV_STOPPED. */
gmv_status gmv_folder_lock_take(gmv_folder_lock **lock, const char *folder, const char *command, gmv_lock_times times,
                                bool (*stop)(void));

/* Whether it could be taken. Writes nothing. Errors as above. */
gmv_status gmv_folder_lock_check(const char *folder, gmv_lock_times times, bool (*stop)(void));

/* Gives it back. Accepts NULL; sets it NULL. */
void gmv_folder_lock_release(gmv_folder_lock **lock);
