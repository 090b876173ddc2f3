/* Reading rows into slots, beside the rest of the program. */
#include "gmvae/stream.h"

#include "../h5/file_stamp.h"
#include "cell_cache.h"
#include "stream_file.h"

#include "gmvae/mem.h"
#include "gmvae/signals.h"

#include <inttypes.h>
#include <omp.h>
#include <pthread.h>
#include <string.h>

enum { page = 4096 };

/* ---- workers ---- */

/* A thread's memory, kept from one slot to the next. */
typedef struct gmv_stream_worker {
    const gmv_cells *cells;
    gmv_row_filter filter;
    bool ready;
    bool checked;                       /* that the file is as it was, since the reading of a slot began */
    const struct gmv_stream_file *file; /* of `row`; NULL before the first */
    gmv_csr_reader row;
    gmv_cache_reader cache;
    gmv_packer own, direct; /* the wanted rows of the block at hand, in memory of its own or in the slot */
    gmv_gidx *id;           /* [block_rows] which rows they are */
} worker;

static bool begin(worker *w, const gmv_cells *cells, gmv_row_filter filter)
{
    w->cells = cells;
    w->filter = filter;
    w->checked = false;
    if (!w->ready) {
        int64_t rows = cells->stream->block_rows;
        gmv_cache_reader_init(&w->cache, cells->stream->cache);
        w->ready = GMV_NEW(w->id, rows, "a block of cells") == GMV_OK &&
                   gmv_packer_init(&w->own, cells->genes, rows, 0) == GMV_OK &&
                   gmv_packer_init(&w->direct, cells->genes, rows, 0) == GMV_OK;
    }
    return w->ready;
}

static void leave_file(worker *w)
{
    if (w->file != NULL) {
        gmv_csr_reader_fini(&w->row);
    }
    w->file = NULL;
}

static void end(worker *w)
{
    leave_file(w);
    gmv_cache_reader_fini(&w->cache);
    gmv_packer_fini(&w->own);
    gmv_packer_fini(&w->direct);
    GMV_FREE(w->id);
}

/* ---- slots ---- */

typedef struct slot_writer {
    const gmv_cells *cells;
    gmv_slots *slots;
    int64_t first_row, row; /* of the view */
    gmv_nnz first_value, value;
    int64_t first_large, n_large;
} slot_writer;

/* The list of large counts ascends over both slots, and has the same length whatever is in them: what is free of it
 * repeats the last place of the slot, behind its own entry if it has one. */
static void fill_up(const slot_writer *to)
{
    for (int64_t i = to->n_large; i < to->slots->large; i++) {
        to->slots->overflow_at[to->first_large + i] = to->first_value + to->slots->values - 1;
    }
}

/* Lays the arrays out at `base`, each on pages of its own, as they may be lent to a device; returns the bytes they take. */
static int64_t arrange(gmv_slots *slots, const gmv_cells *cells, char *base)
{
    int64_t rows = slots->rows + 1, used = 0;
    bool wide = gmv_packer_is_wide(cells->genes), sets = cells->packed.sets > 0;
#define TAKE(field, count)                                                                                             \
    do {                                                                                                               \
        slots->field = base == NULL || (count) == 0 ? NULL : (void *)(base + used);                                    \
        used += ((count) * (int64_t)sizeof *slots->field + page - 1) / page * page;                                    \
    } while (0)
    TAKE(indptr, 2 * rows);
    TAKE(cell, 2 * rows);
    TAKE(level, 2 * rows * cells->covariates);
    TAKE(set, sets ? 2 * rows : 0);
    TAKE(present, (int64_t)cells->packed.sets * cells->genes);
    TAKE(overflow_at, 2 * slots->large + 1);
    TAKE(overflow_count, 2 * slots->large + 1);
    TAKE(gene16, wide ? 0 : 2 * slots->values + 1);
    TAKE(gene32, wide ? 2 * slots->values + 1 : 0);
    TAKE(count8, 2 * slots->values + 1);
#undef TAKE
    return used;
}

