/* Whether the files of cells are as they were. */
#include "h5/file_stamp.h"

#include "gmvae/mem.h"
#include "gmvae/signals.h"

/* Files [first, end) are this rank's to look at, whoever has their rows: a parallel file system is asked once for each. */
static void stretch_of(const gmv_cells *cells, const gmv_comm *comm, int *first, int *end)
{
    *first = (int)((int64_t)cells->files * comm->rank / comm->size);
    *end = (int)((int64_t)cells->files * (comm->rank + 1) / comm->size);
}

/* Tells all ranks the stamps of the files that were touched. */
static gmv_status share_stamps(const gmv_cells *cells, const gmv_comm *comm, int first, int end)
{
    void *all = NULL;
    int64_t bytes = 0;
    GMV_TRY(
        gmv_comm_concatenate(comm, cells->stamp + first, (end - first) * (int64_t)sizeof *cells->stamp, &all, &bytes));
    const gmv_file_stamp *stamp = all;
    for (int f = 0; f < cells->files; f++) {
        if (!gmv_file_stamp_same(&stamp[f], &cells->stamp[f])) {
            cells->stamp[f] = stamp[f];
            gmv_file_log_touched(cells->file[f], &stamp[f]);
        }
    }
    gmv_free(all);
    return GMV_OK;
}

gmv_status gmv_cells_look_at_files(const gmv_cells *cells, const gmv_comm *comm, int *changed)
{
    int first, end;
    int64_t news[2] = {0, 0}; /* the first changed file, counted from behind; whether one was touched */
    stretch_of(cells, comm, &first, &end);
    for (int f = first; f < end && news[0] == 0; f++) {
        gmv_file_state state = gmv_file_look(cells->file[f], &cells->stamp[f]);
        if (state == GMV_FILE_TOUCHED) {
            gmv_file_log_touched(cells->file[f], &cells->stamp[f]);
            news[1] = 1;
        } else if (state == GMV_FILE_CHANGED && !gmv_stop_asked()) {
            news[0] = cells->files - f;
        }
    }
    gmv_comm_max_i64(comm, news, 2);
    *changed = news[0] > 0 ? cells->files - (int)news[0] : -1;
    return news[1] > 0 ? share_stamps(cells, comm, first, end) : GMV_OK;
}
