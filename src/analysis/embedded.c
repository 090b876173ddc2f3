/* Cells in latent space: which of them, their means and codes, from all ranks to all ranks. */
#include "gmvae/embedded.h"
#include "gmvae/mem.h"
#include "gmvae/rng.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- a sample: the cells of the lowest draws ---- */

static uint64_t draw_of(uint64_t seed, gmv_gidx row)
{
    gmv_philox block = gmv_random_block(seed, GMV_STREAM_METRICS, 0, row, 0, 0);
    return (uint64_t)block.word[0] << 32 | block.word[1];
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* How many of the sorted draws are at most `bound`. */
static int64_t count_up_to(const uint64_t *draw, int64_t n, uint64_t bound)
{
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (draw[middle] <= bound) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The largest bound that at most `most` draws of all ranks are below. Collective. */
static uint64_t bound_of_sample(const gmv_comm *comm, uint64_t *draw, int64_t n, int64_t most)
{
    uint64_t bound = 0;
    qsort(draw, (size_t)n, sizeof *draw, by_value);
    for (int bit = 63; bit >= 0; bit--) {
        uint64_t higher = bound | (uint64_t)1 << bit;
        int64_t count = count_up_to(draw, n, higher - 1);
        gmv_comm_sum_i64(comm, &count, 1);
        bound = count <= most ? higher : bound;
    }
    return bound;
}

/* ---- local rows ---- */

typedef struct gathering {
    gmv_embedded here; /* n grows */
    const gmv_cells *cells;
    uint64_t seed, below; /* draws of the sample are below this; all: everything is taken */
    bool all;
    int output; /* of the model */
    int room;
} gathering;

static int32_t code_of(const gmv_factor *factor, int64_t i)
{
    return factor != NULL ? gmv_factor_code(factor, i) : -1;
}

static const gmv_factor *batch_of(const gmv_cells *cells)
{
    return cells->covariates > 0 ? &cells->covariate[0] : NULL;
}

static const float most_mean = 1e15f; /* whose square, and sums of it, are finite */

static gmv_status check_finite(const gathering *g, gmv_gidx row, const float *latent)
{
    for (int d = 0; d < g->here.dims; d++) {
        if (!(fabsf(latent[d]) < most_mean)) {
            int file = gmv_cells_file(g->cells, row);
            return GMV_FAIL(GMV_ERR_NUMERIC,
                            "%s: the embedding of row %" PRId64 " is not finite, or farther than 1e15, under this "
                            "checkpoint; leave the cell out, or train anew",
                            g->cells->file[file], row - g->cells->file_start[file]);
        }
    }
    return GMV_OK;
}

static gmv_status take_rows(void *context, const gmv_row_results *results)
{
    gathering *g = context;
    gmv_embedded *here = &g->here;
    for (int i = 0; i < results->n; i++) {
        gmv_gidx row = results->row[i];
        if (!g->all && draw_of(g->seed, row) >= g->below) {
            continue;
        }
        GMV_CHECK(here->n < g->room);
        const float *latent = results->output[g->output] + (int64_t)i * here->dims;
        GMV_TRY(check_finite(g, row, latent));
        memcpy(here->latent + (int64_t)here->n * here->dims, latent, (size_t)here->dims * sizeof *latent);
        here->row[here->n] = row;
        here->label[here->n] = code_of(g->cells->label, row - g->cells->first);
        here->batch[here->n++] = code_of(batch_of(g->cells), row - g->cells->first);
    }
    return GMV_OK;
}

static gmv_status make_room(gmv_embedded *e, int64_t n)
{
    if (n * e->dims > INT32_MAX) {
        return GMV_FAIL(GMV_ERR_CONFIG, "eval.metric_cells: %" PRId64 " cells of %d dimensions are too many; lower it",
                        n, e->dims);
    }
    GMV_TRY(GMV_NEW(e->latent, n * e->dims, "cells for metrics"));
    GMV_TRY(GMV_NEW(e->label, n, "cells for metrics"));
    return GMV_NEW(e->batch, n, "cells for metrics");
}

/* Which local rows are taken. Collective. */
static gmv_status choose_rows(gathering *g, const gmv_comm *comm, gmv_which_cells which, int64_t most)
{
    const gmv_cells *cells = g->cells;
    uint64_t *draw = NULL;
    int64_t n = 0;
    gmv_status status = gmv_comm_agree(comm, GMV_ROOM(draw, cells->count, "draws of cells"));
    if (status == GMV_OK) {
        for (gmv_gidx row = cells->first; row < cells->first + cells->count; row++) {
            if (gmv_is_chosen(cells, which, row)) {
                draw[n++] = draw_of(g->seed, row);
            }
        }
        g->here.of = n;
        gmv_comm_sum_i64(comm, &g->here.of, 1);
        g->all = g->here.of <= most;
        g->below = g->all ? 0 : bound_of_sample(comm, draw, n, most);
        int64_t taken = g->all ? n : g->below > 0 ? count_up_to(draw, n, g->below - 1) : 0;
        g->room = (int)taken;
        status = make_room(&g->here, taken);
    }
    GMV_FREE(draw);
    return gmv_comm_agree(comm, status);
}

/* ---- all ranks ---- */

static gmv_status share(const gmv_comm *comm, void *mine, int64_t bytes, void **all, int64_t row_bytes, int *n)
{
    int64_t total = 0;
    gmv_status status = gmv_comm_concatenate(comm, mine, bytes, all, &total);
    *n = (int)(total / row_bytes);
    return status;
}

static gmv_status share_rows(const gmv_comm *comm, const gmv_embedded *here, gmv_embedded *all)
{
    int64_t n = here->n, wide = (int64_t)here->dims * (int64_t)sizeof(float);
    GMV_TRY(share(comm, here->row, n * (int64_t)sizeof *here->row, (void **)&all->row, sizeof *here->row, &all->n));
    GMV_TRY(share(comm, here->latent, n * wide, (void **)&all->latent, wide, &all->n));
    GMV_TRY(share(comm, here->label, n * 4, (void **)&all->label, 4, &all->n));
    return share(comm, here->batch, n * 4, (void **)&all->batch, 4, &all->n);
}

gmv_status gmv_gather_embedded(gmv_embedded *embedded, gmv_model *model, gmv_feed *feed, const gmv_cells *cells,
                               const gmv_comm *comm, gmv_which_cells which, uint64_t seed, int64_t most)
{
    gathering g = {.cells = cells, .seed = seed};
    gmv_row_sink sink = {take_rows, &g};
    gmv_status status;
    memset(embedded, 0, sizeof *embedded);
    while (g.output < model->outputs.n && model->outputs.at[g.output].kind != GMV_OUTPUT_LATENT) {
        g.output++;
    }
    GMV_CHECK(g.output < model->outputs.n);
    g.here.dims = model->outputs.at[g.output].cols;
    GMV_GO(choose_rows(&g, comm, which, most));
    GMV_GO(gmv_comm_agree(comm, GMV_NEW(g.here.row, g.room, "cells for metrics")));
    GMV_GO(gmv_comm_agree(comm, gmv_embed_rows(model, feed, cells, which, &sink)));
    GMV_GO(share_rows(comm, &g.here, embedded));
    embedded->dims = g.here.dims;
    embedded->of = g.here.of;
    embedded->labels = cells->label != NULL ? cells->label->levels : 0;
    embedded->batches = batch_of(cells) != NULL ? batch_of(cells)->levels : 0;
done:
    gmv_embedded_fini(&g.here);
    return status;
}

void gmv_embedded_fini(gmv_embedded *e)
{
    GMV_FREE(e->row);
    GMV_FREE(e->latent);
    GMV_FREE(e->label);
    GMV_FREE(e->batch);
    memset(e, 0, sizeof *e);
}

/* ---- those that have what is needed ---- */

static bool has(const gmv_embedded *e, unsigned needs, int i)
{
    return ((needs & GMV_NEEDS_LABEL) == 0 || e->label[i] >= 0) && ((needs & GMV_NEEDS_BATCH) == 0 || e->batch[i] >= 0);
}

/* Numbers the levels that there are anew, in their order. */
static gmv_status number_anew(int32_t *code, int n, int *levels)
{
    int32_t *number = NULL, next = 0;
    GMV_TRY(GMV_NEW(number, *levels, "levels of cells"));
    for (int i = 0; i < n; i++) {
        if (code[i] >= 0) {
            number[code[i]] = 1;
        }
    }
    for (int l = 0; l < *levels; l++) {
        number[l] = number[l] > 0 ? next++ : -1;
    }
    for (int i = 0; i < n; i++) {
        code[i] = code[i] >= 0 ? number[code[i]] : -1;
    }
    GMV_FREE(number);
    *levels = next;
    return GMV_OK;
}

gmv_status gmv_embedded_with(const gmv_embedded *all, unsigned needs, gmv_embedded *some)
{
    int n = 0;
    *some = (gmv_embedded){.dims = all->dims, .of = all->of};
    for (int i = 0; i < all->n; i++) {
        n += has(all, needs, i) ? 1 : 0;
    }
    GMV_TRY(make_room(some, n));
    for (int i = 0; i < all->n; i++) {
        if (has(all, needs, i)) {
            memcpy(some->latent + (int64_t)some->n * all->dims, all->latent + (int64_t)i * all->dims,
                   (size_t)all->dims * sizeof *all->latent);
            some->label[some->n] = all->label[i];
            some->batch[some->n++] = all->batch[i];
        }
    }
    some->labels = all->labels;
    some->batches = all->batches;
    return GMV_OK;
}

gmv_status gmv_embedded_number_anew(gmv_embedded *e)
{
    GMV_TRY(number_anew(e->label, e->n, &e->labels));
    return number_anew(e->batch, e->n, &e->batches);
}

unsigned gmv_embedded_conditions(const gmv_embedded *all, unsigned needs)
{
    for (unsigned need = GMV_NEEDS_LABEL; need <= GMV_NEEDS_BATCH; need <<= 1) {
        bool missing = false;
        for (int i = 0; i < all->n; i++) {
            missing = missing || !has(all, need, i);
        }
        needs = missing ? needs : needs & ~need;
    }
    return needs;
}
