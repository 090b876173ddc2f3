#include "file_levels.h"

#include "h5.h"

#include <string.h>

static bool ends_with(const char *path, const char *tail)
{
    size_t length = strlen(path), end = strlen(tail);
    return length >= end && strcmp(path + length - end, tail) == 0 &&
           (length == end || path[length - end - 1] == '/' || tail[0] == '/');
}

const char *gmv_file_tail(char *const *path, int files, int f)
{
    const char *whole = path[f], *tail = whole + strlen(whole);
    while (tail > whole) {
        do {
            tail--;
        } while (tail > whole && tail[-1] != '/');
        bool unique = true;
        for (int g = 0; g < files && unique; g++) {
            unique = g == f || !ends_with(path[g], tail);
        }
        if (unique) {
            break;
        }
    }
    return tail;
}

static int32_t find_level(const gmv_names *level, const char *path)
{
    int32_t best = -1;
    for (int64_t i = 0; i < level->n; i++) {
        bool longer = best < 0 || strlen(level->at[i]) > strlen(level->at[best]);
        best = longer && ends_with(path, level->at[i]) ? (int32_t)i : best;
    }
    return best;
}

gmv_status gmv_file_levels(gmv_names *level, bool fixed, char *const *path, int files, int32_t *code)
{
    for (int f = 0; f < files; f++) {
        int64_t at = fixed ? find_level(level, path[f]) : -1;
        if (fixed && at < 0) {
            char hint[700];
            gmv_texts known = {level->at, (int)level->n};
            gmv_names_hint(&known, gmv_file_tail(path, files, f), hint, sizeof hint);
            return GMV_FAIL(GMV_ERR_DATA,
                            "%s: the model knows no file of this name (" GMV_FILE_KEY
                            " in data.batch_keys); %s; a link "
                            "of one of these names gives its cells that level",
                            path[f], hint);
        }
        if (at < 0) {
            GMV_TRY(gmv_names_add(level, gmv_file_tail(path, files, f), &at, NULL));
        }
        code[f] = (int32_t)at;
    }
    return GMV_OK;
}
