/* The h5ad file of an atlas, written by rank 0 alone through HDF5's POSIX driver: chunks come compressed from whoever
 * drew them, and are only put in their places. Through MPI-IO every rank would have to take part in placing each chunk,
 * and MPI-IO writes no strings; one writer is limited by the disk, not by its processor. */
#pragma once

#include "synth_block.h"

#include "../io/h5ad_write.h"

#include "gmvae/files.h"

typedef struct gmv_synth_file {
    gmv_h5ad out;
    const gmv_synth_model *model;
    hid_t indices, data;
    int64_t elements; /* size of both */
    int64_t most_elements;
    void *column; /* a part's values of one obs column */
    char **name;  /* a part's names of cells */
    int64_t room, name_room;
} gmv_synth_file;

/* Fills the file, which was begun, with all but the cells. Close with gmv_synth_file_close, also after a failure. */
gmv_status gmv_synth_file_create(gmv_synth_file *file, const gmv_output *output, const gmv_synth_model *model,
                                 const gmv_config *config);

/* The cells of a part, and its chunks; parts come in the order of their cells. */
gmv_status gmv_synth_file_append(gmv_synth_file *file, const gmv_synth_part *part);

/* Closes; `status` is that of the work so far. */
gmv_status gmv_synth_file_close(gmv_synth_file *file, gmv_status status);

/* Bytes of everything in the file but the matrix. */
double gmv_synth_file_other_bytes(const gmv_synth_model *model);
