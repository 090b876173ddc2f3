/* embed: latent means and cluster probabilities of any cells under a checkpoint. */
#include "run_clusters.h"
#include "session.h"

#include "gmvae/log.h"

#include <inttypes.h>

gmv_status gmv_cmd_embed(gmv_run *run)
{
    gmv_session session;
    gmv_evaluation evaluation;
    const gmv_purpose purpose = {.kind = "embedding", .end = "h5ad"};
    gmv_status status = gmv_session_open(&session, run, &purpose);
    if (status == GMV_OK) {
        status = gmv_write_embedding(&run->config, &run->comm, session.model, &session.feed, session.cells,
                                     &session.result, &evaluation);
    }
    if (status == GMV_OK) {
        char clusters[64];
        gmv_log("wrote %s: %" PRId64 " cells, %d latent dimensions%s", session.result.path, session.cells->total,
                session.model->latent_dim, gmv_clusters_text(&session.clustering, clusters, sizeof clusters));
    }
    gmv_session_close(&session);
    return gmv_name_stop(status, "before embedding.h5ad was written");
}
