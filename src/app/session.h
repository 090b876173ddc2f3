/* What train, embed and eval share: a model from a checkpoint with its cells, and the results that are written. */
#pragma once

#include "result_files.h"

#include "gmvae/app.h"
#include "gmvae/checkpoint.h"
#include "gmvae/metrics.h"

/* A file to write, and under which checkpoint and clusters. */
typedef struct gmv_result {
    const char *path, *checkpoint;
    int64_t epoch;
    const gmv_clustering *clustering;
} gmv_result;

/* A trained model with cells that match it. */
typedef struct gmv_session {
    gmv_backend *backend;
    gmv_model *model;
    gmv_cells *cells;
    gmv_feed feed;
    char *path; /* of the checkpoint */
    gmv_checkpoint checkpoint;
    gmv_config config;     /* the checkpoint's: model, genes, seed, split */
    gmv_which_cells which; /* eval: which of the cells count */
    gmv_clustering clustering;
    char result_path[GMV_RESULT_ROOM];
    gmv_result result; /* the file to write */
} gmv_session;

/* What a command makes of a session. */
typedef struct gmv_purpose {
    const char *kind, *end; /* "embedding", "h5ad": of the name of its file */
    bool held_out_only;     /* its cells are the held-out ones, unless data.predict names some */
    bool of_clusters;       /* a model without clusters is an error */
    bool dry_run;           /* no folder is made */
} gmv_purpose;

/* "a\nb\n" as "a; b": an error is one line. @param[out] joined  [room] bytes */
void gmv_join_lines(const char *lines, char *joined, size_t room);

/* Chooses a checkpoint, builds its model, reads data.predict (or its default for the command: all training files, or the
 * held-out cells) matched to the checkpoint's genes and covariate levels, and refuses cells that should be the training's
 * but are others. Collective. Close with gmv_session_close also after a failure. */
gmv_status gmv_session_open(gmv_session *session, gmv_run *run, const gmv_purpose *purpose);
void gmv_session_close(gmv_session *session);

/* For a status that all ranks have: words the stop that GMV_STOPPED stands for, "stopped by a signal WHERE; run the same
 * command again". Passes any other status on. */
gmv_status gmv_name_stop(gmv_status status, const char *where);

/* What the config says about the backend. */
gmv_backend_options gmv_backend_options_of(const gmv_config *config);

/* Writes the embedding of the local rows of `cells`, with the bound of every cell. Collective. */
gmv_status gmv_write_embedding(const gmv_config *config, const gmv_comm *comm, gmv_model *model, gmv_feed *feed,
                               const gmv_cells *cells, const gmv_result *result, gmv_evaluation *evaluation);

/* Writes an evaluation (rank 0), with its figures. Collective. */
gmv_status gmv_write_evaluation(const gmv_config *config, const gmv_comm *comm, const gmv_cells *cells,
                                const gmv_result *result, const gmv_evaluation *evaluation, const gmv_figures *figures);

/* " +- 0.12", or nothing where the standard error is not defined. Returns `text`. */
const char *gmv_error_text(double error, int digits, char *text, size_t size);
