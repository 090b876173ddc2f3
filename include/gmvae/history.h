/* What a run says in numbers: metrics.jsonl, evaluation.json, run.json, predictive.json and heatmap.json of its folder. Not collective. */
#pragma once

#include "gmvae/status.h"

#include <cjson/cJSON.h>
#include <stdbool.h>

/* Shares of components after an epoch: of a model with many of them compact, which lists of JSON are not. */
typedef struct gmv_history_shares {
    double epoch;
    int n;
    float *share; /* [n] */
} gmv_history_shares;

/* Lines of metrics.jsonl, oldest first. */
typedef struct gmv_history {
    int lines;
    cJSON **line; /* [lines] objects, without component_mass */
    int epochs;   /* with shares */
    gmv_history_shares *shares;
} gmv_history;

/* A file that is not there has no lines; lines that are no objects, as one cut short by a crash, are left out.
 * Ownership: gmv_history_fini, also after an error. Errors: GMV_ERR_DATA when it is no file or cannot be read. */
gmv_status gmv_history_read(gmv_history *history, const char *folder);
void gmv_history_fini(gmv_history *history);

/* Whether a line is of "train", "validation" or "step". */
bool gmv_history_is_of(const cJSON *line, const char *split);

/* evaluation.json. @param[out] evaluation  NULL: there is none. Ownership: cJSON_Delete.
 * Errors: GMV_ERR_DATA when it is no object. */
gmv_status gmv_evaluation_read(cJSON **evaluation, const char *folder);

/* run.json, as gmv_evaluation_read. */
gmv_status gmv_record_read(cJSON **record, const char *folder);

/* predictive.json and heatmap.json likewise. */
gmv_status gmv_predictive_read(cJSON **predictive, const char *folder);
gmv_status gmv_heat_map_read(cJSON **heat_map, const char *folder);

/* A number of an object; NaN where there is none, for null, and for an object that is NULL. */
double gmv_number_in(const cJSON *object, const char *key);
