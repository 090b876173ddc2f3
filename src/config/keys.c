#include "config_impl.h"

#include <limits.h>
#include <pthread.h>
#include <string.h>

/* The rows of other tables, as choices: each name with a bar before it. */
/* clang-format off */
static const char family_names[] =
#define GMV_FAMILY(name, settings, description) "|" #name
#include "gmvae/families.def"
#undef GMV_FAMILY
    ;
static const char likelihood_names[] =
#define GMV_LIKELIHOOD(name, heads, softmax, gene_params, names, description) "|" #name
#include "gmvae/likelihoods.def"
#undef GMV_LIKELIHOOD
    ;
#define GMV_FAMILY_NAMES     (family_names + 1)
#define GMV_LIKELIHOOD_NAMES (likelihood_names + 1)

#define AT(field) offsetof(gmv_config, field)
static const gmv_key keys[] = {
#define GMV_KEY_INT(field, path, use, def, min, max, help)  {path, def, NULL, help, (double)(min), (double)(max), AT(field), GMV_KIND_INT, 0, GMV_USE_##use},
#define GMV_KEY_REAL(field, path, use, def, min, max, help) {path, def, NULL, help, (double)(min), (double)(max), AT(field), GMV_KIND_REAL, 0, GMV_USE_##use},
#define GMV_KEY_BOOL(field, path, use, def, help)           {path, def, NULL, help, 0, 0, AT(field), GMV_KIND_BOOL, 0, GMV_USE_##use},
#define GMV_KEY_TEXT(field, path, use, def, help)           {path, def, NULL, help, 0, 0, AT(field), GMV_KIND_TEXT, 0, GMV_USE_##use},
#define GMV_KEY_ENUM(field, path, use, def, choices, help)  {path, def, choices, help, 0, 0, AT(field), GMV_KIND_ENUM, 0, GMV_USE_##use},
#define GMV_KEY_INTS(field, path, use, def, least, min, max, help) {path, def, NULL, help, (double)(min), (double)(max), AT(field), GMV_KIND_INTS, least, GMV_USE_##use},
#define GMV_KEY_TEXTS(field, path, use, def, help)          {path, def, NULL, help, 0, 0, AT(field), GMV_KIND_TEXTS, 0, GMV_USE_##use},
#define GMV_KEY_SPLIT(field, path, use, def, min, max, help) {path, def, NULL, help, (double)(min), (double)(max), AT(field), GMV_KIND_SPLIT, 0, GMV_USE_##use},
#define GMV_KEY_OVER(field, path, use, def, help)           {path, def, NULL, help, 0, 0, AT(field), GMV_KIND_OVER, 0, GMV_USE_##use},
#include "gmvae/config.def"
};
/* clang-format on */

enum { key_count = sizeof keys / sizeof keys[0], word_bytes = 128, word_limit = 96 };

const gmv_key *gmv_keys(int *n)
{
    *n = key_count;
    return keys;
}

const gmv_key *gmv_key_find(const char *path)
{
    for (int i = 0; i < key_count; i++) {
        if (strcmp(keys[i].path, path) == 0) {
            return &keys[i];
        }
    }
    return NULL;
}

bool gmv_key_is_section(const char *path)
{
    size_t length = strlen(path);
    for (int i = 0; i < key_count; i++) {
        if (length == 0 || (strncmp(keys[i].path, path, length) == 0 && keys[i].path[length] == '.')) {
            return true;
        }
    }
    return false;
}

/* The choices with their separators turned into zeros, so that a single word can be handed out. */
static char choice_words[key_count][word_bytes];

static void split_choices(void)
{
    for (int i = 0; i < key_count; i++) {
        const char *choices = keys[i].choices != NULL ? keys[i].choices : "";
        for (size_t j = 0; choices[j] != '\0' && j + 2 < word_bytes; j++) {
            choice_words[i][j] = choices[j];
            if (choices[j] == '|') {
                choice_words[i][j] = '\0';
            }
        }
    }
}

static const char *choice_word(const gmv_key *key, int index)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, split_choices);
    const char *word = choice_words[key - keys];
    for (int i = 0; i < index; i++) {
        word += strlen(word) + 1;
    }
    return word;
}

