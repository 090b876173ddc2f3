/* The config as YAML that reads back to the same values, here and in other YAML readers. */
#include "config_impl.h"

#include "gmvae/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Words that some YAML version takes for something else than text. */
static bool is_reserved_word(const char *text)
{
    static const char *const words[] = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* Texts that stay themselves without quotes in block and flow context. */
static bool is_plain(const char *text)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_/";
    static const char others[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_/0123456789.*?-+";
    const char *start = text;
    start += strncmp(start, "../", 3) == 0 ? 2 : strncmp(start, "./", 2) == 0 ? 1 : 0;
    return *start != '\0' && strchr(letters, *start) != NULL && start[strspn(start, others)] == '\0' &&
           !is_reserved_word(text);
}

/* Code point of the UTF-8 sequence at `at` (valid: it came through the parser), and its length. */
static uint32_t code_point(const unsigned char *at, size_t *length)
{
    *length = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    uint32_t code = *length == 1 ? at[0] : (uint32_t)(at[0] & (0x7f >> *length));
    for (size_t i = 1; i < *length; i++) {
        code = code << 6 | (uint32_t)(at[i] & 0x3f);
    }
    return code;
}

void gmv_yaml_print_text(const char *text, FILE *out)
{
    if (is_plain(text)) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    size_t length = 1;
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at += length) {
        uint32_t code = code_point(at, &length);
        /* what YAML forbids unescaped, or folds as a line break or a space */
        bool escape = code < 0x20 || (code >= 0x7f && code <= 0xa0) || code == 0x2028 || code == 0x2029 ||
                      code == 0xfeff || code == 0xfffe || code == 0xffff;
        if (escape) {
            fprintf(out, "\\u%04x", (unsigned)code);
        } else {
            if (code == '"' || code == '\\') {
                fputc('\\', out);
            }
            fwrite(at, 1, length, out);
        }
    }
    fputc('"', out);
}

/* The shortest decimal that reads back to the same double, with a point: some readers want one. */
static void print_real(double value, FILE *out)
{
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        double back = strtod(text, NULL);
        if (!(back < value) && !(back > value)) {
            break;
        }
    }
    if (strstr(text, "e+") != NULL && value < 1e15) {
        snprintf(text, sizeof text, "%.0f", value); /* few digits and a large exponent: a round number */
    }
    size_t whole = strcspn(text, ".e");
    fprintf(out, "%.*s%s%s", (int)whole, text, text[whole] == '.' ? "" : ".0", text + whole);
}

static void print_texts(const gmv_texts *texts, FILE *out)
{
    fputc('[', out);
    for (int i = 0; i < texts->n; i++) {
        fputs(i > 0 ? ", " : "", out);
        gmv_yaml_print_text(texts->at[i], out);
    }
    fputc(']', out);
}

static void print_ints(const gmv_ints *ints, FILE *out)
{
    fputc('[', out);
    for (int i = 0; i < ints->n; i++) {
        fprintf(out, "%s%" PRId64, i > 0 ? ", " : "", ints->at[i]);
    }
    fputc(']', out);
}

static void print_validation(const gmv_validation *validation, FILE *out)
{
    if (validation->key != NULL) {
        fputs("{key: ", out);
        gmv_yaml_print_text(validation->key, out);
        fputs(", levels: ", out);
        print_texts(&validation->levels, out);
        fputc('}', out);
    } else if (validation->files.n > 0) {
        fputs("{files: ", out);
        print_texts(&validation->files, out);
        fputc('}', out);
    } else if (validation->paths.n > 0) {
        print_texts(&validation->paths, out);
    } else {
        print_real(validation->fraction, out);
    }
}

static void print_over(const gmv_over *over, FILE *out)
{
    fputc('{', out);
    for (int i = 0; i < over->n; i++) {
        fprintf(out, "%s%s: %s", i > 0 ? ", " : "", over->at[i].path, over->at[i].text);
    }
    fputc('}', out);
}

