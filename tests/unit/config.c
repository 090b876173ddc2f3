/* Configs that are right: values, shorthands, overrides, writing and reading back, checks, differences. */
#include "gmvae/config.h"
#include "gmvae/mem.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Parses text with up to four overrides (NULL ends them), which must succeed. */
static void parse(gmv_config *config, const char *text, const char *const *overrides)
{
    int n = 0;
    while (overrides != NULL && overrides[n] != NULL) {
        n++;
    }
    gmv_error_clear();
    if (gmv_config_parse(config, "c.yaml", text, (int64_t)strlen(text), n, overrides) != GMV_OK) {
        fail_msg("%s: %s", text, gmv_error_message());
    }
}
#define OVERRIDES(...) ((const char *const[]){__VA_ARGS__, NULL})

static char *written(const gmv_config *config)
{
    char *text = NULL;
    assert_int_equal(gmv_config_text(config, &text), GMV_OK);
    return text;
}

/* The config, written and read back, must be written the same again. Leaves nothing behind. */
static void check_round_trip(gmv_config *config)
{
    gmv_config again;
    char *first = written(config);
    parse(&again, first, NULL);
    char *second = written(&again);
    assert_string_equal(first, second);
    assert_memory_equal(&config->train_lr, &again.train_lr, sizeof config->train_lr);
    gmv_free(first);
    gmv_free(second);
    gmv_config_fini(&again);
}

static void test_defaults(void **state)
{
    (void)state;
    static const char *const empty[] = {"",   "\n# nothing\n", "---\n", "---\n...\n",
                                        "{}", "\xef\xbb\xbf",  "~",     "train:\nmodel:\n"};
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++) {
        gmv_config c;
        parse(&c, empty[i], NULL);
        assert_int_equal(c.seed, 1);
        assert_int_equal(c.model_clusters, 20);
        assert_int_equal(c.model_encoder.n, 2);
        assert_int_equal(c.model_encoder.at[1], 250);
        assert_string_equal(c.output_dir, "out/run");
        assert_string_equal(c.data_label_key, "");
        assert_int_equal(c.data_train.n, 0);
        assert_true(c.output_embedding);
        assert_float_equal(c.data_validation.fraction, 0.1, 0);
        assert_string_equal(gmv_config_choice("model.objective", c.model_objective), "marginal");
        assert_int_equal(c.data_genes, GMV_GENES_ALL);
        check_round_trip(&c);
        gmv_config_fini(&c);
    }
}

static void test_values(void **state)
{
    (void)state;
    gmv_config c;
    parse(&c,
          "\xef\xbb\xbfseed: 9007199254740991\r\n"
          "data:\r\n"
          "  train: atlas_*.h5ad   # one path is a list of one\r\n"
          "  validation: [a.h5ad, 'b c.h5ad']\r\n"
          "  batch_keys:\r\n  - donor\r\n  - site\r\n"
          "  label_key: yes\r\n"
          "model: {beta: 100, encoder: [7], likelihood: \"nb_logit\"}\r\n"
          "train: {lr: 1e-3, clip_norm: 5, adam: {beta1: .5}}\r\n"
          "output: {embedding: no}\r\n",
          NULL);
    assert_int_equal(c.seed, 9007199254740991);
    assert_int_equal(c.data_train.n, 1);
    assert_string_equal(c.data_train.at[0], "atlas_*.h5ad");
    assert_int_equal(c.data_validation.paths.n, 2);
    assert_string_equal(c.data_validation.paths.at[1], "b c.h5ad");
    assert_float_equal(c.data_validation.fraction, 0, 0);
    assert_int_equal(c.data_batch_keys.n, 2);
    assert_string_equal(c.data_batch_keys.at[1], "site");
    assert_string_equal(c.data_label_key, "yes");
    assert_int_equal(c.model_beta.n, 1);
    assert_int_equal(c.model_beta.at[0], 100);
    assert_int_equal(c.model_encoder.n, 1);
    assert_string_equal(gmv_config_choice("model.likelihood", c.model_likelihood), "nb_logit");
    assert_float_equal(c.train_lr, 1e-3, 0);
    assert_float_equal(c.train_clip_norm, 5, 0);
    assert_float_equal(c.train_adam_beta1, 0.5, 0);
    assert_false(c.output_embedding);
    check_round_trip(&c);
    gmv_config_fini(&c);
}

