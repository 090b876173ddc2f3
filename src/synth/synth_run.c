/* synth: rounds in which every thread of every rank draws one block of cells, and rank 0 writes them all. */
#include "synth_file.h"

#include "../io/h5ad_file.h"

#include "gmvae/clock.h"
#include "gmvae/files.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"
#include "gmvae/synth.h"
#include "gmvae/work.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { block_elements = 1 << 22, block_cells = 4096 }; /* of a block when synth.block is 0: about 60 MB a thread */

typedef struct atlas {
    const gmv_comm *comm;
    gmv_synth_model model;
    int threads;             /* of this rank */
    int workers, first;      /* threads of all ranks; the first of this rank */
    int64_t cells_at_once;   /* of a worker */
    gmv_synth_block *block;  /* [threads] */
    int64_t elements, bytes; /* written so far, of the matrix */
    gmv_synth_part received; /* rank 0 */
    gmv_synth_file file;     /* rank 0 */
    gmv_output output;       /* rank 0 */
    double start;
} atlas;

/* Cells of a block: few enough for the memory, and for all workers to have some. */
static int64_t choose_block(const atlas *a, int64_t asked)
{
    const gmv_synth_model *m = &a->model;
    if (asked > 0) {
        return asked;
    }
    double by_size = block_elements / (m->density * (double)m->genes) + 1.0;
    int64_t by_cells = (m->cells + a->workers - 1) / a->workers;
    int64_t cells = by_size < block_cells ? (int64_t)by_size : block_cells;
    return cells < by_cells ? cells : by_cells;
}

/* Workers are numbered rank by rank. */
static gmv_status count_workers(atlas *a)
{
    int *all = NULL;
    gmv_status status = GMV_NEW(all, a->comm->size, "threads of ranks");
    GMV_TRY(gmv_comm_agree(a->comm, status));
    a->threads = a->comm->cores;
    gmv_comm_allgather(a->comm, &a->threads, all, sizeof a->threads);
    for (int r = 0; r < a->comm->size; r++) {
        a->first += r < a->comm->rank ? all[r] : 0;
        a->workers += all[r];
    }
    gmv_free(all);
    return GMV_OK;
}

static gmv_status prepare_blocks(atlas *a, const gmv_config *config)
{
    a->cells_at_once = choose_block(a, config->synth_block);
    GMV_TRY(GMV_NEW(a->block, a->threads, "blocks of cells"));
    for (int t = 0; t < a->threads; t++) {
        GMV_TRY(gmv_synth_block_init(&a->block[t], &a->model, (int)config->synth_compression));
    }
    return GMV_OK;
}

static gmv_status prepare(atlas *a, const gmv_config *config)
{
    GMV_TRY(count_workers(a));
    GMV_TRY(gmv_comm_agree(a->comm, gmv_synth_model_init(&a->model, config)));
    return gmv_comm_agree(a->comm, prepare_blocks(a, config));
}

static gmv_status worst(const gmv_status *status, int n)
{
    for (int i = 0; i < n; i++) {
        if (status[i] != GMV_OK) {
            return status[i];
        }
    }
    return GMV_OK;
}

/* This rank's blocks of a round. */
static gmv_status draw_round(atlas *a, int64_t round, gmv_status *status)
{
#pragma omp parallel for schedule(static, 1) num_threads(a->threads)
    for (int t = 0; t < a->threads; t++) {
        int64_t first = (round * a->workers + a->first + t) * a->cells_at_once, left = a->model.cells - first;
        int64_t cells = left < 0 ? 0 : left < a->cells_at_once ? left : a->cells_at_once;
        status[t] = gmv_synth_block_draw(&a->block[t], first, cells);
    }
    return gmv_comm_agree(a->comm, worst(status, a->threads));
}

static gmv_status pack_round(atlas *a, int64_t before, gmv_status *status)
{
#pragma omp parallel for schedule(static, 1) num_threads(a->threads)
    for (int t = 0; t < a->threads; t++) {
        int64_t mine = before;
        for (int other = 0; other < t; other++) {
            mine += a->block[other].elements;
        }
        status[t] = gmv_synth_block_pack(&a->block[t], mine);
    }
    return gmv_comm_agree(a->comm, worst(status, a->threads));
}

