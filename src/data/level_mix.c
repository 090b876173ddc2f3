/* Counting the combinations of levels that cells have. */
#include "gmvae/level_mix.h"

#include "gmvae/mem.h"
#include "gmvae/stream.h"

#include <stdlib.h>

/* A combination as one number, the first key's level foremost, and its cells. */
typedef struct combination {
    uint64_t number;
    int64_t cells;
} combination;

static const uint64_t most_numbers = (uint64_t)1 << 62;

static int by_number(const void *a, const void *b)
{
    uint64_t x = ((const combination *)a)->number, y = ((const combination *)b)->number;
    return x < y ? -1 : x > y;
}

static int by_cells(const void *a, const void *b)
{
    const combination *x = a, *y = b;
    return x->cells != y->cells ? (x->cells > y->cells ? -1 : 1) : by_number(a, b);
}

/* Makes one of those that are the same. @return how many are left */
static int64_t unite(combination *all, int64_t n)
{
    int64_t left = 0;
    if (n > 0) {
        qsort(all, (size_t)n, sizeof *all, by_number);
    }
    for (int64_t i = 0; i < n; i++) {
        if (left > 0 && all[left - 1].number == all[i].number) {
            all[left - 1].cells += all[i].cells;
        } else {
            all[left++] = all[i];
        }
    }
    return left;
}

/* A table of those seen so far, which is put in order when it is full. */
typedef struct tally {
    combination *at;
    int64_t n, room;
} tally;

static gmv_status tally_add(tally *t, uint64_t number)
{
    if (t->n == t->room) {
        t->n = unite(t->at, t->n);
        if (t->n > t->room / 2) {
            GMV_TRY(GMV_GROW(t->at, t->room, 2 * t->room, "combinations of levels"));
            t->room *= 2;
        }
    }
    t->at[t->n++] = (combination){number, 1};
    return GMV_OK;
}

static gmv_status tally_rows(tally *t, const gmv_cells *cells)
{
    enum { first_room = 4096 };
    GMV_TRY(GMV_NEW(t->at, first_room, "combinations of levels"));
    t->room = first_room;
    for (gmv_gidx i = 0; i < cells->count; i++) {
        uint64_t number = 0;
        if (!gmv_cells_has_counts(cells, cells->first + i)) {
            continue;
        }
        for (int c = 0; c < cells->covariates; c++) {
            const gmv_factor *factor = &cells->covariate[c];
            number = number * (uint64_t)factor->levels + (uint64_t)gmv_factor_code(factor, i);
        }
        GMV_TRY(tally_add(t, number));
    }
    t->n = unite(t->at, t->n);
    return GMV_OK;
}

static gmv_status check_countable(const gmv_cells *cells)
{
    uint64_t numbers = 1;
    for (int c = 0; c < cells->covariates; c++) {
        uint64_t levels = (uint64_t)cells->covariate[c].levels;
        if (levels > 0 && numbers > most_numbers / levels) {
            return GMV_FAIL(GMV_ERR_CONFIG,
                            "data.batch_keys have more than 2^62 combinations of levels; use fewer keys");
        }
        numbers *= levels > 0 ? levels : 1;
    }
    return GMV_OK;
}

/* The one-hot columns of a combination. */
static void columns_of(const gmv_cells *cells, uint64_t number, int32_t *level)
{
    int32_t end = (int32_t)cells->levels;
    for (int c = cells->covariates - 1; c >= 0; c--) {
        uint64_t levels = (uint64_t)cells->covariate[c].levels;
        end -= (int32_t)levels;
        level[c] = end + (int32_t)(number % levels);
        number /= levels;
    }
}

static gmv_status choose(gmv_level_mix *mix, const gmv_cells *cells, combination *all, int64_t n, int most)
{
    int64_t sum = 0, taken = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += all[i].cells;
    }
    if (n == 0) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: no cell has counts in the genes in use", cells->file[0]);
    }
    qsort(all, (size_t)n, sizeof *all, by_cells);
    mix->covariates = cells->covariates;
    mix->n = (int)(n < most ? n : most);
    GMV_TRY(GMV_NEW(mix->level, (int64_t)mix->n * mix->covariates, "combinations of levels"));
    GMV_TRY(GMV_NEW(mix->share, mix->n, "combinations of levels"));
    for (int i = 0; i < mix->n; i++) {
        taken += all[i].cells;
    }
    for (int i = 0; i < mix->n; i++) {
        mix->share[i] = (float)((double)all[i].cells / (double)taken);
        columns_of(cells, all[i].number, mix->level + (int64_t)i * mix->covariates);
    }
    mix->left_out = 1.0 - (double)taken / (double)sum;
    return GMV_OK;
}

gmv_status gmv_level_mix_find(gmv_level_mix *mix, const gmv_cells *cells, const gmv_comm *comm, int most)
{
    tally here = {0};
    combination *all = NULL;
    int64_t bytes = 0;
    *mix = (gmv_level_mix){0};
    gmv_status status = check_countable(cells);
    status = status == GMV_OK ? tally_rows(&here, cells) : status;
    GMV_GO(gmv_comm_agree(comm, status));
    GMV_GO(gmv_comm_concatenate(comm, here.at, here.n * (int64_t)sizeof *here.at, (void **)(void *)&all, &bytes));
    int64_t n = unite(all, bytes / (int64_t)sizeof *all);
    GMV_GO(gmv_comm_agree(comm, choose(mix, cells, all, n, most)));
done:
    GMV_FREE(here.at);
    GMV_FREE(all);
    return status;
}

void gmv_level_mix_fini(gmv_level_mix *mix)
{
    GMV_FREE(mix->level);
    GMV_FREE(mix->share);
    *mix = (gmv_level_mix){0};
}
