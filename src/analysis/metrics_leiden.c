/* Leiden's clusters against labels, on the graph of neighbours and at the resolutions that scanpy's users try. */
#include "measures.h"

#include "gmvae/leiden.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"

#include <stdio.h>
#include <string.h>

enum { neighbours = 14, resolutions = 20, at_default = 9 }; /* scanpy's 15 count the cell itself */

static double resolution_of(int r)
{
    return (r + 1) / 10.0;
}

/* Resolutions are divided among the ranks: igraph has one thread. */
static gmv_status divide_and_compare(gmv_measures *m, const gmv_leiden *leiden, int r)
{
    gmv_view *view = m->at;
    int32_t *cluster = NULL;
    int clusters = 0;
    GMV_TRY(gmv_stop_check());
    GMV_TRY(GMV_NEW(cluster, view->cells.n, "clusters of cells"));
    const char *failure = leiden->partition(&view->graph, resolution_of(r), m->of->seed, cluster, &clusters);
    gmv_status status = failure == NULL
                            ? gmv_compare_with_labels(&view->cells, cluster, clusters, &view->leiden[r])
                            : GMV_FAIL(GMV_ERR_INTERNAL, "Leiden at resolution %g: %s", resolution_of(r), failure);
    GMV_FREE(cluster);
    return status;
}

static gmv_status make_graph(gmv_measures *m)
{
    gmv_view *view = m->at;
    const gmv_neighbours *near;
    if (view->leiden != NULL) {
        return GMV_OK;
    }
    GMV_TRY(gmv_view_neighbours(m, &near));
    gmv_status status = gmv_fuzzy_graph(&view->graph, near, neighbours);
    status = status == GMV_OK ? GMV_NEW(view->leiden, resolutions, "Leiden's clusters") : status;
    return gmv_comm_agree(m->comm, status);
}

/* Compares the partitions at resolutions [first, end), as far as they are not there. Without the plug-in on any rank *there is
 * false, and the figure says why. Collective. */
static gmv_status compare(gmv_measures *m, int first, int end, gmv_figure *figure, bool *there)
{
    const gmv_leiden *leiden = NULL;
    gmv_status status = gmv_comm_agree(m->comm, gmv_leiden_load(&leiden));
    *there = status == GMV_OK;
    if (!*there) {
        snprintf(figure->note, sizeof figure->note, "%s", gmv_error_message());
        gmv_error_clear();
        return GMV_OK;
    }
    GMV_TRY(make_graph(m));
    for (int r = first; r < end && status == GMV_OK; r++) {
        bool ours = r % m->comm->size == m->comm->rank;
        status = ours && m->at->leiden[r].clusters == 0 ? divide_and_compare(m, leiden, r) : GMV_OK;
    }
    GMV_TRY(gmv_comm_agree(m->comm, status));
    for (int r = first; r < end; r++) {
        gmv_comm_broadcast(m->comm, &m->at->leiden[r], sizeof m->at->leiden[r], r % m->comm->size);
    }
    return GMV_OK;
}

static double figure_of(const gmv_agreement *agreement, bool of_nmi)
{
    return of_nmi ? agreement->nmi : agreement->ari;
}

static gmv_status at_resolution_one(gmv_measures *m, gmv_figure *figure, bool of_nmi)
{
    bool there;
    GMV_TRY(compare(m, at_default, at_default + 1, figure, &there));
    if (there) {
        figure->value = figure_of(&m->at->leiden[at_default], of_nmi);
        snprintf(figure->note, sizeof figure->note, "%d clusters", m->at->leiden[at_default].clusters);
    }
    return GMV_OK;
}

static gmv_status at_the_best(gmv_measures *m, gmv_figure *figure, bool of_nmi)
{
    bool there;
    int best = 0;
    GMV_TRY(compare(m, 0, resolutions, figure, &there));
    if (!there) {
        return GMV_OK;
    }
    for (int r = 1; r < resolutions; r++) {
        best = figure_of(&m->at->leiden[r], of_nmi) > figure_of(&m->at->leiden[best], of_nmi) ? r : best;
    }
    figure->value = figure_of(&m->at->leiden[best], of_nmi);
    figure->resolution = resolution_of(best);
    snprintf(figure->note, sizeof figure->note, "resolution %.1f of %.1f to %.1f, %d clusters", figure->resolution,
             resolution_of(0), resolution_of(resolutions - 1), m->at->leiden[best].clusters);
    return GMV_OK;
}

gmv_status gmv_measure_leiden_ari(gmv_measures *m, gmv_figure *figure)
{
    return at_resolution_one(m, figure, false);
}

gmv_status gmv_measure_leiden_nmi(gmv_measures *m, gmv_figure *figure)
{
    return at_resolution_one(m, figure, true);
}

gmv_status gmv_measure_leiden_best_ari(gmv_measures *m, gmv_figure *figure)
{
    return at_the_best(m, figure, false);
}

gmv_status gmv_measure_leiden_best_nmi(gmv_measures *m, gmv_figure *figure)
{
    return at_the_best(m, figure, true);
}
