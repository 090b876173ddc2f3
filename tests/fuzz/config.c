/* The config parser: example configs and short ones with damage; overrides. What is accepted must be written and read
 * back the same. */
#include "fuzz.h"

#include "gmvae/config.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { most_texts = 32, most_bytes = 16384 };

static const char *const shorts[] = {
    "data: {train: [a.h5ad, 'b*.h5ad'], genes: {n_top: 2000}, batch_keys: [donor]}\nmodel: {encoder: [10, 20]}\n",
    "seed: 0x7f\ntrain:\n  lr: 1.0e-3\n  kl_warmup: {steps: 10}\n  lr_schedule: {after: 5, factor: .5}\n",
    "data:\n  validation: [\"a\\u00e9\\n.h5ad\"]\n  genes: all\noutput: {embedding: yes, metrics: []}\n",
    "a: &x [1, *x]\n--- \n? {k: v}\n: |\n  block\n  text\n...\n",
    "\xef\xbb\xbfmodel: !!map {family: gmvae, beta: []}\r\ncheckpoint: {every: 0}\r\n",
};
static const char *const overrides[] = {"train.epochs=10",       "data.train=[a, b]", "model.encoder=[1]",
                                        "data.genes={n_top: 5}", "seed=1e3",          "data.validation=0.5"};

static char *texts[most_texts];
static int64_t lengths[most_texts];
static int count;

static void add(const char *text, size_t n)
{
    texts[count] = malloc(n + 1);
    memcpy(texts[count], text, n);
    lengths[count++] = (int64_t)n;
}

static void prepare(void)
{
    glob_t found;
    for (size_t i = 0; i < sizeof shorts / sizeof *shorts; i++) {
        add(shorts[i], strlen(shorts[i]));
    }
    FUZZ_CHECK(glob(TEST_PROJECT "/configs/*.yaml", 0, NULL, &found) == 0);
    for (size_t i = 0; i < found.gl_pathc && count < most_texts; i++) {
        char bytes[most_bytes];
        FILE *in = fopen(found.gl_pathv[i], "rb");
        FUZZ_CHECK(in != NULL);
        add(bytes, fread(bytes, 1, sizeof bytes, in));
        fclose(in);
    }
    globfree(&found);
}

/* A config that was accepted, written, is accepted and written the same. */
static void check_round_trip(const gmv_config *config)
{
    gmv_config again;
    char *first = NULL, *second = NULL;
    FUZZ_CHECK(gmv_config_text(config, &first) == GMV_OK);
    FUZZ_CHECK(gmv_config_parse(&again, "again", first, (int64_t)strlen(first), 0, NULL) == GMV_OK);
    FUZZ_CHECK(gmv_config_text(&again, &second) == GMV_OK);
    FUZZ_CHECK(strcmp(first, second) == 0);
    gmv_free(first);
    gmv_free(second);
    gmv_config_fini(&again);
}

static bool is_one_line(const char *text)
{
    return text[0] != '\0' && strpbrk(text, "\n\r\x1b") == NULL;
}

static void one(fuzz_rng *rng)
{
    gmv_config config;
    int which = (int)fuzz_below(rng, count);
    const char *base = overrides[fuzz_below(rng, sizeof overrides / sizeof *overrides)];
    size_t length = strlen(base);
    char *text = malloc((size_t)lengths[which] + 1), *override = malloc(length + 1);
    const char *list[] = {override};
    int64_t n = fuzz_once_in(rng, 8) ? fuzz_below(rng, lengths[which]) : lengths[which];
    memcpy(text, texts[which], (size_t)lengths[which]);
    memcpy(override, base, length + 1);
    fuzz_mutate(rng, (unsigned char *)text, n);
    if (fuzz_once_in(rng, 2)) {
        fuzz_mutate(rng, (unsigned char *) override, (int64_t)length);
    }
    text = realloc(text, (size_t)n + (n == 0)); /* no byte behind the text may be read */
    gmv_status status = gmv_config_parse(&config, "mutant.yaml", text, n, fuzz_once_in(rng, 2), list);
    if (status == GMV_OK) {
        gmv_status checked = gmv_config_check(&config);
        FUZZ_CHECK(checked == GMV_OK || is_one_line(gmv_error_message()));
        gmv_error_clear();
        check_round_trip(&config);
        gmv_config_fini(&config);
    } else {
        FUZZ_CHECK(status == GMV_ERR_CONFIG && is_one_line(gmv_error_message()));
    }
    free(text);
    free(override);
}

const fuzz_target fuzz_config = {"config", prepare, one};