gmv_status gmv_slots_init(gmv_slots *slots, const gmv_cells *cells, int64_t rows, int64_t values, int64_t large)
{
    memset(slots, 0, sizeof *slots);
    slots->rows = rows;
    slots->values = values;
    slots->large = large;
    slots->workers = omp_get_max_threads();
    GMV_TRY(GMV_NEW(slots->worker, slots->workers, "readers of cells"));
    slots->bytes = arrange(slots, cells, NULL);
    GMV_TRY(GMV_ROOM(slots->block, slots->bytes + page, "a window of cells"));
    char *base = slots->block + (page - (int64_t)((uintptr_t)slots->block % page)) % page;
    arrange(slots, cells, base);
    char *values_at = slots->gene16 != NULL ? (char *)slots->gene16 : (char *)slots->gene32;
    memset(base, 0, (size_t)(values_at - base));
    if (slots->present != NULL) {
        memcpy(slots->present, cells->packed.present, (size_t)cells->packed.sets * (size_t)cells->genes);
    }
    slots->view = (gmv_packed){.rows = 2 * (rows + 1) - 1,
                               .genes = cells->genes,
                               .first_cell = cells->first,
                               .cell = slots->cell,
                               .indptr = slots->indptr,
                               .gene16 = slots->gene16,
                               .gene32 = slots->gene32,
                               .count8 = slots->count8,
                               .overflows = 2 * large,
                               .overflow_at = slots->overflow_at,
                               .overflow_count = slots->overflow_count,
                               .covariates = cells->covariates,
                               .level = slots->level,
                               .sets = cells->packed.sets,
                               .set = slots->set,
                               .present = slots->present};
    for (int half = 0; half < 2; half++) { /* both are empty */
        slot_writer to = {.slots = slots, .first_value = half * values, .first_large = half * large};
        fill_up(&to);
    }
    return GMV_OK;
}

void gmv_slots_fini(gmv_slots *slots)
{
    for (int w = 0; w < slots->workers && slots->worker != NULL; w++) {
        end(&slots->worker[w]);
    }
    GMV_FREE(slots->worker);
    GMV_FREE(slots->block);
    memset(slots, 0, sizeof *slots);
}

/* ---- one block by one thread ---- */

static struct gmv_stream_file *file_of(const gmv_cells *cells, gmv_gidx row)
{
    return &cells->stream->file[gmv_cells_file(cells, row)];
}

/* From any thread. */
static bool is_unchanged(struct gmv_stream_file *file)
{
    static pthread_mutex_t looking = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&looking);
    bool unchanged = gmv_file_look_behind(file->store.value.fd, &file->stamp) != GMV_FILE_CHANGED;
    pthread_mutex_unlock(&looking);
    return unchanged;
}

/* Consecutive rows run through few files: a reader of rows is made anew for each. */
static bool turn_to(worker *w, struct gmv_stream_file *file)
{
    if (w->file == file && w->checked) {
        return true;
    }
    if (w->file != file) {
        leave_file(w);
        if (gmv_csr_reader_init(&w->row, &file->store, file->cols, file->map) != GMV_OK) {
            gmv_csr_reader_fini(&w->row);
            return false;
        }
        w->file = file;
    }
    w->checked = is_unchanged(file);
    return w->checked;
}

/* The wanted ones of rows [first, end) of a file, as it is stored. @return -1, or the row at which it failed */
static gmv_gidx read_stored(worker *w, struct gmv_stream_file *file, gmv_gidx first, gmv_gidx end, gmv_packer *packed)
{
    int64_t n = end - first;
    const int64_t *start = turn_to(w, file) && n > 0 ? gmv_csr_reader_pointers(&w->row, first - file->start, n) : NULL;
    if (start == NULL) {
        return first;
    }
    for (int64_t i = 0; i < n; i++) {
        if (!w->filter.wants(w->filter.context, first + i)) {
            continue;
        }
        w->id[packed->rows] = first + i;
        if (!gmv_csr_reader_add(&w->row, packed, start[i], start[i + 1] - start[i], start[n])) {
            return first + i;
        }
    }
    return -1;
}

