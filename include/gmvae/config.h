/* The configuration of a run: struct gmv_config is expanded from config.def, field by field. */
#pragma once

#include "gmvae/choices.h"
#include "gmvae/comm.h"
#include "gmvae/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { GMV_MOST_SHARDS = 65536 };

typedef struct gmv_ints {
    int64_t *at;
    int n;
} gmv_ints;

typedef struct gmv_texts {
    char **at;
    int n;
} gmv_texts;

/* data.validation: exactly one of a fraction of the cells (0: none), paths of other files, some of the training
 * files, or some levels of an obs column; the others are zero and empty. */
typedef struct gmv_validation {
    double fraction;
    gmv_texts paths;
    gmv_texts files;  /* patterns of files of data.train */
    char *key;        /* obs column; NULL for none */
    gmv_texts levels; /* of the column */
} gmv_validation;

/* A key of sweep.over. */
typedef struct gmv_axis {
    char *path;       /* dotted */
    char *text;       /* its values as they were written, in YAML flow form */
    gmv_texts values; /* each in YAML flow form, as behind "KEY="; none: a range */
    double min, max;  /* of the range */
    bool log, whole;  /* even in the logarithm; of integers */
} gmv_axis;

typedef struct gmv_over {
    gmv_axis *at;
    int n;
} gmv_over;

typedef struct gmv_config {
#define GMV_KEY_INT(field, path, use, def, min, max, help)         int64_t field;
#define GMV_KEY_REAL(field, path, use, def, min, max, help)        double field;
#define GMV_KEY_BOOL(field, path, use, def, help)                  bool field;
#define GMV_KEY_TEXT(field, path, use, def, help)                  char *field;
#define GMV_KEY_ENUM(field, path, use, def, choices, help)         int field;
#define GMV_KEY_INTS(field, path, use, def, least, min, max, help) gmv_ints field;
#define GMV_KEY_TEXTS(field, path, use, def, help)                 gmv_texts field;
#define GMV_KEY_SPLIT(field, path, use, def, min, max, help)       gmv_validation field;
#define GMV_KEY_OVER(field, path, use, def, help)                  gmv_over field;
#include "gmvae/config.def"
#undef GMV_KEY_INT
#undef GMV_KEY_REAL
#undef GMV_KEY_BOOL
#undef GMV_KEY_TEXT
#undef GMV_KEY_ENUM
#undef GMV_KEY_INTS
#undef GMV_KEY_TEXTS
#undef GMV_KEY_SPLIT
#undef GMV_KEY_OVER
} gmv_config;

/* Reads `file` on rank 0, broadcasts its bytes, and parses the same bytes on every rank; then applies
 * the overrides ("train.epochs=10", values in YAML) in order. Unset keys get their defaults.
 * @param[out] config  initialised here
 * Ownership: caller frees with gmv_config_fini. Collective.
 * Errors: GMV_ERR_CONFIG, message starting with FILE:line:col (or the override), with the nearest known
 * key for an unknown one. */
gmv_status gmv_config_load(gmv_config *config, const gmv_comm *comm, const char *file, int overrides,
                           const char *const *override);

/* The bytes of a config file, read on rank 0, on every rank. Collective.
 * Ownership: caller frees *text with gmv_free. Errors: GMV_ERR_CONFIG when it cannot be read. */
gmv_status gmv_config_fetch(const gmv_comm *comm, const char *file, char **text);

/* The same from text in memory, on this rank alone. `name` stands for the file in messages. */
gmv_status gmv_config_parse(gmv_config *config, const char *name, const char *text, int64_t length, int overrides,
                            const char *const *override);

/* Gives the keys of a section ("sweep.") their defaults. */
gmv_status gmv_config_reset(gmv_config *config, const char *section);

/* The bytes of a config file on this rank alone, for gmv_config_parse.
 * Ownership: caller frees *text with gmv_free. Errors: GMV_ERR_CONFIG when it cannot be read. */
gmv_status gmv_config_read_file(const char *file, char **text, int64_t *length);

/* Replaces a leading ~ and $NAME or ${NAME} in all keys that are paths, by this rank's environment. Errors:
 * GMV_ERR_CONFIG for a variable that is not set. */
gmv_status gmv_config_expand_paths(gmv_config *config);

/* Whether output.logs names this one, a constant of GMV_LOGS. */
bool gmv_config_logs(const gmv_config *config, int log);

/* Checks what single bounds cannot: keys that contradict each other, files missing for training. */
gmv_status gmv_config_check(const gmv_config *config);

/* Whether there is something to train on. Errors: GMV_ERR_CONFIG. */
gmv_status gmv_config_check_trains(const gmv_config *config);

/* Frees what its texts and lists take. Accepts one that is all zeros, and leaves it so. */
void gmv_config_fini(gmv_config *config);

/* Writes every key with its value as YAML that gmv_config_load reads back to the same config. */
gmv_status gmv_config_write(const gmv_config *config, FILE *out);

/* The same into a new string. Ownership: caller frees with gmv_free. */
gmv_status gmv_config_text(const gmv_config *config, char **text);

/* The word for an enum key's value: gmv_config_choice("model.likelihood", 0) is "nb". */
const char *gmv_config_choice(const char *path, int value);

/* Keys by which two configs describe different models (or another order of cells), one line "key: a, here b"
 * for each, "" when a checkpoint of `theirs` can continue under `ours`: what changes shapes or the meaning
 * of parameters counts (genes, model.*, batch keys, seed, shards, batch size, reduction); paths, epochs, output and runtime do not.
 * Ownership: caller frees *differences with gmv_free. */
gmv_status gmv_config_differences(const gmv_config *theirs, const gmv_config *ours, char **differences);

/* The same for keys of a run's own, which what a checkpoint of `theirs` holds overrules in embed and eval: model.*, train.*
 * but for the precision, seed, batch keys, genes, shards, and held-out cells when `split`. */
gmv_status gmv_config_overruled(const gmv_config *theirs, const gmv_config *ours, bool split, char **differences);

/* The same for all keys that change what is learned, by a training from its begin: also train.*. */
gmv_status gmv_config_trained_differences(const gmv_config *theirs, const gmv_config *ours, char **differences);

/* The same for all keys, but for output.dir, and for the sections that change no result: checkpoint, runtime, sweep, synth. */
gmv_status gmv_config_result_differences(const gmv_config *theirs, const gmv_config *ours, char **differences);

/* docs/config.md, from the table. */
void gmv_config_write_docs(FILE *out);

/* Whether training cells are held out, so that they are not trained on; other files are not. */
bool gmv_validation_splits(const gmv_validation *validation);

/* Closest of `n` words to `word` by edit distance, NULL when none is near. For messages about typing errors. */
const char *gmv_nearest(const char *word, int n, const char *const *words);
