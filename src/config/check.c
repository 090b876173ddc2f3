/* What single bounds cannot say: keys that contradict each other. */
#include "gmvae/config.h"

#include <inttypes.h>
#include <string.h>

/* Whether a column's name is another one's with a slash and more behind: HDF5 has the one inside the other. */
static bool lies_in(const char *name, const char *other)
{
    size_t n = strlen(other);
    return strncmp(name, other, n) == 0 && name[n] == '/';
}

/* Columns that cannot stand beside those of the embedding, or beside another key's. */
static gmv_status check_place(const gmv_config *config, const char *key)
{
    static const char *const ours[] = {"gmvae_cluster", "gmvae_neg_elbo", "gmvae_file"};
    const gmv_texts *keys = &config->data_batch_keys;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        if (strcmp(key, ours[i]) == 0 || lies_in(key, ours[i])) {
            return GMV_FAIL(
                GMV_ERR_CONFIG,
                "data.batch_keys: the embedding has a column of its own called \"%s\"; rename \"%.200s\" in "
                "the input files",
                ours[i], key);
        }
    }
    for (int i = 0; i <= keys->n; i++) {
        const char *other = i < keys->n ? keys->at[i] : config->data_label_key;
        bool inside = lies_in(other, key);
        if (other[0] != '\0' && (inside || lies_in(key, other))) {
            return GMV_FAIL(
                GMV_ERR_CONFIG,
                "\"%.200s\" lies in \"%.200s\": columns that a checkpoint and the embedding cannot both hold; "
                "rename one in the input files",
                inside ? other : key, inside ? key : other);
        }
    }
    return GMV_OK;
}

static gmv_status check_batch_keys(const gmv_config *config)
{
    const gmv_texts *keys = &config->data_batch_keys;
    for (int i = 0; i < keys->n; i++) {
        GMV_TRY(check_place(config, keys->at[i]));
        if (strcmp(keys->at[i], config->data_label_key) == 0) {
            return GMV_FAIL(GMV_ERR_CONFIG,
                            "\"%.200s\" is in data.batch_keys and is data.label_key, which training must not see; "
                            "remove it from one",
                            keys->at[i]);
        }
        for (int j = 0; j < i; j++) {
            if (strcmp(keys->at[i], keys->at[j]) == 0) {
                return GMV_FAIL(GMV_ERR_CONFIG, "\"%.200s\" is in data.batch_keys twice; keep one", keys->at[i]);
            }
        }
    }
    return GMV_OK;
}

static gmv_status check_files(const gmv_config *config)
{
    const gmv_texts *train = &config->data_train, *held_out = &config->data_validation.paths;
    if (train->n == 0 && config->data_predict.n == 0) {
        return GMV_FAIL(GMV_ERR_CONFIG, "data.train is empty; name the files to train on, such as "
                                        "data.train=atlas.h5ad");
    }
    for (int i = 0; i < held_out->n; i++) {
        for (int j = 0; j < train->n; j++) {
            if (strcmp(held_out->at[i], train->at[j]) == 0) {
                return GMV_FAIL(GMV_ERR_CONFIG,
                                "\"%.200s\" is in data.train and in data.validation; to hold out a training "
                                "file write data.validation: {files: [...]}",
                                held_out->at[i]);
            }
        }
    }
    return GMV_OK;
}

static gmv_status check_genes(const gmv_config *config)
{
    if (config->data_genes_flavor != GMV_FLAVOR_LOG1P_VARIANCE && config->data_genes != GMV_GENES_N_TOP) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "data.genes.flavor says what n_top goes by, but there is none; write data.genes: "
                        "{n_top: 2000, flavor: %s}",
                        gmv_config_choice("data.genes.flavor", config->data_genes_flavor));
    }
    return GMV_OK;
}

