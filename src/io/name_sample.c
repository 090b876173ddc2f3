#include "name_sample.h"

#include "gmvae/mem.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { room = 1 << 19 };

gmv_status gmv_name_sample_init(gmv_name_sample *sample)
{
    memset(sample, 0, sizeof *sample);
    return GMV_NEW(sample->hash, room, "names of cells");
}

void gmv_name_sample_fini(gmv_name_sample *sample)
{
    GMV_FREE(sample->hash);
}

static bool is_kept(const gmv_name_sample *sample, uint64_t hash)
{
    return (hash & ((UINT64_C(1) << sample->dropped) - 1)) == 0;
}

void gmv_name_sample_add(gmv_name_sample *sample, const char *name, uint64_t group)
{
    uint64_t hash = XXH3_64bits_withSeed(name, strlen(name), group);
    while (is_kept(sample, hash) && sample->n == room && sample->dropped < 63) {
        int64_t kept = 0;
        sample->dropped++;
        for (int64_t i = 0; i < sample->n; i++) {
            if (is_kept(sample, sample->hash[i])) {
                sample->hash[kept++] = sample->hash[i];
            }
        }
        sample->n = kept;
    }
    if (is_kept(sample, hash) && sample->n < room) {
        sample->hash[sample->n++] = hash;
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

int64_t gmv_name_sample_repeated(gmv_name_sample *sample)
{
    int64_t repeated = 0;
    qsort(sample->hash, (size_t)sample->n, sizeof *sample->hash, compare);
    for (int64_t i = 0, end; i < sample->n; i = end) {
        for (end = i + 1; end < sample->n && sample->hash[end] == sample->hash[i];) {
            end++;
        }
        repeated += end - i > 1 ? end - i : 0;
    }
    return repeated << sample->dropped;
}
