/* Which checkpoint a run continues from, and which its results are of. Rank 0 looks. */
#include "checkpoint_files.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct candidate {
    char path[GMV_PATH_ROOM];
    int64_t step;
} candidate;

static int later_first(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->step != y->step) {
        return x->step < y->step ? 1 : -1;
    }
    return strcmp(x->path, y->path);
}

/* Step of a checkpoint, or what its file name tells, so that a damaged newest file is met (and named) first. */
static int64_t step_of(const char *path, const char *file_name, double seconds)
{
    int64_t step = 0;
    gmv_status status = gmv_checkpoint_check(path, false, seconds, &step);
    gmv_error_clear();
    return status == GMV_OK
               ? step
               : (strcmp(file_name, "last.h5") == 0 ? INT64_MAX : INT64_MAX / 2 + gmv_checkpoint_epoch_of(file_name));
}

/* Checkpoints in the order in which they would be taken. @param[in] newest  by their steps; else as results are made:
 * best.h5, last.h5, epochs from the last. @param[out] list  caller frees it with free */
static int list_candidates(const char *folder, bool newest, double seconds, candidate **list)
{
    int n = 0;
    DIR *dir = opendir(folder);
    struct dirent *entry;
    *list = NULL;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        const char *file_name = entry->d_name;
        bool best = strcmp(file_name, "best.h5") == 0, last = strcmp(file_name, "last.h5") == 0;
        int64_t epoch = gmv_checkpoint_epoch_of(file_name);
        if (epoch < 0 && !last && !best) {
            continue;
        }
        candidate *grown = realloc(*list, (size_t)(n + 1) * sizeof **list);
        if (grown == NULL) {
            break;
        }
        *list = grown;
        snprintf(grown[n].path, sizeof grown[n].path, "%.4000s/%.100s", folder, file_name);
        grown[n].step = newest ? step_of(grown[n].path, file_name, seconds)
                        : best ? INT64_MAX
                        : last ? INT64_MAX - 1
                               : epoch;
        n++;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    if (n > 0) {
        qsort(*list, (size_t)n, sizeof **list, later_first);
    }
    return n;
}

/* *found = the first good one, NULL when none is; the others before it are named in a warning. Errors: when it is not the
 * checkpoint that is to blame. */
static gmv_status first_good(const candidate *list, int n, double seconds, const char **found)
{
    *found = NULL;
    for (int i = 0; i < n; i++) {
        gmv_status status = gmv_checkpoint_verify(list[i].path, seconds);
        if (status != GMV_ERR_DATA) {
            *found = status == GMV_OK ? list[i].path : NULL;
            return status;
        }
        gmv_warn("%s; passed over: bring a good copy back, or remove it", gmv_error_message());
        gmv_error_clear();
    }
    return GMV_OK;
}

static gmv_status copy_text(char **to, const char *from)
{
    GMV_TRY(GMV_NEW(*to, (int64_t)strlen(from) + 1, "a path"));
    memcpy(*to, from, strlen(from));
    return GMV_OK;
}

/* Rank 0's answer to every rank. */
static gmv_status share_path(const gmv_comm *comm, gmv_status status, char **path)
{
    GMV_TRY(gmv_comm_agree(comm, status));
    return gmv_comm_broadcast_text(comm, path, 0);
}

static gmv_status find_newest(const gmv_config *config, char **path)
{
    char folder[GMV_PATH_ROOM];
    candidate *list;
    gmv_checkpoint_folder(config, folder);
    int n = list_candidates(folder, true, config->data_check_seconds, &list);
    const char *found;
    gmv_status status = first_good(list, n, config->data_check_seconds, &found);
    status = status == GMV_OK ? copy_text(path, found != NULL ? found : "") : status;
    if (status == GMV_OK && n > 0 &&
        found == NULL) { /* not silently anew: that would remove files a person may yet save */
        GMV_FREE(*path);
        status = GMV_FAIL(GMV_ERR_DATA,
                          "%s: none of the %d checkpoints there is good; bring one back, or remove them, or set "
                          "checkpoint.resume=never to start anew",
                          folder, n);
    }
    free(list);
    return status;
}

gmv_status gmv_checkpoint_find_newest(const gmv_config *config, const gmv_comm *comm, char **path)
{
    *path = NULL;
    return share_path(comm, comm->rank == 0 ? find_newest(config, path) : GMV_OK, path);
}

static gmv_status choose(const gmv_config *config, char **path)
{
    char folder[GMV_PATH_ROOM];
    candidate *list;
    const char *chosen = config->checkpoint_path;
    if (chosen[0] != '\0') {
        if (access(chosen, R_OK) != 0) {
            return GMV_FAIL(GMV_ERR_DATA, "%s: there is no checkpoint; train first, or set checkpoint.path", chosen);
        }
        GMV_TRY(gmv_checkpoint_verify(chosen, config->data_check_seconds));
        return copy_text(path, chosen);
    }
    gmv_checkpoint_folder(config, folder);
    int n = list_candidates(folder, false, 0.0, &list);
    gmv_status status = first_good(list, n, config->data_check_seconds, &chosen);
    if (chosen != NULL) {
        status = copy_text(path, chosen);
    } else if (status != GMV_OK) {
        /* the message is there */
    } else if (n == 0) {
        status =
            GMV_FAIL(GMV_ERR_DATA, "%s/last.h5: there is no checkpoint; train first, or set checkpoint.path", folder);
    } else if (gmv_checkpoint_verify(list[0].path, config->data_check_seconds) != GMV_OK) {
        char reason[1024];
        snprintf(reason, sizeof reason, "%s", gmv_error_message());
        gmv_error_clear();
        status = GMV_FAIL(GMV_ERR_DATA, "%s; no other checkpoint there is good either; bring one back, or train again",
                          reason);
    }
    free(list);
    return status;
}

gmv_status gmv_checkpoint_choose(const gmv_config *config, const gmv_comm *comm, char **path)
{
    *path = NULL;
    return share_path(comm, comm->rank == 0 ? choose(config, path) : GMV_OK, path);
}
