/* Which cells are held out of training: by a hash of each cell, by file, or by level of an obs column. */
#include "inputs.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/rng.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool hash_holds_out(uint64_t seed, gmv_gidx row, double fraction)
{
    if (fraction <= 0.0) {
        return false;
    }
    gmv_philox block = gmv_random_block(seed, GMV_STREAM_HOLDOUT, 0, row, 0, 0);
    uint64_t bits = (uint64_t)block.word[0] << 21 | block.word[1] >> 11; /* 53 bits: exact in a double */
    return (double)bits < fraction * 9007199254740992.0;
}

bool gmv_split_holds_out(const gmv_split *split, gmv_gidx row)
{
    return split->out != NULL ? split->out[row - split->first] != 0 : hash_holds_out(split->seed, row, split->fraction);
}

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* Whether a pattern is the path, its last parts, or matches one of these: donor7.h5ad is data/donor7.h5ad. */
static bool path_matches(const char *pattern, const char *path)
{
    for (const char *tail = path;;) {
        if (strcmp(pattern, tail) == 0 || fnmatch(pattern, tail, FNM_PATHNAME) == 0) {
            return true;
        }
        const char *slash = strchr(tail, '/');
        if (slash == NULL) {
            return false;
        }
        tail = slash + 1;
    }
}

/* "; did you mean 'd3'?", or what there is: "; there are 'd1', 'd2', ... (12 in all)". */
static void suggest(const char *wrong, int n, const char *const *there, char *text, size_t size)
{
    const char *near = gmv_nearest(wrong, n, there);
    if (near != NULL) {
        snprintf(text, size, "; did you mean '%s'?", gmv_shown(near).at);
        return;
    }
    size_t used = (size_t)snprintf(text, size, "; there are");
    for (int i = 0; i < n && i < 8; i++) {
        used += (size_t)snprintf(text + used, size - used, "%s '%.40s'", i > 0 ? "," : "", gmv_shown(there[i]).at);
    }
    if (n > 8) {
        snprintf(text + used, size - used, ", ... (%d in all)", n);
    }
}

static void mark(gmv_cells *cells, gmv_gidx first, gmv_gidx end)
{
    gmv_gidx local_end = cells->first + cells->count;
    for (gmv_gidx row = first > cells->first ? first : cells->first; row < end && row < local_end; row++) {
        cells->split.out[row - cells->first] = 1;
    }
}

static gmv_status mark_files(gmv_cells *cells, const gmv_texts *patterns)
{
    for (int i = 0; i < patterns->n; i++) {
        bool found = false;
        for (int f = 0; f < cells->files; f++) {
            if (path_matches(patterns->at[i], cells->file[f])) {
                mark(cells, cells->file_start[f], cells->file_start[f + 1]);
                found = true;
            }
        }
        if (found) {
            continue;
        }
        char hint[600];
        const char **name = NULL;
        GMV_TRY(GMV_NEW(name, cells->files, "names of files"));
        for (int f = 0; f < cells->files; f++) {
            name[f] = file_name(cells->file[f]);
        }
        suggest(file_name(patterns->at[i]), cells->files, name, hint, sizeof hint);
        GMV_FREE(name);
        return GMV_FAIL(GMV_ERR_CONFIG, "data.validation: no file of data.train is '%s'%s",
                        gmv_shown(patterns->at[i]).at, hint);
    }
    return GMV_OK;
}

static gmv_status find_levels(const gmv_factor *factor, const gmv_texts *levels, bool *held)
{
    for (int i = 0; i < levels->n; i++) {
        int level = 0;
        while (level < factor->levels && strcmp(factor->level[level], levels->at[i]) != 0) {
            level++;
        }
        if (level == factor->levels) {
            char hint[600];
            suggest(levels->at[i], factor->levels, (const char *const *)factor->level, hint, sizeof hint);
            return GMV_FAIL(GMV_ERR_CONFIG, "data.validation: obs/%s has no level '%s'%s", factor->key,
                            gmv_shown(levels->at[i]).at, hint);
        }
        held[level] = true;
    }
    return GMV_OK;
}

static gmv_status mark_levels(gmv_cells *cells, const gmv_factor *factor, const gmv_texts *levels)
{
    bool *held = NULL;
    GMV_TRY(GMV_NEW(held, factor->levels, "levels"));
    gmv_status status = find_levels(factor, levels, held);
    for (gmv_gidx row = 0; row < cells->count && status == GMV_OK; row++) {
        int32_t code = gmv_factor_code(factor, row);
        cells->split.out[row] = code >= 0 && held[code];
    }
    GMV_FREE(held);
    return status;
}

