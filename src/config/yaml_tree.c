/* YAML events to a small tree, with the limits and refusals that libyaml leaves to its users: it is
 * quadratic in depth and in anchors, and passes duplicate keys and further documents silently. */
#include "config_impl.h"

#include "gmvae/mem.h"

#include <string.h>
#include <yaml.h>

enum { depth_limit = 32, node_limit = 10000, scalar_limit = 65536 };

typedef struct builder {
    gmv_tree *tree;
    const gmv_yaml_text *source;
    int open[depth_limit]; /* the containers around the next node, outermost first */
    int last[depth_limit]; /* the last child of each, -1 for none yet */
    int depth;
    int documents;
} builder;

static gmv_status fail_at_mark(const builder *b, yaml_mark_t mark, const char *message)
{
    return gmv_yaml_text_fail(b->source, (int)mark.line + 1, (int)mark.column + 1, "%s", message);
}

/* Column of a tab in the indentation of a line (both from 0), -1 when there is none. */
static int tab_in_indentation(const gmv_yaml_text *source, size_t line)
{
    const char *at = source->text, *end = at + source->length;
    for (size_t i = 0; i < line && at < end; i++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        at = newline != NULL ? newline + 1 : end;
    }
    for (int column = 0; at + column < end && (at[column] == ' ' || at[column] == '\t'); column++) {
        if (at[column] == '\t') {
            return column;
        }
    }
    return -1;
}

static const char *advice_for(const char *problem)
{
    static const struct {
        const char *problem, *advice;
    } table[] = {
        {"mapping values are not allowed", "check the indentation, or quote a value that holds \": \""},
        {"',' or ']'", "close the list with ]"},
        {"',' or '}'", "close the mapping with }"},
        {"expected key", "start all keys of a section in the same column"},
        {"could not find expected ':'", "write KEY: VALUE, with a space after the colon"},
        {"unexpected end of stream", "close the quote"},
        {"alphabetic or numeric character", "quote a text that starts with * or &, such as a glob"},
        {"cannot start any token", "quote the text"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strstr(problem, table[i].problem) != NULL) {
            return table[i].advice;
        }
    }
    return "correct the YAML here";
}

static gmv_status fail_in_parser(const builder *b, const yaml_parser_t *parser)
{
    if (parser->error == YAML_MEMORY_ERROR) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "out of memory while reading %s", b->source->name);
    }
    int line = (int)parser->problem_mark.line + 1, column = (int)parser->problem_mark.column + 1;
    int tab = tab_in_indentation(b->source, parser->problem_mark.line);
    if (tab >= 0) {
        return gmv_yaml_text_fail(b->source, line, tab + 1, "a tab in the indentation; use spaces");
    }
    const char *problem = parser->problem != NULL ? parser->problem : "unreadable";
    if (parser->context == NULL || parser->error == YAML_READER_ERROR) {
        return gmv_yaml_text_fail(b->source, line, column, "not YAML: %s; %s", problem, advice_for(problem));
    }
    return gmv_yaml_text_fail(b->source, line, column, "not YAML: %s, %s from line %d, column %d on; %s", problem,
                              parser->context, (int)parser->context_mark.line + 1, (int)parser->context_mark.column + 1,
                              advice_for(problem));
}

/* Adds a node under the innermost open container. */
static gmv_status add_node(builder *b, gmv_node_kind kind, yaml_mark_t mark, int *index)
{
    gmv_tree *tree = b->tree;
    if (tree->n >= node_limit) {
        return fail_at_mark(b, mark, "more than 10000 values; a config has far fewer");
    }
    if (tree->n == tree->capacity) {
        int capacity = tree->capacity == 0 ? 64 : 2 * tree->capacity;
        GMV_TRY(GMV_GROW(tree->at, tree->capacity, capacity, "values of the config"));
        tree->capacity = capacity;
    }
    *index = tree->n++;
    tree->at[*index] = (gmv_node){NULL, (int)mark.line + 1, (int)mark.column + 1, -1, -1, kind, false};
    if (b->depth > 0) {
        int *last = &b->last[b->depth - 1];
        if (*last < 0) {
            tree->at[b->open[b->depth - 1]].child = *index;
        } else {
            tree->at[*last].next = *index;
        }
        *last = *index;
    }
    return GMV_OK;
}

/* Tags that only say what the value says anyway. */
static bool is_core_tag(const char *tag)
{
    static const char *const core[] = {"!",          YAML_NULL_TAG,  YAML_BOOL_TAG, YAML_STR_TAG,
                                       YAML_INT_TAG, YAML_FLOAT_TAG, YAML_SEQ_TAG,  YAML_MAP_TAG};
    for (size_t i = 0; i < sizeof core / sizeof core[0]; i++) {
        if (strcmp(tag, core[i]) == 0) {
            return true;
        }
    }
    return false;
}

