/* Writing checkpoints (rank 0), and the names under which they are kept. */
#include "checkpoint_files.h"
#include "h5io.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Writes one flat buffer's tensors as GROUP/NAME. */
static gmv_status write_tensors(hid_t file, const char *group_name, const gmv_params *params, const float *buffer)
{
    gmv_status status = GMV_OK;
    float *host = NULL;
    hid_t links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    hid_t group = H5Gcreate2(file, group_name, links, H5P_DEFAULT, H5P_DEFAULT);
    if (group < 0) {
        status = GMV_FAIL(GMV_ERR_ENVIRONMENT, "group %s cannot be written", group_name);
    }
    for (int i = 0; status == GMV_OK && i < params->tensors; i++) {
        const gmv_tensor *tensor = &params->tensor[i];
        GMV_GO(GMV_NEW(host, tensor->n, tensor->name));
        GMV_GO(gmv_params_download(params, buffer, i, host));
        GMV_GO(gmv_h5io_write_f32(group, tensor->name, tensor->dims, tensor->shape, host));
        GMV_FREE(host);
    }
done:
    gmv_free(host);
    if (group >= 0) {
        H5Gclose(group);
    }
    H5Pclose(links);
    return status;
}

static gmv_status write_covariates(hid_t file, const gmv_cells *cells)
{
    gmv_status status = GMV_OK;
    char **order = NULL;
    hid_t group = H5Gcreate2(file, "covariates", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    GMV_GO(GMV_NEW(order, cells->covariates, "covariate names"));
    for (int c = 0; c < cells->covariates; c++) {
        const gmv_factor *factor = &cells->covariate[c];
        order[c] = factor->key;
        GMV_GO(gmv_h5io_write_texts(group, factor->key, factor->levels, factor->level));
    }
    status = gmv_h5io_put_texts(group, "order", cells->covariates, order);
done:
    gmv_free(order);
    H5Gclose(group);
    return status;
}

static gmv_status write_state(hid_t file, const gmv_progress *progress)
{
    hid_t group = H5Gcreate2(file, "state", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    gmv_status status;
    GMV_GO(gmv_h5io_put_i64(group, "batch", progress->batch));
    GMV_GO(gmv_h5io_put_i64(group, "cells", progress->cells));
    GMV_GO(gmv_h5io_put_i64(group, "window", progress->window));
    GMV_GO(gmv_h5io_put_f64(group, "sum", GMV_TERMS, progress->sum));
    status = gmv_h5io_put_f64(group, "best", 1, &progress->best);
done:
    H5Gclose(group);
    return status;
}

static gmv_status write_input(hid_t file, gmv_input input)
{
    double mean = (double)input.mean, std = (double)input.std;
    hid_t group = H5Gcreate2(file, "input", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    gmv_status status;
    GMV_GO(gmv_h5io_put_f64(group, "mean", 1, &mean));
    status = gmv_h5io_put_f64(group, "std", 1, &std);
done:
    H5Gclose(group);
    return status;
}

static gmv_status write_attributes(hid_t file, const gmv_trainer *trainer)
{
    char *config;
    GMV_TRY(gmv_config_text(trainer->config, &config));
    gmv_status status;
    GMV_GO(gmv_h5io_put_text(file, "format", "gmvae_dist checkpoint"));
    GMV_GO(gmv_h5io_put_i64(file, "version", GMV_CHECKPOINT_VERSION));
    GMV_GO(gmv_h5io_put_i64(file, "epoch", trainer->progress.epoch));
    GMV_GO(gmv_h5io_put_i64(file, "step", trainer->progress.step));
    GMV_GO(gmv_h5io_put_i64(file, "seed", trainer->config->seed));
    status = gmv_h5io_put_text(file, "config", config);
done:
    gmv_free(config);
    return status;
}

static gmv_status write_contents(hid_t file, const gmv_trainer *trainer)
{
    const gmv_params *params = &trainer->model->params;
    GMV_TRY(write_attributes(file, trainer));
    GMV_TRY(write_tensors(file, "params", params, params->value));
    GMV_TRY(write_tensors(file, "adam/m", params, params->m));
    GMV_TRY(write_tensors(file, "adam/v", params, params->v));
    GMV_TRY(gmv_h5io_write_texts(file, "genes", trainer->cells->genes, trainer->cells->gene));
    GMV_TRY(write_covariates(file, trainer->cells));
    GMV_TRY(write_input(file, trainer->model->input));
    return write_state(file, &trainer->progress);
}

/* Forces a file's or a directory's contents to the disk. */
static gmv_status sync_path(const char *path)
{
    int fd = open(path, O_RDONLY);
    int bad = fd < 0 || fsync(fd) != 0;
    int reason = errno;
    if (fd >= 0) {
        close(fd);
    }
    return bad ? GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: cannot be synced: %s", path, strerror(reason)) : GMV_OK;
}

/* Writes what HDF5 has made in memory. */
static gmv_status write_image(hid_t file, const char *path)
{
    void *image = NULL; /* of the core driver: the address of its buffer's address */
    ssize_t size =
        H5Fflush(file, H5F_SCOPE_GLOBAL) < 0 ? -1 : H5Fget_file_image(file, NULL, 0); /* the buffer is larger */
    if (size <= 0 || H5Fget_vfd_handle(file, H5P_DEFAULT, &image) < 0) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: the checkpoint cannot be made; is memory short?", path);
    }
    unlink(path);
    return gmv_checkpoint_write_sealed(path, *(void **)image, size);
}

/* Writes and reads back a complete file at `path`. HDF5 works in memory: when the disk is full it can neither
 * close a file nor end the program without a crash. */
static gmv_status write_file(const gmv_trainer *trainer, const char *path)
{
    gmv_h5io_quiet();
    /* newer format: attributes above 64 kB (a config with many files) and compact groups */
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_LATEST);
    H5Pset_fapl_core(access, (size_t)1 << 22, false);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Pclose(access);
    if (file < 0) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: the checkpoint cannot be made; is memory short?", path);
    }
    gmv_status status = write_contents(file, trainer);
    if (status == GMV_OK) {
        status = write_image(file, path);
    }
    H5Fclose(file);
    if (status == GMV_OK) {
        status = gmv_checkpoint_verify(path);
    }
    if (status != GMV_OK) {
        char reason[512];
        snprintf(reason, sizeof reason, "%s", gmv_error_message());
        gmv_error_clear();
        unlink(path);
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s; the checkpoint was not written, older ones are untouched", reason);
    }
    return GMV_OK;
}