static void test_overrides(void **state)
{
    (void)state;
    gmv_config c;
    parse(&c, "train: {epochs: 3, lr: 0.5}\ndata: {label_key: type, validation: 0.2}",
          OVERRIDES("train.epochs=10", "train.epochs=11", "data.train=*.h5ad", "model.encoder=[5, 6, 7]",
                    "data.label_key=", "model.beta=[]", "train={batch_size: 64}", "data.validation=held.h5ad",
                    "output.dir=out/lr=0.5", "output.embedding=no"));
    assert_int_equal(c.train_epochs, 11);
    assert_float_equal(c.train_lr, 0.5, 0);
    assert_string_equal(c.data_train.at[0], "*.h5ad");
    assert_int_equal(c.model_encoder.n, 3);
    assert_int_equal(c.model_encoder.at[2], 7);
    assert_int_equal(c.model_beta.n, 0);
    assert_string_equal(c.data_label_key, "");
    assert_int_equal(c.train_batch_size, 64);
    assert_int_equal(c.data_validation.paths.n, 1);
    assert_string_equal(c.output_dir, "out/lr=0.5");
    check_round_trip(&c);
    gmv_config_fini(&c);
    parse(&c, "data: {validation: a.h5ad}", OVERRIDES("data.validation=0.25"));
    assert_int_equal(c.data_validation.paths.n, 0);
    assert_float_equal(c.data_validation.fraction, 0.25, 0);
    gmv_config_fini(&c);
}

static void test_validation(void **state)
{
    (void)state;
    gmv_config c;
    parse(&c, "data: {validation: {key: 'the donor', levels: [d3, 7, 'true']}}", NULL);
    assert_string_equal(c.data_validation.key, "the donor");
    assert_int_equal(c.data_validation.levels.n, 3);
    assert_string_equal(c.data_validation.levels.at[1], "7");
    assert_string_equal(c.data_validation.levels.at[2], "true");
    assert_true(gmv_validation_splits(&c.data_validation));
    check_round_trip(&c);
    gmv_config_fini(&c);
    /* each form replaces what was there before */
    parse(&c, "data: {validation: {key: a, levels: b}}", OVERRIDES("data.validation={files: [x, 'y*.h5ad']}"));
    assert_null(c.data_validation.key);
    assert_int_equal(c.data_validation.levels.n, 0);
    assert_int_equal(c.data_validation.files.n, 2);
    assert_string_equal(c.data_validation.files.at[1], "y*.h5ad");
    assert_float_equal(c.data_validation.fraction, 0, 0);
    char *text = written(&c);
    assert_non_null(strstr(text, "validation: {files: [x, "));
    gmv_free(text);
    check_round_trip(&c);
    gmv_config_fini(&c);
    parse(&c, "data: {validation: {files: a}}", OVERRIDES("data.validation=other.h5ad"));
    assert_int_equal(c.data_validation.files.n, 0);
    assert_int_equal(c.data_validation.paths.n, 1);
    assert_false(gmv_validation_splits(&c.data_validation));
    gmv_config_fini(&c);
    parse(&c, "data: {validation: {files: a}}", OVERRIDES("data.validation=0"));
    assert_false(gmv_validation_splits(&c.data_validation));
    gmv_config_fini(&c);
}

static void check_genes(const char *text, const char *override, int choice, int64_t n_top, const char *file)
{
    gmv_config c;
    parse(&c, text, OVERRIDES(override));
    assert_int_equal(c.data_genes, choice);
    assert_int_equal(c.data_genes_n_top, n_top);
    assert_string_equal(c.data_genes_file, file);
    check_round_trip(&c);
    gmv_config_fini(&c);
}