/* Elements before this rank's blocks; a->elements becomes those after the round. */
static gmv_status place_round(atlas *a, int64_t *before)
{
    int64_t mine = 0, *all = NULL;
    for (int t = 0; t < a->threads; t++) {
        mine += a->block[t].elements;
    }
    gmv_status status = GMV_NEW(all, a->comm->size, "elements of ranks");
    GMV_TRY(gmv_comm_agree(a->comm, status));
    gmv_comm_allgather(a->comm, &mine, all, sizeof mine);
    *before = a->elements;
    for (int r = 0; r < a->comm->size; r++) {
        *before += r < a->comm->rank ? all[r] : 0;
        a->elements += all[r];
    }
    gmv_free(all);
    return GMV_OK;
}

enum { header_words = 6 };

static void send_part(const gmv_comm *comm, const gmv_synth_part *p)
{
    int64_t header[header_words] = {p->first, p->cells, p->elements, p->chunk, p->chunks, p->bytes};
    gmv_comm_send(comm, header, sizeof header, 0);
    gmv_comm_send(comm, p->end, p->cells * (int64_t)sizeof *p->end, 0);
    gmv_comm_send(comm, p->cell, p->cells * (int64_t)sizeof *p->cell, 0);
    gmv_comm_send(comm, p->size, 2 * p->chunks * (int64_t)sizeof *p->size, 0);
    gmv_comm_send(comm, p->packed, p->bytes, 0);
}

/* Without room for it the sender would wait for ever: the run ends then. */
static gmv_status receive_part(const gmv_comm *comm, gmv_synth_part *p, int from)
{
    int64_t header[header_words];
    gmv_comm_receive(comm, header, sizeof header, from);
    GMV_TRY(gmv_comm_fail_alone(comm, gmv_synth_part_reserve(p, header[1], header[4], header[5])));
    p->first = header[0];
    p->cells = header[1];
    p->elements = header[2];
    p->chunk = header[3];
    p->chunks = header[4];
    p->bytes = header[5];
    gmv_comm_receive(comm, p->end, p->cells * (int64_t)sizeof *p->end, from);
    gmv_comm_receive(comm, p->cell, p->cells * (int64_t)sizeof *p->cell, from);
    gmv_comm_receive(comm, p->size, 2 * p->chunks * (int64_t)sizeof *p->size, from);
    gmv_comm_receive(comm, p->packed, p->bytes, from);
    return GMV_OK;
}

static gmv_status append(atlas *a, const gmv_synth_part *part, gmv_status status)
{
    a->bytes += part->bytes;
    return status == GMV_OK && part->cells > 0 ? gmv_synth_file_append(&a->file, part) : status;
}

/* Rank 0 takes all parts, also after a failure: the others are sending them. */
static gmv_status write_round(atlas *a, const int *threads)
{
    gmv_status status = GMV_OK;
    for (int t = 0; t < a->threads; t++) {
        if (a->comm->rank == 0) {
            status = append(a, &a->block[t].part, status);
        } else {
            send_part(a->comm, &a->block[t].part);
        }
    }
    for (int r = 1; r < a->comm->size && a->comm->rank == 0; r++) {
        for (int t = 0; t < threads[r]; t++) {
            GMV_TRY(receive_part(a->comm, &a->received, r));
            status = append(a, &a->received, status);
        }
    }
    return gmv_comm_agree(a->comm, status);
}

static void show_progress(const atlas *a, gmv_work *work, int64_t done)
{
    char left[24];
    const int64_t all = a->model.cells;
    double spent = gmv_clock() - a->start, speed = (double)done / (spent > 1e-6 ? spent : 1e-6);
    if (gmv_work_due(work, (double)done)) {
        gmv_work_say("cells %" PRId64 " of %" PRId64 " (%d %%), %.0f cells/s, %.2f GB, %s left", done, all,
                     (int)(100 * done / all), speed, (double)a->bytes * 1e-9,
                     gmv_duration((double)(all - done) / speed, left, sizeof left));
    }
}

