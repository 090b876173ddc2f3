/* generate: cells drawn from a model. */
#include "level_choice.h"
#include "session.h"

#include "gmvae/files.h"
#include "gmvae/generate.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* generate.from, taken apart. */
typedef struct origin {
    bool cells, component, cluster; /* none: the prior */
    long number;                    /* of the component or cluster */
} origin;

/* "WORD NUMBER" */
static bool is_numbered(const char *text, const char *word, long *number)
{
    char *end;
    size_t n = strlen(word);
    if (strncmp(text, word, n) != 0 || text[n] != ' ') {
        return false;
    }
    *number = strtol(text + n, &end, 10);
    return end != text + n && *end == '\0' && *number >= 0;
}

static gmv_status read_origin(origin *from, const char *text)
{
    *from = (origin){.cells = strcmp(text, "cells") == 0};
    from->component = is_numbered(text, "component", &from->number);
    from->cluster = is_numbered(text, "cluster", &from->number);
    return from->cells || from->component || from->cluster || strcmp(text, "prior") == 0
               ? GMV_OK
               : GMV_FAIL(GMV_ERR_CONFIG,
                          "generate.from: \"%.80s\" is neither prior, nor component N, nor cluster N, nor cells", text);
}

/* Chances of the components, of which only those that are wanted have any. Components of a cluster are in proportion to
 * the cells that are of them. */
static gmv_status weigh_components(const origin *from, const gmv_clustering *clustering, double *chance)
{
    long there = from->component ? clustering->components : clustering->clusters;
    int components = clustering->components;
    double sum = 0.0;
    if (from->number >= there) {
        return GMV_FAIL(GMV_ERR_CONFIG, "generate.from: there is no %s %ld; there are 0 to %ld",
                        from->component ? "component" : "cluster", from->number, there - 1);
    }
    for (int k = 0; k < components; k++) {
        bool wanted = from->component ? k == from->number : clustering->cluster[k] == from->number;
        for (int other = 0; other < components && wanted; other++) {
            chance[k] += from->component ? 1.0 : clustering->overlap[(int64_t)k * components + other];
        }
        sum += chance[k];
    }
    if (!(sum > 0.0)) {
        return GMV_FAIL(GMV_ERR_CONFIG, "generate.from: no cell is of cluster %ld; take another", from->number);
    }
    for (int k = 0; k < components; k++) {
        chance[k] /= sum;
    }
    return GMV_OK;
}

/* What the file takes, by how many genes have counts in cells at hand; an `own` library is as large as theirs. */
static double file_bytes(const gmv_config *config, const gmv_cells *cells, int64_t values, double *least)
{
    double of_cell = (double)values / (double)cells->total, library = strtod(config->generate_library, NULL);
    if (library > 0.0) { /* more counts are hardly of more genes than there are counts */
        of_cell = fmin(fmin(library, (double)cells->genes), fmax(of_cell, 0.5 * library));
    }
    double total = (double)config->generate_cells,
           rest = total * (60.0 + 4.0 * cells->covariates) + 100.0 * cells->genes;
    *least = rest + 2.0 * of_cell * total; /* a fourth of what is expected */
    return rest + 8.0 * of_cell * total;
}

/* What will be written, and whether there is room. Collective. */
static gmv_status show_plan(const gmv_run *run, const gmv_session *session)
{
    const gmv_config *config = &run->config;
    const gmv_cells *cells = session->cells;
    int64_t values = gmv_cells_values(cells);
    double least;
    char folder[GMV_PATH_ROOM];
    gmv_comm_sum_i64(&run->comm, &values, 1);
    double bytes = file_bytes(config, cells, values, &least);
    gmv_log("generate %" PRId64 " cell%s from %s, %d genes: levels %s, library %s", config->generate_cells,
            config->generate_cells == 1 ? "" : "s", config->generate_from, cells->genes, config->generate_batch,
            config->generate_library);
    gmv_log("file    %s: about %.3g MB", session->result.path, bytes * 1e-6);
    gmv_status status = GMV_OK;
    if (run->comm.rank == 0) {
        GMV_GO(gmv_folder_check(config->output_dir, "output.dir", folder));
        status = gmv_file_check_room(folder, session->result.path, bytes, least,
                                     "set output.dir to a disk with room, or lower generate.cells");
    }
done:
    return gmv_comm_agree(&run->comm, status);
}