static gmv_status check_exact_sums(const gmv_config *config)
{
    int64_t shards = config->data_shards, pieces = config->train_micro_batches, above = (shards / pieces + 1) * pieces;
    if (config->train_reduction != GMV_REDUCTION_EXACT) {
        return GMV_OK;
    }
    if (shards % pieces != 0) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "data.shards (%" PRId64 ") must be a multiple of train.micro_batches (%" PRId64
                        ") with train.reduction: exact; take %" PRId64 " shards",
                        shards, pieces, above <= GMV_MOST_SHARDS ? above : above - pieces);
    }
    if (config->train_batch_size < pieces) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "train.batch_size (%" PRId64 ") is smaller than train.micro_batches (%" PRId64
                        ") with train.reduction: exact; make it at least as large",
                        config->train_batch_size, pieces);
    }
    return GMV_OK;
}

static gmv_status check_training(const gmv_config *config)
{
    if (config->train_lr_schedule_after > 0 && !(config->train_lr_schedule_factor > 0)) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "train.lr_schedule.factor 0 stops learning after epoch %" PRId64 "; give a factor, or "
                        "train.lr_schedule: 0 for none",
                        config->train_lr_schedule_after);
    }
    bool marginal = config->model_objective == GMV_OBJECTIVE_MARGINAL;
    if (config->model_prior != GMV_PRIOR_MIXTURE_OF_W && !marginal) {
        return GMV_FAIL(
            GMV_ERR_CONFIG,
            "model.objective: %s is for model.prior: mixture_of_w, but the prior is %s; leave the objective "
            "marginal",
            gmv_config_choice("model.objective", config->model_objective),
            gmv_config_choice("model.prior", config->model_prior));
    }
    if (config->train_z_free_nats > 0 && marginal) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "train.z_free_nats has no meaning with model.objective: marginal; set it to 0, or take the "
                        "objective published or mc");
    }
    return GMV_OK;
}

static gmv_status check_device(const gmv_config *config)
{
    const char *backend = gmv_config_choice("backend", config->backend);
    if (strcmp(backend, "cpu") != 0) {
        return GMV_OK;
    }
    if (config->data_residence == GMV_RESIDENCE_DEVICE) {
        return GMV_FAIL(GMV_ERR_CONFIG, "data.residence: device needs a GPU, but backend is cpu; take host or auto");
    }
    if (config->train_precision == GMV_TF32) {
        return GMV_FAIL(GMV_ERR_CONFIG, "train.precision: tf32 exists on GPUs only, but backend is cpu; take fp32");
    }
    return GMV_OK;
}

/* What is asked for and not there is not left out in silence, nor behind a warning that nobody reads. */
static gmv_status check_output(const gmv_config *config)
{
    if (config->output_report) {
        return GMV_FAIL(GMV_ERR_CONFIG, "output.report: this version writes no report.html; set it to false");
    }
    for (int i = 0; i < config->output_metrics.n; i++) {
        const char *metric = config->output_metrics.at[i];
        if (strcmp(metric, "ari") != 0 && strcmp(metric, "nmi") != 0) {
            return GMV_FAIL(GMV_ERR_CONFIG,
                            "output.metrics: \"%.100s\" is not in this version, which knows ari and nmi", metric);
        }
    }
    return GMV_OK;
}

gmv_status gmv_config_check(const gmv_config *config)
{
    GMV_TRY(check_files(config));
    GMV_TRY(check_batch_keys(config));
    GMV_TRY(check_genes(config));
    GMV_TRY(check_exact_sums(config));
    GMV_TRY(check_training(config));
    GMV_TRY(check_device(config));
    GMV_TRY(check_output(config));
    if (strchr(config->output_name, '/') != NULL || strlen(config->output_name) > 200) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "output.name \"%.200s\" must be part of a file's name: without slashes, at most 200 bytes",
                        config->output_name);
    }
    if (config->output_dir[0] == '\0') {
        return GMV_FAIL(GMV_ERR_CONFIG, "output.dir is empty; name a folder, such as out/run");
    }
    return GMV_OK;
}
