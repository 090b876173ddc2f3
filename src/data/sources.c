/* The input files: who looks at which, and who opens which. */
#include "check/h5_check.h"
#include "genes/gene_ids.h"
#include "genes/gene_lists.h"
#include "inputs.h"
#include "rows/transpose.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"
#include "gmvae/work.h"

#include <inttypes.h>
#include <string.h>

/* ---- one file ---- */

static void close_input(gmv_input_file **input)
{
    gmv_input_file *in = *input;
    if (in == NULL) {
        return;
    }
    gmv_row_names_close(&in->cell);
    if (in->matrix.file != NULL) {
        gmv_matrix_close(&in->matrix);
    }
    gmv_h5_close(&in->file);
    GMV_FREE(*input);
}

/* The file at `path`, with the matrix at a place, or the one that `wanted` names. Collective where there is a comm: then
 * the caller closes it also after an error, when all ranks know of it. Ownership: close_input. */
static gmv_status open_input(gmv_input_file **input, const char *path, const gmv_comm *comm, const gmv_place *place,
                             const char *wanted, double round)
{
    gmv_status status = GMV_NEW(*input, 1, "an input file");
    GMV_TRY(comm != NULL ? gmv_comm_agree(comm, status) : status);
    gmv_input_file *in = *input;
    GMV_GO(gmv_h5_open(&in->file, path, comm));
    GMV_GO(place != NULL ? gmv_matrix_open(&in->matrix, &in->file, place)
                         : gmv_matrix_choose(&in->matrix, &in->file, wanted, round));
    in->matrix.round = round;
    in->named = gmv_row_names_open(&in->cell, &in->matrix.obs) == GMV_OK;
    if (!in->named) {
        gmv_error_clear(); /* whoever needs the names says what is wrong with them */
    }
done:
    if (status != GMV_OK && comm == NULL) {
        close_input(input);
    }
    return status;
}

/* ---- what is in the files ---- */

/* One rank's look at its stretch of them. */
typedef struct survey {
    const gmv_config *config;
    const gmv_reading *reading;
    gmv_source *source; /* [files] those of the stretch */
    gmv_gene_lists lists;
    gmv_look look;
    void *context;
    int files; /* of all ranks */
} survey;

static gmv_status look_at_matrix(survey *s, gmv_source *source, const gmv_input_file *input)
{
    const gmv_matrix *m = &input->matrix;
    const gmv_known *known = s->reading->known;
    gmv_texts names = {NULL, 0}, ids = {NULL, 0};
    gmv_status status = GMV_OK;
    GMV_GO(gmv_matrix_genes(m, &s->config->data_gene_column, &names));
    if (s->files > 1 || s->reading->training || (known != NULL && known->gene_id != NULL)) {
        GMV_GO(gmv_matrix_gene_ids(m, &names, &ids, source->id_column));
    }
    GMV_GO(gmv_gene_lists_add(&s->lists, &names, &ids, &source->list));
    source->place = m->place;
    memcpy(source->place.name, m->name, sizeof m->name);
    source->kind = m->kind;
    source->rows = m->rows;
    source->cols = m->cols;
    source->nnz = m->nnz;
    source->round = m->round;
    if (m->cols == 0 || (m->rows == 0 && s->files == 1)) {
        GMV_GO(GMV_FAIL(GMV_ERR_DATA, "%s: %s is empty (%" PRId64 " cells, %" PRId64 " genes)", input->file.path,
                        m->name, m->rows, m->cols));
    }
done:
    gmv_texts_free(&names);
    gmv_texts_free(&ids);
    return status;
}

static gmv_status look_at_file(survey *s, gmv_source *source, const char *path)
{
    gmv_input_file *input = NULL;
    GMV_TRY(gmv_file_stamp_take(path, gmv_file_whole(s->files), &source->looked_at));
    GMV_TRY(open_input(&input, path, NULL, NULL, s->config->data_matrix, s->config->data_round));
    gmv_status status = gmv_h5_same_stamp(&input->file, &source->looked_at);
    if (status == GMV_OK) {
        status = look_at_matrix(s, source, input);
    }
    if (status == GMV_OK) {
        status = s->look(s->context, input);
    }
    close_input(&input);
    return gmv_file_cause(path, &source->looked_at, status);
}