static void test_genes(void **state)
{
    (void)state;
    check_genes("data: {genes: all}", "seed=1", GMV_GENES_ALL, 0, "");
    check_genes("data: {genes: {n_top: 2000}}", "seed=1", GMV_GENES_N_TOP, 2000, "");
    check_genes("data: {genes: {file: g.txt}}", "seed=1", GMV_GENES_FILE, 0, "g.txt");
    check_genes("data: {genes: {file: '', n_top: 7}}", "seed=1", GMV_GENES_N_TOP, 7, "");
    check_genes("data: {genes: {flavor: seurat_v3, n_top: 7}}", "data.genes=all", GMV_GENES_ALL, 0, "");
    check_genes("data: {genes: {n_top: 7}}", "data.genes=all", GMV_GENES_ALL, 0, "");
    check_genes("data: {genes: {n_top: 7}}", "data.genes.n_top=0", GMV_GENES_ALL, 0, "");
    check_genes("data: {genes: {n_top: 7}}", "data.genes.file=g.txt", GMV_GENES_FILE, 0, "g.txt");
    check_genes("data: {genes: {file: g.txt}}", "data.genes={n_top: 9}", GMV_GENES_N_TOP, 9, "");
    check_genes("data: {genes: {file: g.txt}}", "data.genes.file=", GMV_GENES_ALL, 0, "");
}

static void check_warmup(const char *text, const char *override, double fraction, int64_t steps)
{
    gmv_config c;
    parse(&c, text, OVERRIDES(override));
    assert_float_equal(c.train_kl_warmup_fraction, fraction, 0);
    assert_int_equal(c.train_kl_warmup_steps, steps);
    check_round_trip(&c);
    gmv_config_fini(&c);
}

static void test_warmup_and_schedule(void **state)
{
    (void)state;
    check_warmup("train: {kl_warmup: 0}", "seed=1", 0, 0);
    check_warmup("train: {kl_warmup: {fraction: 0.5}}", "seed=1", 0.5, 0);
    check_warmup("train: {kl_warmup: {steps: 100}}", "seed=1", 0, 100);
    check_warmup("train: {kl_warmup: {steps: 100, fraction: 0}}", "seed=1", 0, 100);
    check_warmup("train: {kl_warmup: {steps: 0, fraction: 0.2}}", "seed=1", 0.2, 0);
    check_warmup("train: {kl_warmup: {fraction: 0.5}}", "train.kl_warmup.steps=9", 0, 9);
    check_warmup("train: {kl_warmup: {steps: 100}}", "train.kl_warmup.fraction=0.1", 0.1, 0);
    check_warmup("train: {kl_warmup: {steps: 100}}", "train.kl_warmup.steps=0", 0.33, 0);
    check_warmup("train: {kl_warmup: {steps: 100}}", "train.kl_warmup=0", 0, 0);
    gmv_config c;
    parse(&c, "train: {lr_schedule: {after: 3, factor: 0.1}}", NULL);
    assert_int_equal(c.train_lr_schedule_after, 3);
    assert_float_equal(c.train_lr_schedule_factor, 0.1, 0);
    gmv_config_fini(&c);
    parse(&c, "train: {lr_schedule: 0}", NULL);
    assert_int_equal(c.train_lr_schedule_after, 0);
    check_round_trip(&c);
    gmv_config_fini(&c);
}

static void test_texts_survive_writing(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "a b",
        "a: b",
        "#x",
        "yes",
        "NULL",
        "~",
        "1.5",
        ".5",
        "[x]",
        "{",
        "*.h5ad",
        "x\"y\\z",
        "line\nline\ttab",
        "'",
        "\xc3\xa9t\xc3\xa9",
        "a\xc2\x85"
        "b",
        "a\xe2\x80\xa8"
        "b",
        "\xef\xbb\xbfx",
        "\x7f\x1b",
        "\xf0\x9f\xa7\xac",
        " edge ",
        "-",
        "../up/x.h5ad",
        "a,b",
        "a #b",
        "%",
        "!x",
        "&x",
        "? y",
        "\xc2\x9b",
        "\xef\xbf\xbf",
    };
    gmv_config c, again;
    parse(&c, "", NULL);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char *only[] = {(char *)(uintptr_t)texts[i]}, *kept = c.data_label_key;
        c.data_label_key = only[0];
        c.data_train = (gmv_texts){only, 1};
        char *text = written(&c);
        c.data_label_key = kept;
        c.data_train = (gmv_texts){NULL, 0};
        assert_null(strstr(text, "\xe2\x80\xa8")); /* a line break to other readers */
        parse(&again, text, NULL);
        assert_string_equal(again.data_label_key, texts[i]);
        assert_string_equal(again.data_train.at[0], texts[i]);
        gmv_config_fini(&again);
        gmv_free(text);
    }
    gmv_config_fini(&c);
}

