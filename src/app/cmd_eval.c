/* eval: -ELBO and its parts on held-out cells or any files. */
#include "run_metrics.h"

#include "gmvae/log.h"
#include "gmvae/stage.h"

#include <inttypes.h>

static void show_one(const char *name, double mean, double error, const char *note)
{
    char text[40];
    gmv_log("  %-15s %12.3f %s%s", name, mean, gmv_error_text(error, 3, text, sizeof text), note);
}

static void show(const gmv_evaluation *e)
{
    gmv_log("%" PRId64 " cell%s, %" PRId64 " draw%s each, nats per cell:", e->cells, e->cells == 1 ? "" : "s",
            e->samples, e->samples == 1 ? "" : "s");
    show_one("-ELBO", e->neg_elbo, e->neg_elbo_se, "  (exact bound)");
    show_one("-log p", e->neg_log_p, e->neg_log_p_se, "  (the same draws, weighted)");
    for (int i = 0; i < e->terms->n; i++) {
        if (e->terms->at[i].in_bound) {
            show_one(e->terms->at[i].label, e->term[i], e->term_se[i], "");
        }
    }
    show_one("trained bound", e->objective, e->objective_se, "");
}

gmv_status gmv_cmd_eval(gmv_run *run)
{
    gmv_session session;
    gmv_evaluation evaluation;
    gmv_agreement agreement;
    gmv_figures figures;
    const gmv_purpose purpose = {.kind = "evaluation", .end = "json", .held_out_only = true};
    gmv_status status = gmv_session_open(&session, run, &purpose);
    if (status == GMV_OK) {
        gmv_stage_enter(GMV_STAGE_EVALUATION);
        status = gmv_evaluate(session.model, &session.feed, session.cells, &run->comm, session.which,
                              (gmv_draws){(int)run->config.eval_samples, true}, NULL, &evaluation);
    }
    if (status == GMV_OK && evaluation.cells == 0) {
        status = GMV_FAIL(GMV_ERR_DATA, "no cell with counts to evaluate; check data.predict and data.validation");
    }
    if (status == GMV_OK) {
        status = gmv_measure_cells(&run->config, &run->comm, session.model, &session.feed, session.cells, session.which,
                                   &session.clustering, &agreement, &figures);
    }
    if (status == GMV_OK) {
        status = gmv_write_evaluation(&run->config, &run->comm, session.cells, &session.result, &evaluation, &figures);
    }
    if (status == GMV_OK) {
        show(&evaluation);
        gmv_show_agreement(&run->config, &agreement);
        gmv_show_figures(session.cells, &figures);
        gmv_log("wrote %s", session.result.path);
    }
    gmv_session_close(&session);
    return gmv_name_stop(status, "before evaluation.json was written");
}