static gmv_status write_result(const gmv_run *run, const gmv_session *session, const gmv_generated *generated)
{
    char *text = NULL;
    gmv_embedding from = {
        .clustering = &session->clustering, .checkpoint = session->path, .epoch = session->result.epoch};
    gmv_status status = gmv_comm_agree(&run->comm, gmv_config_text(&run->config, &text));
    from.config = text;
    status = status == GMV_OK ? gmv_write_generated(session->result.path, generated, session->cells, &run->comm, &from)
                              : status;
    GMV_FREE(text);
    return status;
}

static gmv_status generate(gmv_session *session, gmv_generated *generated, gmv_run *run, double **chance)
{
    const gmv_config *config = &run->config;
    gmv_level_choice levels;
    origin from;
    GMV_TRY(read_origin(&from, config->generate_from));
    const gmv_purpose purpose = {
        .kind = "generated", .end = "h5ad", .of_clusters = from.component || from.cluster, .dry_run = run->dry_run};
    GMV_TRY(gmv_session_open(session, run, &purpose));
    GMV_TRY(strcmp(config->generate_batch, "average") == 0
                ? GMV_FAIL(GMV_ERR_CONFIG,
                           "generate.batch: a cell has levels, and no average of them; take own, or a level")
                : gmv_choose_levels(&levels, "generate.batch", config->generate_batch, session->cells, &run->comm));
    if (strcmp(config->generate_library, "own") != 0 && !gmv_takes_library(session->model)) {
        return GMV_FAIL(GMV_ERR_CONFIG,
                        "generate.library: %s: the decoder of this model has libraries of its own; take own",
                        config->generate_library);
    }
    if (from.component || from.cluster) {
        GMV_TRY(gmv_comm_agree(&run->comm, GMV_NEW(*chance, session->clustering.components, "components")));
        GMV_TRY(weigh_components(&from, &session->clustering, *chance));
    }
    GMV_TRY(show_plan(run, session));
    if (run->dry_run) {
        gmv_log("dry run: config, data, memory and room are in order; nothing was written");
        return GMV_OK;
    }
    const gmv_generation how = {.origin = from.cells ? GMV_FROM_CELLS : GMV_FROM_PRIOR,
                                .chance = *chance,
                                .cells = config->generate_cells,
                                .library = strtod(config->generate_library, NULL), /* own: 0 */
                                .key = levels.kind == GMV_LEVELS_ONE ? levels.key : -1,
                                .column = levels.column,
                                .seed = (uint32_t)config->generate_seed};
    GMV_TRY(gmv_generate(generated, &how, session->model, &session->feed, session->cells, &run->comm));
    return write_result(run, session, generated);
}

gmv_status gmv_cmd_generate(gmv_run *run)
{
    gmv_session session = {0};
    gmv_generated generated = {0};
    double *chance = NULL;
    gmv_status status = generate(&session, &generated, run, &chance);
    if (status == GMV_OK && !run->dry_run) {
        int64_t nonzeros = generated.nonzeros;
        gmv_comm_sum_i64(&run->comm, &nonzeros, 1);
        gmv_log("wrote %s: %" PRId64 " cell%s from %s, %d genes, %" PRId64 " non-zeros", session.result.path,
                generated.total, generated.total == 1 ? "" : "s", run->config.generate_from, session.cells->genes,
                nonzeros);
    }
    gmv_generated_fini(&generated);
    GMV_FREE(chance);
    gmv_session_close(&session);
    return gmv_name_stop(status, "before generated.h5ad was written");
}
