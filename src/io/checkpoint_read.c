/* Reading checkpoints: rank 0 reads and verifies, the others receive. */
#include "checkpoint_data.h"
#include "checkpoint_files.h"
#include "h5io.h"

#include "../data/check/h5_check.h"
#include "../data/h5/h5.h"

#include "gmvae/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t most_count = INT64_C(1) << 53;

/* Of a file whose checksum is right. */
static gmv_status open_hdf5(const char *path, hid_t *file)
{
    gmv_h5io_quiet();
    hid_t properties = H5Pcreate(H5P_FILE_ACCESS);
    gmv_h5_lock_if_possible(properties, path);
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

static gmv_status open_file(const char *path, hid_t *file)
{
    GMV_TRY(gmv_checkpoint_check_seal(path));
    return open_hdf5(path, file);
}

static void name(void (*at)(const char *object), const char *object)
{
    if (at != NULL) {
        at(object);
    }
}

static gmv_status verify_dataset(hid_t group, const char *tensor)
{
    int dims;
    int64_t shape[2];
    float *data;
    GMV_TRY(gmv_h5io_shape(group, tensor, &dims, shape));
    GMV_TRY(GMV_ROOM(data, shape[0] * shape[1], tensor));
    gmv_status status = gmv_h5io_read_f32(group, tensor, dims, shape, data);
    gmv_free(data);
    return status;
}

static gmv_status verify_group(hid_t file, const char *group_name, void (*at)(const char *object))
{
    hid_t group = H5Gopen2(file, group_name, H5P_DEFAULT);
    if (group < 0) {
        return GMV_FAIL(GMV_ERR_DATA, "group %s is missing", group_name);
    }
    H5G_info_t info;
    gmv_status status =
        H5Gget_info(group, &info) >= 0 ? GMV_OK : GMV_FAIL(GMV_ERR_DATA, "group %s is damaged", group_name);
    for (hsize_t i = 0; status == GMV_OK && i < info.nlinks; i++) {
        char tensor[GMV_MAX_NAME];
        ssize_t length =
            H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, tensor, sizeof tensor, H5P_DEFAULT);
        if (length <= 0 || length >= (ssize_t)sizeof tensor) {
            status = GMV_FAIL(GMV_ERR_DATA, "group %s is damaged", group_name);
        } else {
            name(at, tensor);
            status = verify_dataset(group, tensor);
        }
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
    free_texts(checkpoint->genes, checkpoint->gene_id);
    for (int c = 0; checkpoint->factor != NULL && c < checkpoint->factors; c++) {
        GMV_FREE(checkpoint->factor[c].key);
        free_texts(checkpoint->factor[c].levels, checkpoint->factor[c].level);
    }
    GMV_FREE(checkpoint->factor);
    gmv_clustering_fini(&checkpoint->clustering);
    GMV_FREE(checkpoint->clusters_wanted);
    GMV_FREE(checkpoint->file_counts);
    GMV_FREE(checkpoint->sample);
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

/* That no number is one which no run can have; whether they fit to a run is that run's matter. */
static gmv_status check_numbers(const gmv_checkpoint *checkpoint)
{
    const gmv_progress *p = &checkpoint->progress;
    const struct {
        const char *what;
        int64_t value;
    } counts[] = {{"epoch", p->epoch}, {"step", p->step},   {"seed", checkpoint->seed},
                  {"batch", p->batch}, {"cells", p->cells}, {"window", p->window}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        if (counts[i].value < 0 || counts[i].value > most_count) {
            return GMV_FAIL(GMV_ERR_DATA, "%s is %" PRId64, counts[i].what, counts[i].value);
        }
    }
    bool finite = isfinite(checkpoint->input_mean) && isfinite(checkpoint->input_std) && !isnan(p->best);
    for (int i = 0; i < p->terms; i++) {
        finite = finite && isfinite(p->sum[i]);
    }
    if (!finite || !(checkpoint->input_std > 0.0)) {
        return GMV_FAIL(GMV_ERR_DATA, "a number of input or state is not finite, or std is not above 0");
    }
    return GMV_OK;
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
    GMV_GO(gmv_h5io_get_f64s(state, "sum", GMV_MAX_TERMS, &progress->terms, progress->sum));
    GMV_GO(gmv_h5io_get_f64(state, "best", 1, &progress->best));
    progress->norm = NAN; /* files of earlier versions do not have it */
    GMV_GO(H5Aexists(state, "norm") > 0 ? gmv_h5io_get_f64(state, "norm", 1, &progress->norm) : GMV_OK);
    status = check_numbers(checkpoint);
done:
    if (input >= 0) {
        H5Gclose(input);
    }
    if (state >= 0) {
        H5Gclose(state);
    }
    return status;
}

static gmv_status read_genes(hid_t file, gmv_checkpoint *checkpoint)
{
    int ids = 0;
    char **id = NULL;
    GMV_TRY(gmv_h5io_read_texts(file, "genes", &checkpoint->genes, &checkpoint->gene));
    if (H5Lexists(file, "gene_ids", H5P_DEFAULT) <= 0) {
        return GMV_OK;
    }
    gmv_status status = gmv_h5io_read_texts(file, "gene_ids", &ids, &id);
    if (status == GMV_OK && ids == checkpoint->genes) {
        checkpoint->gene_id = id;
        return GMV_OK;
    }
    free_texts(ids, id);
    return status != GMV_OK ? status : GMV_FAIL(GMV_ERR_DATA, "gene_ids is not one of each gene");
}

/* Everything but the values of tensors, of an open file. */
static gmv_status read_parts(hid_t file, void (*at)(const char *object), gmv_checkpoint *checkpoint)
{
    memset(checkpoint, 0, sizeof *checkpoint);
    name(at, "config");
    GMV_TRY(gmv_h5io_get_text(file, "config", &checkpoint->config));
    name(at, "state");
    GMV_TRY(read_numbers(file, checkpoint));
    name(at, "genes");
    GMV_TRY(read_genes(file, checkpoint));
    name(at, "covariates");
    GMV_TRY(read_covariates(file, checkpoint));
    name(at, "data");
    GMV_TRY(gmv_checkpoint_read_data(file, checkpoint));
    name(at, "clusters");
    return gmv_checkpoint_read_clusters(file, checkpoint);
}

static gmv_status read_file(const char *path, gmv_checkpoint *checkpoint)
{
    hid_t file;
    memset(checkpoint, 0, sizeof *checkpoint);
    GMV_TRY(open_file(path, &file));
    gmv_status status = read_parts(file, NULL, checkpoint);
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
    if (strncmp(text, path, strlen(path)) == 0 || status != GMV_ERR_DATA) {
        return status; /* it is named already, or not to blame */
    }
    gmv_error_clear();
    return GMV_FAIL(status, "%s: damaged or foreign checkpoint: %s", path, text);
}

gmv_status gmv_checkpoint_look(const char *path, bool whole, void (*at)(const char *object), int64_t *step)
{
    static const char *const groups[] = {"params", "adam/m", "adam/v"};
    hid_t file;
    gmv_checkpoint checkpoint = {0};
    name(at, "its header");
    GMV_TRY(open_hdf5(path, &file));
    gmv_status status;
    GMV_GO(gmv_h5io_get_i64(file, "step", step));
    if (whole) {
        GMV_GO(read_parts(file, at, &checkpoint));
    }
    for (int i = 0; whole && i < 3; i++) {
        GMV_GO(verify_group(file, groups[i], at));
    }
done:
    gmv_checkpoint_fini(&checkpoint);
    H5Fclose(file);
    return status;
}

gmv_status gmv_checkpoint_check(const char *path, bool whole, double seconds, int64_t *step)
{
    gmv_status status = gmv_checkpoint_check_seal(path);
    if (status == GMV_OK) {
        status = gmv_h5_check_checkpoint(gmv_checkpoint_look, path, whole, seconds, step);
    }
    return status;
}

gmv_status gmv_checkpoint_verify(const char *path, double check_seconds)
{
    int64_t step;
    return name_file(path, gmv_checkpoint_check(path, true, check_seconds, &step));
}

gmv_status gmv_checkpoint_config(const gmv_checkpoint *checkpoint, const char *path, gmv_config *config)
{
    const char *text = checkpoint->config;
    gmv_status status = gmv_config_parse(config, "config", text, (int64_t)strlen(text), 0, NULL);
    if (status != GMV_OK) {
        return name_file(path, GMV_ERR_DATA);
    }
    const gmv_texts *keys = &config->data_batch_keys;
    bool same = keys->n == checkpoint->factors;
    for (int i = 0; same && i < keys->n; i++) {
        same = strcmp(keys->at[i], checkpoint->factor[i].key) == 0;
    }
    if (!same) {
        gmv_config_fini(config);
        status = GMV_FAIL(GMV_ERR_DATA, "its covariates are not the batch keys of its config");
    }
    return name_file(path, status);
}

static gmv_status broadcast_clusters(const gmv_comm *comm, gmv_checkpoint *checkpoint)
{
    gmv_clustering *clustering = &checkpoint->clustering;
    gmv_status status = GMV_OK;
    int64_t numbers[] = {clustering->components, clustering->cells};
    gmv_comm_broadcast(comm, numbers, sizeof numbers, 0);
    int64_t components = numbers[0];
    if (components == 0) {
        return GMV_OK;
    }
    if (comm->rank != 0) {
        clustering->components = (int)components;
        clustering->cells = numbers[1];
        status = GMV_NEW(clustering->overlap, components * components, "overlaps of components");
        status = status == GMV_OK ? GMV_NEW(clustering->cluster, components, "clusters of components") : status;
    }
    GMV_TRY(gmv_comm_agree(comm, status));
    gmv_comm_broadcast(comm, clustering->overlap, components * components * (int64_t)sizeof *clustering->overlap, 0);
    gmv_comm_broadcast(comm, clustering->cluster, components * (int64_t)sizeof *clustering->cluster, 0);
    return gmv_comm_broadcast_text(comm, &checkpoint->clusters_wanted, 0);
}

static gmv_status broadcast(const gmv_comm *comm, gmv_checkpoint *checkpoint)
{
    struct {
        int64_t seed;
        gmv_progress progress;
        int factors, ids;
        double mean, std;
    } numbers = {checkpoint->seed,       checkpoint->progress, checkpoint->factors, checkpoint->gene_id != NULL,
                 checkpoint->input_mean, checkpoint->input_std};
    gmv_comm_broadcast(comm, &numbers, sizeof numbers, 0);
    checkpoint->seed = numbers.seed;
    checkpoint->progress = numbers.progress;
    checkpoint->input_mean = numbers.mean;
    checkpoint->input_std = numbers.std;
    GMV_TRY(gmv_comm_broadcast_text(comm, &checkpoint->config, 0));
    GMV_TRY(gmv_comm_broadcast_texts(comm, &checkpoint->gene, &checkpoint->genes, 0));
    if (numbers.ids != 0) {
        GMV_TRY(gmv_comm_broadcast_texts(comm, &checkpoint->gene_id, &checkpoint->genes, 0));
    }
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
    return broadcast_clusters(comm, checkpoint);
}

gmv_status gmv_checkpoint_read(const char *path, const gmv_comm *comm, gmv_checkpoint *checkpoint)
{
    memset(checkpoint, 0, sizeof *checkpoint);
    gmv_status status = comm->rank == 0 ? name_file(path, read_file(path, checkpoint)) : GMV_OK;
    GMV_TRY(gmv_comm_agree(comm, status));
    return broadcast(comm, checkpoint);
}

static gmv_status check_shapes(hid_t file, const gmv_params *params)
{
    hid_t group = H5Gopen2(file, "params", H5P_DEFAULT);
    gmv_status status = group >= 0 ? GMV_OK : GMV_FAIL(GMV_ERR_DATA, "group params is missing");
    for (int i = 0; status == GMV_OK && i < params->tensors; i++) {
        const gmv_tensor *tensor = &params->tensor[i];
        status = gmv_h5io_has_shape(group, tensor->name, tensor->dims, tensor->shape);
    }
    if (group >= 0) {
        H5Gclose(group);
    }
    return status;
}

gmv_status gmv_checkpoint_check_shapes(const char *path, const gmv_comm *comm, const gmv_params *params)
{
    hid_t file;
    gmv_status status = GMV_OK;
    if (comm->rank == 0 && (status = open_file(path, &file)) == GMV_OK) {
        status = check_shapes(file, params);
        H5Fclose(file);
    }
    return gmv_comm_agree(comm, comm->rank == 0 ? name_file(path, status) : GMV_OK);
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
