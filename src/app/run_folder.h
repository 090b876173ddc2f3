/* output.dir: while a run trains there, and what must be possible there before it begins. */
#pragma once

#include "gmvae/app.h"
#include "gmvae/folder_lock.h"
#include "gmvae/model.h"

#include "gmvae/data.h"

typedef struct gmv_run_folder {
    const char *path;      /* output.dir */
    gmv_folder_lock *lock; /* rank 0 */
    int64_t there;         /* bytes of the path that were there before */
    int64_t device, inode; /* of the folder, on rank 0 */
} gmv_run_folder;

/* Makes output.dir and holds it, so that no other run trains there; removes what killed ones have left. Before anything
 * is made, sees that everything a run writes could be. A dry run only looks. Collective. Close also after a failure.
 * Errors: GMV_ERR_ENVIRONMENT naming what is in the way, or who holds it; GMV_STOPPED. */
gmv_status gmv_run_folder_open(gmv_run_folder *folder, const gmv_run *run);

/* For commands that only add whole files to output.dir, beside a run that may train there: whether they could be written.
 * Collective. Errors: GMV_ERR_ENVIRONMENT. */
gmv_status gmv_run_folder_look(const gmv_run *run);

/* Gives it back; a folder that was made and stayed empty is removed. */
void gmv_run_folder_close(gmv_run_folder *folder);

/* That it still is the folder that was opened. Collective. Errors: GMV_ERR_ENVIRONMENT. */
gmv_status gmv_run_folder_agree(const gmv_run_folder *folder, const gmv_comm *comm);

/* Removes what a report shows of an earlier training and this one, which begins anew, will not write. Rank 0. */
void gmv_run_folder_drop(const gmv_config *config);

/* Says what a finished run has left in it. Collective. Errors: as above. */
gmv_status gmv_run_folder_show(const gmv_run_folder *folder, const gmv_comm *comm, const gmv_config *config);

/* Whether checkpoints, embedding and markers will fit: on the disk, and below the limit on the size of a file. Collective.
 * Errors: GMV_ERR_ENVIRONMENT when not even one checkpoint does, or a file is certain to exceed the limit; a warning
 * when not all of them do. */
gmv_status gmv_check_room(const gmv_config *config, const gmv_comm *comm, const gmv_model *model,
                          const gmv_cells *cells);