void gmv_value_print(const gmv_config *config, const gmv_key *key, FILE *out)
{
    const void *value = gmv_key_value(config, key);
    switch (key->kind) {
    case GMV_KIND_INT:
        fprintf(out, "%" PRId64, *(const int64_t *)value);
        break;
    case GMV_KIND_REAL:
        print_real(*(const double *)value, out);
        break;
    case GMV_KIND_BOOL:
        fputs(*(const bool *)value ? "true" : "false", out);
        break;
    case GMV_KIND_TEXT:
        gmv_yaml_print_text(*(char *const *)value != NULL ? *(char *const *)value : "", out);
        break;
    case GMV_KIND_ENUM:
        gmv_yaml_print_text(gmv_config_choice(key->path, *(const int *)value), out);
        break;
    case GMV_KIND_INTS:
        print_ints(value, out);
        break;
    case GMV_KIND_TEXTS:
        print_texts(value, out);
        break;
    case GMV_KIND_SPLIT:
        print_validation(value, out);
        break;
    case GMV_KIND_OVER:
        print_over(value, out);
        break;
    }
}

/* Length of the section in a path: 4 for data.train, 10 for data.genes.file, 0 at the top. */
static int section_length(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot != NULL ? (int)(dot - path) : 0;
}

static bool same_section(const char *a, const char *b)
{
    int length = section_length(a);
    return length == section_length(b) && strncmp(a, b, (size_t)length) == 0;
}

/* The keys of a section inside a section, on one line: {after: 25, factor: 0.7}. Returns how many rows it took. */
static int write_inner(const gmv_config *config, const gmv_key *keys, int n, FILE *out)
{
    int used = 0;
    for (; used < n && same_section(keys[used].path, keys[0].path); used++) {
        fprintf(out, "%s%s: ", used == 0 ? "{" : ", ", keys[used].path + section_length(keys[used].path) + 1);
        gmv_value_print(config, &keys[used], out);
    }
    fputs("}\n", out);
    return used;
}

/* The choice of genes follows from the keys below it: only the one in use is written. */
static void write_genes(const gmv_config *config, FILE *out)
{
    const char *path = config->data_genes == GMV_GENES_N_TOP  ? "data.genes.n_top"
                       : config->data_genes == GMV_GENES_FILE ? "data.genes.file"
                                                              : NULL;
    if (path == NULL) {
        fputs("all\n", out);
        return;
    }
    write_inner(config, gmv_key_find(path), config->data_genes == GMV_GENES_N_TOP ? 2 : 1, out); /* n_top with flavor */
}

gmv_status gmv_config_write(const gmv_config *config, FILE *out)
{
    int n = 0;
    const gmv_key *keys = gmv_keys(&n);
    for (int i = 0; i < n;) {
        const char *path = keys[i].path, *dot = strchr(path, '.');
        int outer = dot != NULL ? (int)(dot - path) : 0, inner = section_length(path);
        bool opens = i == 0 || strncmp(keys[i - 1].path, path, (size_t)outer + 1) != 0;
        if (outer > 0 && opens) {
            fprintf(out, "%.*s:\n", outer, path);
        }
        fputs(outer > 0 ? "  " : "", out);
        if (inner > outer) {
            fprintf(out, "%.*s: ", inner - outer - 1, path + outer + 1);
            i += write_inner(config, &keys[i], n - i, out);
            continue;
        }
        fprintf(out, "%s: ", outer > 0 ? path + outer + 1 : path);
        if (gmv_key_is_section(path)) {
            write_genes(config, out);
            while (++i < n && strncmp(keys[i].path, path, strlen(path)) == 0) {
            }
            continue;
        }
        gmv_value_print(config, &keys[i], out);
        fputc('\n', out);
        i++;
    }
    return ferror(out) ? GMV_FAIL(GMV_ERR_ENVIRONMENT, "the config cannot be written; is the disk full?") : GMV_OK;
}

gmv_status gmv_take_stream(FILE *stream, char **collected, char **text)
{
    fclose(stream);
    gmv_status status = gmv_copy_text(text, *collected);
    free(*collected);
    return status;
}

gmv_status gmv_config_text(const gmv_config *config, char **text)
{
    char *collected = NULL;
    size_t size = 0;
    *text = NULL;
    FILE *stream = open_memstream(&collected, &size);
    if (stream == NULL) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "out of memory for the text of the config");
    }
    gmv_status status = gmv_config_write(config, stream);
    gmv_status taken = gmv_take_stream(stream, &collected, text);
    return status != GMV_OK ? status : taken;
}

