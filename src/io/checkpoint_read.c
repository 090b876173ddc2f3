/* Reading checkpoints: rank 0 reads and verifies, the others receive. */
#include "checkpoint_files.h"
#include "h5io.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static gmv_status open_file(const char *path, hid_t *file)
{
    gmv_h5io_quiet();
    GMV_TRY(gmv_checkpoint_check_seal(path));
    hid_t properties = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_file_locking(properties, true, true);
    *file = H5Fopen(path, H5F_ACC_RDONLY, properties);
    H5Pclose(properties);
    if (*file < 0) {
        return GMV_FAIL(GMV_ERR_DATA, "not a complete HDF5 file");
    }
    char *format;
    int64_t version = 0;
    gmv_status status = gmv_h5io_get_text(*file, "format", &format);
    if (status == GMV_OK) {
        bool ours = strcmp(format, "gmvae_dist checkpoint") == 0;
        gmv_free(format);
        status =
            ours ? gmv_h5io_get_i64(*file, "version", &version) : GMV_FAIL(GMV_ERR_DATA, "not a gmvae_dist checkpoint");
    }
    if (status == GMV_OK && version != GMV_CHECKPOINT_VERSION) {
        status = GMV_FAIL(GMV_ERR_DATA, "checkpoint version %" PRId64 "; this program reads version %d", version,
                          (int)GMV_CHECKPOINT_VERSION);
    }
    if (status != GMV_OK) {
        H5Fclose(*file);
    }
    return status;
}

static gmv_status verify_dataset(hid_t group, const char *name)
{
    int dims;
    int64_t shape[2];
    float *data;
    GMV_TRY(gmv_h5io_shape(group, name, &dims, shape));
    if (shape[0] < 0 || shape[1] < 0 || shape[0] * shape[1] > INT64_C(1) << 36) {
        return GMV_FAIL(GMV_ERR_DATA, "%s has an impossible shape", name);
    }
    GMV_TRY(GMV_NEW(data, shape[0] * shape[1], name));
    gmv_status status = gmv_h5io_read_f32(group, name, dims, shape, data);
    gmv_free(data);
    return status;
}

static gmv_status verify_group(hid_t file, const char *name)
{
    hid_t group = H5Gopen2(file, name, H5P_DEFAULT);
    if (group < 0) {
        return GMV_FAIL(GMV_ERR_DATA, "group %s is missing", name);
    }
    H5G_info_t info;
    gmv_status status = H5Gget_info(group, &info) >= 0 ? GMV_OK : GMV_FAIL(GMV_ERR_DATA, "group %s is damaged", name);
    for (hsize_t i = 0; status == GMV_OK && i < info.nlinks; i++) {
        char tensor[GMV_MAX_NAME];
        ssize_t length =
            H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, tensor, sizeof tensor, H5P_DEFAULT);
        status = length > 0 && length < (ssize_t)sizeof tensor ? verify_dataset(group, tensor)
                                                               : GMV_FAIL(GMV_ERR_DATA, "group %s is damaged", name);
    }
    H5Gclose(group);
    return status;
}

static void free_texts(int n, char **text)
{
    for (int i = 0; text != NULL && i < n; i++) {
        gmv_free(text[i]);
    }
    gmv_free(text);
}

void gmv_checkpoint_fini(gmv_checkpoint *checkpoint)
{
    GMV_FREE(checkpoint->config);
    free_texts(checkpoint->genes, checkpoint->gene);
    for (int c = 0; checkpoint->factor != NULL && c < checkpoint->factors; c++) {
        GMV_FREE(checkpoint->factor[c].key);
        free_texts(checkpoint->factor[c].levels, checkpoint->factor[c].level);
    }
    GMV_FREE(checkpoint->factor);
    memset(checkpoint, 0, sizeof *checkpoint);
}

static gmv_status read_covariates(hid_t file, gmv_checkpoint *checkpoint)
{
    hid_t group = H5Gopen2(file, "covariates", H5P_DEFAULT);
    if (group < 0) {
        return GMV_FAIL(GMV_ERR_DATA, "group covariates is missing");
    }
    gmv_status status;
    char **order = NULL;
    int n = 0;
    GMV_GO(gmv_h5io_get_texts(group, "order", &n, &order));
    GMV_GO(GMV_NEW(checkpoint->factor, n, "covariates"));
    checkpoint->factors = n;
    for (int c = 0; c < n; c++) {
        gmv_factor *factor = &checkpoint->factor[c];
        GMV_GO(gmv_h5io_read_texts(group, order[c], &factor->levels, &factor->level));
        factor->key = order[c];
        order[c] = NULL;
    }
done:
    free_texts(n, order);
    H5Gclose(group);
    return status;
}