static void test_reals_survive_writing(void **state)
{
    (void)state;
    static const double reals[] = {0.1, 1.0 / 3, 1e-3,  9.999999999999999,  2.2250738585072014e-308, 4.9e-324,
                                   0,   10,      1e-16, 0.30000000000000004};
    gmv_config c;
    parse(&c, "", NULL);
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        c.train_lr = reals[i];
        check_round_trip(&c);
    }
    c.train_clip_norm = 1e9;
    char *text = written(&c);
    assert_non_null(strstr(text, "clip_norm: 1000000000.0\n"));
    assert_non_null(strstr(text, "epsilon: 1.0e-08}\n"));
    gmv_free(text);
    gmv_config_fini(&c);
}

static void test_sweep(void **state)
{
    (void)state;
    gmv_config c;
    parse(
        &c,
        "sweep:\n  over:\n    model.encoder: [[5], [6, 7]]\n    data.label_key: [a, \"1\", 'b, c', ~]\n"
        "    model.clusters: 4\n    train.lr: {min: 1.0e-4, max: 0.5, log: true}\n    data.genes: [all, {n_top: 9}]\n",
        OVERRIDES("sweep.repeats=3"));
    static const char *const values[][4] = {
        {"[5]", "[6, 7]"}, {"a", "\"1\"", "\"b, c\"", "null"}, {"4"}, {NULL}, {"all", "{n_top: 9}"}};
    assert_int_equal(c.sweep_over.n, 5);
    for (int a = 0; a < 5; a++) {
        const gmv_axis *axis = &c.sweep_over.at[a];
        for (int i = 0; i < axis->values.n; i++) {
            assert_string_equal(axis->values.at[i], values[a][i]);
        }
        assert_true(axis->values.n == 4 || values[a][axis->values.n] == NULL);
    }
    const gmv_axis *range = &c.sweep_over.at[3];
    assert_true(range->log && !range->whole && range->values.n == 0);
    assert_float_equal(range->min, 1e-4, 0);
    assert_float_equal(range->max, 0.5, 0);
    check_round_trip(&c);
    assert_int_equal(gmv_config_reset(&c, "sweep."), GMV_OK);
    assert_int_equal(c.sweep_over.n, 0);
    assert_int_equal(c.sweep_repeats, 1);
    assert_string_equal(c.output_dir, "out/run");
    gmv_config_fini(&c);
}