static gmv_status value_text(const gmv_config *config, const gmv_key *key, char **text)
{
    char *collected = NULL;
    size_t size = 0;
    *text = NULL;
    FILE *stream = open_memstream(&collected, &size);
    if (stream == NULL) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "out of memory for the text of the config");
    }
    gmv_value_print(config, key, stream);
    return gmv_take_stream(stream, &collected, text);
}

/* Whether what a checkpoint holds depends on the key (config.def, use). */
static bool is_fixed(const gmv_config *theirs, const gmv_config *ours, const gmv_key *key)
{
    switch (key->use) {
    case GMV_USE_FIXED:
        return true;
    case GMV_USE_SPLIT: /* paths of other files take no cell out of training */
        return gmv_validation_splits(&theirs->data_validation) || gmv_validation_splits(&ours->data_validation);
    case GMV_USE_EXACT:
        return theirs->train_reduction == GMV_REDUCTION_EXACT && ours->train_reduction == GMV_REDUCTION_EXACT;
    case GMV_USE_TAKEN:
    case GMV_USE_FREE:
        break;
    }
    return false;
}

static gmv_status print_difference(const gmv_config *theirs, const gmv_config *ours, const gmv_key *key, FILE *out)
{
    char *a = NULL, *b = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(value_text(theirs, key, &a));
    GMV_GO(value_text(ours, key, &b));
    if (a != NULL && b != NULL && strcmp(a, b) != 0) {
        fprintf(out, "%s: %s, here %s\n", key->path, a, b);
    }
done:
    gmv_free(a);
    gmv_free(b);
    return status;
}

typedef bool (*key_filter)(const gmv_config *theirs, const gmv_config *ours, const gmv_key *key);

/* The wanted keys that differ, a line for each. */
static gmv_status list_differences(const gmv_config *theirs, const gmv_config *ours, key_filter wanted,
                                   char **differences)
{
    char *collected = NULL;
    size_t size = 0;
    *differences = NULL;
    FILE *stream = open_memstream(&collected, &size);
    if (stream == NULL) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "out of memory for the comparison of configs");
    }
    int n = 0;
    const gmv_key *keys = gmv_keys(&n);
    gmv_status status = GMV_OK;
    for (int i = 0; i < n && status == GMV_OK; i++) {
        if (wanted(theirs, ours, &keys[i])) {
            status = print_difference(theirs, ours, &keys[i], stream);
        }
    }
    gmv_status taken = gmv_take_stream(stream, &collected, differences);
    return status != GMV_OK ? status : taken;
}

gmv_status gmv_config_differences(const gmv_config *theirs, const gmv_config *ours, char **differences)
{
    return list_differences(theirs, ours, is_fixed, differences);
}

static bool is_overruled(const gmv_config *theirs, const gmv_config *ours, const gmv_key *key)
{
    return key->use == GMV_USE_TAKEN || key->use == GMV_USE_EXACT ||
           (key->use != GMV_USE_SPLIT && is_fixed(theirs, ours, key));
}

static bool is_overruled_with_split(const gmv_config *theirs, const gmv_config *ours, const gmv_key *key)
{
    return is_overruled(theirs, ours, key) || is_fixed(theirs, ours, key);
}

gmv_status gmv_config_overruled(const gmv_config *theirs, const gmv_config *ours, bool split, char **differences)
{
    return list_differences(theirs, ours, split ? is_overruled_with_split : is_overruled, differences);
}

static bool is_trained(const gmv_config *theirs, const gmv_config *ours, const gmv_key *key)
{
    return key->use == GMV_USE_TAKEN || is_fixed(theirs, ours, key);
}

gmv_status gmv_config_trained_differences(const gmv_config *theirs, const gmv_config *ours, char **differences)
{
    return list_differences(theirs, ours, is_trained, differences);
}

static bool is_of_results(const gmv_config *theirs, const gmv_config *ours, const gmv_key *key)
{
    static const char *const without[] = {"output.dir", "checkpoint.", "runtime.",  "sweep.",
                                          "synth.",     "denoise.",    "generate.", "markers."};
    (void)theirs;
    (void)ours;
    bool of_results = true;
    for (size_t i = 0; i < sizeof without / sizeof *without; i++) {
        of_results = of_results && strncmp(key->path, without[i], strlen(without[i])) != 0;
    }
    return of_results;
}

gmv_status gmv_config_result_differences(const gmv_config *theirs, const gmv_config *ours, char **differences)
{
    return list_differences(theirs, ours, is_of_results, differences);
}
