#include "session.h"

#include "run_clusters.h"
#include "run_folder.h"
#include "same_cells.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <string.h>

/* Which files, and which of their cells: data.predict, or the command's default. */
static const gmv_texts *choose_paths(gmv_session *session, const gmv_run *run, bool held_out_only)
{
    const gmv_config *config = &run->config;
    session->which = GMV_CELLS_ALL;
    if (config->data_predict.n > 0) {
        return &config->data_predict;
    }
    if (held_out_only && config->data_validation.paths.n > 0) {
        return &config->data_validation.paths;
    }
    session->which = held_out_only ? GMV_CELLS_HELD_OUT : GMV_CELLS_ALL;
    return &config->data_train;
}

/* Where cells and their columns are is this run's matter; what the model is, is the checkpoint's. */
static gmv_status read_session_cells(gmv_session *session, gmv_run *run, const gmv_texts *paths)
{
    gmv_config config = run->config;
    config.data_batch_keys = session->config.data_batch_keys;
    config.data_shards = session->config.data_shards;
    config.seed = session->config.seed;
    gmv_known known = gmv_checkpoint_known(&session->checkpoint);
    gmv_reading how = {.paths = paths, .known = &known, .label_optional = config.data_predict.n > 0};
    how.held_out = session->which == GMV_CELLS_HELD_OUT ? &session->config.data_validation : NULL;
    return gmv_cells_load(&session->cells, &run->comm, &config, &how);
}

/* Keys of the config that have no effect, as the model was made with others. */
static gmv_status note_overruled(const gmv_session *session, const gmv_config *ours)
{
    char *differences = NULL, joined[1024];
    GMV_TRY(gmv_config_overruled(&session->config, ours, session->which == GMV_CELLS_HELD_OUT, &differences));
    gmv_join_lines(differences, joined, sizeof joined);
    if (joined[0] != '\0') {
        gmv_log("note    these have no effect here, as the checkpoint was made with others: %s", joined);
    }
    GMV_FREE(differences);
    return GMV_OK;
}

/* Cells that are named for an evaluation may be anybody's; those of data.validation pass for held-out ones. */
static void show_trained_share(const gmv_session *session, bool named)
{
    double share = gmv_trained_share(&session->checkpoint, session->cells);
    if (share > 0.0 && named) {
        gmv_log("note    the model was trained on %.3g %% of these cells: they have the same counts", share);
    } else if (share > 0.0) {
        gmv_warn(
            "data.validation: the model was trained on %.3g %% of these cells (they have the same counts), which are "
            "not held out",
            share);
    }
}

/* Of a checkpoint's held-out cells that had files of their own. */
static gmv_status check_validation(const gmv_session *session)
{
    const gmv_fingerprint *theirs = &session->checkpoint.data;
    return theirs->cells == 0 || theirs->validation == session->cells->fingerprint.counts
               ? GMV_OK
               : GMV_FAIL(GMV_ERR_DATA,
                          "%s was not judged by these cells of data.validation in training; name them in data.predict "
                          "for a result of their own",
                          session->path);
}

/* What passes for the training's own cells must be these. Collective. */
static gmv_status check_own_cells(const gmv_session *session, const gmv_run *run, bool held_out_only)
{
    gmv_cells_difference difference;
    bool held_out = session->which == GMV_CELLS_HELD_OUT;
    if (run->config.data_predict.n > 0 || (held_out_only && !held_out)) {
        bool named = run->config.data_predict.n > 0;
        gmv_status status = GMV_OK;
        if (held_out_only && run->comm.rank == 0) {
            status = named ? GMV_OK : check_validation(session);
            if (status == GMV_OK) {
                show_trained_share(session, named);
            }
        }
        return gmv_comm_agree(&run->comm, status);
    }
    gmv_compare_cells(&session->checkpoint, session->path, session->cells, &run->comm,
                      held_out ? GMV_COMPARE_HELD_OUT : 0, &difference);
    if (difference.cells) {
        return GMV_FAIL(
            GMV_ERR_DATA,
            "%s was trained on other data than data.train is now: %s; %sname these cells in data.predict for "
            "a result of their own",
            session->path, difference.what, held_out ? "some that were trained on may count as held out here; " : "");
    }
    if (difference.order) {
        gmv_log("note    %s was trained on the same cells in another order", session->path);
    }
    return GMV_OK;
}

/* The file to write; known before the work begins. Collective. */
static gmv_status choose_result(gmv_session *session, const gmv_run *run, const gmv_purpose *purpose)
{
    const gmv_config *config = &run->config;
    char name[GMV_RESULT_NAME], *path = session->result_path;
    gmv_result_name(config, session->cells, name);
    gmv_result_path(config, purpose->kind, name, purpose->end, path);
    session->result = (gmv_result){path, session->path, session->checkpoint.progress.epoch, &session->clustering};
    gmv_status status = run->comm.rank == 0 ? gmv_result_check(config, session->cells, name, path) : GMV_OK;
    return gmv_comm_agree(&run->comm, status);
}

