/* embedding.h5ad: rank 0 writes all but numbers, then all ranks write their rows of those. */
#include "embedding_obs.h"
#include "embedding_skeleton.h"
#include "h5ad_file.h"

#include "../data/h5/h5.h"

#include "gmvae/data.h"
#include "gmvae/embedding.h"
#include "gmvae/files.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"

#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A dataset while it is written: the next rows, until there are enough to write. */
typedef struct row_column {
    char path[GMV_EMBEDDING_PATH];
    hid_t dataset;       /* > 0 when open */
    bool is_code;        /* int32, else float */
    int cols;            /* 0: one dimension */
    gmv_gidx first, end; /* the rank's rows that are not yet written */
    int64_t held, room;  /* rows in `value` */
    uint32_t *value;     /* [room, cols] floats or codes */
} row_column;

enum { buffered_rows = 1 << 13, buffered_values = 1 << 22 };
/* Columns of a file: matrices of the outputs; of those that have them categories, and the largest; and others. */
enum {
    matrices,
    categories = matrices + GMV_MAX_OUTPUTS,
    largest = categories + GMV_MAX_OUTPUTS,
    bounds = largest + GMV_MAX_OUTPUTS,
    counts,
    levels_of_cells,
    columns
};

struct gmv_embedding_file {
    gmv_h5ad out;
    gmv_output output; /* begun on rank 0; its names are there on all */
    const gmv_cell_outputs *outputs;
    bool open, without_bounds;
    row_column column[columns];
};

static int64_t width(const row_column *column)
{
    return column->cols > 0 ? column->cols : 1;
}

