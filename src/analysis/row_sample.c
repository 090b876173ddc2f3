#include "row_sample.h"

#include "gmvae/mem.h"
#include "gmvae/signals.h"

#include <string.h>

/* ---- which ---- */

gmv_status gmv_row_sample_take(gmv_row_sample *sample, const gmv_cells *cells, const gmv_comm *comm, int64_t most)
{
    int64_t here = 0, *of_ranks = NULL, number = 0;
    *sample = (gmv_row_sample){0};
    GMV_TRY(gmv_comm_agree(comm, GMV_NEW(of_ranks, comm->size, "cells of ranks")));
    for (int64_t i = 0; i < cells->count; i++) {
        here += gmv_is_chosen(cells, GMV_CELLS_ALL, cells->first + i);
    }
    gmv_comm_allgather(comm, &here, of_ranks, sizeof here);
    for (int rank = 0; rank < comm->size; rank++) {
        number += rank < comm->rank ? of_ranks[rank] : 0;
        sample->of += of_ranks[rank];
    }
    GMV_FREE(of_ranks);
    int64_t of = sample->of, n = of < most ? of : most;
    GMV_TRY(gmv_comm_agree(comm, GMV_NEW(sample->row, n, "a sample of cells")));
    sample->n = n;
    for (int64_t i = 0; i < cells->count && n > 0; i++) {
        gmv_gidx row = cells->first + i;
        if (!gmv_is_chosen(cells, GMV_CELLS_ALL, row)) {
            continue;
        }
        int64_t next = (number * n + of - 1) / of; /* the first whose cell is this one or one behind it */
        if (next < n && next * of / n == number) {
            sample->row[next] = row;
        }
        number++;
    }
    gmv_comm_sum_i64(comm, sample->row, n);
    return GMV_OK;
}

void gmv_row_sample_fini(gmv_row_sample *sample)
{
    GMV_FREE(sample->row);
}

int64_t gmv_row_sample_find(const gmv_row_sample *sample, gmv_gidx row)
{
    int64_t low = 0, high = sample->n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (sample->row[middle] < row) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < sample->n && sample->row[low] == row ? low : -1;
}

void gmv_row_sample_measured(const gmv_row_sample *sample, const gmv_cells *cells, int64_t *measured)
{
    for (int64_t i = 0; i < sample->n; i++) {
        const uint8_t *of_row = gmv_genes_measured(cells, sample->row[i]);
        for (int32_t g = 0; g < cells->genes; g++) {
            measured[g] += of_row == NULL || of_row[g] != 0;
        }
    }
}

/* ---- their counts ---- */

static bool is_wanted(const void *sample, gmv_gidx row)
{
    return gmv_row_sample_find(sample, row) >= 0;
}

/* From backend memory. @param[in] room  of batch->cell and batch->count */
static gmv_status take_batch(gmv_sample_batch *batch, const gmv_row_sample *sample, const gmv_visit *visit,
                             int64_t *room)
{
    gmv_backend *b = visit->feed->backend;
    const gmv_batch *from = &visit->feed->batch;
    batch->cells = visit->n;
    for (int i = 0; i < visit->n; i++) {
        batch->number[i] = gmv_row_sample_find(sample, visit->row[i]);
    }
    GMV_TRY(b->op->download(b, batch->library, from->library, visit->n * (int64_t)sizeof *batch->library));
    GMV_TRY(b->op->download(b, batch->start, from->colptr, (from->genes + 1) * (int64_t)sizeof *batch->start));
    int64_t values = batch->start[from->genes];
    if (values > *room) {
        GMV_TRY(GMV_GROW(batch->cell, *room, values, "counts of cells"));
        GMV_TRY(GMV_GROW(batch->count, *room, values, "counts of cells"));
        *room = values;
    }
    GMV_TRY(b->op->download(b, batch->cell, from->cell, values * (int64_t)sizeof *batch->cell));
    return b->op->download(b, batch->count, from->col_count, values * (int64_t)sizeof *batch->count);
}

gmv_status gmv_row_sample_visit(const gmv_row_sample *sample, gmv_feed *feed, const gmv_cells *cells, gmv_input input,
                                gmv_status (*take)(void *context, const gmv_sample_batch *batch), void *context)
{
    gmv_visit visit = {0};
    gmv_sample_batch batch = {0};
    int64_t room = 0;
    gmv_status status;
    GMV_GO(GMV_NEW(batch.start, cells->genes + 1, "counts of cells"));
    GMV_GO(gmv_visit_begin(&visit, feed, cells, (gmv_row_filter){is_wanted, sample}));
    for (;;) {
        GMV_GO(gmv_stop_check());
        GMV_GO(gmv_visit_next(&visit, input));
        if (visit.n == 0) {
            break;
        }
        GMV_GO(take_batch(&batch, sample, &visit, &room));
        GMV_GO(take(context, &batch));
    }
done:
    gmv_visit_end(&visit);
    GMV_FREE(batch.start);
    GMV_FREE(batch.cell);
    GMV_FREE(batch.count);
    return status;
}
