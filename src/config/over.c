/* sweep.over: keys by their dotted paths, each with a list of values or, for draws, a range. Every value is tried on a
 * config, so that what a run could not take is refused where it is written. */
#include "config_impl.h"

#include "gmvae/mem.h"

#include <stdio.h>
#include <string.h>

/* The keys being read, and where. */
typedef struct reader {
    const gmv_yaml_text *source;
    const gmv_tree *tree;
    gmv_config *scratch; /* what values are tried on */
} reader;

void gmv_over_fini(gmv_over *over)
{
    for (int i = 0; i < over->n; i++) {
        gmv_free(over->at[i].path);
        gmv_free(over->at[i].text);
        gmv_texts_fini(&over->at[i].values);
    }
    gmv_free(over->at);
    *over = (gmv_over){NULL, 0};
}

/* Unquoted texts that stay what they are, numbers and words, inside brackets. */
static bool stays_plain(const char *text)
{
    static const char first[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    static const char others[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_/.+-";
    const char *start = text + (text[0] == '+' || text[0] == '-');
    start += start[0] == '.';
    return start[0] != '\0' && strchr(first, start[0]) != NULL && start[strspn(start, others)] == '\0';
}

static void print_node(const gmv_tree *tree, const gmv_node *node, FILE *out)
{
    if (node->kind == GMV_NODE_SCALAR) {
        if (gmv_node_is_null(node)) {
            fputs("null", out);
        } else if (node->plain && stays_plain(node->text)) {
            fputs(node->text, out);
        } else {
            gmv_yaml_print_text(node->text, out);
        }
        return;
    }
    bool list = node->kind == GMV_NODE_LIST, value = false;
    fputc(list ? '[' : '{', out);
    for (int i = node->child; i >= 0; i = tree->at[i].next) {
        fputs(i == node->child ? "" : value ? ": " : ", ", out);
        print_node(tree, &tree->at[i], out);
        value = !list && !value;
    }
    fputc(list ? ']' : '}', out);
}

static gmv_status text_of(const gmv_tree *tree, const gmv_node *node, char **text)
{
    char *collected = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&collected, &size);
    if (stream == NULL) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "out of memory for the values of sweep.over");
    }
    print_node(tree, node, stream);
    return gmv_take_stream(stream, &collected, text);
}

/* What a run of a sweep has from the sweep, or from the machine. */
static gmv_status refuse_own(const reader *r, const gmv_node *node)
{
    static const char *const own[] = {"output.dir", "checkpoint.path", "checkpoint.resume"};
    static const char *const sections[] = {"sweep",    "synth",   "runtime", "denoise",
                                           "generate", "markers", "output",  "checkpoint"};
    bool refused = false;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        refused = refused || strcmp(node->text, own[i]) == 0;
    }
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        size_t n = strlen(sections[i]);
        bool inside = strncmp(node->text, sections[i], n) == 0;
        refused = refused || (inside && (node->text[n] == '\0' || (i < 6 && node->text[n] == '.')));
    }
    return refused
               ? gmv_yaml_text_fail(r->source, node->line, node->column,
                                    "sweep.over: %s cannot differ between the runs of a sweep; remove it", node->text)
               : GMV_OK;
}

/* One end of a range, as its key takes it. */
static gmv_status read_end(const reader *r, const gmv_key *key, const gmv_node *node, double *end)
{
    GMV_TRY(gmv_value_set(r->scratch, key, r->source, r->tree, node));
    const void *value = gmv_key_value(r->scratch, key);
    *end = key->kind == GMV_KIND_INT ? (double)*(const int64_t *)value : *(const double *)value;
    return GMV_OK;
}

/* {min: A, max: B, log: true} */
static gmv_status read_range(const reader *r, const gmv_node *node, gmv_axis *axis)
{
    static const char form[] = "a range is {min: ..., max: ...}, with log: true if wanted; values are a list";
    const gmv_key *key = gmv_key_find(axis->path);
    bool given[2] = {false, false};
    if (key == NULL || (key->kind != GMV_KIND_INT && key->kind != GMV_KIND_REAL)) {
        return gmv_yaml_text_fail(r->source, node->line, node->column,
                                  "sweep.over: %s is no number; give a list of values", axis->path);
    }
    axis->whole = key->kind == GMV_KIND_INT;
    for (int k = node->child; k >= 0; k = r->tree->at[r->tree->at[k].next].next) {
        const gmv_node *name = &r->tree->at[k], *value = &r->tree->at[name->next];
        const char *word = name->kind == GMV_NODE_SCALAR ? name->text : "";
        bool max = strcmp(word, "max") == 0;
        if (max || strcmp(word, "min") == 0) {
            given[max] = true;
            GMV_TRY(read_end(r, key, value, max ? &axis->max : &axis->min));
        } else if (strcmp(word, "log") == 0 && value->kind == GMV_NODE_SCALAR &&
                   (strcmp(value->text, "true") == 0 || strcmp(value->text, "false") == 0)) {
            axis->log = value->text[0] == 't';
        } else {
            return gmv_yaml_text_fail(r->source, name->line, name->column, "sweep.over: %s: \"%.60s\": %s", axis->path,
                                      word, form);
        }
    }
    if (!given[0] || !given[1] || !(axis->min < axis->max) || (axis->log && !(axis->min > 0))) {
        return gmv_yaml_text_fail(r->source, node->line, node->column,
                                  "sweep.over: %s: the range needs min below max%s; %s", axis->path,
                                  axis->log ? ", and with log min above 0" : "", form);
    }
    return GMV_OK;
}