/* The same from the packed copy. */
static gmv_gidx read_cached(worker *w, gmv_gidx first, gmv_gidx end, gmv_packer *packed)
{
    gmv_gidx block_end;
    int64_t block = gmv_stream_block(w->cells, first, &block_end);
    for (gmv_gidx row = first; row < end; row++) {
        if (w->filter.wants(w->filter.context, row)) {
            w->id[packed->rows] = row;
            if (!gmv_cache_reader_add(&w->cache, packed, block, row)) {
                return row;
            }
        }
    }
    return -1;
}

/* The wanted rows of a span. @return -1, or the row at which it failed */
static gmv_gidx read_span(worker *w, gmv_span span, gmv_packer *packed)
{
    gmv_gidx failed = -1;
    for (gmv_gidx row = span.first; row < span.end && failed < 0;) {
        struct gmv_stream_file *file = file_of(w->cells, row);
        gmv_gidx end = span.end < file->end ? span.end : file->end;
        failed = file->cached ? read_cached(w, row, end, packed) : read_stored(w, file, row, end, packed);
        row = end;
    }
    return failed;
}

/* ---- a slot by all threads ---- */

/* Appends the rows of a block. @return false when there is no room: the file is not what it was */
static bool append(slot_writer *to, const gmv_packer *packed, const gmv_gidx *id)
{
    gmv_slots *slots = to->slots;
    const gmv_cells *cells = to->cells;
    size_t n = (size_t)packed->nnz;
    if (to->row + packed->rows > to->first_row + slots->rows ||
        to->value + packed->nnz > to->first_value + slots->values || to->n_large + packed->overflows > slots->large) {
        return false;
    }
    if (packed->lent) {
        n = 0; /* they lie there */
    }
    if (n > 0 && slots->gene16 != NULL) {
        memcpy(slots->gene16 + to->value, packed->gene16, n * sizeof *slots->gene16);
    } else if (n > 0) {
        memcpy(slots->gene32 + to->value, packed->gene32, n * sizeof *slots->gene32);
    }
    if (n > 0) {
        memcpy(slots->count8 + to->value, packed->count8, n);
    }
    for (int64_t i = 0; i < packed->overflows; i++, to->n_large++) {
        slots->overflow_at[to->first_large + to->n_large] = to->value + packed->overflow_at[i];
        slots->overflow_count[to->first_large + to->n_large] = packed->overflow_count[i];
    }
    for (int64_t i = 0; i < packed->rows; i++, to->row++) {
        int offset = 0;
        for (int c = 0; c < cells->covariates; c++) {
            slots->level[to->row * cells->covariates + c] =
                offset + gmv_factor_code(&cells->covariate[c], id[i] - cells->first);
            offset += cells->covariate[c].levels;
        }
        slots->cell[to->row] = id[i];
        if (slots->set != NULL) {
            slots->set[to->row] = cells->file_set[gmv_cells_file(cells, id[i])];
        }
        slots->indptr[to->row + 1] = to->value + packed->indptr[i + 1];
    }
    to->value += packed->nnz;
    return true;
}

/* Its place in the slot is known to a thread that is alone. */
static gmv_gidx read_into_slot(worker *w, gmv_span span, const slot_writer *to)
{
    const gmv_slots *slots = to->slots;
    gmv_packer room = {
        .wide = slots->gene32 != NULL, .gene16 = slots->gene16, .gene32 = slots->gene32, .count8 = slots->count8};
    gmv_packer_reset(&w->direct);
    gmv_packer_lend(&room, to->value, to->first_value + slots->values - to->value, &w->direct);
    return read_span(w, span, &w->direct);
}

