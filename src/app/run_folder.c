#include "run_folder.h"

#include "gmvae/checkpoint.h"
#include "gmvae/log.h"
#include "gmvae/signals.h"
#include "gmvae/train.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a run writes in the folder, checkpoints aside. */
static const char *const result[] = {
    "metrics.jsonl", "metrics.csv",     "config.resolved.yaml", "evaluation.json", "embedding.h5ad", "markers.csv",
    "markers.h5ad",  "predictive.json", "heatmap.json",         "report.html",     "run.json"};
enum { results = sizeof result / sizeof *result };

static bool is_of_report(const char *name)
{
    return strcmp(name, "report.html") == 0 || strcmp(name, "predictive.json") == 0 ||
           strcmp(name, "heatmap.json") == 0;
}

/* What the config leaves out may be there of another run. */
static bool is_written(const gmv_config *config, const char *name)
{
    return !((strcmp(name, "embedding.h5ad") == 0 && !config->output_embedding) ||
             (strncmp(name, "markers.", 8) == 0 && !config->output_markers) ||
             (is_of_report(name) && !config->output_report) ||
             (strcmp(name, "metrics.csv") == 0 && !gmv_config_logs(config, GMV_LOG_CSV)));
}

void gmv_run_folder_drop(const gmv_config *config)
{
    static const char *const shown[] = {"markers.csv", "markers.h5ad", "predictive.json", "heatmap.json"};
    char path[GMV_PATH_ROOM];
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        snprintf(path, sizeof path, "%.4000s/%s", config->output_dir, shown[i]);
        if (!is_written(config, shown[i])) {
            unlink(path);
        }
    }
}

/* A name that a file of the run will take: free, a file, or a link, which is replaced. */
static gmv_status check_name(const char *folder, const char *name, bool is_folder)
{
    char path[GMV_PATH_ROOM];
    struct stat info;
    snprintf(path, sizeof path, "%.4000s/%.100s", folder, name);
    if ((is_folder ? stat(path, &info) : lstat(path, &info)) != 0) {
        return errno == ENOENT ? GMV_OK : gmv_file_unwritable(path);
    }
    if (is_folder ? S_ISDIR(info.st_mode) : S_ISREG(info.st_mode) || S_ISLNK(info.st_mode)) {
        return GMV_OK;
    }
    return GMV_FAIL(GMV_ERR_ENVIRONMENT,
                    "%s: something that is no %s has that name; remove it, or set another output.dir", path,
                    is_folder ? "folder" : "file");
}

/* On rank 0. */
static gmv_status check_folder(const gmv_config *config)
{
    const char *path = config->output_dir;
    char nearest[GMV_PATH_ROOM], checkpoints[GMV_PATH_ROOM];
    GMV_TRY(gmv_folder_check(path, "output.dir", nearest));
    if (strcmp(nearest, path) != 0) {
        return GMV_OK; /* nothing is in it */
    }
    for (int i = 0; i < results; i++) {
        bool other = strcmp(result[i], "metrics.csv") == 0 && !is_written(config, result[i]);
        GMV_TRY(other ? GMV_OK : check_name(path, result[i], false));
    }
    GMV_TRY(check_name(path, "checkpoints", true));
    GMV_TRY(check_name(path, "pictures", true));
    snprintf(checkpoints, sizeof checkpoints, "%.4000s/checkpoints", path);
    GMV_TRY(gmv_folder_check(checkpoints, "output.dir", nearest));
    GMV_TRY(check_name(checkpoints, "last.h5", false));
    return check_name(checkpoints, "best.h5", false);
}

/* Bytes of a path's part that is there. */
static int64_t length_of_existing(const char *path)
{
    char part[GMV_PATH_ROOM];
    snprintf(part, sizeof part, "%s", path);
    while (access(part, F_OK) != 0) {
        char *slash = strrchr(part, '/');
        if (slash == NULL) {
            return 0;
        }
        *slash = '\0';
    }
    return (int64_t)strlen(part);
}

