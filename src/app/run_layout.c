#include "run_layout.h"

#include "gmvae/count_components.h"
#include "gmvae/embedded.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/neighbours.h"
#include "gmvae/stage.h"
#include "gmvae/umap.h"

#include <math.h>
#include <string.h>

enum { most_neighbours = 14, least_cells = 3 }; /* umap-learn's 15 count the cell itself */
enum { components = 50 };                       /* of counts, as scanpy takes them */

void gmv_layout_fini(gmv_layout *layout)
{
    GMV_FREE(layout->row);
    GMV_FREE(layout->at);
    GMV_FREE(layout->by_counts);
    layout->n = 0;
}

/* Rank 0 has all threads of its own; the others wait. @param[out] at  [n, 2] */
static gmv_status lay_out(float *at, const gmv_points *points, uint64_t seed, gmv_backend *backend)
{
    const gmv_comm *comm = backend->comm;
    gmv_neighbours near = {0};
    int k = points->n - 1 < most_neighbours ? points->n - 1 : most_neighbours;
    gmv_status status = gmv_find_neighbours(&near, points, NULL, k, backend);
    if (status == GMV_OK && comm->rank == 0) {
        gmv_umap_input input = {.near = &near, .dims = points->dims, .at = points->at, .seed = seed};
        status = gmv_umap_layout(&input, at);
    }
    gmv_neighbours_fini(&near);
    GMV_TRY(gmv_comm_agree(comm, status));
    gmv_comm_broadcast(comm, at, 2 * (int64_t)points->n * (int64_t)sizeof *at, 0);
    return GMV_OK;
}

/* The same cells by their counts. */
static gmv_status lay_out_counts(gmv_layout *layout, const gmv_embedded *embedded, uint64_t seed,
                                 const gmv_model *model, gmv_feed *feed, const gmv_cells *cells)
{
    const gmv_comm *comm = model->backend->comm;
    gmv_projection how = {.n = embedded->n,
                          .row = embedded->row,
                          .dims = cells->genes < components ? cells->genes : components,
                          .seed = seed};
    float *at = NULL;
    gmv_status status = GMV_NEW(layout->by_counts, 2 * how.n, "a layout");
    status = status == GMV_OK ? GMV_NEW(at, how.n * how.dims, "components of counts") : status;
    GMV_GO(gmv_comm_agree(comm, status));
    GMV_GO(gmv_project_counts(&how, feed, cells, comm, model->input, at));
    const gmv_points points = {embedded->n, how.dims, at};
    status = lay_out(layout->by_counts, &points, seed, model->backend);
done:
    GMV_FREE(at);
    return status;
}

static gmv_status find_layout(gmv_layout *layout, const gmv_config *config, const gmv_comm *comm, gmv_model *model,
                              gmv_feed *feed, const gmv_cells *cells)
{
    gmv_embedded embedded = {0};
    uint64_t seed = (uint64_t)config->seed;
    memset(layout, 0, sizeof *layout);
    if (!config->output_umap) {
        return GMV_OK;
    }
    gmv_status status =
        gmv_gather_embedded(&embedded, model, feed, cells, comm, GMV_CELLS_ALL, seed, config->eval_metric_cells);
    if (status == GMV_ERR_NUMERIC) {
        gmv_log("note    no X_umap: %s", gmv_error_message());
        gmv_error_clear();
        status = GMV_OK;
        goto done;
    }
    if (status != GMV_OK || embedded.n < least_cells) {
        goto done;
    }
    if (embedded.of > embedded.n) {
        gmv_log("note    X_umap is of a sample of %d of %lld cells (eval.metric_cells)", embedded.n,
                (long long)embedded.of);
    }
    status = GMV_NEW(layout->at, 2 * (int64_t)embedded.n, "a layout");
    GMV_GO(gmv_comm_agree(comm, status));
    const gmv_points points = {embedded.n, embedded.dims, embedded.latent};
    GMV_GO(lay_out(layout->at, &points, seed, model->backend));
    if (config->output_counts_umap) {
        GMV_GO(lay_out_counts(layout, &embedded, seed, model, feed, cells));
    }
    layout->n = embedded.n;
    layout->row = embedded.row;
    embedded.row = NULL;
done:
    gmv_embedded_fini(&embedded);
    return status;
}

gmv_status gmv_find_layout(gmv_layout *layout, const gmv_config *config, const gmv_comm *comm, gmv_model *model,
                           gmv_feed *feed, const gmv_cells *cells)
{
    gmv_stage before = gmv_stage_enter(GMV_STAGE_LAYOUT);
    gmv_status status = find_layout(layout, config, comm, model, feed, cells);
    gmv_stage_enter(before);
    return status;
}

void gmv_layout_output(gmv_cell_outputs *outputs, const gmv_layout *layout)
{
    if (layout->n > 0) {
        outputs->at[outputs->n++] = (gmv_cell_output){.name = "X_umap", .kind = GMV_OUTPUT_NUMBERS, .cols = 2};
    }
    if (layout->n > 0 && layout->by_counts != NULL) {
        outputs->at[outputs->n++] = (gmv_cell_output){.name = "X_counts_umap", .kind = GMV_OUTPUT_NUMBERS, .cols = 2};
    }
}

gmv_status gmv_layout_sink_take(void *context, const gmv_row_results *results)
{
    gmv_layout_sink *sink = context;
    const gmv_layout *layout = sink->layout;
    const float *output[GMV_MAX_OUTPUTS], *of[2] = {layout->at, layout->by_counts};
    float at[2][2 * GMV_EVAL_CELLS];
    gmv_row_results all = *results;
    for (int i = 0; i < results->n && layout->n > 0; i++) {
        while (sink->at < layout->n && layout->row[sink->at] < results->row[i]) {
            sink->at++;
        }
        bool there = sink->at < layout->n && layout->row[sink->at] == results->row[i];
        for (int c = 0; c < 4; c++) {
            const float *from = of[c / 2];
            at[c / 2][2 * i + c % 2] = there && from != NULL ? from[2 * sink->at + c % 2] : NAN;
        }
    }
    memcpy(output, results->output, (size_t)sink->outputs * sizeof *output);
    output[sink->outputs] = at[0];
    output[sink->outputs + 1] = at[1];
    all.output = output;
    return sink->next->take(sink->next->context, &all);
}