void gmv_join_lines(const char *lines, char *joined, size_t room)
{
    size_t used = 0;
    for (const char *at = lines; *at != '\0' && used + 3 < room; at++) {
        if (*at != '\n') {
            joined[used++] = *at;
        } else if (at[1] != '\0') {
            joined[used++] = ';';
            joined[used++] = ' ';
        }
    }
    joined[used] = '\0';
}

gmv_status gmv_name_stop(gmv_status status, const char *where)
{
    if (status != GMV_STOPPED) {
        return status;
    }
    gmv_error_clear();
    return GMV_FAIL(GMV_STOPPED, "stopped by a signal %s; run the same command again", where);
}

gmv_backend_options gmv_backend_options_of(const gmv_config *config)
{
    gmv_backend_options options = {.name = gmv_config_choice("backend", config->backend),
                                   .precision = (gmv_precision)config->train_precision,
                                   .share_gpu = config->runtime_share_gpu,
                                   .timeout = config->runtime_timeout};
    return options;
}

/* The model that the checkpoint's config describes is the one whose tensors it holds. */
static gmv_status check_shapes(const gmv_session *session, const gmv_comm *comm)
{
    gmv_params params;
    gmv_status status = gmv_model_declare(&params, &session->config, session->cells->genes, session->cells->levels);
    status = gmv_comm_agree(comm, status);
    if (status == GMV_OK) {
        status = gmv_checkpoint_check_shapes(session->path, comm, &params);
    }
    gmv_params_fini(&params);
    return status;
}

static gmv_status check_clusters(const gmv_session *session)
{
    return session->config.model_prior != GMV_PRIOR_NORMAL
               ? GMV_OK
               : GMV_FAIL(GMV_ERR_CONFIG,
                          "%s: a model with model.prior: normal has no clusters; train one with another model.prior",
                          session->path);
}

/* The checkpoint, and what it was made with. */
static gmv_status open_checkpoint(gmv_session *session, const gmv_run *run, const gmv_purpose *purpose)
{
    const gmv_comm *comm = &run->comm;
    GMV_TRY(gmv_checkpoint_choose(&run->config, comm, &session->path));
    GMV_TRY(gmv_checkpoint_read(session->path, comm, &session->checkpoint));
    GMV_TRY(gmv_comm_agree(comm, gmv_checkpoint_config(&session->checkpoint, session->path, &session->config)));
    GMV_TRY(purpose->of_clusters ? check_clusters(session) : GMV_OK);
    if (session->which == GMV_CELLS_HELD_OUT && !gmv_validation_splits(&session->config.data_validation)) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "the checkpoint's run held no cells out; set data.predict to the cells to evaluate");
    }
    return gmv_comm_agree(comm, note_overruled(session, &run->config));
}

/* The model with its tensors, and its cells on their way to it. */
static gmv_status open_model(gmv_session *session, gmv_run *run)
{
    const gmv_comm *comm = &run->comm;
    gmv_backend_options options = gmv_backend_options_of(&run->config);
    GMV_TRY(gmv_backend_open(&session->backend, &options, comm));
    gmv_input input = {(gmv_input_kind)session->config.model_input, (float)session->checkpoint.input_mean,
                       (float)session->checkpoint.input_std};
    GMV_TRY(gmv_comm_agree(comm, gmv_model_create(&session->model, &session->config, session->backend,
                                                  session->cells->genes, session->cells->levels, input)));
    GMV_TRY(gmv_checkpoint_load_params(session->path, comm, session->model, false));
    return gmv_comm_agree(comm, gmv_feed_open(&session->feed, session->backend, session->cells, GMV_EVAL_CELLS,
                                              (int)run->config.data_residence, NULL));
}

gmv_status gmv_session_open(gmv_session *session, gmv_run *run, const gmv_purpose *purpose)
{
    const gmv_comm *comm = &run->comm;
    memset(session, 0, sizeof *session);
    const gmv_texts *paths = choose_paths(session, run, purpose->held_out_only);
    if (paths->n == 0) {
        return GMV_FAIL(GMV_ERR_CONFIG, "no cells to work on; set data.predict or data.train");
    }
    GMV_TRY(gmv_run_folder_look(run));
    GMV_TRY(open_checkpoint(session, run, purpose));
    GMV_TRY(read_session_cells(session, run, paths));
    GMV_TRY(check_own_cells(session, run, purpose->held_out_only));
    GMV_TRY(choose_result(session, run, purpose));
    GMV_TRY(check_shapes(session, comm));
    GMV_TRY(open_model(session, run));
    bool makes = comm->rank == 0 && !purpose->dry_run;
    GMV_TRY(gmv_comm_agree(comm, makes ? gmv_make_folders(run->config.output_dir) : GMV_OK));
    gmv_log("checkpoint %s, epoch %lld", session->path, (long long)session->checkpoint.progress.epoch);
    return gmv_take_clusters(session, run);
}

void gmv_session_close(gmv_session *session)
{
    gmv_feed_close(&session->feed);
    gmv_model_destroy(&session->model);
    gmv_backend_close(&session->backend);
    gmv_cells_destroy(&session->cells);
    gmv_clustering_fini(&session->clustering);
    gmv_checkpoint_fini(&session->checkpoint);
    gmv_config_fini(&session->config);
    GMV_FREE(session->path);
}
