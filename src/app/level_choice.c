#include "level_choice.h"

#include "gmvae/mem.h"

#include <stdio.h>
#include <string.h>

enum { most_combinations = 32, list_room = 700 };

static int find_level(const gmv_factor *factor, const char *name)
{
    for (int l = 0; l < factor->levels; l++) {
        if (strcmp(factor->level[l], name) == 0) {
            return l;
        }
    }
    return -1;
}

/* "donor: d1, d2, ...; site: ..." as far as there is room. */
static void list_levels(const gmv_cells *cells, char *list)
{
    size_t used = 0;
    for (int c = 0; c < cells->covariates; c++) {
        const gmv_factor *factor = &cells->covariate[c];
        used += (size_t)snprintf(list + used, list_room - used, "%s%.60s has ", c > 0 ? "; " : "", factor->key);
        for (int l = 0; l < factor->levels; l++) {
            if (used + 140 > list_room) {
                snprintf(list + used, list_room - used, ", ...");
                return;
            }
            used += (size_t)snprintf(list + used, list_room - used, "%s%.60s", l > 0 ? ", " : "", factor->level[l]);
        }
    }
}

/* Keys that have the level; the last of them is the choice. */
static int find_keys(gmv_level_choice *choice, const char *text, const gmv_cells *cells)
{
    int found = 0;
    int32_t first = 0;
    for (int c = 0; c < cells->covariates; c++) {
        const gmv_factor *factor = &cells->covariate[c];
        size_t key = strlen(factor->key);
        bool named = strncmp(text, factor->key, key) == 0 && text[key] == '=';
        int plain = find_level(factor, text), level = named ? find_level(factor, text + key + 1) : -1;
        if (plain >= 0 || level >= 0) {
            found++;
            choice->key = c;
            choice->column = first + (level >= 0 ? level : plain);
        }
        first += factor->levels;
    }
    return found;
}

gmv_status gmv_choose_levels(gmv_level_choice *choice, const char *key, const char *text, const gmv_cells *cells,
                             const gmv_comm *comm)
{
    char list[list_room] = "";
    *choice = (gmv_level_choice){.kind = GMV_LEVELS_OWN};
    if (strcmp(text, "own") == 0) {
        return GMV_OK;
    }
    if (strcmp(text, "average") == 0) {
        choice->kind = GMV_LEVELS_MIX;
        return gmv_level_mix_find(&choice->mix, cells, comm, most_combinations);
    }
    choice->kind = GMV_LEVELS_ONE;
    int found = find_keys(choice, text, cells);
    list_levels(cells, list);
    if (cells->covariates == 0) {
        return GMV_FAIL(GMV_ERR_CONFIG, "%s: \"%.100s\": the model has no batch keys; take own", key, text);
    }
    if (found == 0) {
        return GMV_FAIL(GMV_ERR_CONFIG, "%s: there is no level \"%.100s\"; %s; or take own, or average", key, text,
                        list);
    }
    return found == 1 ? GMV_OK
                      : GMV_FAIL(GMV_ERR_CONFIG, "%s: more than one batch key has a level \"%.100s\"; write KEY=%.100s",
                                 key, text, text);
}

void gmv_level_choice_fini(gmv_level_choice *choice)
{
    gmv_level_mix_fini(&choice->mix);
}

const char *gmv_level_choice_text(const gmv_level_choice *choice, const gmv_cells *cells, char *text, size_t size)
{
    int32_t first = 0;
    for (int c = 0; c < choice->key && choice->kind == GMV_LEVELS_ONE; c++) {
        first += cells->covariate[c].levels;
    }
    switch (choice->kind) {
    case GMV_LEVELS_OWN:
        snprintf(text, size, "their own levels");
        break;
    case GMV_LEVELS_MIX:
        snprintf(text, size, "the mean over %d combination%s of levels", choice->mix.n, choice->mix.n == 1 ? "" : "s");
        break;
    case GMV_LEVELS_ONE:
        snprintf(text, size, "level %.60s of %.60s", cells->covariate[choice->key].level[choice->column - first],
                 cells->covariate[choice->key].key);
        break;
    }
    return text;
}

/* The levels of the batch's cells with the chosen one among them. */
static gmv_status add_one(gmv_expression *e, const gmv_decoding *how, const gmv_level_choice *choice)
{
    gmv_backend *b = e->model->backend;
    gmv_decoding changed = *how;
    int32_t *level = NULL;
    int64_t n = (int64_t)how->cells * e->covariates;
    GMV_TRY(GMV_NEW(level, n, "levels of cells"));
    gmv_status status = b->op->download(b, level, how->batch->level, n * (int64_t)sizeof *level);
    for (int i = 0; i < how->cells; i++) {
        level[(int64_t)i * e->covariates + choice->key] = choice->column;
    }
    changed.level = level;
    changed.stride = e->covariates;
    status = status == GMV_OK ? gmv_expression_add(e, &changed) : status;
    GMV_FREE(level);
    return status;
}

gmv_status gmv_expression_add_chosen(gmv_expression *e, const gmv_decoding *how, const gmv_level_choice *choice)
{
    switch (choice->kind) {
    case GMV_LEVELS_OWN:
        return gmv_expression_add(e, how);
    case GMV_LEVELS_MIX:
        return gmv_expression_add_mix(e, how, &choice->mix);
    case GMV_LEVELS_ONE:
        break;
    }
    return add_one(e, how, choice);
}
