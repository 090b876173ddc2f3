/* A YAML tree onto the config: sections, unknown and duplicate keys, and the shorthands:
 *
 *   data.genes: all | {n_top: N, flavor: F} | {file: PATH}   the choice follows from which of the two is set
 *   train.kl_warmup: 0 | {fraction: F} | {steps: N}  0 is off; setting one of the two ends the other
 *   train.lr_schedule: 0 | {after: E, factor: F}     0 is off
 */
#include "config_impl.h"

#include "gmvae/mem.h"

#include <stdlib.h>
#include <string.h>

enum { path_bytes = 192 };

static gmv_status set_text(char **text, const char *value)
{
    char *copy = NULL;
    GMV_TRY(gmv_copy_text(&copy, value));
    gmv_free(*text);
    *text = copy;
    return GMV_OK;
}

/* Keeps the fields that exclude each other consistent after one of them was set: the last one wins, so
 * that an override replaces what the file says. */
static gmv_status settle_genes(gmv_config *config, const char *path, const gmv_yaml_text *source, const gmv_node *node)
{
    if (strcmp(path, "data.genes") == 0) {
        if (config->data_genes != GMV_GENES_ALL) {
            return gmv_yaml_text_fail(source, node->line, node->column,
                                      "data.genes takes \"all\", {n_top: 2000} or {file: genes.txt}, not \"%s\" alone",
                                      node->text);
        }
        config->data_genes_n_top = 0;
        config->data_genes_flavor = GMV_FLAVOR_LOG1P_VARIANCE;
        return set_text(&config->data_genes_file, "");
    }
    if (strcmp(path, "data.genes.n_top") == 0) {
        if (config->data_genes_n_top > 0) {
            config->data_genes = GMV_GENES_N_TOP;
            return set_text(&config->data_genes_file, "");
        }
        config->data_genes = config->data_genes_file[0] != '\0' ? GMV_GENES_FILE : GMV_GENES_ALL;
    }
    if (strcmp(path, "data.genes.file") == 0) {
        if (config->data_genes_file[0] != '\0') {
            config->data_genes = GMV_GENES_FILE;
            config->data_genes_n_top = 0;
            config->data_genes_flavor = GMV_FLAVOR_LOG1P_VARIANCE;
        } else {
            config->data_genes = config->data_genes_n_top > 0 ? GMV_GENES_N_TOP : GMV_GENES_ALL;
        }
    }
    return GMV_OK;
}

static void settle_warmup(gmv_config *config, const char *path, int64_t old_steps)
{
    if (strcmp(path, "train.kl_warmup.fraction") == 0 && config->train_kl_warmup_fraction > 0) {
        config->train_kl_warmup_steps = 0;
    }
    if (strcmp(path, "train.kl_warmup.steps") == 0) {
        if (config->train_kl_warmup_steps > 0) {
            config->train_kl_warmup_fraction = 0;
        } else if (old_steps > 0) {
            config->train_kl_warmup_fraction = strtod(gmv_key_find("train.kl_warmup.fraction")->preset, NULL);
        }
    }
}

static gmv_status set_key(gmv_config *config, const gmv_key *key, const gmv_yaml_text *source, const gmv_tree *tree,
                          const gmv_node *node)
{
    int64_t old_steps = config->train_kl_warmup_steps;
    GMV_TRY(gmv_value_set(config, key, source, tree, node));
    settle_warmup(config, key->path, old_steps);
    return settle_genes(config, key->path, source, node);
}

/* "lr_schedule.after" as YAML has it: "lr_schedule: {after: ...}". */
static void write_nested(const char *dotted, char *text, size_t size)
{
    size_t used = 0, depth = 0;
    for (const char *c = dotted; *c != '\0' && used + 4 < size; c++) {
        if (*c == '.') {
            used += (size_t)snprintf(text + used, size - used, ": {");
            depth++;
        } else {
            text[used++] = *c;
        }
    }
    used += (size_t)snprintf(text + used, size - used, ": ...");
    for (; depth > 0 && used + 1 < size; depth--) {
        text[used++] = '}';
    }
    text[used < size ? used : size - 1] = '\0';
}

gmv_status gmv_key_unknown(const gmv_yaml_text *source, const gmv_node *node, const char *section, const char *path)
{
    const char *name = path + (section[0] == '\0' ? 0 : strlen(section) + 1);
    if (!source->is_override && strchr(name, '.') != NULL && (gmv_key_find(path) || gmv_key_is_section(path))) {
        char nested[2 * path_bytes];
        write_nested(name, nested, sizeof nested);
        return gmv_yaml_text_fail(source, node->line, node->column,
                                  "\"%s\": dotted keys are for the command line; write %s", name, nested);
    }
    char near[path_bytes];
    if (gmv_key_nearest(path, near, sizeof near) != NULL) {
        return gmv_yaml_text_fail(source, node->line, node->column, "unknown key \"%.120s\"; did you mean \"%s\"?",
                                  path, near);
    }
    return gmv_yaml_text_fail(source, node->line, node->column,
                              "unknown key \"%.120s\"; gmvae_dist --print-config lists all keys", path);
}

/* Nothing, or zero: what turns a feature off. */
static bool is_off(const gmv_node *node)
{
    if (node->kind != GMV_NODE_SCALAR || gmv_node_is_null(node) || node->text[0] == '\0') {
        return node->kind == GMV_NODE_SCALAR;
    }
    char *end = NULL;
    double value = strtod(node->text, &end);
    return node->plain && *end == '\0' && !(value > 0 || value < 0);
}

