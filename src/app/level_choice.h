/* Which levels of the batch keys cells are decoded under. */
#pragma once

#include "gmvae/expression.h"

typedef enum gmv_levels_kind {
    GMV_LEVELS_OWN, /* those of each cell */
    GMV_LEVELS_MIX, /* each combination that cells have, by its share */
    GMV_LEVELS_ONE  /* one level of a key, with the cell's own of others */
} gmv_levels_kind;

typedef struct gmv_level_choice {
    gmv_levels_kind kind;
    gmv_level_mix mix;
    int key;        /* ONE: place in data.batch_keys */
    int32_t column; /* ONE: one-hot column */
} gmv_level_choice;

/* Reads "own", "average", LEVEL or KEY=LEVEL. Collective. Ownership: gmv_level_choice_fini, also after an error.
 * @param[in] key  of the config, for messages
 * Errors: GMV_ERR_CONFIG for a level that no key, or more than one, has, with those that there are. */
gmv_status gmv_choose_levels(gmv_level_choice *choice, const char *key, const char *text, const gmv_cells *cells,
                             const gmv_comm *comm);
void gmv_level_choice_fini(gmv_level_choice *choice);

/* "their own levels", "the mean over 4 combinations of levels", "level ctrl of batch". Returns `text`. */
const char *gmv_level_choice_text(const gmv_level_choice *choice, const gmv_cells *cells, char *text, size_t size);

/* As gmv_expression_add, under the levels that were chosen. `how` has no levels, its batch has. */
gmv_status gmv_expression_add_chosen(gmv_expression *e, const gmv_decoding *how, const gmv_level_choice *choice);