/* The values of a key, each tried. A single one may be written without brackets. */
static gmv_status read_values(const reader *r, const gmv_node *node, gmv_axis *axis)
{
    bool list = node->kind == GMV_NODE_LIST;
    int first = list ? node->child : (int)(node - r->tree->at), n = 0;
    for (int i = first; i >= 0; i = list ? r->tree->at[i].next : -1) {
        n++;
    }
    if (n == 0) {
        return gmv_yaml_text_fail(r->source, node->line, node->column, "sweep.over: %s has no values; list some",
                                  axis->path);
    }
    GMV_TRY(GMV_NEW(axis->values.at, n, "values of sweep.over"));
    for (int i = first; i >= 0; i = list ? r->tree->at[i].next : -1) {
        const gmv_node *value = &r->tree->at[i];
        GMV_TRY(gmv_config_apply(r->scratch, r->source, r->tree, axis->path, value));
        char **text = &axis->values.at[axis->values.n];
        GMV_TRY(text_of(r->tree, value, text));
        for (int j = 0; j < axis->values.n; j++) {
            if (strcmp(axis->values.at[j], *text) == 0) {
                axis->values.n++;
                return gmv_yaml_text_fail(r->source, value->line, value->column,
                                          "sweep.over: %s has the value %.60s twice; keep one", axis->path, *text);
            }
        }
        axis->values.n++;
    }
    return GMV_OK;
}

static gmv_status read_axis(const reader *r, const gmv_node *key, gmv_over *over)
{
    const gmv_node *node = &r->tree->at[key->next];
    if (key->kind != GMV_NODE_SCALAR || key->text[0] == '\0' || strlen(key->text) > 120) {
        return gmv_yaml_text_fail(r->source, key->line, key->column,
                                  "sweep.over: a key must be a dotted path, such as model.clusters");
    }
    if (gmv_key_find(key->text) == NULL && !gmv_key_is_section(key->text)) {
        return gmv_key_unknown(r->source, key, "", key->text);
    }
    GMV_TRY(refuse_own(r, key));
    for (int i = 0; i < over->n; i++) {
        if (strcmp(over->at[i].path, key->text) == 0) {
            return gmv_yaml_text_fail(r->source, key->line, key->column, "sweep.over: duplicate key \"%s\"; keep one",
                                      key->text);
        }
    }
    gmv_axis *axis = &over->at[over->n++];
    GMV_TRY(gmv_copy_text(&axis->path, key->text));
    GMV_TRY(text_of(r->tree, node, &axis->text));
    return node->kind == GMV_NODE_MAP ? read_range(r, node, axis) : read_values(r, node, axis);
}

gmv_status gmv_over_set(gmv_over *value, const gmv_yaml_text *source, const gmv_tree *tree, const gmv_node *node)
{
    gmv_over read = {NULL, 0};
    gmv_config scratch = {0};
    reader r = {source, tree, &scratch};
    gmv_status status = GMV_OK;
    int n = 0;
    if (node->kind != GMV_NODE_MAP && !gmv_node_is_null(node)) {
        return gmv_yaml_text_fail(source, node->line, node->column,
                                  "sweep.over must be a mapping of keys, such as {model.clusters: [10, 20]}");
    }
    for (int k = node->child; k >= 0; k = tree->at[tree->at[k].next].next) {
        n++;
    }
    if (n > 0) { /* the defaults of a config have none, so this ends */
        GMV_GO(gmv_config_parse(&scratch, "defaults", "", 0, 0, NULL));
        GMV_GO(GMV_NEW(read.at, n, "keys of sweep.over"));
    }
    for (int k = node->child; k >= 0; k = tree->at[tree->at[k].next].next) {
        GMV_GO(read_axis(&r, &tree->at[k], &read));
    }
done:
    gmv_config_fini(&scratch);
    gmv_over_fini(status == GMV_OK ? value : &read);
    if (status == GMV_OK) {
        *value = read;
    }
    return status;
}