/* Writes what is held. Independent. */
static gmv_status flush(const gmv_embedding_file *file, row_column *column)
{
    if (column->held == 0) {
        return GMV_OK;
    }
    hsize_t start[2] = {(hsize_t)column->first, 0}, count[2] = {(hsize_t)column->held, (hsize_t)width(column)};
    hid_t type = column->is_code ? H5T_NATIVE_INT32 : H5T_NATIVE_FLOAT;
    int ndims = column->cols > 0 ? 2 : 1;
    hid_t there = H5Dget_space(column->dataset), here = H5Screate_simple(ndims, count, NULL);
    bool written = H5Sselect_hyperslab(there, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
                   H5Dwrite(column->dataset, type, here, there, H5P_DEFAULT, column->value) >= 0;
    H5Sclose(here);
    H5Sclose(there);
    column->first += column->held;
    column->held = 0;
    return written ? GMV_OK : gmv_h5ad_fail(&file->out, column->path);
}

static gmv_status append(const gmv_embedding_file *file, row_column *column, const void *value)
{
    size_t bytes = (size_t)width(column) * sizeof *column->value;
    uint32_t *to = column->value + column->held * width(column);
    const float not_there = NAN;
    const int32_t missing = -1; /* no category */
    for (int64_t i = 0; value == NULL && i < width(column); i++) {
        memcpy(to + i, column->is_code ? (const void *)&missing : (const void *)&not_there, sizeof *to);
    }
    if (value != NULL) {
        memcpy(to, value, bytes);
    }
    column->held++;
    return column->held == column->room ? flush(file, column) : GMV_OK;
}

/* Up to `row`, which is the rank's next or one behind it. */
static gmv_status skip_to(const gmv_embedding_file *file, row_column *column, gmv_gidx row)
{
    while (column->first + column->held < row) {
        GMV_TRY(append(file, column, NULL));
    }
    return GMV_OK;
}

static gmv_status put_row(gmv_embedding_file *file, int at, gmv_gidx row, const void *value)
{
    GMV_TRY(skip_to(file, &file->column[at], row));
    return append(file, &file->column[at], value);
}

gmv_status gmv_embedding_put(gmv_embedding_file *file, int n, const gmv_gidx *row, const float *const *output)
{
    for (int o = 0; o < file->outputs->n; o++) {
        const gmv_cell_output *of = &file->outputs->at[o];
        for (int i = 0; i < n; i++) {
            const float *of_cell = output[o] + (int64_t)i * of->cols;
            int32_t best = gmv_largest_of(of_cell, of->cols);
            GMV_TRY(put_row(file, matrices + o, row[i], of_cell));
            GMV_TRY(of->column != NULL ? put_row(file, categories + o, row[i], &best) : GMV_OK);
            GMV_TRY(of->largest != NULL ? put_row(file, largest + o, row[i], &of_cell[best]) : GMV_OK);
        }
    }
    return GMV_OK;
}

gmv_status gmv_embedding_put_figures(gmv_embedding_file *file, int n, const gmv_gidx *row, const float *neg_elbo,
                                     const float *total)
{
    for (int i = 0; i < n; i++) {
        GMV_TRY(put_row(file, bounds, row[i], neg_elbo + i));
        GMV_TRY(put_row(file, counts, row[i], total + i));
    }
    return GMV_OK;
}

/* ---- the file ---- */

/* Opening is collective, so ranks agree in between. */
static gmv_status open_column(gmv_embedding_file *file, const gmv_cells *cells, const gmv_comm *comm, int at,
                              const char *path, bool is_code, int cols)
{
    row_column *column = &file->column[at];
    *column = (row_column){.is_code = is_code, .cols = cols, .first = cells->first, .end = cells->first + cells->count};
    snprintf(column->path, sizeof column->path, "%s", path);
    column->room = buffered_values / width(column);
    column->room = column->room > buffered_rows ? buffered_rows : column->room > 1 ? column->room : 1;
    gmv_status status = GMV_NEW(column->value, column->room * width(column), "rows of the embedding");
    column->dataset = H5Dopen2(file->out.id, path, H5P_DEFAULT);
    status = status == GMV_OK && column->dataset < 0 ? gmv_h5ad_fail(&file->out, path) : status;
    return gmv_comm_agree(comm, status);
}

static gmv_status open_output(gmv_embedding_file *file, const gmv_cells *cells, const gmv_comm *comm, int at)
{
    const gmv_cell_output *output = &file->outputs->at[at];
    char path[GMV_EMBEDDING_PATH];
    gmv_embedding_matrix_at(output, path, sizeof path);
    GMV_TRY(open_column(file, cells, comm, matrices + at, path, false, output->cols));
    if (output->largest != NULL) {
        gmv_embedding_column_at(output->largest, path, sizeof path);
        GMV_TRY(open_column(file, cells, comm, largest + at, path, false, 0));
    }
    if (output->column == NULL) {
        return GMV_OK;
    }
    gmv_embedding_codes_at(output->column, path, sizeof path);
    return open_column(file, cells, comm, categories + at, path, true, 0);
}

static gmv_status open_shared(gmv_embedding_file *file, const gmv_cells *cells, const gmv_comm *comm)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_mpio(access, (MPI_Comm)comm->world, MPI_INFO_NULL);
    H5Pset_all_coll_metadata_ops(access, true);
    H5Pset_coll_metadata_write(access, true);
    file->out.id = H5Fopen(file->output.temporary, H5F_ACC_RDWR, access);
    H5Pclose(access);
    file->open = file->out.id >= 0;
    GMV_TRY(gmv_comm_agree(comm, file->open ? GMV_OK : gmv_h5ad_fail(&file->out, "the file")));
    for (int i = 0; i < file->outputs->n; i++) {
        GMV_TRY(open_output(file, cells, comm, i));
    }
    if (file->without_bounds) {
        return GMV_OK;
    }
    GMV_TRY(open_column(file, cells, comm, bounds, GMV_EMBEDDING_BOUNDS, false, 0));
    return open_column(file, cells, comm, counts, GMV_EMBEDDING_COUNTS, false, 0);
}

/* Levels of the local rows. */
static gmv_status write_codes(const gmv_embedding_file *file, row_column *column, const gmv_cells *cells,
                              const gmv_factor *factor)
{
    for (gmv_gidx i = 0; i < cells->count; i++) {
        int32_t code = gmv_factor_code(factor, i);
        GMV_TRY(append(file, column, &code));
    }
    return flush(file, column);
}

