/* Every kind of mistake in a config: the message must point at the exact place and say what to do. */
#include "gmvae/config.h"
#include "gmvae/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct mistake {
    const char *text;     /* of the file c.yaml */
    const char *override; /* NULL for none */
    const char *where;    /* the message must start with this */
    const char *what;     /* and hold this */
} mistake;

static void expect_failure(const mistake *m, const char *text, int64_t length)
{
    gmv_config config;
    int64_t live = gmv_alloc_live();
    gmv_error_clear();
    gmv_status status = gmv_config_parse(&config, "c.yaml", text, length, m->override != NULL, &m->override);
    const char *message = gmv_error_message();
    if (status != GMV_ERR_CONFIG || strncmp(message, m->where, strlen(m->where)) != 0 ||
        strstr(message, m->what) == NULL || strpbrk(message, "\n\r\t\033") != NULL) {
        fail_msg("%.60s [%s]: status %d, message <%s>, expected <%s ... %s>", text, m->override ? m->override : "",
                 (int)status, message, m->where, m->what);
    }
    assert_int_equal(gmv_alloc_live(), live);
    gmv_config_fini(&config); /* allowed after a failure */
}

static void run_table(const mistake *table, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        expect_failure(&table[i], table[i].text, (int64_t)strlen(table[i].text));
    }
}
#define RUN(table) run_table(table, sizeof(table) / sizeof(table)[0])

static void test_not_yaml(void **state)
{
    (void)state;
    static const mistake table[] = {
        {"seed: 1\ndata:\n  train: [a.h5ad\nmodel:\n", NULL, "c.yaml:4:6: ", "close the list with ]"},
        {"data: {train: a.h5ad\n", NULL, "c.yaml:2:1: ", "close the mapping with }"},
        {"seed: 1\n\tbackend: cpu\n", NULL, "c.yaml:2:1: ", "a tab in the indentation; use spaces"},
        {"data:\n  \ttrain: a.h5ad\n", NULL, "c.yaml:2:3: ", "a tab in the indentation; use spaces"},
        {"data:\n  label_key: \"abc\n", NULL, "c.yaml:3:1: ", "close the quote"},
        {"data:\n  train: a\n label_key: b\n", NULL, "c.yaml:3:2: ", "same column"},
        {"seed: 1: 2\n", NULL, "c.yaml:1:8: ", "quote a value"},
        {"data: {train: *.h5ad}\n", NULL, "c.yaml:1:16: ", "quote a text that starts with *"},
        {"data: @x\n", NULL, "c.yaml:1:7: ", "quote the text"},
        {"backend: cpu\nseed\n", NULL, "c.yaml:3:1: ", "KEY: VALUE"},
        {"just words", NULL, "c.yaml:1:1: ", "the config must be a mapping (KEY: VALUE), not a text"},
        {"- a\n- b\n", NULL, "c.yaml:1:1: ", "the config must be a mapping (KEY: VALUE), not a list"},
        {"? [a, b]\n: 1\n", NULL, "c.yaml:1:3: ", "a key must be a word"},
        {"", "train.epochs=[3", "override \"train.epochs=[3\": ", "close the list with ]"},
    };
    RUN(table);
}

static void test_refused_features(void **state)
{
    (void)state;
    static const mistake table[] = {
        {"seed: 1\n---\nseed: 2\n", NULL, "c.yaml:2:1: ", "a second document"},
        {"seed: &s 1\n", NULL, "c.yaml:1:7: ", "anchors (&NAME) are not supported"},
        {"data: &d\n  train: a\n", NULL, "c.yaml:1:7: ", "anchors"},
        {"data:\n  train: &t [*t]\n", NULL, "c.yaml:2:10: ", "anchors"},
        {"data:\n  label_key: *k\n", NULL, "c.yaml:2:14: ", "aliases (*NAME) are not supported"},
        {"data: !include other.yaml\n", NULL, "c.yaml:1:7: ", "tags (!NAME) are not supported"},
        {"seed: !!python/object:os.system 1\n", NULL, "c.yaml:1:7: ", "tags (!NAME) are not supported"},
        {"data:\n  label_key: \"a\\0b\"\n", NULL, "c.yaml:2:14: ", "zero character"},
    };
    RUN(table);
}

