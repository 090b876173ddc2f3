#include "checkpoint_data.h"

#include "h5io.h"

#include "gmvae/mem.h"

static const char group_name[] = "data";

enum { most_kept = 4096 }; /* hashes of cells: 32 kB */

/* The lowest hashes of cells in training. */
static gmv_status write_sample(hid_t group, const gmv_cells *cells)
{
    uint64_t *hash = NULL, below = cells->sample_below;
    int n = 0;
    GMV_TRY(GMV_NEW(hash, most_kept, "a sample of cells"));
    for (int64_t i = 0; i < cells->samples; i++) {
        if (cells->sample[i].held_out || (n > 0 && hash[n - 1] == cells->sample[i].hash)) {
            continue;
        }
        if (n == most_kept) {
            below = hash[n - 1];
            break;
        }
        hash[n++] = cells->sample[i].hash;
    }
    gmv_status status;
    GMV_GO(gmv_h5io_put_u64s(group, "sample", n, hash));
    status = gmv_h5io_put_u64(group, "sample_below", below);
done:
    GMV_FREE(hash);
    return status;
}

static gmv_status write_levels(hid_t group, const gmv_cells *cells)
{
    uint64_t *levels = NULL;
    GMV_TRY(GMV_NEW(levels, cells->covariates, "fingerprints of covariates"));
    for (int c = 0; c < cells->covariates; c++) {
        levels[c] = cells->covariate[c].fingerprint;
    }
    gmv_status status = gmv_h5io_put_u64s(group, "levels", cells->covariates, levels);
    GMV_FREE(levels);
    return status;
}

gmv_status gmv_checkpoint_write_data(hid_t file, const gmv_cells *cells)
{
    const gmv_fingerprint *print = &cells->fingerprint;
    hid_t group = H5Gcreate2(file, group_name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    gmv_status status;
    GMV_GO(gmv_h5io_put_i64(group, "cells", print->cells));
    GMV_GO(gmv_h5io_put_u64(group, "counts", print->counts));
    GMV_GO(gmv_h5io_put_u64(group, "order", print->order));
    GMV_GO(gmv_h5io_put_u64(group, "held_out", print->held_out));
    GMV_GO(gmv_h5io_put_u64(group, "validation", print->validation));
    GMV_GO(gmv_h5io_put_u64(group, "measured", print->measured));
    GMV_GO(gmv_h5io_put_u64(group, "genes", print->genes));
    GMV_GO(gmv_h5io_put_u64s(group, "files", cells->files, cells->file_counts));
    GMV_GO(write_levels(group, cells));
    status = write_sample(group, cells);
done:
    H5Gclose(group);
    return status;
}

static gmv_status read_levels(hid_t group, gmv_checkpoint *checkpoint)
{
    uint64_t *levels = NULL;
    int n = 0;
    gmv_status status;
    GMV_GO(gmv_h5io_get_u64s(group, "levels", &n, &levels));
    GMV_GO(n == checkpoint->factors ? GMV_OK : GMV_FAIL(GMV_ERR_DATA, "attribute levels is not one of each covariate"));
    for (int c = 0; c < n; c++) {
        checkpoint->factor[c].fingerprint = levels[c];
    }
done:
    GMV_FREE(levels);
    return status;
}

gmv_status gmv_checkpoint_read_data(hid_t file, gmv_checkpoint *checkpoint)
{
    gmv_fingerprint *print = &checkpoint->data;
    if (H5Lexists(file, group_name, H5P_DEFAULT) <= 0) {
        return GMV_OK;
    }
    hid_t group = H5Gopen2(file, group_name, H5P_DEFAULT);
    if (group < 0) {
        return GMV_FAIL(GMV_ERR_DATA, "group %s is damaged", group_name);
    }
    gmv_status status;
    GMV_GO(gmv_h5io_get_i64(group, "cells", &print->cells));
    GMV_GO(gmv_h5io_get_u64(group, "counts", &print->counts));
    GMV_GO(gmv_h5io_get_u64(group, "order", &print->order));
    GMV_GO(gmv_h5io_get_u64(group, "held_out", &print->held_out));
    GMV_GO(gmv_h5io_get_u64(group, "validation", &print->validation));
    GMV_GO(gmv_h5io_get_u64(group, "measured", &print->measured));
    GMV_GO(gmv_h5io_get_u64(group, "genes", &print->genes));
    GMV_GO(gmv_h5io_get_u64s(group, "files", &checkpoint->files, &checkpoint->file_counts));
    GMV_GO(read_levels(group, checkpoint));
    GMV_GO(gmv_h5io_get_u64s(group, "sample", &checkpoint->samples, &checkpoint->sample));
    status = gmv_h5io_get_u64(group, "sample_below", &checkpoint->sample_below);
done:
    H5Gclose(group);
    return status;
}