/* The levels of covariates and label, as the model knows them. Opening and closing are collective. */
static gmv_status write_factors(gmv_embedding_file *file, const gmv_cells *cells, const gmv_comm *comm)
{
    const gmv_factor *factor;
    for (int i = 0; (factor = gmv_embedding_factor(cells, i)) != NULL; i++) {
        char path[GMV_EMBEDDING_PATH];
        row_column *column = &file->column[levels_of_cells];
        gmv_embedding_codes_at(factor->key, path, sizeof path);
        GMV_TRY(open_column(file, cells, comm, levels_of_cells, path, true, 0));
        gmv_status status = gmv_comm_agree(comm, write_codes(file, column, cells, factor));
        bool closed = H5Dclose(column->dataset) >= 0;
        GMV_FREE(column->value);
        *column = (row_column){0};
        GMV_TRY(gmv_comm_agree(comm, status == GMV_OK && !closed ? gmv_h5ad_fail(&file->out, path) : status));
    }
    return GMV_OK;
}

gmv_status gmv_embedding_begin(gmv_embedding_file **file, const char *path, const gmv_cells *cells,
                               const gmv_comm *comm, const gmv_embedding *embedding)
{
    gmv_h5_prepare();
    GMV_TRY(gmv_comm_agree(comm, GMV_NEW(*file, 1, "the embedding")));
    gmv_embedding_file *f = *file;
    f->outputs = embedding->outputs;
    f->without_bounds = embedding->without_bounds;
    gmv_status status = comm->rank == 0 ? gmv_output_begin(&f->output, path) : GMV_OK;
    if (comm->rank == 0 && status == GMV_OK) {
        gmv_signals_unlink(f->output.temporary);
        status = gmv_embedding_skeleton(&f->output, cells, embedding);
    }
    GMV_TRY(gmv_comm_agree(comm, status));
    gmv_comm_broadcast(comm, f->output.path, sizeof f->output.path, 0);
    gmv_comm_broadcast(comm, f->output.temporary, sizeof f->output.temporary, 0);
    f->out.path = f->output.path;
    gmv_comm_enter(comm, "opening the embedding through MPI-IO");
    status = open_shared(f, cells, comm);
    gmv_comm_leave(comm);
    return status == GMV_OK ? write_factors(f, cells, comm) : status;
}

/* Also after a failure: closing is collective. */
static gmv_status close_shared(gmv_embedding_file *f, const gmv_comm *comm, gmv_status status)
{
    for (int c = 0; c < columns; c++) {
        row_column *column = &f->column[c];
        if (column->dataset > 0 && status == GMV_OK) {
            status = skip_to(f, column, column->end);
            status = status == GMV_OK ? flush(f, column) : status;
        }
        status = gmv_comm_agree(comm, status);
        if (column->dataset > 0 && H5Dclose(column->dataset) < 0 && status == GMV_OK) {
            status = gmv_h5ad_fail(&f->out, column->path);
        }
        GMV_FREE(column->value);
    }
    status = gmv_comm_agree(comm, gmv_h5ad_flush(&f->out, gmv_comm_agree(comm, status)));
    return gmv_comm_agree(comm, gmv_h5ad_close(&f->out, status));
}

/* Gives the finished file its name; rank 0. */
static gmv_status publish(gmv_embedding_file *f, gmv_status status)
{
    status = gmv_output_end(&f->output, status);
    gmv_signals_unlink(NULL);
    if (status != GMV_OK && gmv_signal_seen()) { /* what failed is that the signal took the file away */
        gmv_error_clear();
        status = gmv_stop_check();
    }
    return status;
}

gmv_status gmv_embedding_end(gmv_embedding_file **file, const gmv_comm *comm, gmv_status status)
{
    gmv_embedding_file *f = *file;
    if (f == NULL) {
        return gmv_comm_agree(comm, status);
    }
    status = gmv_comm_agree(comm, status);
    if (f->open) {
        gmv_comm_enter(comm, "closing the embedding through MPI-IO");
        status = close_shared(f, comm, status);
        gmv_comm_leave(comm);
    }
    status = comm->rank == 0 ? publish(f, status) : status;
    GMV_FREE(*file);
    return gmv_comm_agree(comm, status);
}