static void test_bytes(void **state)
{
    (void)state;
    static const mistake table[] = {
        {"seed: 1\ndata: {label_key: \xff}\n", NULL, "c.yaml:2:19: ", "byte 0xff is not UTF-8"},
        {"# \xc3\xa9t\xc3\xa9\n# \xc3\xa9 \xc0\xaf\n", NULL, "c.yaml:2:5: ", "byte 0xc0 is not UTF-8"},
        {"# \xed\xa0\x80\n", NULL, "c.yaml:1:3: ", "byte 0xed is not UTF-8"},
        {"# \xf4\x90\x80\x80\n", NULL, "c.yaml:1:3: ", "byte 0xf4 is not UTF-8"},
        {"# \xe2\x82", NULL, "c.yaml:1:3: ", "byte 0xe2 is not UTF-8"},
        {"seed: 1\r\nbackend: \033[31mcpu\r\n", NULL, "c.yaml:2:10: ", "character U+001B"},
        {"\x89HDF\r\n\x1a\n", NULL, "c.yaml: ", "HDF5 file, not a YAML config"},
        {"\xff\xfes", NULL, "c.yaml:1:1: ", "not UTF-8"},
        {"", "data.label_key=\xff", "override \"data.label_key=", "not UTF-8"},
        {"", "data.label_key=a\nb: c", "override \"data.label_key=a?b: c\": ", "not YAML"},
        {"backend: \"\\e[31m\"\n", NULL, "c.yaml:1:10: ", "not the quoted text \"?[31m\""},
    };
    RUN(table);
    expect_failure(&(mistake){NULL, NULL, "c.yaml:1:8: ", "character U+0000"}, "seed: 1\0", 8);
}

static void test_keys(void **state)
{
    (void)state;
    static const mistake table[] = {
        {"seed: 1\nbackend: cpu\nseed: 2\n", NULL, "c.yaml:3:1: ", "duplicate key \"seed\", first given in line 1"},
        {"data: {train: a}\ntrain: {epochs: 1}\ndata: {shards: 1}\n", NULL, "c.yaml:3:1: ", "duplicate key \"data\""},
        {"data:\n  train: a\n  train: b\n", NULL, "c.yaml:3:3: ", "first given in line 2"},
        {"train:\n  epoch: 3\n", NULL, "c.yaml:2:3: ", "unknown key \"train.epoch\"; did you mean \"train.epochs\"?"},
        {"epochs: 3\n", NULL, "c.yaml:1:1: ", "unknown key \"epochs\"; did you mean \"train.epochs\"?"},
        {"model: {batch_size: 3}\n", NULL, "c.yaml:1:9: ", "did you mean \"train.batch_size\"?"},
        {"trian: {epochs: 3}\n", NULL, "c.yaml:1:1: ", "did you mean \"train\"?"},
        {"train: {beta1: 0.5}\n", NULL, "c.yaml:1:9: ", "did you mean \"train.adam.beta1\"?"},
        {"data: {genes: {ntop: 5}}\n", NULL, "c.yaml:1:16: ", "did you mean \"data.genes.n_top\"?"},
        {"train.epochs: 3\n", NULL, "c.yaml:1:1: ", "write train: {epochs: ...}"},
        {"xylophone: 3\n", NULL, "c.yaml:1:1: ", "--print-config lists all keys"},
        {"output: {colour: yes}", NULL, "c.yaml:1:10: ", "unknown key \"output.colour\"; gmvae_dist --print-config"},
        {"<<: {seed: 1}\n", NULL, "c.yaml:1:1: ", "unknown key \"<<\""},
        {"", "epochs=3", "override \"epochs=3\": ", "did you mean \"train.epochs\"?"},
        {"", "train.epochs.x=3", "override \"train.epochs.x=3\": ", "did you mean \"train.epochs\"?"},
        {"", "train.epochs", "override \"train.epochs\": ", "not KEY=VALUE"},
        {"", "=3", "override \"=3\": ", "not KEY=VALUE"},
    };
    RUN(table);
}