static gmv_status look_at_stretch(survey *s, const gmv_texts *files, int first, int end)
{
    GMV_TRY(gmv_h5_check(files->at + first, end - first, s->config->data_check_seconds));
    GMV_TRY(GMV_NEW(s->source, end - first, "input files"));
    gmv_work work = gmv_work_begin(end - first, "looking at files");
    for (int f = first; f < end; f++) {
        if (gmv_work_due(&work, f - first)) {
            gmv_work_say("looking at %s (%d of %d)", files->at[f], f + 1, end);
        }
        GMV_TRY(gmv_stop_check());
        GMV_TRY(look_at_file(s, &s->source[f - first], files->at[f]));
    }
    return GMV_OK;
}

static void report_repeated(const gmv_source *source, const gmv_gene_lists *lists)
{
    const gmv_gene_list *list = &lists->list[source->list];
    if (list->repeated == 0) {
        return;
    }
    gmv_shown_text name = gmv_shown(lists->name.at[list->first_repeated]);
    const char *joined = lists->n > 1 ? ", by which they are joined with those of other files" : "";
    if (list->repeated == 1) {
        gmv_warn("%s: 1 gene name is repeated, '%s'; the second gets a suffix -1%s", source->path, name.at,
                 lists->n > 1 ? ", by which it is joined with that of other files" : "");
    } else {
        gmv_warn("%s: %d gene names are repeated, the first is '%s'; they get a suffix -1, -2 ...%s", source->path,
                 (int)list->repeated, name.at, joined);
    }
}

/* What is remarkable, on rank 0. */
static void report_sources(const gmv_source *source, int files, const gmv_gene_lists *lists)
{
    for (int f = 0; f < files; f++) {
        const char *path = source[f].path, *matrix = source[f].place.name;
        report_repeated(&source[f], lists);
        if (source[f].rows == 0) {
            gmv_warn("%s: %s has no cells", path, gmv_shown(matrix).at);
        }
        if (f == 0 || strcmp(matrix, source[0].place.name) != 0) {
            gmv_log("%s: counts from %s", path, matrix);
        }
        if (source[f].kind == GMV_MATRIX_CSC) {
            gmv_log("%s: %s is stored by genes (CSC) and transposed while it is read; a file stored by cells (CSR) "
                    "loads faster",
                    path, gmv_shown(matrix).at);
        }
    }
}

gmv_status gmv_sources_survey(gmv_source **source, gmv_gene_lists *lists, const gmv_texts *files, const gmv_comm *comm,
                              const gmv_config *config, const gmv_reading *reading, gmv_look look, void *context)
{
    int64_t n = files->n, rank = comm->rank, size = comm->size;
    int first = (int)(n * rank / size), end = (int)(n * (rank + 1) / size);
    survey s = {.config = config, .reading = reading, .look = look, .context = context, .files = files->n};
    int *number = NULL;
    void *all = NULL;
    gmv_status status = GMV_OK;
    memset(lists, 0, sizeof *lists);
    *source = NULL;
    GMV_GO(gmv_comm_agree(comm, look_at_stretch(&s, files, first, end)));
    GMV_GO(gmv_gene_lists_share(lists, &s.lists, comm, &number));
    for (int f = first; f < end; f++) {
        s.source[f - first].list = number[s.source[f - first].list];
    }
    GMV_GO(gmv_comm_concatenate(comm, s.source, (end - first) * (int64_t)sizeof **source, &all, &n));
    *source = all;
    for (int f = 0; f < files->n; f++) {
        gmv_source *at = &(*source)[f];
        at->path = files->at[f];
        at->first = f > 0 ? at[-1].first + at[-1].rows : 0;
    }
    report_sources(*source, files->n, lists);
    all = NULL;
done:
    gmv_gene_lists_fini(&s.lists);
    GMV_FREE(s.source);
    GMV_FREE(number);
    gmv_free(all);
    return status;
}

/* ---- who opens which ---- */

/* Collective where there is a comm; the ranks agree afterwards. */
static gmv_status open_source(gmv_source *source, const gmv_comm *comm)
{
    if (source->input != NULL) {
        return GMV_OK;
    }
    GMV_TRY(open_input(&source->input, source->path, comm, &source->place, NULL, source->round));
    return gmv_h5_same_stamp(&source->input->file, source->stamp);
}

