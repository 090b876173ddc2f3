/* markers: genes by which clusters differ from the rest of the cells, as a table and as an anndata file. */
#include "run_markers.h"

#include "gmvae/log.h"

#include <inttypes.h>
#include <stdio.h>

enum { shown_genes = 8 };

/* The first genes of a cluster, as far as they are higher in it. */
static void show_cluster(const gmv_markers *m, const gmv_cells *cells, int cluster)
{
    char text[600] = "";
    size_t used = 0;
    int64_t first = (int64_t)cluster * m->genes;
    for (int rank = 0; rank < shown_genes && rank < m->genes && used + 80 < sizeof text; rank++) {
        int32_t gene = m->ranked[first + rank];
        if (!(m->value[GMV_MARKER_LOG2_FOLD_CHANGE][first + gene] > 0.0f)) {
            break;
        }
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%.60s", rank > 0 ? ", " : "", cells->gene[gene]);
    }
    gmv_log("  %3d  %8" PRId64 " cell%s  %s", cluster, m->cells[cluster], m->cells[cluster] == 1 ? " " : "s", text);
}

static void show(const gmv_markers *m, const gmv_cells *cells)
{
    char left_out[80] = "";
    if (m->left_out > 0.0) {
        snprintf(left_out, sizeof left_out, ", which %.3g %% of the cells do not have", 100.0 * m->left_out);
    }
    if (cells->covariates > 0) {
        gmv_log("averaged over %d combination%s of levels of %s%s%s", m->combinations, m->combinations == 1 ? "" : "s",
                cells->covariate[0].key, cells->covariates > 1 ? " and the other batch keys" : "", left_out);
    }
    gmv_log("genes of the largest fold changes, by cluster:");
    for (int c = 0; c < m->clusters; c++) {
        show_cluster(m, cells, c);
    }
}

static gmv_status check_compared(const gmv_markers *markers)
{
    return markers->compared >= 2
               ? GMV_OK
               : GMV_FAIL(
                     GMV_ERR_DATA,
                     "all cells are of one cluster, which leaves none to compare it with; set output.clusters to a "
                     "number, or to components");
}

gmv_status gmv_cmd_markers(gmv_run *run)
{
    const gmv_purpose purpose = {.kind = "markers", .end = "h5ad", .of_clusters = true};
    gmv_session session;
    gmv_markers markers = {0};
    char table[GMV_RESULT_ROOM];
    gmv_status status;
    GMV_GO(gmv_session_open(&session, run, &purpose));
    GMV_GO(gmv_make_markers(&markers, &run->config, &run->comm, session.model, &session.feed, session.cells,
                            &session.result));
    GMV_GO(check_compared(&markers));
    gmv_marker_table_path(session.result.path, table);
    show(&markers, session.cells);
    gmv_log("wrote %s and %s", session.result.path, table);
done:
    gmv_markers_fini(&markers);
    gmv_session_close(&session);
    return gmv_name_stop(status, "before markers.h5ad was written");
}