static void test_check(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message; /* NULL: nothing wrong */
    } table[] = {
        {"data: {train: a}", NULL},
        {"data: {predict: a}", NULL},
        {"", "data.train is empty"},
        {"data: {train: a, validation: [b, a]}", "\"a\" is in data.train and in data.validation"},
        {"data: {train: a, matrix: Antibody Capture}", NULL}, /* only the file knows its matrices */
        {"data: {train: a, batch_keys: [x, y, x]}", "\"x\" is in data.batch_keys twice"},
        {"data: {train: a, batch_keys: [x], label_key: x}", "data.label_key, which training must not see"},
        {"data: {train: a, batch_keys: [x, x/y]}", "\"x/y\" lies in \"x\""},
        {"data: {train: a, batch_keys: [x/y], label_key: x}", "\"x/y\" lies in \"x\""},
        {"{data: {train: a}, output: {metrics: [nmi, aws]}}",
         "output.metrics: there is no \"aws\"; did you mean \"asw\""},
        {"{data: {train: a}, output: {metrics: silhouette}}", "there are ari, nmi, "},
        {"{data: {train: a}, model: {family: vae, objective: mc}}",
         "model.objective: mc is for model.prior: mixture_of_w"},
        {"data: {train: a, batch_keys: [gmvae_cluster]}",
         "the embedding has a column of its own called \"gmvae_cluster\""},
        {"data: {train: a, genes: {flavor: seurat_v3}}", "flavor says what n_top goes by, but there is none"},
        {"data: {train: a, genes: {n_top: 9, flavor: seurat_v3}}", NULL},
        {"data: {train: a, shards: 63}\ntrain: {reduction: exact}", "take 64 shards"},
        {"data: {train: a, shards: 63}", NULL},
        {"data: {train: a, shards: 65536}\ntrain: {reduction: exact, micro_batches: 1000}", "take 65000 shards"},
        {"data: {train: a}\ntrain: {reduction: exact, batch_size: 4}", "smaller than train.micro_batches (8)"},
        {"data: {train: a}\ntrain: {lr_schedule: {after: 5, factor: 0}}", "stops learning after epoch 5"},
        {"data: {train: a}\ntrain: {z_free_nats: 1}", "no meaning with model.objective: marginal"},
        {"data: {train: a}\ntrain: {z_free_nats: 1}\nmodel: {objective: mc}", NULL},
        {"data: {train: a, residence: device}\nbackend: cpu", "needs a GPU"},
        {"data: {train: a}\nbackend: cpu\ntrain: {precision: tf32}", "take fp32"},
        {"data: {train: a}\noutput: {dir: }", "output.dir is empty"},
        {"data: {train: [a.h5ad]}\ndenoise: {scale: 1e4, genes: CD3D}", NULL},
        {"data: {train: [a.h5ad]}\ndenoise: {scale: much}", "denoise.scale: \"much\" is neither library nor a number"},
        {"data: {train: [a.h5ad]}\ndenoise: {scale: 0}", "denoise.scale: \"0\""},
        {"data: {train: [a.h5ad]}\ndenoise: {genes: [A], genes_file: g.txt}", "both name genes; leave one out"},
        {"data: {train: [a.h5ad]}\ngenerate: {library: 1500}", NULL},
        {"data: {train: [a.h5ad]}\ngenerate: {library: some}",
         "generate.library: \"some\" is neither own nor a number"},
        {"data: {train: [a.h5ad]}\ndenoise: {genes: []}", "denoise.genes is empty"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        gmv_config c;
        parse(&c, table[i].text, NULL);
        gmv_status status = gmv_config_check(&c);
        if (status != (table[i].message ? GMV_ERR_CONFIG : GMV_OK) ||
            (table[i].message && strstr(gmv_error_message(), table[i].message) == NULL)) {
            fail_msg("%s: %s", table[i].text, gmv_error_message());
        }
        gmv_config_fini(&c);
    }
}

static void check_differences(const char *theirs, const char *ours, const char *expected)
{
    gmv_config a, b;
    char *text = NULL;
    parse(&a, theirs, NULL);
    parse(&b, ours, NULL);
    assert_int_equal(gmv_config_differences(&a, &b, &text), GMV_OK);
    assert_string_equal(text, expected);
    gmv_free(text);
    gmv_config_fini(&a);
    gmv_config_fini(&b);
}