static void test_types(void **state)
{
    (void)state;
    static const mistake table[] = {
        {"train:\n  epochs: ten\n", NULL, "c.yaml:2:11: ", "train.epochs must be an integer, not \"ten\""},
        {"train: {epochs: 1.5}", NULL, "c.yaml:1:17: ", "must be an integer, not \"1.5\""},
        {"train: {epochs: \"10\"}", NULL, "c.yaml:1:17: ", "must be an integer, not the quoted text \"10\""},
        {"train: {epochs: !!str 10}", NULL, "c.yaml:1:17: ", "not the quoted text \"10\""},
        {"train: {epochs: 010}", NULL, "c.yaml:1:17: ", "must be an integer"},
        {"train: {epochs: 0x10}", NULL, "c.yaml:1:17: ", "must be an integer"},
        {"train: {epochs: }", NULL, "c.yaml:1:17: ", "must be an integer, not nothing"},
        {"train: {epochs: [3]}", NULL, "c.yaml:1:17: ", "must be an integer, not a list"},
        {"train: {epochs: {a: 3}}", NULL, "c.yaml:1:17: ", "must be an integer, not a mapping"},
        {"train: {lr: fast}", NULL, "c.yaml:1:13: ", "train.lr must be a number, not \"fast\""},
        {"train: {lr: 1e}", NULL, "c.yaml:1:13: ", "must be a number"},
        {"train: {lr: 1,5}", NULL, "c.yaml:1:15: ", "unknown key \"train.5\""},
        {"train: 5", NULL, "c.yaml:1:8: ", "train must be a mapping, not \"5\"; put its keys below it"},
        {"train: [epochs]", NULL, "c.yaml:1:8: ", "train must be a mapping (KEY: VALUE), not a list"},
        {"output: {embedding: maybe}", NULL, "c.yaml:1:21: ", "must be true or false, not \"maybe\""},
        {"output: {embedding: 1}", NULL, "c.yaml:1:21: ", "must be true or false"},
        {"output: {dir: [a]}", NULL, "c.yaml:1:15: ", "output.dir must be a text, not a list"},
        {"data: {train: {a: b}}", NULL, "c.yaml:1:15: ", "must be a text or a list of texts, not a mapping"},
        {"data: {train: [a, [b]]}", NULL, "c.yaml:1:19: ", "must be a text or a list of texts, not a list"},
        {"data: {train: [a, \"\"]}", NULL, "c.yaml:1:19: ", "must be a text"},
        {"data: {validation: {a: 1}}", NULL,
         "c.yaml:1:21: ", "unknown key \"a\"; it takes a fraction of the cells, {files"},
        {"data: {validation: {level: [a], key: b}}", NULL, "c.yaml:1:21: ", "did you mean \"levels\"?"},
        {"data: {validation: {key: donor}}", NULL, "c.yaml:1:20: ", "needs both, such as {key: donor, levels: [d3]}"},
        {"data: {validation: {levels: [d3]}}", NULL, "c.yaml:1:20: ", "needs both"},
        {"data: {validation: {key: [a], levels: [d3]}}", NULL,
         "c.yaml:1:26: ", "must be the name of a column, not a list"},
        {"data: {validation: {key: , levels: [d3]}}", NULL, "c.yaml:1:26: ", "key is empty"},
        {"data: {validation: {key: a, levels: []}}", NULL, "c.yaml:1:37: ", "levels is empty; name at least one"},
        {"data: {validation: {key: a, levels: {b: c}}}", NULL, "c.yaml:1:37: ", "must be a text or a list of texts"},
        {"data: {validation: {files: a, key: b, levels: c}}", NULL,
         "c.yaml:1:20: ", "files and key exclude each other"},
        {"data: {validation: {files: a, files: b}}", NULL, "c.yaml:1:31: ", "duplicate key \"files\"; keep one"},
        {"data: {validation: {files: }}", NULL, "c.yaml:1:28: ", "files is empty"},
        {"data: {validation: {}}", NULL, "c.yaml:1:20: ", "is an empty mapping; 0 holds out nothing"},
        {"", "data.validation={key: a}", "override \"data.validation={key: a}\": ", "needs both"},
        {"data: {validation: }", NULL, "c.yaml:1:20: ", "not nothing"},
        {"model: {encoder: [300, wide]}", NULL, "c.yaml:1:24: ", "must be an integer, not \"wide\""},
        {"model: {encoder: []}", NULL, "c.yaml:1:18: ", "model.encoder must have at least 1 element"},
        {"model: {decoder: []}", NULL, "c.yaml:1:18: ", "model.decoder must have at least 1 element"},
        {"model: {encoder: {}}", NULL, "c.yaml:1:18: ", "an integer or a list of integers, not a mapping"},
        {"backend: gpu", NULL,
         "c.yaml:1:10: ", "backend must be auto, cpu or cuda, not \"gpu\"; did you mean \"cpu\"?"},
        {"backend: quantum", NULL, "c.yaml:1:10: ", "must be auto, cpu or cuda, not \"quantum\""},
        {"backend: [cpu]", NULL, "c.yaml:1:10: ", "must be auto, cpu or cuda, not a list"},
        {"", "train.epochs=ten", "override \"train.epochs=ten\": ", "train.epochs must be an integer, not \"ten\""},
        {"", "train.epochs=", "override \"train.epochs=\": ", "must be an integer, not nothing"},
    };
    RUN(table);
}

