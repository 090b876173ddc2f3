/* What single bounds cannot say: keys that contradict each other. */
#include "config_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
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
    static const char *const ours[] = {"gmvae_cluster",  "gmvae_certainty", "gmvae_component",
                                       "gmvae_neg_elbo", "gmvae_counts",    "gmvae_file"};
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

gmv_status gmv_config_check_trains(const gmv_config *config)
{
    return config->data_train.n > 0
               ? GMV_OK
               : GMV_FAIL(GMV_ERR_CONFIG, "data.train is empty; name the files to train on, such as "
                                          "data.train=atlas.h5ad");
}

static gmv_status check_files(const gmv_config *config)
{
    const gmv_texts *train = &config->data_train, *held_out = &config->data_validation.paths;
    if (config->data_predict.n == 0) {
        GMV_TRY(gmv_config_check_trains(config));
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

/* auto, components, or a number of clusters that there can be. */
static gmv_status check_clusters(const gmv_config *config)
{
    const char *wanted = config->output_clusters;
    char *end;
    if (strcmp(wanted, "auto") == 0 || strcmp(wanted, "components") == 0) {
        return GMV_OK;
    }
    long clusters = strtol(wanted, &end, 10);
    if (wanted[0] < '0' || wanted[0] > '9' || *end != '\0') {
        return GMV_FAIL(GMV_ERR_CONFIG, "output.clusters: \"%.80s\" is not auto, components or a number", wanted);
    }
    if (config->model_prior == GMV_PRIOR_NORMAL) {
        return GMV_FAIL(
            GMV_ERR_CONFIG,
            "output.clusters: %s, but model.prior: normal has no components; leave it auto, or take another "
            "prior",
            wanted);
    }
    if (clusters < 1 || clusters > config->model_clusters) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "output.clusters: %s of %" PRId64 " components (model.clusters); take 1 to %" PRId64
                        ", or auto",
                        wanted, config->model_clusters, config->model_clusters);
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

static const char *const logs[] = {GMV_LOGS(GMV_CHOICE_NAME)};

/* Whether a list names some of these only. */
static gmv_status check_names(const char *key, const gmv_texts *texts, int n, const char *const *names)
{
    const char *wrong = NULL;
    for (int t = 0; t < texts->n && wrong == NULL; t++) {
        int i = 0;
        while (i < n && strcmp(texts->at[t], names[i]) != 0) {
            i++;
        }
        wrong = i < n ? NULL : texts->at[t];
    }
    if (wrong == NULL) {
        return GMV_OK;
    }
    char all[400] = "";
    for (int i = 0; i < n; i++) {
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", i == 0 ? "" : i + 1 < n ? ", " : " and ", names[i]);
    }
    const char *near = gmv_nearest(wrong, n, names);
    return near != NULL ? GMV_FAIL(GMV_ERR_CONFIG, "%s: there is no \"%.100s\"; did you mean \"%s\"?", key, wrong, near)
                        : GMV_FAIL(GMV_ERR_CONFIG, "%s: there is no \"%.100s\"; there are %s", key, wrong, all);
}

/* What is asked for and not there is not left out in silence, nor behind a warning that nobody reads. */
static gmv_status check_output(const gmv_config *config)
{
    static const char *const metrics[] = {
#define GMV_METRIC(name, title, needs, k, help) #name,
#include "gmvae/metrics.def"
#undef GMV_METRIC
        "all"};
    GMV_TRY(check_names("output.metrics", &config->output_metrics, (int)(sizeof metrics / sizeof *metrics), metrics));
    return check_names("output.logs", &config->output_logs, (int)(sizeof logs / sizeof *logs), logs);
}

bool gmv_config_logs(const gmv_config *config, int log)
{
    for (int i = 0; i < config->output_logs.n; i++) {
        if (strcmp(config->output_logs.at[i], logs[log]) == 0) {
            return true;
        }
    }
    return false;
}

/* A word, or a number above 0. */
static gmv_status check_scale(const char *key, const char *value, const char *word)
{
    char *end;
    double scale = strtod(value, &end);
    return strcmp(value, word) == 0 || (value[0] != '\0' && *end == '\0' && scale > 0.0 && scale <= 1e30)
               ? GMV_OK
               : GMV_FAIL(GMV_ERR_CONFIG, "%s: \"%.80s\" is neither %s nor a number above 0", key, value, word);
}

static gmv_status check_expression(const gmv_config *config)
{
    const gmv_texts *genes = &config->denoise_genes;
    bool all = genes->n == 1 && strcmp(genes->at[0], "all") == 0;
    GMV_TRY(check_scale("denoise.scale", config->denoise_scale, "library"));
    GMV_TRY(check_scale("generate.library", config->generate_library, "own"));
    if (!all && config->denoise_genes_file[0] != '\0') {
        return GMV_FAIL(GMV_ERR_CONFIG, "denoise.genes and denoise.genes_file both name genes; leave one out");
    }
    return genes->n > 0 ? GMV_OK : GMV_FAIL(GMV_ERR_CONFIG, "denoise.genes is empty; name genes, or all");
}

gmv_status gmv_config_check(const gmv_config *config)
{
    GMV_TRY(check_files(config));
    GMV_TRY(check_batch_keys(config));
    GMV_TRY(check_genes(config));
    GMV_TRY(check_exact_sums(config));
    GMV_TRY(check_training(config));
    GMV_TRY(check_clusters(config));
    GMV_TRY(check_device(config));
    GMV_TRY(check_output(config));
    GMV_TRY(check_expression(config));
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
