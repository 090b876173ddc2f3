/* Shared by the files of src/config: the key table, where a text comes from, and its YAML as a tree. */
#pragma once

#include "gmvae/config.h"

#include <stddef.h>

typedef enum gmv_key_kind {
    GMV_KIND_INT,
    GMV_KIND_REAL,
    GMV_KIND_BOOL,
    GMV_KIND_TEXT,
    GMV_KIND_ENUM,
    GMV_KIND_INTS,
    GMV_KIND_TEXTS,
    GMV_KIND_SPLIT,
    GMV_KIND_OVER
} gmv_key_kind;

/* What a checkpoint makes of a key, see config.def. */
typedef enum gmv_key_use { GMV_USE_FREE, GMV_USE_FIXED, GMV_USE_SPLIT, GMV_USE_EXACT, GMV_USE_TAKEN } gmv_key_use;

/* A row of config.def. Integer bounds fit a double exactly: none exceeds 2^53. */
typedef struct gmv_key {
    const char *path;
    const char *preset; /* the default, as YAML: see gmv_key_preset */
    const char *choices;
    const char *help;
    double min, max;
    size_t offset; /* of the field in gmv_config */
    gmv_key_kind kind;
    int least; /* fewest elements of a list */
    gmv_key_use use;
} gmv_key;

/* @param[out] n  rows of the table */
const gmv_key *gmv_keys(int *n);

/* NULL when there is no such key. */
const gmv_key *gmv_key_find(const char *path);

/* Whether other keys live below `path` ("train", "data.genes"). "" is the root, a section too. */
bool gmv_key_is_section(const char *path);

/* The default, as YAML. */
const char *gmv_key_preset(const gmv_key *key);

/* Index of `word` among the key's choices, -1 when it is none of them. */
int gmv_key_choice_index(const gmv_key *key, const char *word);
int gmv_key_choices(const gmv_key *key);

/* The known key or section that a wrong `path` probably means, NULL when none is near. Looks at the
 * neighbours in the same section, at the same name in other sections and at the whole dotted path.
 * @param[out] near  storage of `size` bytes for the answer */
const char *gmv_key_nearest(const char *path, char *near, size_t size);

/* Edits (insert, delete, replace, swap of neighbours) that turn a into b, and how many still count as near. */
int gmv_edit_distance(const char *a, const char *b);
int gmv_edit_limit(const char *word);

/* Text being parsed. In messages a file is NAME:line:column, an override is itself. */
typedef struct gmv_yaml_text {
    const char *name;
    const char *text;
    size_t length;
    bool is_override;
} gmv_yaml_text;

/* Records GMV_ERR_CONFIG: "NAME:line:column: " and the message, one line, control characters replaced. */
gmv_status gmv_yaml_text_fail(const gmv_yaml_text *source, int line, int column, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Refuses bytes that are not UTF-8 text. */
gmv_status gmv_yaml_text_check(const gmv_yaml_text *source);

typedef enum gmv_node_kind { GMV_NODE_SCALAR, GMV_NODE_LIST, GMV_NODE_MAP } gmv_node_kind;

/* Children of a mapping alternate: key, value, key, value. Indices into gmv_tree.at, -1 for none. */
typedef struct gmv_node {
    char *text; /* scalars only; owned by the tree */
    int line, column;
    int child, next;
    gmv_node_kind kind;
    bool plain; /* neither quoted nor tagged as a string */
} gmv_node;

typedef struct gmv_tree {
    gmv_node *at;
    int n, capacity;
} gmv_tree;

/* Parses one YAML document; an empty text gives a tree without nodes.
 * Ownership: caller frees with gmv_tree_fini, also after an error. */
gmv_status gmv_tree_parse(gmv_tree *tree, const gmv_yaml_text *source);

/* A tree of one scalar with this text. */
gmv_status gmv_tree_from_scalar(gmv_tree *tree, const char *text);
void gmv_tree_fini(gmv_tree *tree);

/* The node of an unquoted nothing: empty, ~ or null. */
bool gmv_node_is_null(const gmv_node *node);

/* Sets one key from a node, with type and bounds checked. */
gmv_status gmv_value_set(gmv_config *config, const gmv_key *key, const gmv_yaml_text *source, const gmv_tree *tree,
                         const gmv_node *node);

/* Sets everything `node` says about `path`, a key or a section. */
gmv_status gmv_config_apply(gmv_config *config, const gmv_yaml_text *source, const gmv_tree *tree, const char *path,
                            const gmv_node *node);

/* Records that there is no key or section `path`, with the nearest one. @param[in] section  that it is looked for in
 * Returns GMV_ERR_CONFIG. */
gmv_status gmv_key_unknown(const gmv_yaml_text *source, const gmv_node *node, const char *section, const char *path);

/* Reads sweep.over: every key must be known, and take every value. @param[in,out] value  replaced on success */
gmv_status gmv_over_set(gmv_over *value, const gmv_yaml_text *source, const gmv_tree *tree, const gmv_node *node);

void gmv_texts_fini(gmv_texts *texts);
void gmv_validation_fini(gmv_validation *validation);
void gmv_over_fini(gmv_over *over);

/* Writes a key's value as YAML flow. */
void gmv_value_print(const gmv_config *config, const gmv_key *key, FILE *out);

/* A text in YAML flow form, quoted where it must be. */
void gmv_yaml_print_text(const char *text, FILE *out);

/* Moves what an open_memstream collected into memory that gmv_free takes; closes the stream. */
gmv_status gmv_take_stream(FILE *stream, char **collected, char **text);

static inline void *gmv_key_field(gmv_config *config, const gmv_key *key)
{
    return (char *)config + key->offset;
}

static inline const void *gmv_key_value(const gmv_config *config, const gmv_key *key)
{
    return (const char *)config + key->offset;
}
