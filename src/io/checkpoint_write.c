/* Writing checkpoints (rank 0), and the names under which they are kept. */
#include "checkpoint_data.h"
#include "checkpoint_files.h"
#include "h5io.h"

#include "../data/h5/h5.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/stage.h"

#include <dirent.h>
#include <errno.h>
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
    GMV_GO(gmv_h5io_put_f64(group, "sum", progress->terms, progress->sum));
    GMV_GO(gmv_h5io_put_f64(group, "best", 1, &progress->best));
    status = gmv_h5io_put_f64(group, "norm", 1, &progress->norm);
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
    if (trainer->cells->gene_id != NULL) {
        GMV_TRY(gmv_h5io_write_texts(file, "gene_ids", trainer->cells->genes, trainer->cells->gene_id));
    }
    GMV_TRY(write_covariates(file, trainer->cells));
    GMV_TRY(gmv_checkpoint_write_data(file, trainer->cells));
    GMV_TRY(write_input(file, trainer->model->input));
    return write_state(file, &trainer->progress);
}

gmv_status gmv_checkpoint_write_image(hid_t file, gmv_output *out)
{
    void *image = NULL; /* of the core driver: the address of its buffer's address */
    ssize_t size =
        H5Fflush(file, H5F_SCOPE_GLOBAL) < 0 ? -1 : H5Fget_file_image(file, NULL, 0); /* the buffer is larger */
    if (size <= 0 || H5Fget_vfd_handle(file, H5P_DEFAULT, &image) < 0) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: the checkpoint cannot be made; is memory short?", out->path);
    }
    return gmv_checkpoint_write_sealed(out, *(void **)image, size);
}

gmv_status gmv_checkpoint_read_back(const gmv_output *out)
{
    int64_t step;
    char reason[400];
    if (access(out->temporary, F_OK) != 0) {
        return gmv_file_unwritable(out->path); /* its folder was removed */
    }
    gmv_status status = gmv_checkpoint_check_seal(out->temporary);
    if (status == GMV_OK) {
        status = gmv_checkpoint_look(out->temporary, true, NULL, &step);
    }
    if (status == GMV_OK) {
        return GMV_OK;
    }
    snprintf(reason, sizeof reason, "%s", gmv_error_message());
    gmv_error_clear();
    return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: what was written does not come back: %s", out->path, reason);
}

/* HDF5 works in memory: when the disk is full it can neither close a file nor end the program without a crash. */
static hid_t image_access(void)
{
    gmv_h5io_quiet();
    /* newer format: attributes above 64 kB (a config with many files) and compact groups */
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_LATEST);
    H5Pset_fapl_core(access, (size_t)1 << 22, false);
    return access;
}

gmv_status gmv_checkpoint_open_image(const char *path, hid_t *file)
{
    GMV_TRY(gmv_checkpoint_check_seal(path));
    hid_t access = image_access();
    gmv_h5_lock_if_possible(access, path);
    *file = H5Fopen(path, H5F_ACC_RDWR, access);
    H5Pclose(access);
    return *file >= 0 ? GMV_OK : GMV_FAIL(GMV_ERR_DATA, "%s: not a complete HDF5 file", path);
}

/* Writes and reads back a complete file. */
static gmv_status write_file(const gmv_trainer *trainer, gmv_output *out)
{
    hid_t access = image_access();
    /* a name that no file can have: HDF5 would look at one of the same name first */
    hid_t file = H5Fcreate("/dev/null/checkpoint", H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Pclose(access);
    if (file < 0) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: the checkpoint cannot be made; is memory short?", out->path);
    }
    gmv_status status = write_contents(file, trainer);
    if (status == GMV_OK) {
        status = gmv_checkpoint_write_image(file, out);
    }
    H5Fclose(file);
    if (status == GMV_OK) {
        status = gmv_checkpoint_read_back(out);
    }
    return status;
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

void gmv_checkpoint_remove_unfinished(const gmv_config *config)
{
    char folder[GMV_PATH_ROOM];
    gmv_checkpoint_folder(config, folder);
    gmv_output_clean(folder, NULL);
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

/* The file under all its names; `name` has room for one behind the folder's. */
static gmv_status write_names(const gmv_trainer *trainer, unsigned as, char *name, char *behind)
{
    gmv_output out;
    size_t room = GMV_PATH_ROOM - (size_t)(behind - name);
    bool last = (as & (GMV_CHECKPOINT_EPOCH | GMV_CHECKPOINT_LAST)) != 0;
    snprintf(behind, room, "%s", last ? "last.h5" : "best.h5");
    GMV_TRY(gmv_output_begin(&out, name));
    gmv_status status;
    GMV_GO(write_file(trainer, &out));
    if ((as & GMV_CHECKPOINT_EPOCH) != 0) {
        snprintf(behind, room, "epoch-%06" PRId64 ".h5", trainer->progress.epoch);
        GMV_GO(gmv_output_also(&out, name));
    }
    if (last && (as & GMV_CHECKPOINT_BEST) != 0) {
        snprintf(behind, room, "best.h5");
        GMV_GO(gmv_output_also(&out, name));
    }
done:
    return gmv_output_end(&out, status);
}

/* output.dir itself is not made anew: where it has been removed, so has what belongs to the run. */
static gmv_status save(const gmv_trainer *trainer, unsigned as)
{
    char folder[GMV_PATH_ROOM], name[GMV_PATH_ROOM];
    gmv_checkpoint_folder(trainer->config, folder);
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
        return gmv_file_unwritable(folder);
    }
    int length = snprintf(name, sizeof name, "%.4100s/", folder);
    GMV_TRY(write_names(trainer, as, name, name + length));
    prune(folder, trainer->config->checkpoint_keep);
    return GMV_OK;
}

/* Says behind the reason what there is to continue from. */
static gmv_status not_written(const gmv_config *config)
{
    char reason[512], folder[GMV_PATH_ROOM], last[GMV_PATH_ROOM + 8], best[GMV_PATH_ROOM + 8];
    gmv_checkpoint_folder(config, folder);
    snprintf(last, sizeof last, "%s/last.h5", folder);
    snprintf(best, sizeof best, "%s/best.h5", folder);
    bool any = access(last, F_OK) == 0 || access(best, F_OK) == 0;
    snprintf(reason, sizeof reason, "%s", gmv_error_message());
    gmv_error_clear();
    return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s; the checkpoint was not written, %s", reason,
                    any ? "older ones are untouched" : "and there is no other yet");
}

static gmv_status checkpoint_save(const gmv_trainer *trainer, unsigned as)
{
    gmv_status status = trainer->comm->rank == 0 ? save(trainer, as) : GMV_OK;
    status = status == GMV_OK ? GMV_OK : not_written(trainer->config);
    return gmv_comm_agree_patiently(trainer->comm, status);
}

gmv_status gmv_checkpoint_save(const gmv_trainer *trainer, unsigned as)
{
    gmv_stage before = gmv_stage_enter(GMV_STAGE_CHECKPOINTS);
    gmv_status status = checkpoint_save(trainer, as);
    gmv_stage_enter(before);
    return status;
}