static gmv_status read_numbers(hid_t file, gmv_checkpoint *checkpoint)
{
    gmv_progress *progress = &checkpoint->progress;
    GMV_TRY(gmv_h5io_get_i64(file, "epoch", &progress->epoch));
    GMV_TRY(gmv_h5io_get_i64(file, "step", &progress->step));
    GMV_TRY(gmv_h5io_get_i64(file, "seed", &checkpoint->seed));
    hid_t input = H5Gopen2(file, "input", H5P_DEFAULT), state = H5Gopen2(file, "state", H5P_DEFAULT);
    gmv_status status = GMV_OK;
    if (input < 0 || state < 0) {
        status = GMV_FAIL(GMV_ERR_DATA, "group input or state is missing");
        goto done;
    }
    GMV_GO(gmv_h5io_get_f64(input, "mean", 1, &checkpoint->input_mean));
    GMV_GO(gmv_h5io_get_f64(input, "std", 1, &checkpoint->input_std));
    GMV_GO(gmv_h5io_get_i64(state, "batch", &progress->batch));
    GMV_GO(gmv_h5io_get_i64(state, "cells", &progress->cells));
    GMV_GO(gmv_h5io_get_i64(state, "window", &progress->window));
    GMV_GO(gmv_h5io_get_f64(state, "sum", GMV_TERMS, progress->sum));
    status = gmv_h5io_get_f64(state, "best", 1, &progress->best);
done:
    if (input >= 0) {
        H5Gclose(input);
    }
    if (state >= 0) {
        H5Gclose(state);
    }
    return status;
}

static gmv_status read_file(const char *path, gmv_checkpoint *checkpoint)
{
    hid_t file;
    memset(checkpoint, 0, sizeof *checkpoint);
    GMV_TRY(open_file(path, &file));
    gmv_status status;
    GMV_GO(gmv_h5io_get_text(file, "config", &checkpoint->config));
    GMV_GO(read_numbers(file, checkpoint));
    GMV_GO(gmv_h5io_read_texts(file, "genes", &checkpoint->genes, &checkpoint->gene));
    status = read_covariates(file, checkpoint);
done:
    H5Fclose(file);
    return status;
}

/* Puts the path before the message recorded so far. */
static gmv_status name_file(const char *path, gmv_status status)
{
    char text[1024];
    if (status == GMV_OK) {
        return GMV_OK;
    }
    snprintf(text, sizeof text, "%s", gmv_error_message());
    gmv_error_clear();
    return GMV_FAIL(status, "%s: damaged or foreign checkpoint: %s", path, text);
}

gmv_status gmv_checkpoint_verify(const char *path)
{
    hid_t file;
    gmv_checkpoint checkpoint;
    gmv_status status = read_file(path, &checkpoint);
    gmv_checkpoint_fini(&checkpoint);
    if (status == GMV_OK && (status = open_file(path, &file)) == GMV_OK) {
        const char *groups[] = {"params", "adam/m", "adam/v"};
        for (int i = 0; status == GMV_OK && i < 3; i++) {
            status = verify_group(file, groups[i]);
        }
        H5Fclose(file);
    }
    return name_file(path, status);
}

static gmv_status broadcast(const gmv_comm *comm, gmv_checkpoint *checkpoint)
{
    struct {
        int64_t seed;
        gmv_progress progress;
        int factors;
        double mean, std;
    } numbers = {checkpoint->seed, checkpoint->progress, checkpoint->factors, checkpoint->input_mean,
                 checkpoint->input_std};
    gmv_comm_broadcast(comm, &numbers, sizeof numbers, 0);
    checkpoint->seed = numbers.seed;
    checkpoint->progress = numbers.progress;
    checkpoint->input_mean = numbers.mean;
    checkpoint->input_std = numbers.std;
    GMV_TRY(gmv_comm_broadcast_text(comm, &checkpoint->config, 0));
    GMV_TRY(gmv_comm_broadcast_texts(comm, &checkpoint->gene, &checkpoint->genes, 0));
    gmv_status status = GMV_OK;
    if (comm->rank != 0) {
        checkpoint->factors = numbers.factors;
        status = GMV_NEW(checkpoint->factor, numbers.factors, "covariates");
    }
    GMV_TRY(gmv_comm_agree(comm, status));
    for (int c = 0; c < checkpoint->factors; c++) {
        GMV_TRY(gmv_comm_broadcast_text(comm, &checkpoint->factor[c].key, 0));
        GMV_TRY(gmv_comm_broadcast_texts(comm, &checkpoint->factor[c].level, &checkpoint->factor[c].levels, 0));
    }
    return GMV_OK;
}

gmv_status gmv_checkpoint_read(const char *path, const gmv_comm *comm, gmv_checkpoint *checkpoint)
{
    memset(checkpoint, 0, sizeof *checkpoint);
    gmv_status status = comm->rank == 0 ? name_file(path, read_file(path, checkpoint)) : GMV_OK;
    GMV_TRY(gmv_comm_agree(comm, status));
    return broadcast(comm, checkpoint);
}

