#include "session.h"

#include "run_folder.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <string.h>

gmv_status gmv_read_cells(gmv_cells **cells, const gmv_config *config, const gmv_comm *comm, const gmv_texts *paths,
                          const gmv_validation *held_out, const gmv_checkpoint *like)
{
    gmv_cells_request request = {.paths = paths,
                                 .matrix = config->data_matrix,
                                 .round = config->data_round,
                                 .gene_column = &config->data_gene_column,
                                 .batch_keys = &config->data_batch_keys,
                                 .label_key = config->data_label_key,
                                 .genes_mode = config->data_genes,
                                 .n_top = config->data_genes_n_top,
                                 .genes_flavor = config->data_genes_flavor,
                                 .genes_file = config->data_genes_file,
                                 .shards = (int)config->data_shards,
                                 .driver = config->data_driver,
                                 .residence = (int)config->data_residence,
                                 .window = config->data_window,
                                 .cache = (int)config->data_cache,
                                 .cache_dir = config->data_cache_dir,
                                 .memory = config->data_memory_mb * 1000000,
                                 .check_seconds = config->data_check_seconds,
                                 .seed = (uint64_t)config->seed,
                                 .validation = held_out};
    if (like != NULL) {
        request.known_genes = like->genes;
        request.known_gene = like->gene;
        request.known_factors = like->factors;
        request.known_factor = like->factor;
    }
    return gmv_cells_load(cells, comm, &request);
}

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
    const gmv_validation *held_out = session->which == GMV_CELLS_HELD_OUT ? &session->config.data_validation : NULL;
    return gmv_read_cells(&session->cells, &config, &run->comm, paths, held_out, &session->checkpoint);
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

gmv_status gmv_session_open(gmv_session *session, gmv_run *run, bool held_out_only)
{
    const gmv_comm *comm = &run->comm;
    memset(session, 0, sizeof *session);
    const gmv_texts *paths = choose_paths(session, run, held_out_only);
    if (paths->n == 0) {
        return GMV_FAIL(GMV_ERR_CONFIG, "no cells to work on; set data.predict or data.train");
    }
    GMV_TRY(gmv_run_folder_look(run));
    GMV_TRY(gmv_checkpoint_choose(&run->config, comm, &session->path));
    GMV_TRY(gmv_checkpoint_read(session->path, comm, &session->checkpoint));
    GMV_TRY(gmv_comm_agree(comm, gmv_checkpoint_config(&session->checkpoint, session->path, &session->config)));
    if (session->which == GMV_CELLS_HELD_OUT && !gmv_validation_splits(&session->config.data_validation)) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "the checkpoint's run held no cells out; set data.predict to the cells to evaluate");
    }
    GMV_TRY(read_session_cells(session, run, paths));
    GMV_TRY(check_shapes(session, comm));
    gmv_backend_options options = gmv_backend_options_of(&run->config);
    GMV_TRY(gmv_backend_open(&session->backend, &options, comm));
    gmv_input input = {(gmv_input_kind)session->config.model_input, (float)session->checkpoint.input_mean,
                       (float)session->checkpoint.input_std};
    GMV_TRY(gmv_comm_agree(comm, gmv_model_create(&session->model, &session->config, session->backend,
                                                  session->cells->genes, session->cells->levels, input)));
    GMV_TRY(gmv_checkpoint_load_params(session->path, comm, session->model, false));
    GMV_TRY(gmv_comm_agree(comm, gmv_feed_open(&session->feed, session->backend, session->cells, GMV_EVAL_CELLS,
                                               (int)run->config.data_residence, NULL)));
    GMV_TRY(gmv_comm_agree(comm, comm->rank == 0 ? gmv_make_folders(run->config.output_dir) : GMV_OK));
    gmv_log("checkpoint %s, epoch %lld", session->path, (long long)session->checkpoint.progress.epoch);
    return GMV_OK;
}

void gmv_session_close(gmv_session *session)
{
    gmv_feed_close(&session->feed);
    gmv_model_destroy(&session->model);
    gmv_backend_close(&session->backend);
    gmv_cells_destroy(&session->cells);
    gmv_checkpoint_fini(&session->checkpoint);
    gmv_config_fini(&session->config);
    GMV_FREE(session->path);
}
