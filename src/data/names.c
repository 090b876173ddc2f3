#include "names.h"

#include "h5/h5.h"

#include "gmvae/mem.h"

#include <string.h>
#include <xxhash.h>

/* Slot of `name`, or the free slot where it belongs. slots is a power of two and never full. */
static int64_t slot_of(const gmv_names *names, const char *name)
{
    uint64_t mask = (uint64_t)names->slots - 1, at = XXH3_64bits(name, strlen(name)) & mask;
    while (names->slot[at] != 0 && strcmp(names->at[names->slot[at] - 1], name) != 0) {
        at = (at + 1) & mask;
    }
    return (int64_t)at;
}

int64_t gmv_names_find(const gmv_names *names, const char *name)
{
    return names->slots == 0 ? -1 : names->slot[slot_of(names, name)] - 1;
}

static gmv_status grow(gmv_names *names)
{
    int64_t capacity = names->capacity == 0 ? 32 : 2 * names->capacity;
    GMV_TRY(GMV_GROW(names->at, names->n, capacity, "names"));
    names->capacity = capacity;
    GMV_FREE(names->slot);
    names->slots = 0;
    GMV_TRY(GMV_NEW(names->slot, 2 * capacity, "names"));
    names->slots = 2 * capacity;
    for (int64_t i = 0; i < names->n; i++) {
        names->slot[slot_of(names, names->at[i])] = i + 1;
    }
    return GMV_OK;
}

gmv_status gmv_names_add(gmv_names *names, const char *name, int64_t *index, bool *is_new)
{
    int64_t at = gmv_names_find(names, name);
    if (is_new != NULL) {
        *is_new = at < 0;
    }
    if (at < 0) {
        if (names->n == names->capacity) {
            GMV_TRY(grow(names));
        }
        at = names->n;
        GMV_TRY(gmv_copy_text(&names->at[at], name));
        names->slot[slot_of(names, name)] = at + 1;
        names->n++;
    }
    if (index != NULL) {
        *index = at;
    }
    return GMV_OK;
}

/* The names with a zero byte behind each. Ownership: gmv_free. */
static gmv_status join_names(const gmv_names *names, char **text, int64_t *bytes)
{
    *bytes = 0;
    for (int64_t i = 0; i < names->n; i++) {
        *bytes += (int64_t)strlen(names->at[i]) + 1;
    }
    GMV_TRY(GMV_NEW(*text, *bytes, "names"));
    char *at = *text;
    for (int64_t i = 0; i < names->n; i++) {
        size_t n = strlen(names->at[i]) + 1;
        memcpy(at, names->at[i], n);
        at += n;
    }
    return GMV_OK;
}

gmv_status gmv_names_unite(gmv_names *names, const gmv_comm *comm)
{
    char *mine = NULL;
    void *all = NULL;
    int64_t bytes = 0, total = 0;
    gmv_names united = {0};
    gmv_status status = GMV_OK;
    GMV_GO(gmv_comm_agree(comm, join_names(names, &mine, &bytes)));
    GMV_GO(gmv_comm_concatenate(comm, mine, bytes, &all, &total));
    for (const char *at = all; total > 0; total -= (int64_t)strlen(at) + 1, at += strlen(at) + 1) {
        GMV_GO(gmv_names_add(&united, at, NULL, NULL));
    }
    gmv_names_fini(names);
    *names = united;
    united = (gmv_names){0};
done:
    gmv_names_fini(&united);
    GMV_FREE(mine);
    gmv_free(all);
    return gmv_comm_agree(comm, status);
}

void gmv_names_fini(gmv_names *names)
{
    gmv_name_array_free(names->at, names->n);
    GMV_FREE(names->slot);
    memset(names, 0, sizeof *names);
}

char **gmv_names_take(gmv_names *names)
{
    char **at = names->at;
    GMV_FREE(names->slot);
    memset(names, 0, sizeof *names);
    return at;
}

void gmv_name_array_free(char **name, int64_t n)
{
    for (int64_t i = 0; name != NULL && i < n; i++) {
        gmv_free(name[i]);
    }
    gmv_free((void *)name);
}
