/* docs/config.md, from the table. */
#include "config_impl.h"

#include <string.h>

static const char intro[] =
    "# Configuration\n"
    "\n"
    "<!-- Generated from include/gmvae/config.def by `gmvae_dist --print-config-docs`; change it there. -->\n"
    "\n"
    "A run is described by one YAML file. Every key has a default, so an empty file is valid; an unknown key is an\n"
    "error that names the nearest known one. `gmvae_dist --print-config CONFIG.yaml` prints all keys with the values\n"
    "in effect, as YAML that can be used as a config again.\n"
    "\n"
    "- On the command line `KEY=VALUE` sets any key by its dotted path, with the value in YAML flow form:\n"
    "  `train.epochs=10`, `model.encoder=[300, 250]`, `data.genes={n_top: 2000}`. Overrides are applied in order, "
    "after\n"
    "  the file. A value that starts with `*` or `@` is taken as text, so that globs need no YAML quotes.\n"
    "- A list of one element may be written without brackets.\n"
    "- Relative paths are relative to the folder the program is started in. Globs are `*`, `?` and `[...]`.\n"
    "  A leading `~` and `$NAME` or `${NAME}` are replaced by the home folder and by variables of the environment in "
    "all\n"
    "  keys that are paths; one that is not set is an error. `${NAME}` within `[...]` or `{...}` must be quoted.\n"
    "- In the file a text that starts with `*` or `@` must be quoted: `\"*.h5ad\"`, `[donor, \"@file\"]`.\n"
    "- The file is UTF-8, at most 1 MiB, one document, without anchors, aliases and tags.\n";

static const struct {
    const char *section, *text;
} notes[] = {
    {"data", "`genes` is `all`, `{n_top: N, flavor: F}` or `{file: PATH}`; the last of these that is set counts, and "
             "giving both "
             "in one\nmapping is an error. `validation` is a number for a fraction, a mapping for training files or "
             "levels,\nanything else for paths of other files."},
    {"train", "`kl_warmup` is `{fraction: F}` or `{steps: N}`, not both; `kl_warmup: 0` turns the warm-up off.\n"
              "`lr_schedule: 0` turns the learning-rate step off."},
    {"denoise", "For the command `denoise`, see [expression.md](expression.md)."},
    {"generate", "For the command `generate`, see [expression.md](expression.md)."},
    {"markers", "For the command `markers`, see [expression.md](expression.md)."},
    {"sweep", "For the command `sweep`, see [sweep.md](sweep.md); other commands do not look at it."},
    {"synth", "For the command `synth` only; what the counts are drawn from is in [formats.md](formats.md)."},
};

/* Text for a table cell, where a bar would end the cell. */
static void print_cell(const char *text, FILE *out)
{
    for (; *text != '\0'; text++) {
        if (*text == '|') {
            fputc('\\', out);
        }
        fputc(*text, out);
    }
}

static void print_choices(const gmv_key *key, FILE *out)
{
    for (int i = 0; i < gmv_key_choices(key); i++) {
        bool needs_value = i > 0 && gmv_key_is_section(key->path);
        fprintf(out, needs_value ? "%s`{%s: ...}`" : "%s`%s`", i > 0 ? ", " : "", gmv_config_choice(key->path, i));
    }
}

static void print_allowed(const gmv_key *key, FILE *out)
{
    switch (key->kind) {
    case GMV_KIND_INT:
        fprintf(out, "integer, %.16g to %.16g", key->min, key->max);
        break;
    case GMV_KIND_REAL:
        fprintf(out, "number, %.16g to %.16g", key->min, key->max);
        break;
    case GMV_KIND_BOOL:
        fputs("`true`, `false`", out);
        break;
    case GMV_KIND_TEXT:
        fputs("text", out);
        break;
    case GMV_KIND_ENUM:
        print_choices(key, out);
        break;
    case GMV_KIND_INTS:
        fprintf(out, "list of %sintegers, %.16g to %.16g", key->least > 0 ? "one or more " : "", key->min, key->max);
        break;
    case GMV_KIND_TEXTS:
        fputs("text or list of texts", out);
        break;
    case GMV_KIND_SPLIT:
        fprintf(out, "number, %.16g to %.16g; `{files: [...]}`; `{key: ..., levels: [...]}`; or path or list of paths",
                key->min, key->max);
        break;
    case GMV_KIND_OVER:
        fputs("mapping of keys, each with `[value, ...]` or `{min: ..., max: ..., log: true}`", out);
        break;
    }
}

static void print_row(const gmv_key *key, FILE *out)
{
    fprintf(out, "| `%s` | ", key->path);
    const char *preset = gmv_key_preset(key);
    fprintf(out, preset[0] != '\0' ? "`%s`" : "none%s", preset);
    fputs(" | ", out);
    print_allowed(key, out);
    fputs(" | ", out);
    print_cell(key->help, out);
    fputs(" |\n", out);
}

/* What the families set. */
static void print_families(FILE *out)
{
    static const char *const row[][3] = {
#define GMV_FAMILY(name, settings, description) {#name, settings, description},
#include "gmvae/families.def"
#undef GMV_FAMILY
    };
    fputs("| family | settings | prior of x |\n|---|---|---|\n", out);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        fprintf(out, "| `%s` | `%s` | %s |\n", row[i][0], row[i][1], row[i][2]);
    }
    fputc('\n', out);
}

static void print_section_head(const char *section, int length, FILE *out)
{
    fprintf(out, length > 0 ? "\n## %.*s\n\n" : "\n## Top level\n\n", length, section);
    for (size_t i = 0; i < sizeof notes / sizeof notes[0]; i++) {
        if (length > 0 && strncmp(notes[i].section, section, (size_t)length) == 0) {
            fprintf(out, "%s\n\n", notes[i].text);
        }
    }
    if (strncmp(section, "model", 5) == 0 && length == 5) {
        print_families(out);
    }
    fputs("| key | default | allowed | meaning |\n|---|---|---|---|\n", out);
}

void gmv_config_write_docs(FILE *out)
{
    fputs(intro, out);
    int n = 0, last = -1;
    const gmv_key *keys = gmv_keys(&n);
    for (int i = 0; i < n; i++) {
        const char *dot = strchr(keys[i].path, '.');
        int length = dot != NULL ? (int)(dot - keys[i].path) : 0;
        if (length != last || strncmp(keys[i].path, keys[i - 1].path, (size_t)length) != 0) {
            print_section_head(keys[i].path, length, out);
        }
        last = length;
        print_row(&keys[i], out);
    }
}