static gmv_status refuse_extras(const builder *b, yaml_mark_t mark, const unsigned char *anchor,
                                const unsigned char *tag)
{
    if (anchor != NULL) {
        return fail_at_mark(b, mark, "anchors (&NAME) are not supported; quote a text that starts with &");
    }
    if (tag != NULL && !is_core_tag((const char *)tag)) {
        return fail_at_mark(b, mark, "tags (!NAME) are not supported; write the value, or quote the text");
    }
    return GMV_OK;
}

static gmv_status add_scalar(builder *b, const yaml_event_t *event)
{
    size_t length = event->data.scalar.length;
    const char *value = (const char *)event->data.scalar.value;
    GMV_TRY(refuse_extras(b, event->start_mark, event->data.scalar.anchor, event->data.scalar.tag));
    if (length > scalar_limit) {
        return fail_at_mark(b, event->start_mark, "a text of more than 64 kB; shorten it");
    }
    if (strlen(value) != length) {
        return fail_at_mark(b, event->start_mark, "a text with a zero character in it; remove \\0");
    }
    int index = 0;
    GMV_TRY(add_node(b, GMV_NODE_SCALAR, event->start_mark, &index));
    const char *tag = (const char *)event->data.scalar.tag;
    bool string_tag = tag != NULL && (strcmp(tag, YAML_STR_TAG) == 0 || strcmp(tag, "!") == 0);
    b->tree->at[index].plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !string_tag;
    return gmv_copy_text(&b->tree->at[index].text, value);
}

static gmv_status open_container(builder *b, const yaml_event_t *event, gmv_node_kind kind)
{
    bool list = kind == GMV_NODE_LIST;
    GMV_TRY(refuse_extras(b, event->start_mark,
                          list ? event->data.sequence_start.anchor : event->data.mapping_start.anchor,
                          list ? event->data.sequence_start.tag : event->data.mapping_start.tag));
    if (b->depth == depth_limit) {
        return fail_at_mark(b, event->start_mark, "nested more than 32 deep; a config needs three levels");
    }
    int index = 0;
    GMV_TRY(add_node(b, kind, event->start_mark, &index));
    b->open[b->depth] = index;
    b->last[b->depth] = -1;
    b->depth++;
    return GMV_OK;
}

static gmv_status take_event(builder *b, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (b->documents++ > 0) {
            return fail_at_mark(b, event->start_mark, "a second document starts here; keep one in a file");
        }
        return GMV_OK;
    case YAML_ALIAS_EVENT:
        return fail_at_mark(b, event->start_mark,
                            "aliases (*NAME) are not supported; quote a text that starts with *, such as a glob");
    case YAML_SCALAR_EVENT:
        return add_scalar(b, event);
    case YAML_SEQUENCE_START_EVENT:
        return open_container(b, event, GMV_NODE_LIST);
    case YAML_MAPPING_START_EVENT:
        return open_container(b, event, GMV_NODE_MAP);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        b->depth--;
        return GMV_OK;
    default:
        return GMV_OK;
    }
}

gmv_status gmv_tree_parse(gmv_tree *tree, const gmv_yaml_text *source)
{
    *tree = (gmv_tree){NULL, 0, 0};
    GMV_TRY(gmv_yaml_text_check(source));
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "out of memory while reading %s", source->name);
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)source->text, source->length);
    builder b = {.tree = tree, .source = source};
    gmv_status status = GMV_OK;
    for (bool more = true; more && status == GMV_OK;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            status = fail_in_parser(&b, &parser);
            break;
        }
        more = event.type != YAML_STREAM_END_EVENT;
        status = take_event(&b, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return status;
}

gmv_status gmv_tree_from_scalar(gmv_tree *tree, const char *text)
{
    *tree = (gmv_tree){NULL, 0, 0};
    GMV_TRY(GMV_NEW(tree->at, 1, "an override"));
    *tree = (gmv_tree){tree->at, 1, 1};
    tree->at[0] = (gmv_node){NULL, 1, 1, -1, -1, GMV_NODE_SCALAR, true};
    return gmv_copy_text(&tree->at[0].text, text);
}

void gmv_tree_fini(gmv_tree *tree)
{
    for (int i = 0; i < tree->n; i++) {
        gmv_free(tree->at[i].text);
    }
    gmv_free(tree->at);
    *tree = (gmv_tree){NULL, 0, 0};
}

bool gmv_node_is_null(const gmv_node *node)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; node->kind == GMV_NODE_SCALAR && node->plain && i < sizeof nulls / sizeof nulls[0]; i++) {
        if (strcmp(node->text, nulls[i]) == 0) {
            return true;
        }
    }
    return false;
}
