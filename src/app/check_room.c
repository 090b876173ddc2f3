/* Whether there is room for what a run will write. */
#include "run_folder.h"
#include "run_markers.h"

#include "gmvae/log.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

static const double megabyte = 1e6;

/* Bytes that a file may have. */
static double limit_of_file(void)
{
    struct rlimit limit;
    bool limited = getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    return limited ? (double)limit.rlim_cur : HUGE_VAL;
}

static double bytes_of_texts(int n, char *const *text)
{
    double bytes = 0.0;
    for (int i = 0; i < n; i++) {
        bytes += 32.0 + (double)strlen(text[i]); /* its place, and the string with a head */
    }
    return bytes;
}

/* Of one checkpoint, but for what HDF5 needs for itself: no more than it will be. */
static double checkpoint_bytes(const gmv_model *model, const gmv_cells *cells)
{
    double bytes = 3.0 * 4.0 * (double)model->params.count + bytes_of_texts(cells->genes, cells->gene);
    bytes += cells->gene_id != NULL ? bytes_of_texts(cells->genes, cells->gene_id) : 0.0;
    for (int c = 0; c < cells->covariates; c++) {
        bytes += bytes_of_texts(cells->covariate[c].levels, cells->covariate[c].level);
    }
    return bytes;
}

/* Of the embedding: what is known of it, without the obs of the input. */
static double embedding_bytes(const gmv_config *config, const gmv_model *model, const gmv_cells *cells)
{
    double bytes_per_cell = 4.0 + 4.0 + 16.0; /* the bound, the counts, the index */
    bytes_per_cell += config->output_umap ? 8.0 : 0.0;
    for (int i = 0; i < model->outputs.n; i++) {
        const gmv_cell_output *output = &model->outputs.at[i];
        bytes_per_cell += 4.0 * output->cols + (output->column != NULL ? 1.0 : 0.0);
        bytes_per_cell += output->kind == GMV_OUTPUT_COMPONENTS ? 4.0 + 1.0 + 4.0 : 0.0; /* at least one cluster */
    }
    return (double)cells->total * bytes_per_cell;
}

/* Of markers.h5ad, when the clusters that are known to come are compared: two at least, or none. */
static double marker_bytes(const gmv_config *config, const gmv_model *model, const gmv_cells *cells)
{
    bool apart = strcmp(config->output_clusters, "components") == 0;
    long wanted = apart ? model->clusters : strtol(config->output_clusters, NULL, 10); /* auto: 0 */
    if (model->clusters < 2 || wanted == 1 || wanted > GMV_TRAINED_MARKERS) {
        return 0.0;
    }
    double bytes = 4.0 * GMV_MARKERS * (double)(wanted > 2 ? wanted : 2) * (double)cells->genes;
    bytes += bytes_of_texts(cells->genes, cells->gene);
    return bytes + (cells->gene_id != NULL ? bytes_of_texts(cells->genes, cells->gene_id) : 0.0);
}

/* Bytes that the checkpoints there take, which new ones replace. */
static double bytes_to_replace(const char *folder)
{
    double bytes = 0.0;
    DIR *dir = opendir(folder);
    struct dirent *entry;
    struct stat info;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (strstr(entry->d_name, ".h5") != NULL && fstatat(dirfd(dir), entry->d_name, &info, 0) == 0) {
            bytes += (double)info.st_size / (double)info.st_nlink; /* all names are in this folder */
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return bytes;
}

/* Files of checkpoints at the same time: those kept, the best or, without one, the last with its clusters, and one that is
 * being written. */
static double files_at_once(const gmv_config *config, bool apart)
{
    int64_t every = config->checkpoint_every > 0 ? config->checkpoint_every : config->train_epochs;
    int64_t written = (config->train_epochs + every - 1) / every;
    int64_t kept = written < config->checkpoint_keep ? written : config->checkpoint_keep;
    return (double)kept + (apart ? 1.0 : 0.0) + (written > kept ? 1.0 : 0.0);
}

static gmv_status check_disk(const gmv_config *config, double checkpoint, double results, bool apart)
{
    char folder[GMV_PATH_ROOM], checkpoints[GMV_PATH_ROOM];
    struct statvfs at;
    snprintf(checkpoints, sizeof checkpoints, "%.4000s/checkpoints", config->output_dir);
    GMV_TRY(gmv_folder_check(checkpoints, "output.dir", folder));
    if (statvfs(folder, &at) != 0) {
        return GMV_OK; /* writing will tell */
    }
    double files = files_at_once(config, apart), free = (double)at.f_bavail * (double)at.f_frsize;
    double wanted = checkpoint * files + results, room = free + bytes_to_replace(checkpoints);
    if (checkpoint > free) {
        return GMV_FAIL(
            GMV_ERR_ENVIRONMENT,
            "%s: a checkpoint takes %.1f MB, but %.1f MB are free there; set output.dir to a disk with room",
            config->output_dir, checkpoint / megabyte, free / megabyte);
    }
    if (wanted > room) {
        gmv_warn(
            "%s: %.0f checkpoints at a time%s take %.1f MB, but there is room for %.1f MB; lower checkpoint.keep, or "
            "set output.dir to a disk with more",
            config->output_dir, files, results > 0.0 ? " and the results" : "", wanted / megabyte, room / megabyte);
    }
    return GMV_OK;
}

gmv_status gmv_check_room(const gmv_config *config, const gmv_comm *comm, const gmv_model *model,
                          const gmv_cells *cells)
{
    double checkpoint = checkpoint_bytes(model, cells), limit = limit_of_file();
    double embedding = config->output_embedding ? embedding_bytes(config, model, cells) : 0.0;
    double markers = config->output_markers ? marker_bytes(config, model, cells) : 0.0;
    bool apart = cells->split.rows > 0 || config->data_validation.paths.n > 0 || model->clusters > 0;
    gmv_status status = GMV_OK;
    if (comm->rank == 0 && checkpoint > limit) {
        status = GMV_FAIL(GMV_ERR_ENVIRONMENT,
                          "a checkpoint takes %.1f MB, but files may have %.1f MB here (ulimit -f); raise that limit",
                          checkpoint / megabyte, limit / megabyte);
    } else if (embedding > limit) { /* all ranks write it */
        status =
            GMV_FAIL(GMV_ERR_ENVIRONMENT,
                     "embedding.h5ad takes %.1f MB, but files may have %.1f MB here (ulimit -f); raise that limit, or "
                     "set output.embedding=false",
                     embedding / megabyte, limit / megabyte);
    } else if (comm->rank == 0 && markers > limit) {
        status =
            GMV_FAIL(GMV_ERR_ENVIRONMENT,
                     "markers.h5ad takes %.1f MB, but files may have %.1f MB here (ulimit -f); raise that limit, or "
                     "set output.markers=false",
                     markers / megabyte, limit / megabyte);
    } else if (comm->rank == 0) {
        status = check_disk(config, checkpoint, embedding + markers, apart);
    }
    return gmv_comm_agree(comm, status);
}
