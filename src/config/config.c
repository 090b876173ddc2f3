#include "gmvae/config.h"

#include "config_impl.h"

#include "gmvae/files.h"
#include "gmvae/mem.h"

#include <errno.h>
#include <string.h>

enum { file_limit = 1 << 20 };

static gmv_status apply_text(gmv_config *config, const gmv_yaml_text *source, const char *path)
{
    gmv_tree tree;
    gmv_status status = gmv_tree_parse(&tree, source);
    if (status == GMV_OK && tree.n > 0) {
        status = gmv_config_apply(config, source, &tree, path, &tree.at[0]);
    }
    gmv_tree_fini(&tree);
    return status;
}

/* Of the keys whose path begins with `section`. */
static gmv_status set_defaults(gmv_config *config, const char *section)
{
    int n = 0;
    const gmv_key *keys = gmv_keys(&n);
    for (int i = 0; i < n; i++) {
        if (strncmp(keys[i].path, section, strlen(section)) != 0) {
            continue;
        }
        const char *preset = gmv_key_preset(&keys[i]);
        gmv_yaml_text source = {keys[i].path, preset, strlen(preset), true};
        gmv_tree tree;
        gmv_status status = source.length == 0 ? gmv_tree_from_scalar(&tree, "") : gmv_tree_parse(&tree, &source);
        if (status == GMV_OK) {
            status = gmv_value_set(config, &keys[i], &source, &tree, &tree.at[0]);
        }
        gmv_tree_fini(&tree);
        GMV_TRY(status);
    }
    return GMV_OK;
}

static gmv_status apply_override(gmv_config *config, const char *override)
{
    gmv_yaml_text source = {override, override, strlen(override), true};
    GMV_TRY(gmv_yaml_text_check(&source));
    const char *equals = strchr(override, '=');
    if (equals == NULL || equals == override) {
        return gmv_yaml_text_fail(&source, 0, 0, "not KEY=VALUE; write for example train.epochs=10");
    }
    char path[160];
    snprintf(path, sizeof path, "%.*s", (int)(equals - override < 150 ? equals - override : 150), override);
    source.text = equals + 1;
    source.length = strlen(source.text);
    gmv_tree tree;
    /* A glob at the start is a text here: in YAML it would be an alias, which can never be meant. */
    bool literal = source.text[0] == '\0' || source.text[0] == '*' || source.text[0] == '@';
    gmv_status status = literal ? gmv_tree_from_scalar(&tree, source.text) : gmv_tree_parse(&tree, &source);
    if (status == GMV_OK && tree.n == 0) {
        gmv_tree_fini(&tree);
        status = gmv_tree_from_scalar(&tree, "");
    }
    if (status == GMV_OK) {
        status = gmv_config_apply(config, &source, &tree, path, &tree.at[0]);
    }
    gmv_tree_fini(&tree);
    return status;
}

/* What model.family stands for. */
static gmv_status apply_family(gmv_config *config, int family)
{
    static const char *const settings[] = {
#define GMV_FAMILY(name, settings, description) settings,
#include "gmvae/families.def"
#undef GMV_FAMILY
    };
    gmv_yaml_text source = {"the settings of model.family", settings[family], strlen(settings[family]), true};
    return apply_text(config, &source, "model");
}

/* Defaults, then the family's settings (-1: none), then the file, then the overrides. */
static gmv_status apply_all(gmv_config *config, int family, const gmv_yaml_text *file, int overrides,
                            const char *const *override)
{
    gmv_config_fini(config);
    GMV_TRY(set_defaults(config, ""));
    GMV_TRY(family >= 0 ? apply_family(config, family) : GMV_OK);
    GMV_TRY(apply_text(config, file, ""));
    for (int i = 0; i < overrides; i++) {
        GMV_TRY(apply_override(config, override[i]));
    }
    return GMV_OK;
}