static void test_ranges(void **state)
{
    (void)state;
    static const mistake table[] = {
        {"model: {latent_dim: 0}", NULL, "c.yaml:1:21: ", "out of range: 0 is not between 1 and 4096"},
        {"seed: 1180591620717411303424", NULL, "c.yaml:1:7: ", "not between 0 and 9007199254740991"},
        {"seed: 9007199254740992", NULL, "c.yaml:1:7: ", "out of range"},
        {"seed: -1", NULL, "c.yaml:1:7: ", "out of range"},
        {"train: {lr: -1}", NULL, "c.yaml:1:13: ", "train.lr is out of range: -1 is not between 0 and 10"},
        {"train: {lr: .nan}", NULL, "c.yaml:1:13: ", "out of range"},
        {"train: {lr: nan}", NULL, "c.yaml:1:13: ", "out of range"},
        {"train: {lr: .inf}", NULL, "c.yaml:1:13: ", "out of range"},
        {"train: {lr: 1e400}", NULL, "c.yaml:1:13: ", "out of range"},
        {"train: {lr: 1e-400}", NULL, "c.yaml:1:13: ", "out of range"},
        {"data: {validation: 0.95}", NULL, "c.yaml:1:20: ", "not between 0 and 0.9"},
        {"data: {validation: .nan}", NULL, "c.yaml:1:20: ", "out of range"},
        {"model: {beta: [1, 0]}", NULL, "c.yaml:1:19: ", "model.beta is out of range: 0"},
        {"", "train.adam.epsilon=0", "override \"train.adam.epsilon=0\": ", "not between 1e-16 and 1"},
    };
    RUN(table);
}

static void test_shorthands(void **state)
{
    (void)state;
    static const mistake table[] = {
        {"data: {genes: {n_top: 5, file: g.txt}}", NULL, "c.yaml:1:26: ", "n_top and file exclude each other"},
        {"data: {genes: n_top}", NULL, "c.yaml:1:15: ", "{n_top: 2000} or {file: genes.txt}, not \"n_top\" alone"},
        {"data: {genes: 2000}", NULL,
         "c.yaml:1:15: ", "data.genes must be all, {n_top: ...} or {file: ...}, not \"2000\""},
        {"train: {kl_warmup: {steps: 5, fraction: 0.1}}", NULL, "c.yaml:1:31: ", "exclude each other"},
        {"train: {kl_warmup: 0.5}", NULL, "c.yaml:1:20: ", "write {fraction: 0.33}, {steps: 1000} or 0 for off"},
        {"train: {lr_schedule: 5}", NULL, "c.yaml:1:22: ", "write {after: 25, factor: 0.7} or 0 for off"},
        {"train: {kl_warmup: [0]}", NULL, "c.yaml:1:20: ", "must be a mapping (KEY: VALUE), not a list"},
        {"", "train.kl_warmup=off", "override \"train.kl_warmup=off\": ", "or 0 for off"},
    };
    RUN(table);
}

/* n copies of `piece`, between `before` and `after`. Ownership: caller frees. */
static char *repeated(const char *before, const char *piece, int n, const char *after)
{
    size_t size = strlen(before) + strlen(piece) * (size_t)n + strlen(after) + 1;
    char *text = calloc(size, 1);
    assert_non_null(text);
    char *at = text + strlen(strcpy(text, before));
    for (int i = 0; i < n; i++) {
        at += strlen(strcpy(at, piece));
    }
    strcpy(at, after);
    return text;
}

