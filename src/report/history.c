/* metrics.jsonl, evaluation.json, run.json, predictive.json and heatmap.json. */
#include "report.h"

#include "gmvae/files.h"
#include "gmvae/mem.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { most_bytes = 1 << 24 };

/* Moves the list of a line to the shares. */
static gmv_status take_shares(gmv_history *history, cJSON *line)
{
    int at = history->epochs;
    cJSON *list = cJSON_DetachItemFromObjectCaseSensitive(line, "component_mass"), *item;
    gmv_history_shares *shares;
    gmv_status status = GMV_OK;
    if (!cJSON_IsArray(list)) {
        cJSON_Delete(list);
        return GMV_OK;
    }
    if ((at & (at - 1)) == 0) { /* room for twice as many */
        GMV_GO(GMV_GROW(history->shares, at, at > 0 ? 2 * at : 1, "shares of components"));
    }
    shares = &history->shares[at];
    *shares = (gmv_history_shares){.epoch = gmv_number_in(line, "epoch")};
    GMV_GO(GMV_NEW(shares->share, cJSON_GetArraySize(list), "shares of components"));
    history->epochs++;
    cJSON_ArrayForEach(item, list)
    {
        shares->share[shares->n++] = cJSON_IsNumber(item) ? (float)item->valuedouble : 0.0f;
    }
done:
    cJSON_Delete(list);
    return status;
}

gmv_status gmv_history_read(gmv_history *history, const char *folder)
{
    char path[GMV_PATH_ROOM], *text = NULL;
    size_t room = 0;
    FILE *in;
    int lines = 0;
    gmv_status status = GMV_OK;
    memset(history, 0, sizeof *history);
    snprintf(path, sizeof path, "%.4000s/metrics.jsonl", folder);
    const char *why = gmv_file_open(path, &in);
    if (why != NULL) {
        return errno == ENOENT ? GMV_OK : GMV_FAIL(GMV_ERR_DATA, "%s: %s", path, why);
    }
    while (status == GMV_OK && getline(&text, &room, in) >= 0) {
        cJSON *line = cJSON_Parse(text);
        if (!cJSON_IsObject(line)) { /* cut short by a crash */
            cJSON_Delete(line);
            continue;
        }
        if (lines == history->lines) {
            status = GMV_GROW(history->line, lines, 2 * lines + 64, "lines of metrics");
        }
        if (status == GMV_OK) {
            history->line[lines++] = line;
            history->lines = lines;
            status = take_shares(history, line);
        } else {
            cJSON_Delete(line);
        }
    }
    free(text);
    fclose(in);
    return status;
}

void gmv_history_fini(gmv_history *history)
{
    for (int i = 0; i < history->lines; i++) {
        cJSON_Delete(history->line[i]);
    }
    for (int i = 0; i < history->epochs; i++) {
        gmv_free(history->shares[i].share);
    }
    gmv_free(history->shares);
    gmv_free((void *)history->line);
    memset(history, 0, sizeof *history);
}

bool gmv_history_is_of(const cJSON *line, const char *split)
{
    const char *found = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(line, "split"));
    return found != NULL && strcmp(found, split) == 0;
}

double gmv_number_in(const cJSON *object, const char *key)
{
    const cJSON *item = object != NULL ? cJSON_GetObjectItemCaseSensitive(object, key) : NULL;
    return cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
}

static gmv_status read_object(cJSON **object, const char *folder, const char *name, const char *remedy)
{
    char path[GMV_PATH_ROOM], *text = NULL;
    int64_t length;
    *object = NULL;
    snprintf(path, sizeof path, "%.4000s/%s", folder, name);
    const char *why = gmv_file_read_text(path, most_bytes, &text, &length);
    if (why != NULL) {
        return errno == ENOENT ? GMV_OK : GMV_FAIL(GMV_ERR_DATA, "%s: %s", path, why);
    }
    *object = cJSON_Parse(text);
    gmv_free(text);
    return cJSON_IsObject(*object) ? GMV_OK : GMV_FAIL(GMV_ERR_DATA, "%s: not a JSON object%s", path, remedy);
}

gmv_status gmv_evaluation_read(cJSON **evaluation, const char *folder)
{
    return read_object(evaluation, folder, "evaluation.json", "; run eval again");
}

gmv_status gmv_record_read(cJSON **record, const char *folder)
{
    return read_object(record, folder, "run.json", "");
}

gmv_status gmv_predictive_read(cJSON **predictive, const char *folder)
{
    return read_object(predictive, folder, "predictive.json", "; train writes it again");
}

gmv_status gmv_heat_map_read(cJSON **heat_map, const char *folder)
{
    return read_object(heat_map, folder, "heatmap.json", "; train writes it again");
}

gmv_status gmv_history_curve(const gmv_history *history, const char *split, const char *key, gmv_curve *curve)
{
    double *x = NULL, *y = NULL;
    gmv_status status;
    int n = 0;
    curve->x = curve->y = NULL;
    GMV_GO(GMV_NEW(x, history->lines, "a curve"));
    GMV_GO(GMV_NEW(y, history->lines, "a curve"));
    for (int i = 0; i < history->lines; i++) {
        const cJSON *line = history->line[i], *value = cJSON_GetObjectItemCaseSensitive(line, key);
        if (gmv_history_is_of(line, split) && value != NULL) {
            x[n] = gmv_number_in(line, "epoch");
            y[n++] = gmv_number_in(line, key);
        }
    }
done:
    curve->points = n;
    curve->x = x;
    curve->y = y;
    return status;
}

void gmv_curve_fini(gmv_curve *curve)
{
    gmv_free((void *)(uintptr_t)curve->x);
    gmv_free((void *)(uintptr_t)curve->y);
    curve->x = curve->y = NULL;
}