static bool lies_on_several(const gmv_cells *cells, const gmv_source *source, int ranks)
{
    int owner = -1;
    for (int r = 0; r < ranks; r++) {
        gmv_gidx first = cells->shard_start[(int64_t)r * cells->shards / ranks];
        gmv_gidx end = cells->shard_start[(int64_t)(r + 1) * cells->shards / ranks];
        if (first < source->first + source->rows && end > source->first && end > first) {
            if (owner >= 0) {
                return true;
            }
            owner = r;
        }
    }
    return false;
}

gmv_status gmv_sources_share(const gmv_cells *cells, gmv_source *source, const gmv_comm *comm, int driver)
{
    for (int f = 0; f < cells->files; f++) {
        bool large = source[f].rows >= (cells->total + 7) / 8;
        source[f].shared = driver == GMV_DRIVER_MPIO ||
                           (driver == GMV_DRIVER_AUTO && large && lies_on_several(cells, &source[f], comm->size));
        if (source[f].shared) {
            gmv_comm_enter(comm, "opening an input file through MPI-IO");
            gmv_status status = open_source(&source[f], comm);
            gmv_comm_leave(comm);
            GMV_TRY(gmv_comm_agree(comm, status));
        }
    }
    return GMV_OK;
}

void gmv_sources_close(gmv_source **source, int files, const gmv_comm *comm)
{
    for (int f = 0; *source != NULL && f < files; f++) {
        bool together = (*source)[f].shared && (*source)[f].input != NULL;
        gmv_csr_arrays_close(&(*source)[f].store);
        if (together) {
            gmv_comm_enter(comm, "closing an input file through MPI-IO");
        }
        close_input(&(*source)[f].input);
        if (together) {
            gmv_comm_leave(comm);
        }
        gmv_transpose_destroy(&(*source)[f].by_rows);
    }
    GMV_FREE(*source);
}

/* ---- visits ---- */

void gmv_local_rows(const gmv_cells *cells, const gmv_source *source, int64_t *first, int64_t *end)
{
    *first = cells->first - source->first;
    *end = *first + cells->count;
    *first = *first < 0 ? 0 : *first;
    *end = *end > source->rows ? source->rows : *end;
    *end = *end < *first ? *first : *end;
}

gmv_row_source gmv_source_rows(const gmv_source *source, const gmv_gene_lists *lists)
{
    const gmv_gene_list *list = &lists->list[source->list];
    return (gmv_row_source){.matrix = &source->input->matrix,
                            .by_rows = source->by_rows,
                            .gene = lists->name.at,
                            .map = list->map,
                            .cell = source->input->named ? &source->input->cell : NULL,
                            .name = list->gene};
}

static gmv_status visit_source(gmv_source *source, gmv_source_visitor visit, void *context, int64_t first, int64_t end)
{
    gmv_status status = open_source(source, NULL);
    if (status == GMV_OK) {
        status = visit(context, source, first, end);
    }
    if (!source->shared) {
        close_input(&source->input);
    }
    return status;
}

gmv_status gmv_source_visit(const gmv_cells *cells, gmv_source *source, gmv_source_visitor visit, void *context)
{
    int64_t first, end;
    gmv_local_rows(cells, source, &first, &end);
    return end > first ? visit_source(source, visit, context, first, end) : GMV_OK;
}

gmv_status gmv_sources_visit(const gmv_cells *cells, gmv_source *source, const gmv_comm *comm, gmv_source_visitor visit,
                             void *context)
{
    gmv_status status = GMV_OK;
    for (int f = 0; f < cells->files; f++) {
        bool together = comm != NULL && source[f].shared;
        int64_t first, end;
        gmv_local_rows(cells, &source[f], &first, &end);
        if (together) { /* what went wrong before must not keep a rank from where the others wait */
            GMV_TRY(gmv_comm_agree(comm, status));
        }
        if (status == GMV_OK && together) {
            gmv_comm_enter(comm, "reading an input file through MPI-IO");
        }
        if (status == GMV_OK && (end > first || together)) {
            status = visit_source(&source[f], visit, context, first, end);
        }
        if (together) {
            gmv_comm_leave(comm);
        }
    }
    return comm != NULL ? gmv_comm_agree(comm, status) : status;
}
