/* One value: from a YAML node to a field, with its type and bounds checked. */
#include "config_impl.h"

#include "gmvae/mem.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What is being set, for messages. */
typedef struct target {
    const gmv_key *key;
    const gmv_yaml_text *source;
    const gmv_tree *tree;
} target;

void gmv_texts_fini(gmv_texts *texts)
{
    for (int i = 0; i < texts->n; i++) {
        gmv_free(texts->at[i]);
    }
    gmv_free(texts->at);
    *texts = (gmv_texts){NULL, 0};
}

void gmv_validation_fini(gmv_validation *validation)
{
    gmv_texts_fini(&validation->paths);
    gmv_texts_fini(&validation->files);
    gmv_texts_fini(&validation->levels);
    gmv_free(validation->key);
    *validation = (gmv_validation){0};
}

bool gmv_validation_splits(const gmv_validation *validation)
{
    return validation->fraction > 0 || validation->files.n > 0 || validation->key != NULL;
}

/* What stands there instead of what was expected: the text itself, "a list" or "a mapping". */
static const char *found(const gmv_node *node, char *text, size_t size)
{
    if (node->kind != GMV_NODE_SCALAR) {
        return node->kind == GMV_NODE_LIST ? "a list" : "a mapping";
    }
    if (gmv_node_is_null(node)) {
        return "nothing";
    }
    const char *dots = strlen(node->text) > 60 ? "..." : "";
    snprintf(text, size, node->plain ? "\"%.60s%s\"" : "the quoted text \"%.60s%s\"", node->text, dots);
    return text;
}

static gmv_status wrong_type(const target *t, const gmv_node *node, const char *expected)
{
    char text[96];
    return gmv_yaml_text_fail(t->source, node->line, node->column, "%s must be %s, not %s", t->key->path, expected,
                              found(node, text, sizeof text));
}

static gmv_status out_of_range(const target *t, const gmv_node *node)
{
    return gmv_yaml_text_fail(t->source, node->line, node->column,
                              "%s is out of range: %.60s is not between %.16g and %.16g", t->key->path, node->text,
                              t->key->min, t->key->max);
}

static size_t count_digits(const char *text)
{
    return strspn(text, "0123456789");
}

/* Decimal, without leading zeros: those mean octal to some readers of YAML. */
static bool looks_like_integer(const char *text)
{
    text += *text == '+' || *text == '-';
    size_t digits = count_digits(text);
    return digits > 0 && text[digits] == '\0' && (digits == 1 || text[0] != '0');
}

/* The decimal numbers, and the words for infinity and not-a-number, which are refused later by name. */
static bool looks_like_real(const char *text)
{
    text += *text == '+' || *text == '-';
    static const char *const words[] = {".inf", ".Inf", ".INF", "inf", ".nan", ".NaN", ".NAN", "nan", "NaN"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(text, words[i]) == 0) {
            return true;
        }
    }
    size_t whole = count_digits(text), part = 0;
    text += whole;
    if (*text == '.') {
        part = count_digits(++text);
        text += part;
    }
    if (whole + part == 0) {
        return false;
    }
    if (*text == 'e' || *text == 'E') {
        text++;
        text += *text == '+' || *text == '-';
        size_t digits = count_digits(text);
        return digits > 0 && text[digits] == '\0';
    }
    return *text == '\0';
}

static gmv_status read_integer(const target *t, const gmv_node *node, int64_t *value)
{
    if (node->kind != GMV_NODE_SCALAR || !node->plain || !looks_like_integer(node->text)) {
        return wrong_type(t, node, "an integer");
    }
    long long parsed = strtoll(node->text, NULL, 10); /* too large a number gives the largest, beyond all bounds */
    if (parsed < (long long)t->key->min || parsed > (long long)t->key->max) {
        return out_of_range(t, node);
    }
    *value = parsed;
    return GMV_OK;
}

static gmv_status read_real(const target *t, const gmv_node *node, double *value)
{
    if (node->kind != GMV_NODE_SCALAR || !node->plain || !looks_like_real(node->text)) {
        return wrong_type(t, node, "a number");
    }
    bool is_word = strpbrk(node->text, "nN") != NULL;
    errno = 0;
    double parsed = is_word ? (double)NAN : strtod(node->text, NULL);
    bool lost = errno == ERANGE && !(fabs(parsed) > 0); /* too small for a double */
    if (lost || !(parsed >= t->key->min && parsed <= t->key->max)) {
        return out_of_range(t, node);
    }
    *value = parsed == 0 ? 0 : parsed; /* no negative zero */
    return GMV_OK;
}