static gmv_status run_rounds(atlas *a)
{
    gmv_status status, *each = NULL;
    int *threads = NULL;
    GMV_GO(GMV_NEW(each, a->threads, "the state of threads"));
    GMV_GO(GMV_NEW(threads, a->comm->size, "threads of ranks"));
done:
    status = gmv_comm_agree(a->comm, status);
    if (status == GMV_OK) {
        gmv_comm_allgather(a->comm, &a->threads, threads, sizeof a->threads);
    }
    int64_t at_once = a->cells_at_once * a->workers, before = 0;
    gmv_work work = gmv_work_begin((double)a->model.cells, "cells");
    for (int64_t round = 0; status == GMV_OK && round * at_once < a->model.cells; round++) {
        int64_t done = (round + 1) * at_once < a->model.cells ? (round + 1) * at_once : a->model.cells;
        status = draw_round(a, round, each);
        status = status == GMV_OK ? place_round(a, &before) : status;
        status = status == GMV_OK ? pack_round(a, before, each) : status;
        status = status == GMV_OK ? write_round(a, threads) : status;
        if (status == GMV_OK) {
            show_progress(a, &work, done);
        }
    }
    gmv_free(each);
    gmv_free(threads);
    return status;
}

/* @return the name in it */
static const char *folder_of(const char *path, char *folder)
{
    const char *slash = strrchr(path, '/');
    int length = slash == NULL ? 0 : (int)(slash - path) + 1;
    snprintf(folder, GMV_PATH_ROOM, "%.*s", length > 0 ? length : 1, length > 0 ? path : ".");
    return path + length;
}

/* What would stop the file at its beginning, or at its very end. Leaves nothing. */
static gmv_status check_path(const char *path)
{
    struct stat info;
    char folder[GMV_PATH_ROOM], nearest[GMV_PATH_ROOM];
    if (path[0] == '\0') {
        return GMV_FAIL(GMV_ERR_CONFIG, "synth.path is empty; name a file, such as synthetic.h5ad");
    }
    if (strlen(path) >= 4096) {
        return GMV_FAIL(GMV_ERR_CONFIG, "synth.path: %zu characters are too many", strlen(path));
    }
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: not a file, but a %s; set another synth.path", path,
                        S_ISDIR(info.st_mode) ? "folder" : "device");
    }
    folder_of(path, folder);
    if (stat(folder, &info) != 0) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: cannot be written: %s; check synth.path", path, strerror(errno));
    }
    return gmv_folder_check(folder, "synth.path", nearest);
}

/* Removes what a run that was killed has left of a file of this name. */
static void clean(const char *path)
{
    char folder[GMV_PATH_ROOM];
    gmv_output_clean(folder, folder_of(path, folder));
}

/* Size of the file, from cells drawn and packed: four stretches, so that types in order are all heard. */
static gmv_status estimate_bytes(atlas *a, double *bytes)
{
    enum { stretches = 4, stretch = 64 };
    const gmv_synth_model *m = &a->model;
    gmv_synth_block *block = &a->block[0];
    double elements = 0.0, packed = 0.0, cells = 0.0;
    for (int i = 0; i < stretches; i++) {
        int64_t first = m->cells / stretches * i, count = m->cells - first < stretch ? m->cells - first : stretch;
        GMV_TRY(gmv_synth_block_draw(block, first, count));
        elements += (double)block->elements;
        cells += (double)count;
        GMV_TRY(gmv_synth_block_pack(block, 0));
        int64_t known =
            block->held < block->part.chunks * gmv_synth_chunk ? block->held : block->part.chunks * gmv_synth_chunk;
        packed += known > 0 ? (double)block->part.bytes / (double)known : 0.0;
    }
    double each = block->compressor != NULL ? packed / stretches : 8.0;
    *bytes = elements / cells * each * (double)m->cells + gmv_synth_file_other_bytes(m);
    return GMV_OK;
}