static void expect_bomb_refused(char *text, const char *where, const char *what)
{
    expect_failure(&(mistake){NULL, NULL, where, what}, text, (int64_t)strlen(text));
    free(text);
}

static void test_limits(void **state)
{
    (void)state;
    expect_bomb_refused(repeated("a: ", "[", 200000, ""), "c.yaml:1:35: ", "nested more than 32 deep");
    expect_bomb_refused(repeated("data: {train: [", "a,", 20000, "]}"), "c.yaml:1:", "more than 10000 values");
    expect_bomb_refused(repeated("output: {dir: ", "aaaaaaaaaa", 7000, "}"), "c.yaml:1:15: ", "more than 64 kB");
    expect_bomb_refused(repeated("# ", "aaaaaaaaaaaaaaaa", 1 << 16, "\n"), "c.yaml: ", "larger than 1 MiB");
    expect_bomb_refused(repeated("", "k", 5000, ": 1"), "c.yaml:1:", "");
    /* a name in the message is cut, not the message's end */
    expect_bomb_refused(repeated("train: {", "k", 900, ": 1}"), "c.yaml:1:9: ", "lists all keys");
}

static void test_sweep(void **state)
{
    (void)state;
    static const mistake table[] = {
        {"sweep:\n  over:\n    model.cluster: [1]\n", NULL, "c.yaml:3:5: ", "did you mean \"model.clusters\"?"},
        {"sweep:\n  over:\n    clusters: [1]\n", NULL, "c.yaml:3:5: ", "did you mean \"model.clusters\"?"},
        {"sweep:\n  over:\n    model.clusters: [1, 10, 0]\n", NULL, "c.yaml:3:29: ", "0 is not between 1 and 4096"},
        {"sweep:\n  over: {model.likelihood: [nb, nb_logits]}\n", NULL, "c.yaml:2:33: ", "did you mean \"nb_logit\"?"},
        {"sweep:\n  over: {model.encoder: [[5], []]}\n", NULL, "c.yaml:2:31: ", "at least 1 element"},
        {"sweep:\n  over: {data.genes: [all, {n_tops: 5}]}\n", NULL,
         "c.yaml:2:29: ", "did you mean \"data.genes.n_top\"?"},
        {"sweep: {over: {model.clusters: [3, 5, 3]}}\n", NULL, "c.yaml:1:39: ", "the value 3 twice"},
        {"sweep: {over: {model.clusters: []}}\n", NULL, "c.yaml:1:32: ", "has no values"},
        {"sweep: {over: {train.lr: [1], train.lr: [2]}}\n", NULL, "c.yaml:1:31: ", "duplicate key \"train.lr\""},
        {"sweep: {over: {output.dir: [a, b]}}\n", NULL, "c.yaml:1:16: ", "cannot differ between the runs of a sweep"},
        {"sweep: {over: {sweep.repeats: [1]}}\n", NULL, "c.yaml:1:16: ", "cannot differ"},
        {"sweep: {over: {train.lr: {min: 1, max: 11}}}\n", NULL, "c.yaml:1:40: ", "11 is not between 0 and 10"},
        {"sweep: {over: {train.lr: {min: 1, mix: 2}}}\n", NULL, "c.yaml:1:35: ", "\"mix\": a range is"},
        {"sweep: {over: {train.lr: {min: 1}}}\n", NULL, "c.yaml:1:26: ", "needs min below max"},
        {"sweep: {over: {train.lr: {min: 0, max: 1, log: true}}}\n", NULL, "c.yaml:1:26: ", "with log min above 0"},
        {"sweep: {over: {model.encoder: {min: 1, max: 2}}}\n", NULL, "c.yaml:1:31: ", "is no number; give a list"},
        {"sweep: {over: [model.clusters]}\n", NULL, "c.yaml:1:15: ", "must be a mapping of keys"},
        {"sweep: {method: gird}\n", NULL, "c.yaml:1:17: ", "did you mean \"grid\"?"},
        {"", "sweep.over={model.clusters: [0]}", "override \"sweep.over=", "0 is not between 1 and 4096"},
    };
    RUN(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_yaml),   cmocka_unit_test(test_refused_features),
        cmocka_unit_test(test_bytes),      cmocka_unit_test(test_keys),
        cmocka_unit_test(test_types),      cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_shorthands), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_sweep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
