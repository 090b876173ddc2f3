/* Checkpoints: one HDF5 file any tool can read (docs/formats.md). */
#pragma once

#include "gmvae/checker.h"
#include "gmvae/clusters.h"
#include "gmvae/train.h"

/* What a checkpoint says besides its tensors. */
typedef struct gmv_checkpoint {
    char *config; /* resolved YAML of its run */
    int64_t seed;
    gmv_progress progress;
    int genes;
    char **gene, **gene_id; /* [genes]; ids as in gmv_cells, NULL: there are none */
    int factors;            /* covariates, in the order of their one-hots */
    gmv_factor *factor;     /* key and levels; no codes */
    double input_mean, input_std;
    gmv_clustering clustering; /* overlaps and clusters of components, without tree; none before training ends */
    char *clusters_wanted;     /* output.clusters that they are for; NULL without */
    /* What it was trained on, for comparison. Rank 0 only, as are the fingerprints of `factor`. */
    gmv_fingerprint data;  /* of checkpoints from before there were fingerprints: without cells */
    uint64_t *file_counts; /* [files] data.counts, file by file */
    int files;
    uint64_t *sample; /* [samples] ascending hashes of cells that were trained on, all there are up to sample_below */
    int samples;
    uint64_t sample_below;
} gmv_checkpoint;

/* What cells are matched to. Borrows it. */
static inline gmv_known gmv_checkpoint_known(const gmv_checkpoint *checkpoint)
{
    return (gmv_known){checkpoint->genes, checkpoint->gene, checkpoint->gene_id, checkpoint->factors,
                       checkpoint->factor};
}

/* Names under which a checkpoint is kept in output.dir/checkpoints: epoch-NNNNNN.h5 (which also becomes last.h5,
 * and of which the newest checkpoint.keep stay), last.h5 alone (inside an epoch), best.h5. */
enum { GMV_CHECKPOINT_EPOCH = 1, GMV_CHECKPOINT_LAST = 2, GMV_CHECKPOINT_BEST = 4 };

/* Writes one file, under a temporary name, verifies it by reading it back, syncs it and renames it to all names
 * in `as`. Collective; rank 0 writes.
 * Errors: GMV_ERR_ENVIRONMENT when it cannot be written; older checkpoints stay as they are. */
gmv_status gmv_checkpoint_save(const gmv_trainer *trainer, unsigned as);

/* Puts clusters into a checkpoint that has none, or others, as gmv_checkpoint_save writes one. Collective.
 * @param[in] checkpoint  what was read of the file */
gmv_status gmv_checkpoint_add_clusters(const char *path, const gmv_checkpoint *checkpoint, const gmv_comm *comm,
                                       const gmv_clustering *clustering, const char *wanted);

/* Finds a checkpoint to continue from in output.dir: the newest that passes verification; a damaged one is
 * named in a warning and passed over. Collective. @param[out] path  "" when there is none; caller frees
 * Errors: GMV_ERR_DATA when there are some but all are damaged. */
gmv_status gmv_checkpoint_find_newest(const gmv_config *config, const gmv_comm *comm, char **path);

/* Removes the checkpoints in output.dir, for a run that starts anew (rank 0). */
gmv_status gmv_checkpoint_remove_all(const gmv_config *config);

/* Removes what a process that was killed while writing left there under temporary names (rank 0). */
void gmv_checkpoint_remove_unfinished(const gmv_config *config);

/* Path for embed and eval: checkpoint.path, else the first good one of best.h5, last.h5 and the epochs' in output.dir;
 * damaged ones are named in a warning and passed over. Collective.
 * Errors: GMV_ERR_DATA when there is none or none is good. Caller frees *path. */
gmv_status gmv_checkpoint_choose(const gmv_config *config, const gmv_comm *comm, char **path);

/* Reads everything but the tensors, on every rank. Collective. Free with gmv_checkpoint_fini. */
gmv_status gmv_checkpoint_read(const char *path, const gmv_comm *comm, gmv_checkpoint *checkpoint);
void gmv_checkpoint_fini(gmv_checkpoint *checkpoint);

/* The config of a checkpoint's run. Caller frees it with gmv_config_fini on success. Not collective.
 * @param[in] path  for messages
 * Errors: GMV_ERR_DATA when it is none, or names other batch keys than the checkpoint has levels of. */
gmv_status gmv_checkpoint_config(const gmv_checkpoint *checkpoint, const char *path, gmv_config *config);

/* Whether the tensors of a checkpoint have these shapes, before memory is taken for them. Collective.
 * @param[in] params  declared as gmv_model_declare does. Errors: GMV_ERR_DATA. */
gmv_status gmv_checkpoint_check_shapes(const char *path, const gmv_comm *comm, const gmv_params *params);

/* Reads the tensors into the model, with Adam's state when `adam`. Collective; rank 0 reads.
 * Errors: GMV_ERR_DATA for missing tensors, other shapes, or a checksum that does not match. */
gmv_status gmv_checkpoint_load_params(const char *path, const gmv_comm *comm, gmv_model *model, bool adam);

/* Checks every checksum; before HDF5 sees the file here, another process has read all of it.
 * @param[in] check_seconds  as data.check_seconds
 * Not collective. Errors: GMV_ERR_DATA, saying what is damaged. */
gmv_status gmv_checkpoint_verify(const char *path, double check_seconds);

/* What that process does: gmv_checkpoint_reader of data.h. The checksum of the file has been checked before. */
gmv_status gmv_checkpoint_look(const char *path, bool whole, void (*at)(const char *object), int64_t *step);