/* It may be a tenth smaller than foreseen. */
static gmv_status check_room(const char *path, double bytes)
{
    char folder[GMV_PATH_ROOM];
    folder_of(path, folder);
    return gmv_file_check_room(folder, path, bytes, 0.9 * bytes,
                               "set synth.path to a disk with room, or lower synth.cells");
}

static gmv_status show_plan(atlas *a, const gmv_config *config)
{
    const gmv_synth_model *m = &a->model;
    double bytes = 0.0;
    GMV_TRY(estimate_bytes(a, &bytes));
    gmv_log("atlas   %" PRId64 " cells, %d genes, %d type%s%s, %d batch%s: density %.4f, mean library %.0f counts",
            m->cells, m->genes, m->types, m->types == 1 ? "" : "s", m->sorted ? " in order" : "", m->batches,
            m->batches == 1 ? "" : "es", m->density, m->library);
    gmv_log("file    %s: about %.4g MB, %.0f bytes a cell", config->synth_path, bytes * 1e-6, bytes / (double)m->cells);
    gmv_log("compute %d rank%s, %d thread%s, blocks of %" PRId64 " cells", a->comm->size, a->comm->size == 1 ? "" : "s",
            a->workers, a->workers == 1 ? "" : "s", a->cells_at_once);
    return check_room(config->synth_path, bytes);
}

/* From an empty temporary file to the finished one; rank 0 opens, closes and names it. */
static gmv_status write_file(atlas *a, const gmv_config *config)
{
    bool root = a->comm->rank == 0;
    gmv_status status = root ? gmv_output_begin(&a->output, config->synth_path) : GMV_OK;
    if (root && status == GMV_OK) {
        gmv_signals_unlink(a->output.temporary);
        status = gmv_synth_file_create(&a->file, &a->output, &a->model, config);
    }
    a->start = gmv_clock();
    status = gmv_comm_agree(a->comm, status);
    if (status == GMV_OK) {
        status = run_rounds(a);
    }
    if (root) {
        status = gmv_synth_file_close(&a->file, status);
        status = gmv_output_end(&a->output, status);
        gmv_signals_unlink(NULL);
        if (status != GMV_OK && gmv_signal_seen()) { /* what failed is that the signal took the file away */
            gmv_error_clear();
            status = gmv_synth_stopped();
        }
    }
    return gmv_comm_agree(a->comm, status);
}

static gmv_status make_atlas(atlas *a, const gmv_config *config, bool dry_run)
{
    const gmv_comm *comm = a->comm;
    GMV_TRY(gmv_comm_agree(comm, comm->rank == 0 ? check_path(config->synth_path) : GMV_OK));
    GMV_TRY(prepare(a, config));
    GMV_TRY(gmv_comm_agree(comm, comm->rank == 0 ? show_plan(a, config) : GMV_OK));
    if (dry_run) {
        gmv_log("dry run: config, room and synth.path are in order; nothing was written");
        return GMV_OK;
    }
    if (comm->rank == 0) {
        clean(config->synth_path);
    }
    GMV_TRY(write_file(a, config));
    double spent = gmv_clock() - a->start, cells = (double)a->model.cells;
    gmv_log("wrote %s: %" PRId64 " cells, %" PRId64 " non-zeros (density %.4f), matrix %.0f bytes a cell, %.0f cells/s",
            config->synth_path, a->model.cells, a->elements, (double)a->elements / cells / a->model.genes,
            (double)a->bytes / cells, cells / spent);
    return GMV_OK;
}

gmv_status gmv_synth_write(const gmv_config *config, const gmv_comm *comm, bool dry_run)
{
    atlas *a = NULL;
    GMV_TRY(gmv_comm_agree(comm, GMV_NEW(a, 1, "an atlas")));
    a->comm = comm;
    gmv_status status = make_atlas(a, config, dry_run);
    for (int t = 0; a->block != NULL && t < a->threads; t++) {
        gmv_synth_block_fini(&a->block[t]);
    }
    GMV_FREE(a->block);
    gmv_synth_part_fini(&a->received);
    gmv_synth_model_fini(&a->model);
    gmv_free(a);
    return status;
}