gmv_status gmv_config_parse(gmv_config *config, const char *name, const char *text, int64_t length, int overrides,
                            const char *const *override)
{
    memset(config, 0, sizeof *config);
    gmv_yaml_text source = {name, text, (size_t)length, false};
    gmv_status status = GMV_OK;
    if (length > file_limit) {
        status = gmv_yaml_text_fail(&source, 0, 0, "larger than 1 MiB, which no config is; is this a data file?");
        goto done;
    }
    if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* byte-order mark */
        source.text += 3;
        source.length -= 3;
    }
    GMV_GO(apply_all(config, -1, &source, overrides, override)); /* tells the family */
    GMV_GO(apply_all(config, config->model_family, &source, overrides, override));
done:
    if (status != GMV_OK) {
        gmv_config_fini(config);
    }
    return status;
}

gmv_status gmv_config_read_file(const char *file, char **text, int64_t *length)
{
    gmv_yaml_text source = {file, "", 0, false};
    const char *why = gmv_file_read_text(file, file_limit, text, length);
    if (why == NULL) {
        return GMV_OK;
    }
    return errno == ENOENT   ? gmv_yaml_text_fail(&source, 0, 0, "no such config file; check the path")
           : errno == EISDIR ? gmv_yaml_text_fail(&source, 0, 0, "is a folder; name the YAML file in it")
                             : gmv_yaml_text_fail(&source, 0, 0, "cannot be read: %s", why);
}

/* On rank 0: the bytes of the file, known to hold no zero so that they travel as a string. */
static gmv_status read_on_root(const char *file, char **text)
{
    int64_t length = 0;
    GMV_TRY(gmv_config_read_file(file, text, &length));
    GMV_CHECK(*text != NULL);
    if (memchr(*text, '\0', (size_t)length) == NULL) {
        return GMV_OK;
    }
    gmv_config unused;
    gmv_status status = gmv_config_parse(&unused, file, *text, length, 0, NULL);
    GMV_FREE(*text);
    GMV_CHECK(status != GMV_OK);
    return status;
}

gmv_status gmv_config_fetch(const gmv_comm *comm, const char *file, char **text)
{
    *text = NULL;
    gmv_status status = comm->rank == 0 ? read_on_root(file, text) : GMV_OK;
    GMV_TRY(gmv_comm_agree(comm, status));
    return gmv_comm_broadcast_text(comm, text, 0);
}

gmv_status gmv_config_load(gmv_config *config, const gmv_comm *comm, const char *file, int overrides,
                           const char *const *override)
{
    memset(config, 0, sizeof *config);
    char *text = NULL;
    gmv_status status;
    GMV_GO(gmv_config_fetch(comm, file, &text));
    status = gmv_config_parse(config, file, text, (int64_t)strlen(text), overrides, override);
    gmv_status agreed = gmv_comm_agree(comm, status);
    if (agreed != GMV_OK && status == GMV_OK) {
        gmv_config_fini(config);
    }
    status = agreed;
done:
    gmv_free(text);
    return status;
}

gmv_status gmv_config_reset(gmv_config *config, const char *section)
{
    return set_defaults(config, section);
}

void gmv_config_fini(gmv_config *config)
{
    int n = 0;
    const gmv_key *keys = gmv_keys(&n);
    for (int i = 0; i < n; i++) {
        void *field = gmv_key_field(config, &keys[i]);
        switch (keys[i].kind) {
        case GMV_KIND_TEXT:
            gmv_free(*(char **)field);
            break;
        case GMV_KIND_INTS:
            gmv_free(((gmv_ints *)field)->at);
            break;
        case GMV_KIND_TEXTS:
            gmv_texts_fini(field);
            break;
        case GMV_KIND_SPLIT:
            gmv_validation_fini(field);
            break;
        case GMV_KIND_OVER:
            gmv_over_fini(field);
            break;
        default:
            break;
        }
    }
    memset(config, 0, sizeof *config);
}