const char *gmv_key_preset(const gmv_key *key)
{
    return key->kind == GMV_KIND_ENUM && key->preset[0] == '\0' ? choice_word(key, 0) : key->preset;
}

int gmv_key_choices(const gmv_key *key)
{
    int n = 1;
    for (const char *c = key->choices; *c != '\0'; c++) {
        n += *c == '|';
    }
    return n;
}

int gmv_key_choice_index(const gmv_key *key, const char *word)
{
    for (int i = 0; i < gmv_key_choices(key); i++) {
        if (strcmp(choice_word(key, i), word) == 0) {
            return i;
        }
    }
    return -1;
}

const char *gmv_config_choice(const char *path, int value)
{
    const gmv_key *key = gmv_key_find(path);
    if (key == NULL || key->kind != GMV_KIND_ENUM || value < 0 || value >= gmv_key_choices(key)) {
        return "?";
    }
    return choice_word(key, value);
}

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

int gmv_edit_distance(const char *a, const char *b)
{
    size_t rows = strlen(a), columns = strlen(b);
    if (rows > word_limit || columns > word_limit) {
        return INT_MAX;
    }
    int line[3][word_limit + 1]; /* the row being filled and the two before it */
    for (size_t j = 0; j <= columns; j++) {
        line[0][j] = (int)j;
    }
    for (size_t i = 1; i <= rows; i++) {
        int *now = line[i % 3], *last = line[(i + 2) % 3], *before = line[(i + 1) % 3];
        now[0] = (int)i;
        for (size_t j = 1; j <= columns; j++) {
            int edits = last[j - 1] + (a[i - 1] != b[j - 1]);
            edits = smaller(edits, smaller(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                edits = smaller(edits, before[j - 2] + 1);
            }
            now[j] = edits;
        }
    }
    return line[rows % 3][columns];
}

int gmv_edit_limit(const char *word)
{
    size_t length = strlen(word);
    return length > word_limit ? 0 : (int)(length + 2) / 3;
}

const char *gmv_nearest(const char *word, int n, const char *const *words)
{
    const char *nearest = NULL;
    int fewest = gmv_edit_limit(word);
    for (int i = 0; i < n; i++) {
        int edits = gmv_edit_distance(word, words[i]);
        if (edits < fewest || (edits == fewest && nearest == NULL)) {
            fewest = edits;
            nearest = words[i];
        }
    }
    return nearest;
}

static const char *last_part(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot != NULL ? dot + 1 : path;
}

/* How far the wrong path is from a known one: an edit costs 4, a detour to another section 1 and
 * one to the whole dotted path 2, so that these only decide between equals. INT_MAX when not near.
 * Whole paths count for other sections only, and three edits at most: a long section that both share
 * says nothing about the names. */
static int cost_of(const char *path, const char *known)
{
    const char *name = last_part(path), *known_name = last_part(known);
    size_t section = (size_t)(name - path);
    bool neighbour = section == (size_t)(known_name - known) && strncmp(path, known, section) == 0;
    int by_name = gmv_edit_distance(name, known_name);
    int cost = by_name <= gmv_edit_limit(name) ? 4 * by_name + (neighbour ? 0 : 1) : INT_MAX;
    if (!neighbour) {
        int by_path = gmv_edit_distance(path, known);
        if (by_path <= smaller(gmv_edit_limit(path), 3)) {
            cost = smaller(cost, 4 * by_path + 2);
        }
    }
    return cost;
}

const char *gmv_key_nearest(const char *path, char *near, size_t size)
{
    int best = INT_MAX;
    for (int i = 0; i < key_count; i++) {
        /* the key, and the sections it is in: train.adam.beta1, train.adam, train */
        char known[word_bytes];
        snprintf(known, sizeof known, "%s", keys[i].path);
        for (char *end = known; end != NULL; end = strrchr(known, '.')) {
            if (end != known) {
                *end = '\0';
            }
            int cost = cost_of(path, known);
            if (cost < best) {
                best = cost;
                snprintf(near, size, "%s", known);
            }
        }
    }
    return best < INT_MAX ? near : NULL;
}