static gmv_status read_bool(const target *t, const gmv_node *node, bool *value)
{
    static const char *const words[2][6] = {{"false", "False", "FALSE", "no", "No", "NO"},
                                            {"true", "True", "TRUE", "yes", "Yes", "YES"}};
    for (int i = 0; node->kind == GMV_NODE_SCALAR && node->plain && i < 12; i++) {
        if (strcmp(node->text, words[i / 6][i % 6]) == 0) {
            *value = i >= 6;
            return GMV_OK;
        }
    }
    return wrong_type(t, node, "true or false");
}

/* "nb or nb_logit", "auto, cpu or cuda"; "all, {n_top: ...} or {file: ...}" where a choice needs a value. */
static void list_choices(const gmv_key *key, char *text, size_t size)
{
    int n = gmv_key_choices(key);
    text[0] = '\0';
    for (int i = 0; i < n; i++) {
        size_t used = strlen(text);
        const char *before = i == 0 ? "" : i == n - 1 ? " or " : ", ";
        const char *form = i > 0 && gmv_key_is_section(key->path) ? "%s{%s: ...}" : "%s%s";
        snprintf(text + used, size - used, form, before, gmv_config_choice(key->path, i));
    }
}

static gmv_status read_choice(const target *t, const gmv_node *node, int *value)
{
    char choices[256];
    list_choices(t->key, choices, sizeof choices);
    if (node->kind != GMV_NODE_SCALAR || gmv_node_is_null(node)) {
        return wrong_type(t, node, choices);
    }
    *value = gmv_key_choice_index(t->key, node->text);
    if (*value >= 0) {
        return GMV_OK;
    }
    const char *words[16] = {NULL};
    int n = gmv_key_choices(t->key);
    for (int i = 0; i < n && i < 16; i++) {
        words[i] = gmv_config_choice(t->key->path, i);
    }
    const char *near = gmv_nearest(node->text, n < 16 ? n : 16, words);
    if (near == NULL) {
        return wrong_type(t, node, choices);
    }
    char text[96];
    return gmv_yaml_text_fail(t->source, node->line, node->column, "%s must be %s, not %s; did you mean \"%s\"?",
                              t->key->path, choices, found(node, text, sizeof text), near);
}

static gmv_status read_text(const target *t, const gmv_node *node, const char *expected, char **value)
{
    if (node->kind != GMV_NODE_SCALAR) {
        return wrong_type(t, node, expected);
    }
    char *copy = NULL;
    GMV_TRY(gmv_copy_text(&copy, gmv_node_is_null(node) ? "" : node->text));
    gmv_free(*value);
    *value = copy;
    return GMV_OK;
}

/* A list key takes a list, or a single value for a list of one, or nothing for an empty list. */
static int elements_of(const target *t, const gmv_node *node, const gmv_node **first)
{
    *first = node;
    if (node->kind != GMV_NODE_LIST) {
        return gmv_node_is_null(node) ? 0 : 1;
    }
    int n = 0;
    *first = node->child < 0 ? NULL : &t->tree->at[node->child];
    for (int i = node->child; i >= 0; i = t->tree->at[i].next) {
        n++;
    }
    return n;
}

static const gmv_node *next_element(const target *t, const gmv_node *node)
{
    return node->next < 0 ? NULL : &t->tree->at[node->next];
}

static gmv_status read_integers(const target *t, const gmv_node *node, gmv_ints *value)
{
    const gmv_node *element = NULL;
    int n = node->kind == GMV_NODE_MAP ? -1 : elements_of(t, node, &element);
    if (n < 0 || gmv_node_is_null(node)) {
        return wrong_type(t, node, "an integer or a list of integers");
    }
    if (n < t->key->least) {
        return gmv_yaml_text_fail(t->source, node->line, node->column, "%s must have at least %d element%s, such as %s",
                                  t->key->path, t->key->least, t->key->least > 1 ? "s" : "", t->key->preset);
    }
    gmv_ints read = {NULL, n};
    GMV_TRY(GMV_NEW(read.at, n, "a list of the config"));
    for (int i = 0; i < n; i++) {
        gmv_status status = read_integer(t, element, &read.at[i]);
        if (status != GMV_OK) {
            gmv_free(read.at);
            return status;
        }
        element = next_element(t, element);
    }
    gmv_free(value->at);
    *value = read;
    return GMV_OK;
}

static gmv_status read_texts(const target *t, const gmv_node *node, gmv_texts *value)
{
    static const char expected[] = "a text or a list of texts";
    if (node->kind == GMV_NODE_MAP) {
        return wrong_type(t, node, expected);
    }
    const gmv_node *element = NULL;
    int n = elements_of(t, node, &element);
    gmv_texts read = {NULL, 0};
    gmv_status status = GMV_NEW(read.at, n, "a list of the config");
    for (int i = 0; i < n && status == GMV_OK; i++) {
        read.n++;
        status = element->kind == GMV_NODE_SCALAR && element->text[0] != '\0' && !gmv_node_is_null(element)
                     ? gmv_copy_text(&read.at[i], element->text)
                     : wrong_type(t, element, expected);
        element = next_element(t, element);
    }
    if (status != GMV_OK) {
        gmv_texts_fini(&read);
        return status;
    }
    gmv_texts_fini(value);
    *value = read;
    return GMV_OK;
}

