#include "gmvae/names.h"

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
