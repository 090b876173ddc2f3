#include "file_levels.h"

#include "h5/h5.h"

#include "gmvae/mem.h"

#include <string.h>

/* The next longer tail of a path; NULL behind the whole of it. */
static const char *longer_tail(const char *path, const char *tail)
{
    if (tail == path) {
        return NULL;
    }
    do {
        tail--;
    } while (tail > path && tail[-1] != '/');
    return tail;
}

/* How many of the paths end with each tail. */
static gmv_status count_tails(char *const *path, int files, gmv_names *tails, int **count)
{
    int64_t room = 0;
    for (int f = 0; f < files; f++) {
        const char *tail = path[f] + strlen(path[f]);
        while ((tail = longer_tail(path[f], tail)) != NULL) {
            int64_t at;
            GMV_TRY(gmv_names_add(tails, tail, &at, NULL));
            if (at >= room) {
                GMV_TRY(GMV_GROW(*count, room, 2 * at + 64, "names of files"));
                room = 2 * at + 64;
            }
            (*count)[at]++;
        }
    }
    return GMV_OK;
}

gmv_status gmv_file_tails(char *const *path, int files, const char **tail)
{
    gmv_names tails = {0};
    int *count = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(count_tails(path, files, &tails, &count));
    for (int f = 0; f < files; f++) {
        tail[f] = path[f] + strlen(path[f]);
        do {
            tail[f] = longer_tail(path[f], tail[f]);
        } while (tail[f] != path[f] && count[gmv_names_find(&tails, tail[f])] > 1);
    }
done:
    gmv_names_fini(&tails);
    GMV_FREE(count);
    return status;
}

/* The longest level with which a path ends, -1 for none. A level that begins with a slash is a path of its own. */
static int64_t find_level(const gmv_names *level, const char *path)
{
    int64_t best = -1;
    const char *tail = path + strlen(path);
    while ((tail = longer_tail(path, tail)) != NULL) {
        int64_t at = gmv_names_find(level, tail), with_slash = tail > path ? gmv_names_find(level, tail - 1) : -1;
        best = with_slash >= 0 ? with_slash : at >= 0 ? at : best;
    }
    return best;
}

gmv_status gmv_file_levels(gmv_names *level, bool fixed, char *const *path, int files, int32_t *code)
{
    const char **tail = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(tail, files, "names of files"));
    GMV_GO(gmv_file_tails(path, files, tail));
    for (int f = 0; f < files; f++) {
        int64_t at = fixed ? find_level(level, path[f]) : -1;
        if (fixed && at < 0) {
            char hint[700];
            gmv_texts known = {level->at, (int)level->n};
            gmv_names_hint(&known, tail[f], hint, sizeof hint);
            GMV_GO(GMV_FAIL(GMV_ERR_DATA,
                            "%s: the model knows no file of this name (" GMV_FILE_KEY
                            " in data.batch_keys); %s; a link of one of these names gives its cells that level",
                            path[f], hint));
        }
        if (at < 0) {
            GMV_GO(gmv_names_add(level, tail[f], &at, NULL));
        }
        code[f] = (int32_t)at;
    }
done:
    GMV_FREE(tail);
    return status;
}