/* As read_span. @param[out] packed  where its rows are */
static gmv_gidx read_some(worker *w, gmv_span span, const slot_writer *to, bool alone, gmv_packer **packed)
{
    *packed = &w->direct;
    if (alone && read_into_slot(w, span, to) < 0) {
        return -1;
    }
    *packed = &w->own; /* zeros that are stored take room before they are dropped, which the slot may not have */
    gmv_packer_reset(&w->own);
    return read_span(w, span, &w->own);
}

int gmv_stream_threads(bool host_computes)
{
    int all = omp_get_max_threads();
    return host_computes || all == 1 ? 1 + all / 4 : all - 1;
}

static bool uses_all_genes(const gmv_stream *stream)
{
    bool all = true;
    for (int f = 0; f < stream->files; f++) {
        all = all && stream->file[f].map == NULL;
    }
    return all;
}

/* The first row of a file that is not as it was: what was read of it since may be of another state. -1: all are. */
static gmv_gidx first_changed(const gmv_cells *cells, const gmv_span *span, int64_t spans)
{
    const struct gmv_stream_file *seen = NULL;
    for (int64_t s = 0; s < spans; s++) {
        for (gmv_gidx row = span[s].first; row < span[s].end;) {
            struct gmv_stream_file *file = file_of(cells, row);
            if (file != seen && !file->cached && !is_unchanged(file)) {
                return row;
            }
            seen = file;
            row = file->end;
        }
    }
    return -1;
}

gmv_gidx gmv_stream_read(const gmv_cells *cells, const gmv_span *span, int64_t spans, gmv_row_filter filter,
                         int threads, gmv_slots *slots, int half)
{
    slot_writer to = {.cells = cells,
                      .slots = slots,
                      .first_row = half * (slots->rows + 1),
                      .first_value = half * slots->values,
                      .first_large = half * slots->large};
    to.row = to.first_row;
    to.value = to.first_value;
    slots->indptr[to.row] = to.value;
    gmv_gidx failed = -1;
    threads = threads < slots->workers ? threads : slots->workers;
    bool alone = threads == 1 && uses_all_genes(cells->stream);
#pragma omp parallel num_threads(threads)
    {
        worker *w = &slots->worker[omp_get_thread_num()];
        bool ready = begin(w, cells, filter);
#pragma omp for ordered schedule(dynamic, 1)
        for (int64_t s = 0; s < spans; s++) {
            gmv_gidx bad;
#pragma omp atomic read
            bad = failed;
            gmv_packer *packed = NULL;
            bad = !ready || gmv_stop_asked() ? span[s].first
                  : bad < 0                  ? read_some(w, span[s], &to, alone, &packed)
                                             : bad;
#pragma omp ordered
            {
                if (bad < 0 && failed < 0 && !append(&to, packed, w->id)) {
                    bad = span[s].first;
                }
                if (bad >= 0 && failed < 0) {
#pragma omp atomic write
                    failed = bad;
                }
            }
        }
    }
    fill_up(&to);
    return failed >= 0 ? failed : first_changed(cells, span, spans);
}

gmv_status gmv_stream_fail(const gmv_cells *cells, gmv_gidx row)
{
    struct gmv_stream_file *file = file_of(cells, row);
    GMV_TRY(gmv_stop_check());
    if (file->cached) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT,
                        "%s: row %" PRId64 " of %s does not come back from the packed cells there as it was written; "
                        "set data.cache_dir to a folder on another disk, then run the same command again",
                        cells->stream->cache->file.directory, row - file->start, file->path);
    }
    return GMV_FAIL(GMV_ERR_DATA,
                    "%s: row %" PRId64 " can no longer be read as it was when the run began%s; keep the file as it is "
                    "while it is in use, then run the same command again",
                    file->path, row - file->start, is_unchanged(file) ? "" : ": the file has changed");
}
