/* What the file run.lock says: lines of "NAME VALUE", for people too. */
#pragma once

#include "gmvae/files.h"

typedef struct gmv_lock_record {
    bool whole;     /* all of it could be read */
    char token[40]; /* one for every lock; of an incomplete file what tells it from others */
    char command[16], host[80], boot[48], job[80], since[24];
    int64_t pid, started; /* the latter in clock ticks since the host's start */
    int64_t space;        /* of process numbers: containers have their own */
    int64_t beat;
} gmv_lock_record;

typedef enum gmv_lock_reading {
    GMV_LOCK_READ,
    GMV_LOCK_GONE,   /* nothing has that name */
    GMV_LOCK_NO_FILE /* something else than a readable file */
} gmv_lock_reading;

/* Who holds a lock, as far as can be seen from here at once. */
typedef enum gmv_lock_state { GMV_HOLDER_RUNS, GMV_HOLDER_GONE, GMV_HOLDER_ELSEWHERE } gmv_lock_state;

typedef struct gmv_lock_shown {
    char at[320];
} gmv_lock_shown;

/* This process, with a new token. Errors: GMV_ERR_ENVIRONMENT when there are no random numbers. */
gmv_status gmv_lock_describe(gmv_lock_record *record, const char *command);

/* When a process of this host began; 0: it is gone, or a zombie; -1: that cannot be seen. */
int64_t gmv_process_start(int64_t pid);

gmv_lock_reading gmv_lock_read(const char *path, gmv_lock_record *record);

/* Over the whole file, whose size is always the same, and to the disk or the server. */
bool gmv_lock_write(int fd, const gmv_lock_record *record);

gmv_lock_state gmv_lock_holder(const gmv_lock_record *record);

/* "gmvae_dist train (host H, process P, job J, since T)", fit to be printed. */
gmv_lock_shown gmv_lock_show(const gmv_lock_record *record);

/* Says who holds it and what to do. Returns GMV_ERR_ENVIRONMENT. */
gmv_status gmv_lock_refuse(const char *path, const gmv_lock_record *record);