/* Two keys of one mapping of which only one may be given. */
static gmv_status refuse_both(const gmv_yaml_text *source, const gmv_tree *tree, const gmv_node *map, const char *path)
{
    static const char *const rivals[][3] = {{"data.genes", "n_top", "file"}, {"train.kl_warmup", "fraction", "steps"}};
    for (size_t r = 0; r < sizeof rivals / sizeof rivals[0]; r++) {
        int given = 0;
        for (int k = map->child; k >= 0 && strcmp(path, rivals[r][0]) == 0; k = tree->at[tree->at[k].next].next) {
            const gmv_node *key = &tree->at[k];
            bool rival = key->kind == GMV_NODE_SCALAR &&
                         (strcmp(key->text, rivals[r][1]) == 0 || strcmp(key->text, rivals[r][2]) == 0);
            if (rival && !is_off(&tree->at[key->next]) && ++given == 2) {
                return gmv_yaml_text_fail(source, key->line, key->column, "%s: %s and %s exclude each other; give one",
                                          path, rivals[r][1], rivals[r][2]);
            }
        }
    }
    return GMV_OK;
}

static gmv_status refuse_duplicate(const gmv_yaml_text *source, const gmv_tree *tree, const gmv_node *map, int key)
{
    for (int k = map->child; k != key; k = tree->at[tree->at[k].next].next) {
        if (strcmp(tree->at[k].text, tree->at[key].text) == 0) {
            return gmv_yaml_text_fail(source, tree->at[key].line, tree->at[key].column,
                                      "duplicate key \"%.60s\", first given in line %d; keep one", tree->at[key].text,
                                      tree->at[k].line);
        }
    }
    return GMV_OK;
}

static gmv_status apply_section(gmv_config *config, const gmv_yaml_text *source, const gmv_tree *tree, const char *path,
                                const gmv_node *map)
{
    GMV_TRY(refuse_both(source, tree, map, path));
    for (int k = map->child; k >= 0; k = tree->at[tree->at[k].next].next) {
        const gmv_node *key = &tree->at[k];
        if (key->kind != GMV_NODE_SCALAR || key->text[0] == '\0') {
            return gmv_yaml_text_fail(source, key->line, key->column, "a key must be a word; write KEY: VALUE");
        }
        GMV_TRY(refuse_duplicate(source, tree, map, k));
        char child[path_bytes];
        snprintf(child, sizeof child, "%s%s%.120s", path, path[0] == '\0' ? "" : ".", key->text);
        bool known = gmv_key_find(child) != NULL || gmv_key_is_section(child);
        if (!known || strchr(key->text, '.') != NULL) {
            return gmv_key_unknown(source, key, path, child);
        }
        GMV_TRY(gmv_config_apply(config, source, tree, child, &tree->at[key->next]));
    }
    return GMV_OK;
}

/* `SECTION: 0` for a section that is a feature which can be off. */
static gmv_status apply_off(gmv_config *config, const gmv_yaml_text *source, const char *path, const gmv_node *node)
{
    bool off = node->plain && node->text[0] != '\0' && is_off(node);
    if (off && strcmp(path, "train.kl_warmup") == 0) {
        config->train_kl_warmup_fraction = 0;
        config->train_kl_warmup_steps = 0;
        return GMV_OK;
    }
    if (off && strcmp(path, "train.lr_schedule") == 0) {
        config->train_lr_schedule_after = 0;
        return GMV_OK;
    }
    const char *hint = strcmp(path, "train.kl_warmup") == 0     ? "write {fraction: 0.33}, {steps: 1000} or 0 for off"
                       : strcmp(path, "train.lr_schedule") == 0 ? "write {after: 25, factor: 0.7} or 0 for off"
                                                                : "put its keys below it, indented";
    return gmv_yaml_text_fail(source, node->line, node->column, "%s must be a mapping, not \"%.60s\"; %s", path,
                              node->text, hint);
}

gmv_status gmv_config_apply(gmv_config *config, const gmv_yaml_text *source, const gmv_tree *tree, const char *path,
                            const gmv_node *node)
{
    const gmv_key *key = gmv_key_find(path);
    bool section = gmv_key_is_section(path);
    if (key == NULL && !section) {
        const char *dot = strrchr(path, '.');
        char parent[path_bytes];
        snprintf(parent, sizeof parent, "%.*s", dot != NULL ? (int)(dot - path) : 0, path);
        return gmv_key_unknown(source, node, parent, path);
    }
    if (section && node->kind == GMV_NODE_MAP) {
        return apply_section(config, source, tree, path, node);
    }
    if (key != NULL) {
        return set_key(config, key, source, tree, node);
    }
    if (gmv_node_is_null(node)) {
        return GMV_OK; /* a section whose keys are all commented out */
    }
    if (node->kind == GMV_NODE_SCALAR && path[0] != '\0') {
        return apply_off(config, source, path, node);
    }
    return gmv_yaml_text_fail(source, node->line, node->column, "%s must be a mapping (KEY: VALUE), not %s",
                              path[0] == '\0' ? "the config" : path, node->kind == GMV_NODE_LIST ? "a list" : "a text");
}
