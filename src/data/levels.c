/* Levels of covariates and labels: those of all ranks, and what is said about them. */
#include "file_levels.h"
#include "inputs.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { shown_levels = 6, shown_pairs = 3, fewest_cells = 10 };

/* The names with a zero byte behind each. Ownership: gmv_free. */
static gmv_status join_levels(const gmv_names *level, char **text, int64_t *bytes)
{
    *bytes = 0;
    for (int64_t i = 0; i < level->n; i++) {
        *bytes += (int64_t)strlen(level->at[i]) + 1;
    }
    GMV_TRY(GMV_NEW(*text, *bytes, "levels"));
    char *at = *text;
    for (int64_t i = 0; i < level->n; i++) {
        size_t n = strlen(level->at[i]) + 1;
        memcpy(at, level->at[i], n);
        at += n;
    }
    return GMV_OK;
}

gmv_status gmv_levels_unite(gmv_names *level, const gmv_comm *comm)
{
    char *mine = NULL;
    void *all = NULL;
    int64_t bytes = 0, total = 0;
    gmv_names united = {0};
    gmv_status status = GMV_OK;
    GMV_GO(gmv_comm_agree(comm, join_levels(level, &mine, &bytes)));
    GMV_GO(gmv_comm_concatenate(comm, mine, bytes, &all, &total));
    for (const char *at = all; total > 0; total -= (int64_t)strlen(at) + 1, at += strlen(at) + 1) {
        GMV_GO(gmv_names_add(&united, at, NULL, NULL));
    }
    gmv_names_fini(level);
    *level = united;
    united = (gmv_names){0};
done:
    gmv_names_fini(&united);
    GMV_FREE(mine);
    gmv_free(all);
    return gmv_comm_agree(comm, status);
}

/* A level without what people write differently for one thing: blanks around it, capitals, and ".0" behind a number. */
static void plain_form(const char *level, char *plain, size_t size)
{
    size_t n = 0, digits = 0;
    while (isspace((unsigned char)*level)) {
        level++;
    }
    for (; *level != '\0' && n + 1 < size; level++) {
        plain[n++] = (char)tolower((unsigned char)*level);
    }
    while (n > 0 && isspace((unsigned char)plain[n - 1])) {
        n--;
    }
    plain[n] = '\0';
    size_t sign = plain[0] == '-' ? 1 : 0;
    digits = strspn(plain + sign, "0123456789");
    size_t point = sign + digits;
    if (digits > 0 && plain[point] == '.' && strspn(plain + point + 1, "0") == strlen(plain + point + 1)) {
        plain[point] = '\0';
    }
}

gmv_status gmv_levels_compare(const char *key, char *const *level, int levels)
{
    gmv_names forms = {0};
    int *first = NULL, alike = 0; /* of each form the first level */
    char pairs[700] = "", plain[600];
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(first, levels, "levels"));
    for (int i = 0; i < levels; i++) {
        int64_t at;
        bool is_new;
        plain_form(level[i], plain, sizeof plain);
        GMV_GO(gmv_names_add(&forms, plain, &at, &is_new));
        if (is_new) {
            first[at] = i;
        } else if (alike++ < shown_pairs) {
            size_t used = strlen(pairs);
            snprintf(pairs + used, sizeof pairs - used, "%s'%s' and '%s'", used > 0 ? ", " : "",
                     gmv_shown(level[first[at]]).at, gmv_shown(level[i]).at);
        }
    }
    if (alike > 0) {
        gmv_warn("obs/%s: %d of %d levels differ%s from another only by case, blanks or \".0\": %s%s; they count as "
                 "different",
                 gmv_shown(key).at, alike, levels, alike == 1 ? "s" : "", pairs, alike > shown_pairs ? ", ..." : "");
    }
done:
    gmv_names_fini(&forms);
    GMV_FREE(first);
    return status;
}

/* "d1, d2, d3", of those levels that have cells, or of those that have none. */
static void list_levels(const gmv_factor *factor, const int64_t *cells, bool with, char *text, size_t size)
{
    int n = 0;
    size_t used = 0;
    text[0] = '\0';
    for (int level = 0; level < factor->levels; level++) {
        if ((cells[level] > 0) != with) {
            continue;
        }
        if (n++ < shown_levels) {
            used += (size_t)snprintf(text + used, size - used, "%s%.60s", n > 1 ? ", " : "",
                                     gmv_shown(factor->level[level]).at);
        }
    }
    if (n > shown_levels) {
        snprintf(text + used, size - used, ", ...");
    }
}

/* Of a covariate as it is trained. */
static gmv_status report_covariate(const gmv_factor *factor, const gmv_cells *cells, const int64_t *count)
{
    char names[600], key[100];
    int used = 0;
    for (int level = 0; level < factor->levels; level++) {
        used += count[level] > 0;
    }
    snprintf(key, sizeof key, "%s", gmv_shown(factor->key).at);
    bool of_file = strcmp(factor->key, GMV_FILE_KEY) == 0;
    if (!of_file && used == cells->total && used >= fewest_cells) {
        return GMV_FAIL(GMV_ERR_DATA,
                        "%s: obs/%s has another value for every one of the %" PRId64
                        " cells, as a name has, and cannot serve as data.batch_keys",
                        cells->file[0], key, cells->total);
    }
    list_levels(factor, count, true, names, sizeof names);
    gmv_log("covariate %s: %d level%s (%s)%s", key, used, used == 1 ? "" : "s", names,
            used == 1 ? "; the same for all cells, it has no effect" : "");
    if (used < factor->levels) {
        list_levels(factor, count, false, names, sizeof names);
        gmv_log("covariate %s: %d more without cells (%s)", key, factor->levels - used, names);
    }
    if (!of_file && 2 * (int64_t)used > cells->total && used >= fewest_cells) {
        gmv_warn("covariate %s: %d levels for %" PRId64 " cells; is it a batch?", key, used, cells->total);
    }
    return GMV_OK;
}

gmv_status gmv_covariate_report(const gmv_factor *factor, bool known, const gmv_cells *cells, const gmv_comm *comm)
{
    int64_t *count = NULL;
    if (known) { /* what the levels are was said when the model was trained */
        gmv_log("covariate %s: %d level%s of the model", gmv_shown(factor->key).at, factor->levels,
                factor->levels == 1 ? "" : "s");
        return GMV_OK;
    }
    GMV_TRY(gmv_comm_agree(comm, GMV_NEW(count, factor->levels, "cells of levels")));
    for (gmv_gidx i = 0; i < cells->count; i++) {
        int32_t code = gmv_factor_code(factor, i);
        count[code < 0 ? 0 : code] += code >= 0;
    }
    gmv_comm_sum_i64(comm, count, factor->levels);
    gmv_status status = report_covariate(factor, cells, count);
    GMV_FREE(count);
    return status;
}