/* What is held out, for messages: "0.1", "donor7.h5ad, ... (3 in all)", "d3, d7 of donor". */
static void describe(const gmv_validation *validation, char *text, size_t size)
{
    const gmv_texts *list = validation->key != NULL ? &validation->levels : &validation->files;
    if (list->n == 0) {
        snprintf(text, size, "%.6g", validation->fraction);
        return;
    }
    size_t used = 0;
    for (int i = 0; i < list->n && i < 5; i++) {
        used += (size_t)snprintf(text + used, size - used, "%s%.60s", i > 0 ? ", " : "", gmv_shown(list->at[i]).at);
    }
    if (list->n > 5) {
        used += (size_t)snprintf(text + used, size - used, ", ... (%d in all)", list->n);
    }
    if (validation->key != NULL) {
        snprintf(text + used, size - used, " of %.60s", gmv_shown(validation->key).at);
    }
}

static gmv_status count_rows(gmv_cells *cells, const gmv_comm *comm, const gmv_validation *validation)
{
    char what[600];
    describe(validation, what, sizeof what);
    int64_t rows = 0;
    for (gmv_gidx row = cells->first; row < cells->first + cells->count; row++) {
        rows += gmv_split_holds_out(&cells->split, row);
    }
    gmv_comm_sum_i64(comm, &rows, 1);
    cells->split.rows = rows;
    if (rows == 0 || rows == cells->total) {
        return GMV_FAIL(GMV_ERR_CONFIG, "data.validation: %s holds out %s of the %" PRId64 " cells; %s", what,
                        rows == 0 ? "none" : "all", cells->total,
                        rows == 0 ? "hold out more, or set data.validation=0 for nothing" : "leave some to train on");
    }
    gmv_log("held out: %" PRId64 " of %" PRId64 " cells (%s)", rows, cells->total, what);
    return GMV_OK;
}

gmv_status gmv_split_load(gmv_cells *cells, const gmv_comm *comm, const gmv_validation *validation, uint64_t seed,
                          const gmv_factor *key)
{
    gmv_split *split = &cells->split;
    if (validation == NULL || !gmv_validation_splits(validation)) {
        return GMV_OK;
    }
    *split = (gmv_split){.seed = seed, .fraction = validation->fraction, .first = cells->first};
    if (validation->fraction <= 0.0) {
        GMV_TRY(gmv_comm_agree(comm, GMV_NEW(split->out, cells->count, "marks of held-out cells")));
    }
    if (validation->files.n > 0) {
        GMV_TRY(gmv_comm_agree(comm, mark_files(cells, &validation->files)));
    } else if (validation->key != NULL) {
        GMV_TRY(gmv_comm_agree(comm, mark_levels(cells, key, &validation->levels)));
    }
    return count_rows(cells, comm, validation);
}

/* Of one covariate: cells of each level in training and held out, on all ranks. */
static gmv_status count_levels(const gmv_cells *cells, const gmv_comm *comm, const gmv_factor *factor, int64_t **count)
{
    GMV_TRY(gmv_comm_agree(comm, GMV_NEW(*count, 2 * (int64_t)factor->levels, "cells of levels")));
    for (gmv_gidx i = 0; i < cells->count; i++) {
        (*count)[2 * gmv_factor_code(factor, i) + (gmv_split_holds_out(&cells->split, cells->first + i) ? 1 : 0)]++;
    }
    gmv_comm_sum_i64(comm, *count, 2 * (int64_t)factor->levels);
    return GMV_OK;
}

gmv_status gmv_split_check_levels(const gmv_cells *cells, const gmv_comm *comm)
{
    for (int c = 0; c < cells->covariates && cells->split.rows > 0; c++) {
        const gmv_factor *factor = &cells->covariate[c];
        int64_t *count = NULL;
        char few[400] = "";
        size_t used = 0;
        int untrained = 0;
        GMV_TRY(count_levels(cells, comm, factor, &count));
        for (int level = 0; level < factor->levels; level++) {
            if (count[2 * level] > 0 || count[2 * level + 1] == 0) {
                continue;
            }
            if (untrained++ < 5) {
                used += (size_t)snprintf(few + used, sizeof few - used, "%s%.60s", used > 0 ? ", " : "",
                                         gmv_shown(factor->level[level]).at);
            }
        }
        if (untrained > 0) {
            gmv_warn("covariate %s: all cells of %d of its %d levels are held out (%s%s); their effect is not trained, "
                     "so the held-out cells are judged without it",
                     factor->key, untrained, factor->levels, few, untrained > 5 ? ", ..." : "");
        }
        GMV_FREE(count);
    }
    return GMV_OK;
}