static void test_differences(void **state)
{
    (void)state;
    check_differences("", "train: {epochs: 99, lr: 1}\noutput: {dir: x}\nruntime: {threads: 2}\ndata: {train: b}", "");
    check_differences("model: {clusters: 5}\nseed: 2", "data: {genes: {n_top: 3}}",
                      "seed: 2, here 1\ndata.genes: all, here n_top\ndata.genes.n_top: 0, here 3\n"
                      "model.clusters: 5, here 20\n");
    check_differences("data: {genes: {n_top: 3, flavor: seurat_v3}}", "data: {genes: {n_top: 3}}",
                      "data.genes.flavor: seurat_v3, here log1p_variance\n");
    check_differences("model: {encoder: 3}", "data: {batch_keys: donor}",
                      "data.batch_keys: [], here [donor]\nmodel.encoder: [3], here [300, 250]\n");
    check_differences("data: {validation: a}", "data: {validation: b}", "");
    check_differences("data: {validation: a}", "data: {validation: 0.5}", "data.validation: [a], here 0.5\n");
    check_differences("data: {validation: {files: a}}", "data: {validation: {key: a, levels: b}}",
                      "data.validation: {files: [a]}, here {key: a, levels: [b]}\n");
    check_differences("data: {validation: {files: a}}", "data: {validation: {files: [a]}}", "");
    check_differences("train: {micro_batches: 4}", "", "");
    check_differences("train: {micro_batches: 4, reduction: exact}", "train: {reduction: exact}",
                      "train.micro_batches: 4, here 8\n");
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const words[] = {"train", "embed", "eval", "inspect", "doctor"};
    assert_string_equal(gmv_nearest("trian", 5, words), "train");
    assert_string_equal(gmv_nearest("inspct", 5, words), "inspect");
    assert_string_equal(gmv_nearest("eval", 5, words), "eval");
    assert_string_equal(gmv_nearest("ot", 1, (const char *const[]){"to"}), "to"); /* one swap, not two edits */
    assert_null(gmv_nearest("xyz", 5, words));
    assert_null(gmv_nearest("train", 0, words));
    assert_string_equal(gmv_config_choice("model.likelihood", 0), "nb");
    assert_string_equal(gmv_config_choice("data.residence", 3), "stream");
    assert_string_equal(gmv_config_choice("model.likelihood", 99), "?");
    assert_string_equal(gmv_config_choice("no.such", 0), "?");
}

/* The whole file as a string. Ownership: caller frees with gmv_free. */
static char *read_whole(const char *file)
{
    char *text = NULL;
    int64_t length = 0;
    gmv_error_clear();
    if (gmv_config_read_file(file, &text, &length) != GMV_OK) {
        fail_msg("%s", gmv_error_message());
    }
    return text;
}

/* Path of a file of the project; the caller frees it. A bundle has its copy elsewhere than the build machine. */
static char *project_file(const char *name)
{
    const char *project = getenv("GMVAE_TEST_PROJECT");
    project = project != NULL ? project : TEST_PROJECT;
    size_t size = strlen(project) + strlen(name) + 2;
    char *path = malloc(size);
    assert_non_null(path);
    snprintf(path, size, "%s/%s", project, name);
    return path;
}

static void test_example_configs(void **state)
{
    (void)state;
    glob_t found = {0};
    char *pattern = project_file("configs/*.yaml");
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    free(pattern);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        gmv_config c;
        char *text = read_whole(found.gl_pathv[i]);
        parse(&c, text, NULL);
        if (gmv_config_check(&c) != GMV_OK) {
            fail_msg("%s: %s", found.gl_pathv[i], gmv_error_message());
        }
        check_round_trip(&c);
        gmv_config_fini(&c);
        gmv_free(text);
    }
    globfree(&found);
}

static void test_docs_are_generated(void **state)
{
    (void)state;
    char *path = project_file("docs/config.md");
    char *generated = NULL, *committed = read_whole(path);
    free(path);
    size_t size = 0;
    FILE *out = open_memstream(&generated, &size);
    assert_non_null(out);
    gmv_config_write_docs(out);
    fclose(out);
    assert_string_equal(committed, generated); /* else: gmvae_dist --print-config-docs > docs/config.md */
    free(generated);
    gmv_free(committed);
}

static void test_nothing_is_left(void **state)
{
    (void)state;
    assert_int_equal(gmv_alloc_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_overrides),
        cmocka_unit_test(test_validation),
        cmocka_unit_test(test_genes),
        cmocka_unit_test(test_warmup_and_schedule),
        cmocka_unit_test(test_texts_survive_writing),
        cmocka_unit_test(test_reals_survive_writing),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_example_configs),
        cmocka_unit_test(test_docs_are_generated),
        cmocka_unit_test(test_nothing_is_left),
        cmocka_unit_test(test_sweep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
