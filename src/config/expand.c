/* Paths of the config as a shell has them: a leading ~ and variables of the environment. */
#include "config_impl.h"

#include "gmvae/mem.h"

#include <stdlib.h>
#include <string.h>

enum { most_bytes = 1 << 16 };

/* A path while it is being written. */
typedef struct writer {
    const char *key, *path; /* for messages */
    char *text;
    size_t used;
} writer;

static gmv_status put(writer *to, const char *bytes, size_t n)
{
    if (to->used + n >= most_bytes) {
        return GMV_FAIL(GMV_ERR_CONFIG, "%s: \"%.200s\" is too long", to->key, to->path);
    }
    memcpy(to->text + to->used, bytes, n);
    to->used += n;
    to->text[to->used] = '\0';
    return GMV_OK;
}

static gmv_status put_variable(writer *to, const char *name, size_t length)
{
    char variable[128];
    snprintf(variable, sizeof variable, "%.*s", (int)(length < 127 ? length : 127), name);
    const char *value = getenv(variable);
    if (value == NULL) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "%s: \"%.200s\" has the variable %s, which is not set; set it, or write the path", to->key,
                        to->path, variable);
    }
    return put(to, value, strlen(value));
}

/* Bytes of a variable's name. */
static size_t name_length(const char *text)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
    return text[0] >= '0' && text[0] <= '9' ? 0 : strspn(text, letters);
}

static gmv_status write_path(writer *to)
{
    const char *at = to->path;
    if (at[0] == '~' && (at[1] == '/' || at[1] == '\0')) {
        GMV_TRY(put_variable(to, "HOME", 4));
        at++;
    }
    while (*at != '\0') {
        bool braces = at[0] == '$' && at[1] == '{';
        const char *name = at + 1 + braces;
        size_t length = at[0] == '$' ? name_length(name) : 0;
        if (length > 0 && (!braces || name[length] == '}')) {
            GMV_TRY(put_variable(to, name, length));
            at = name + length + braces;
        } else {
            GMV_TRY(put(to, at++, 1)); /* a $ before anything else is one */
        }
    }
    return GMV_OK;
}

static gmv_status expand(const char *key, char **path)
{
    if (*path == NULL || ((*path)[0] != '~' && strchr(*path, '$') == NULL)) {
        return GMV_OK;
    }
    writer to = {key, *path, NULL, 0};
    char *expanded = NULL;
    GMV_TRY(GMV_NEW(to.text, most_bytes, "a path"));
    gmv_status status = write_path(&to);
    if (status == GMV_OK) {
        status = gmv_copy_text(&expanded, to.text);
    }
    gmv_free(to.text);
    if (status == GMV_OK) {
        gmv_free(*path);
        *path = expanded;
    }
    return status;
}

static gmv_status expand_all(const char *key, gmv_texts *paths)
{
    for (int i = 0; i < paths->n; i++) {
        GMV_TRY(expand(key, &paths->at[i]));
    }
    return GMV_OK;
}

gmv_status gmv_config_expand_paths(gmv_config *config)
{
    GMV_TRY(expand_all("data.train", &config->data_train));
    GMV_TRY(expand_all("data.predict", &config->data_predict));
    GMV_TRY(expand_all("data.validation", &config->data_validation.paths));
    GMV_TRY(expand_all("data.validation", &config->data_validation.files));
    GMV_TRY(expand("data.genes.file", &config->data_genes_file));
    GMV_TRY(expand("data.cache_dir", &config->data_cache_dir));
    GMV_TRY(expand("denoise.genes_file", &config->denoise_genes_file));
    GMV_TRY(expand("checkpoint.path", &config->checkpoint_path));
    GMV_TRY(expand("output.dir", &config->output_dir));
    return expand("synth.path", &config->synth_path);
}