/* Rank 0 reads a tensor, all ranks upload it. */
static gmv_status load_tensor(hid_t group, const gmv_comm *comm, gmv_params *params, float *buffer, int index)
{
    const gmv_tensor *tensor = &params->tensor[index];
    float *host;
    GMV_TRY(gmv_comm_agree(comm, GMV_NEW(host, tensor->n, tensor->name)));
    gmv_status status = GMV_OK;
    if (comm->rank == 0) {
        status = gmv_h5io_read_f32(group, tensor->name, tensor->dims, tensor->shape, host);
    }
    status = gmv_comm_agree(comm, status);
    if (status == GMV_OK) {
        gmv_comm_broadcast(comm, host, tensor->n * (int64_t)sizeof *host, 0);
        status = gmv_params_upload(params, buffer, index, host);
    }
    gmv_free(host);
    return status;
}

gmv_status gmv_checkpoint_load_params(const char *path, const gmv_comm *comm, gmv_model *model, bool adam)
{
    gmv_params *params = &model->params;
    const char *names[] = {"params", "adam/m", "adam/v"};
    float *buffers[] = {params->value, params->m, params->v};
    hid_t file = -1;
    gmv_status status = comm->rank == 0 ? name_file(path, open_file(path, &file)) : GMV_OK;
    GMV_TRY(gmv_comm_agree(comm, status));
    for (int g = 0; status == GMV_OK && g < (adam ? 3 : 1); g++) {
        hid_t group = comm->rank == 0 ? H5Gopen2(file, names[g], H5P_DEFAULT) : -1;
        for (int i = 0; status == GMV_OK && i < params->tensors; i++) {
            status = load_tensor(group, comm, params, buffers[g], i);
        }
        if (group >= 0) {
            H5Gclose(group);
        }
    }
    if (comm->rank == 0) {
        H5Fclose(file);
    }
    return name_file(path, status);
}

/* ---- finding ---- */

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
static int64_t step_of(const char *path, const char *name)
{
    hid_t file;
    int64_t step = 0;
    gmv_status status = open_file(path, &file);
    if (status == GMV_OK) {
        status = gmv_h5io_get_i64(file, "step", &step);
        H5Fclose(file);
    }
    gmv_error_clear();
    return status == GMV_OK
               ? step
               : (strcmp(name, "last.h5") == 0 ? INT64_MAX : INT64_MAX / 2 + gmv_checkpoint_epoch_of(name));
}

static int list_candidates(const char *folder, candidate **list)
{
    int n = 0;
    DIR *dir = opendir(folder);
    struct dirent *entry;
    *list = NULL;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        const char *name = entry->d_name;
        if (gmv_checkpoint_epoch_of(name) < 0 && strcmp(name, "last.h5") != 0 && strcmp(name, "best.h5") != 0) {
            continue;
        }
        candidate *grown = realloc(*list, (size_t)(n + 1) * sizeof **list);
        if (grown == NULL) {
            break;
        }
        *list = grown;
        snprintf(grown[n].path, sizeof grown[n].path, "%.4000s/%.100s", folder, name);
        grown[n].step = step_of(grown[n].path, name);
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

gmv_status gmv_checkpoint_find_newest(const gmv_config *config, const gmv_comm *comm, char **path)
{
    gmv_status status = GMV_OK;
    *path = NULL;
    if (comm->rank == 0) {
        char folder[GMV_PATH_ROOM];
        candidate *list;
        const char *found = "";
        gmv_checkpoint_folder(config, folder);
        int n = list_candidates(folder, &list);
        for (int i = 0; i < n && *found == '\0'; i++) {
            if (gmv_checkpoint_verify(list[i].path) == GMV_OK) {
                found = list[i].path;
            } else {
                gmv_warn("%s; passed over", gmv_error_message());
                gmv_error_clear();
            }
        }
        status = copy_text(path, found);
        if (n > 0 && *found == '\0') { /* not silently anew: that would remove files a person may yet save */
            GMV_FREE(*path);
            status = GMV_FAIL(GMV_ERR_DATA,
                              "%s: none of the %d checkpoints there is good; bring one back, or remove them, or set "
                              "checkpoint.resume=never to start anew",
                              folder, n);
        }
        free(list);
    }
    return share_path(comm, status, path);
}

gmv_status gmv_checkpoint_choose(const gmv_config *config, const gmv_comm *comm, char **path)
{
    gmv_status status = GMV_OK;
    *path = NULL;
    if (comm->rank == 0) {
        char folder[GMV_PATH_ROOM], best[GMV_PATH_ROOM + 16], last[GMV_PATH_ROOM + 16];
        gmv_checkpoint_folder(config, folder);
        snprintf(best, sizeof best, "%s/best.h5", folder);
        snprintf(last, sizeof last, "%s/last.h5", folder);
        const char *chosen = config->checkpoint_path;
        if (chosen[0] == '\0') {
            chosen = access(best, F_OK) == 0 ? best : last;
        }
        if (access(chosen, R_OK) != 0) {
            status = GMV_FAIL(GMV_ERR_DATA, "%s: there is no checkpoint; train first, or set checkpoint.path", chosen);
        } else if ((status = gmv_checkpoint_verify(chosen)) == GMV_OK) {
            status = copy_text(path, chosen);
        }
    }
    return share_path(comm, status, path);
}
