/* eval: -ELBO and its parts on held-out cells or any files. */
#include "session.h"

#include "gmvae/log.h"

#include <inttypes.h>

static void show(const gmv_evaluation *e)
{
    gmv_log("%" PRId64 " cells, %" PRId64 " draws each, nats per cell:", e->cells, e->samples);
    gmv_log("  -ELBO           %12.3f  +- %.3f  (exact bound)", e->neg_elbo, e->neg_elbo_se);
    gmv_log("  reconstruction  %12.3f  +- %.3f", e->term[GMV_TERM_RECONSTRUCTION], e->term_se[GMV_TERM_RECONSTRUCTION]);
    gmv_log("  KL w            %12.3f  +- %.3f", e->term[GMV_TERM_KL_W], e->term_se[GMV_TERM_KL_W]);
    gmv_log("  KL z            %12.3f  +- %.3f", e->term[GMV_TERM_KL_Z], e->term_se[GMV_TERM_KL_Z]);
    gmv_log("  KL x            %12.3f  +- %.3f", e->term[GMV_TERM_KL_X], e->term_se[GMV_TERM_KL_X]);
    gmv_log("  trained bound   %12.3f  +- %.3f", e->objective, e->objective_se);
}

gmv_status gmv_cmd_eval(gmv_run *run)
{
    gmv_session session;
    gmv_evaluation evaluation;
    gmv_agreement agreement;
    gmv_status status = gmv_session_open(&session, run, true);
    if (status == GMV_OK) {
        status = gmv_evaluate(session.model, &session.feed, session.cells, &run->comm, session.which,
                              (int)run->config.eval_samples, NULL, &evaluation);
    }
    if (status == GMV_OK && evaluation.cells == 0) {
        status = GMV_FAIL(GMV_ERR_DATA, "no cell with counts to evaluate; check data.predict and data.validation");
    }
    if (status == GMV_OK) {
        status =
            gmv_label_agreement(session.model, &session.feed, session.cells, &run->comm, session.which, &agreement);
    }
    if (status == GMV_OK) {
        status = gmv_write_evaluation(&run->config, &run->comm, &evaluation, &agreement, session.path,
                                      session.checkpoint.progress.epoch);
    }
    if (status == GMV_OK) {
        show(&evaluation);
        gmv_show_agreement(&run->config, &agreement);
        gmv_log("wrote %s/evaluation.json", run->config.output_dir);
    }
    gmv_session_close(&session);
    return status;
}
