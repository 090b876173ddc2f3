/* What the files of the command train share. */
#pragma once

#include "run_folder.h"
#include "run_record.h"
#include "session.h"

/* Everything a training run holds. */
typedef struct gmv_training {
    gmv_run *run;
    gmv_run_folder folder;
    char *resume_path; /* "" when the run starts anew */
    gmv_checkpoint resume;
    gmv_cells *cells, *validation; /* validation: of data.validation paths, else NULL */
    gmv_backend *backend;
    gmv_model *model;
    gmv_trainer trainer;
    gmv_run_record record;
    gmv_clustering clustering; /* of the best parameters, after training */
} gmv_training;

/* Logs the model, where it is computed, how it is trained, and memory. */
void gmv_training_show_plan(const gmv_training *t);

/* After the last epoch: back to the best parameters, then what `output` asks for. Collective.
 * Errors: those of each result; GMV_STOPPED. */
gmv_status gmv_training_write_results(gmv_training *t);
