#include "same_cells.h"

#include "gmvae/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void add(gmv_cells_difference *difference, bool *kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void add(gmv_cells_difference *difference, bool *kind, const char *format, ...)
{
    size_t used = strlen(difference->what), room = sizeof difference->what;
    va_list arguments;
    used += used > 0 ? (size_t)snprintf(difference->what + used, room - used, ", ") : 0;
    if (used < room) {
        va_start(arguments, format);
        vsnprintf(difference->what + used, room - used, format, arguments);
        va_end(arguments);
    }
    *kind = true;
}

/* Of a checkpoint's sample, and of the cells that could be in it: how many there are, and how many are in both. */
typedef struct overlap {
    int64_t theirs, ours, both;
    uint64_t below;
} overlap;

static overlap overlap_of(const gmv_checkpoint *checkpoint, const gmv_cells *cells)
{
    overlap found = {.below = cells->sample_below};
    found.below = checkpoint->sample_below < found.below ? checkpoint->sample_below : found.below;
    while (found.theirs < checkpoint->samples && checkpoint->sample[found.theirs] <= found.below) {
        found.theirs++;
    }
    for (int64_t at = 0; found.ours < cells->samples && cells->sample[found.ours].hash <= found.below; found.ours++) {
        uint64_t hash = cells->sample[found.ours].hash;
        while (at < found.theirs && checkpoint->sample[at] < hash) {
            at++;
        }
        found.both += at < found.theirs && checkpoint->sample[at] == hash;
    }
    return found;
}

/* Names the first file, where the files are as many as they were. */
static void describe_counts(const gmv_checkpoint *checkpoint, const gmv_cells *cells, gmv_cells_difference *difference)
{
    int others = 0, first = -1;
    for (int f = 0; checkpoint->files == cells->files && f < cells->files; f++) {
        if (checkpoint->file_counts[f] != cells->file_counts[f]) {
            first = first < 0 ? f : first;
            others++;
        }
    }
    if (first < 0 || others == cells->files) {
        first = 0;
        others = cells->files;
    }
    if (others == 1) {
        add(difference, &difference->cells, "%s has other counts", cells->file[first]);
    } else {
        add(difference, &difference->cells, "%s and %d other file%s have other counts", cells->file[first], others - 1,
            others == 2 ? "" : "s");
    }
    overlap found = overlap_of(checkpoint, cells);
    if (found.theirs > 0 && found.both > 0) {
        double same = 100.0 * (double)found.both / (double)found.ours;
        size_t used = strlen(difference->what);
        snprintf(difference->what + used, sizeof difference->what - used, " in about %.3g %% of the cells",
                 same < 99.9 ? 100.0 - same : 0.1);
    }
}

void gmv_find_difference(const gmv_checkpoint *checkpoint, const gmv_cells *cells, unsigned parts,
                         gmv_cells_difference *difference)
{
    memset(difference, 0, sizeof *difference);
    const gmv_fingerprint *theirs = &checkpoint->data, *ours = &cells->fingerprint;
    bool *other = &difference->cells, same_counts = theirs->counts == ours->counts;
    difference->validation = theirs->validation != ours->validation;
    if (theirs->cells != ours->cells) {
        add(difference, other, "there are %" PRId64 " cells instead of %" PRId64, ours->cells, theirs->cells);
        return;
    }
    if (theirs->measured != ours->measured) {
        add(difference, other, "the files lack other genes of the model than they did");
    } else if ((parts & GMV_COMPARE_NAMED_GENES) != 0 && theirs->genes != 0 && ours->genes != 0 &&
               theirs->genes != ours->genes) {
        add(difference, other, "there are other genes, in data.train or data.genes.file");
    }
    if (!same_counts) {
        describe_counts(checkpoint, cells, difference);
        return;
    }
    for (int c = 0; c < cells->covariates && c < checkpoint->factors; c++) {
        if (checkpoint->factor[c].fingerprint != cells->covariate[c].fingerprint) {
            add(difference, other, "cells have other levels of %s", cells->covariate[c].key);
        }
    }
    if (theirs->order != ours->order) {
        add(difference, &difference->order, "the cells are in another order");
    }
    if ((parts & GMV_COMPARE_HELD_OUT) != 0 && theirs->held_out != ours->held_out) {
        add(difference, other, "other cells are held out");
    }
}

void gmv_compare_cells(const gmv_checkpoint *checkpoint, const char *path, const gmv_cells *cells, const gmv_comm *comm,
                       unsigned parts, gmv_cells_difference *difference)
{
    memset(difference, 0, sizeof *difference);
    if (comm->rank == 0 && checkpoint->data.cells == 0) {
        gmv_log(
            "note    %s is of a version that did not keep what it was trained on; nobody knows whether these are the "
            "same cells",
            path);
    } else if (comm->rank == 0) {
        gmv_find_difference(checkpoint, cells, parts, difference);
    }
    gmv_comm_broadcast(comm, difference, sizeof *difference, 0);
}

double gmv_trained_share(const gmv_checkpoint *checkpoint, const gmv_cells *cells)
{
    overlap found = checkpoint->data.cells > 0 ? overlap_of(checkpoint, cells) : (overlap){0};
    return found.both > 0 ? 100.0 * (double)found.both / (double)found.ours : 0.0;
}