/* Makes `name` another name of the file at `from`, replacing what had it. */
static gmv_status rename_to(const char *from, const char *name, bool keep_from)
{
    char link_path[GMV_PATH_ROOM + 8];
    snprintf(link_path, sizeof link_path, "%s.link", name);
    unlink(link_path);
    bool linked = keep_from && link(from, link_path) == 0;
    if (keep_from && !linked) {
        return gmv_checkpoint_copy(from, name); /* file systems without hard links */
    }
    if (rename(keep_from ? link_path : from, name) != 0) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: cannot be written: %s", name, strerror(errno));
    }
    return GMV_OK;
}

static int newest_first(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* Removes all but the newest `keep` epoch files. */
static void prune(const char *folder, int64_t keep)
{
    int64_t *epoch = NULL;
    int n = 0;
    DIR *dir = opendir(folder);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (gmv_checkpoint_epoch_of(entry->d_name) >= 0 && GMV_GROW(epoch, n, n + 1, "checkpoint names") == GMV_OK) {
            epoch[n++] = gmv_checkpoint_epoch_of(entry->d_name);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    if (n > 0) {
        qsort(epoch, (size_t)n, sizeof *epoch, newest_first);
    }
    for (int64_t i = keep; i < n; i++) {
        char path[GMV_PATH_ROOM];
        snprintf(path, sizeof path, "%.4000s/epoch-%06" PRId64 ".h5", folder, epoch[i]);
        unlink(path);
    }
    gmv_free(epoch);
}

static bool ends_with(const char *name, const char *end)
{
    size_t length = strlen(name), wanted = strlen(end);
    return length >= wanted && strcmp(name + length - wanted, end) == 0;
}

void gmv_checkpoint_remove_unfinished(const gmv_config *config)
{
    char folder[GMV_PATH_ROOM], path[GMV_PATH_ROOM + 256];
    gmv_checkpoint_folder(config, folder);
    DIR *dir = opendir(folder);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        const char *name = entry->d_name;
        if (strncmp(name, ".writing-", 9) == 0 || ends_with(name, ".h5.link") || ends_with(name, ".h5.copy")) {
            snprintf(path, sizeof path, "%s/%s", folder, name);
            unlink(path);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
}

gmv_status gmv_checkpoint_remove_all(const gmv_config *config)
{
    char folder[GMV_PATH_ROOM], path[GMV_PATH_ROOM];
    gmv_checkpoint_folder(config, folder);
    prune(folder, 0);
    const char *names[] = {"last.h5", "best.h5"};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%.4000s/%s", folder, names[i]);
        if (unlink(path) != 0 && errno != ENOENT) {
            return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: cannot be replaced: %s", path, strerror(errno));
        }
    }
    return GMV_OK;
}

static gmv_status save(const gmv_trainer *trainer, unsigned as)
{
    char folder[GMV_PATH_ROOM], temporary[GMV_PATH_ROOM], name[GMV_PATH_ROOM];
    gmv_checkpoint_folder(trainer->config, folder);
    GMV_TRY(gmv_make_folders(folder));
    snprintf(temporary, sizeof temporary, "%.4000s/.writing-%ld.h5", folder, (long)getpid());
    GMV_TRY(write_file(trainer, temporary));
    gmv_status status = GMV_OK;
    if ((as & GMV_CHECKPOINT_EPOCH) != 0) {
        snprintf(name, sizeof name, "%.4000s/epoch-%06" PRId64 ".h5", folder, trainer->progress.epoch);
        GMV_GO(rename_to(temporary, name, true));
    }
    if ((as & (GMV_CHECKPOINT_EPOCH | GMV_CHECKPOINT_LAST)) != 0) {
        snprintf(name, sizeof name, "%.4000s/last.h5", folder);
        GMV_GO(rename_to(temporary, name, true));
    }
    if ((as & GMV_CHECKPOINT_BEST) != 0) {
        snprintf(name, sizeof name, "%.4000s/best.h5", folder);
        GMV_GO(rename_to(temporary, name, true));
    }
    GMV_GO(sync_path(folder));
    prune(folder, trainer->config->checkpoint_keep);
done:
    unlink(temporary);
    return status;
}

gmv_status gmv_checkpoint_save(const gmv_trainer *trainer, unsigned as)
{
    gmv_status status = trainer->comm->rank == 0 ? save(trainer, as) : GMV_OK;
    return gmv_comm_agree(trainer->comm, status);
}
