/* embed: latent means and cluster probabilities of any cells under a checkpoint. */
#include "session.h"

#include "gmvae/log.h"

#include <inttypes.h>

gmv_status gmv_cmd_embed(gmv_run *run)
{
    gmv_session session;
    gmv_evaluation evaluation;
    gmv_status status = gmv_session_open(&session, run, false);
    if (status == GMV_OK) {
        status = gmv_write_embedding(&run->config, &run->comm, session.model, &session.feed, session.cells,
                                     &session.result, &evaluation);
    }
    if (status == GMV_OK) {
        char in_use[64];
        gmv_log("wrote %s: %" PRId64 " cells, %d latent dimensions%s", session.result.path, session.cells->total,
                session.model->latent_dim, gmv_clusters_text(&evaluation, in_use, sizeof in_use));
    }
    gmv_session_close(&session);
    return gmv_name_stop(status, "before embedding.h5ad was written");
}