static const char split_forms[] =
    "a fraction of the cells, {files: [...]}, {key: ..., levels: [...]}, or paths of other files";

/* One entry of {files: [...]} or {key: ..., levels: [...]}. */
static gmv_status read_split_part(const target *t, const gmv_node *name, gmv_validation *value)
{
    static const char *const words[] = {"files", "key", "levels"};
    gmv_texts *const list[] = {&value->files, NULL, &value->levels};
    const gmv_node *part = next_element(t, name);
    const char *path = t->key->path, *word = name->kind == GMV_NODE_SCALAR ? name->text : "";
    int at = 0;
    while (at < 3 && strcmp(word, words[at]) != 0) {
        at++;
    }
    if (at == 3) {
        const char *near = gmv_nearest(word, 3, words);
        return gmv_yaml_text_fail(t->source, name->line, name->column,
                                  near == NULL ? "%s: unknown key \"%.60s\"; it takes %s"
                                               : "%s: unknown key \"%.60s\"; did you mean \"%s\"?",
                                  path, word, near == NULL ? split_forms : near);
    }
    if (list[at] != NULL ? list[at]->n > 0 : value->key != NULL) {
        return gmv_yaml_text_fail(t->source, name->line, name->column, "%s: duplicate key \"%s\"; keep one", path,
                                  word);
    }
    GMV_TRY(list[at] != NULL ? read_texts(t, part, list[at]) : read_text(t, part, "the name of a column", &value->key));
    if (list[at] != NULL ? list[at]->n == 0 : value->key[0] == '\0') {
        return gmv_yaml_text_fail(t->source, part->line, part->column, "%s: %s is empty; name at least one", path,
                                  word);
    }
    return GMV_OK;
}

static gmv_status read_split_map(const target *t, const gmv_node *node, gmv_validation *value)
{
    for (int k = node->child; k >= 0; k = t->tree->at[t->tree->at[k].next].next) {
        GMV_TRY(read_split_part(t, &t->tree->at[k], value));
    }
    bool by_level = value->key != NULL || value->levels.n > 0;
    if (by_level && (value->key == NULL || value->levels.n == 0)) {
        return gmv_yaml_text_fail(t->source, node->line, node->column,
                                  "%s needs both, such as {key: donor, levels: [d3]}", t->key->path);
    }
    if (by_level == (value->files.n > 0)) {
        return gmv_yaml_text_fail(t->source, node->line, node->column,
                                  by_level ? "%s: files and key exclude each other; give one"
                                           : "%s is an empty mapping; 0 holds out nothing",
                                  t->key->path);
    }
    return GMV_OK;
}

static gmv_status read_split(const target *t, const gmv_node *node, gmv_validation *value)
{
    gmv_validation read = {0};
    gmv_status status = GMV_OK;
    if (gmv_node_is_null(node)) {
        return wrong_type(t, node, split_forms);
    }
    if (node->kind == GMV_NODE_MAP) {
        status = read_split_map(t, node, &read);
    } else if (node->kind == GMV_NODE_SCALAR && node->plain && looks_like_real(node->text)) {
        status = read_real(t, node, &read.fraction);
    } else {
        status = read_texts(t, node, &read.paths);
    }
    gmv_validation_fini(status == GMV_OK ? value : &read);
    if (status == GMV_OK) {
        *value = read;
    }
    return status;
}

gmv_status gmv_value_set(gmv_config *config, const gmv_key *key, const gmv_yaml_text *source, const gmv_tree *tree,
                         const gmv_node *node)
{
    target t = {key, source, tree};
    void *field = gmv_key_field(config, key);
    switch (key->kind) {
    case GMV_KIND_INT:
        return read_integer(&t, node, field);
    case GMV_KIND_REAL:
        return read_real(&t, node, field);
    case GMV_KIND_BOOL:
        return read_bool(&t, node, field);
    case GMV_KIND_TEXT:
        return read_text(&t, node, "a text", field);
    case GMV_KIND_ENUM:
        return read_choice(&t, node, field);
    case GMV_KIND_INTS:
        return read_integers(&t, node, field);
    case GMV_KIND_TEXTS:
        return read_texts(&t, node, field);
    case GMV_KIND_SPLIT:
        return read_split(&t, node, field);
    case GMV_KIND_OVER:
        return gmv_over_set(field, source, tree, node);
    }
    return GMV_FAIL(GMV_ERR_INTERNAL, "key %s has no kind; please report this", key->path);
}