static void clean(const char *path)
{
    char checkpoints[GMV_PATH_ROOM];
    snprintf(checkpoints, sizeof checkpoints, "%.4000s/checkpoints", path);
    gmv_output_clean(path, NULL);
    if (access(checkpoints, F_OK) == 0) {
        gmv_output_clean(checkpoints, NULL);
    }
}

static gmv_status open_folder(gmv_run_folder *folder, const gmv_run *run)
{
    struct stat info;
    const char *path = folder->path;
    GMV_TRY(check_folder(&run->config));
    if (run->dry_run) {
        return gmv_folder_lock_check(path, GMV_LOCK_TIMES, gmv_signal_seen);
    }
    folder->there = length_of_existing(path);
    GMV_TRY(gmv_make_folders(path));
    GMV_TRY(gmv_folder_lock_take(&folder->lock, path, "train", GMV_LOCK_TIMES, gmv_signal_seen));
    if (stat(path, &info) != 0) {
        return gmv_file_unwritable(path);
    }
    folder->device = (int64_t)info.st_dev;
    folder->inode = (int64_t)info.st_ino;
    clean(path);
    return GMV_OK;
}

gmv_status gmv_run_folder_open(gmv_run_folder *folder, const gmv_run *run)
{
    *folder = (gmv_run_folder){.path = run->config.output_dir, .there = (int64_t)strlen(run->config.output_dir)};
    return gmv_comm_agree(&run->comm, run->comm.rank == 0 ? open_folder(folder, run) : GMV_OK);
}

gmv_status gmv_run_folder_look(const gmv_run *run)
{
    return gmv_comm_agree(&run->comm, run->comm.rank == 0 ? check_folder(&run->config) : GMV_OK);
}

void gmv_run_folder_close(gmv_run_folder *folder)
{
    char part[GMV_PATH_ROOM];
    gmv_folder_lock_release(&folder->lock);
    if (folder->path == NULL) {
        return;
    }
    snprintf(part, sizeof part, "%s", folder->path);
    while ((int64_t)strlen(part) > folder->there && rmdir(part) == 0) {
        char *slash = strrchr(part, '/');
        if (slash == NULL) {
            return;
        }
        *slash = '\0';
    }
}

static gmv_status check_same(const gmv_run_folder *folder)
{
    struct stat info;
    bool same = stat(folder->path, &info) == 0 && (int64_t)info.st_dev == folder->device &&
                (int64_t)info.st_ino == folder->inode;
    return same ? GMV_OK
                : GMV_FAIL(GMV_ERR_ENVIRONMENT,
                           "%s: was removed or replaced while the run worked in it; what it had written is lost, run "
                           "again",
                           folder->path);
}

gmv_status gmv_run_folder_agree(const gmv_run_folder *folder, const gmv_comm *comm)
{
    return gmv_comm_agree(comm, comm->rank == 0 ? check_same(folder) : GMV_OK);
}

static bool is_there(const char *folder, const char *name)
{
    char path[GMV_PATH_ROOM];
    snprintf(path, sizeof path, "%.4000s/%.100s", folder, name);
    return access(path, F_OK) == 0;
}

/* On rank 0. */
static gmv_status show(const gmv_run_folder *folder, const gmv_config *config)
{
    char text[200] = "checkpoints/";
    GMV_TRY(check_same(folder));
    for (int i = 0; i < results; i++) {
        size_t used = strlen(text);
        if (is_written(config, result[i]) && is_there(folder->path, result[i])) {
            snprintf(text + used, sizeof text - used, ", %s", result[i]);
        }
    }
    if (gmv_config_logs(config, GMV_LOG_TENSORBOARD)) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, ", an event file");
    }
    gmv_log("wrote %s: %s", folder->path, text);
    return GMV_OK;
}

gmv_status gmv_run_folder_show(const gmv_run_folder *folder, const gmv_comm *comm, const gmv_config *config)
{
    return gmv_comm_agree(comm, comm->rank == 0 ? show(folder, config) : GMV_OK);
}
