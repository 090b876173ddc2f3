/* Clusters in a checkpoint: put there after training, so that other cells get clusters of the same names. */
#include "checkpoint_data.h"
#include "checkpoint_files.h"
#include "h5io.h"

#include "gmvae/mem.h"

#include <math.h>
#include <string.h>

static const char group_name[] = "clusters";

static gmv_status write_group(hid_t file, const gmv_clustering *clustering, const char *wanted)
{
    int64_t components = clustering->components, shape[2] = {components, components};
    float *overlap = NULL, *cluster = NULL;
    if (H5Lexists(file, group_name, H5P_DEFAULT) > 0) {
        H5Ldelete(file, group_name, H5P_DEFAULT);
    }
    hid_t group = H5Gcreate2(file, group_name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    gmv_status status;
    GMV_GO(GMV_NEW(overlap, components * components, "overlaps of components"));
    GMV_GO(GMV_NEW(cluster, components, "clusters of components"));
    for (int64_t i = 0; i < components * components; i++) {
        overlap[i] = (float)clustering->overlap[i];
    }
    for (int k = 0; k < clustering->components; k++) {
        cluster[k] = (float)clustering->cluster[k];
    }
    GMV_GO(gmv_h5io_put_text(group, "wanted", wanted));
    GMV_GO(gmv_h5io_put_i64(group, "cells", clustering->cells));
    GMV_GO(gmv_h5io_write_f32(group, "overlap", 2, shape, overlap));
    status = gmv_h5io_write_f32(group, "cluster", 1, shape, cluster);
done:
    GMV_FREE(overlap);
    GMV_FREE(cluster);
    H5Gclose(group);
    return status;
}

static gmv_status add_to(const char *path, gmv_output *out, const gmv_clustering *clustering, const char *wanted)
{
    hid_t file;
    GMV_TRY(gmv_checkpoint_open_image(path, &file));
    gmv_status status = write_group(file, clustering, wanted);
    status = status == GMV_OK ? gmv_checkpoint_write_image(file, out) : status;
    H5Fclose(file);
    return status == GMV_OK ? gmv_checkpoint_read_back(out) : status;
}

static bool is_there(const gmv_checkpoint *checkpoint, const gmv_clustering *clustering, const char *wanted)
{
    const gmv_clustering *kept = &checkpoint->clustering;
    size_t components = (size_t)clustering->components;
    return kept->components == clustering->components && kept->cells == clustering->cells &&
           strcmp(checkpoint->clusters_wanted, wanted) == 0 &&
           memcmp(kept->overlap, clustering->overlap, components * components * sizeof *kept->overlap) == 0 &&
           memcmp(kept->cluster, clustering->cluster, components * sizeof *kept->cluster) == 0;
}

gmv_status gmv_checkpoint_add_clusters(const char *path, const gmv_checkpoint *checkpoint, const gmv_comm *comm,
                                       const gmv_clustering *clustering, const char *wanted)
{
    gmv_status status = GMV_OK;
    if (comm->rank == 0 && !is_there(checkpoint, clustering, wanted)) {
        gmv_output out;
        status = gmv_output_begin(&out, path);
        status = status == GMV_OK ? gmv_output_end(&out, add_to(path, &out, clustering, wanted)) : status;
    }
    return gmv_comm_agree_patiently(comm, status);
}

/* Numbers that clusters can have. */
static gmv_status take_numbers(gmv_clustering *clustering, const float *overlap, const float *cluster)
{
    int components = clustering->components;
    for (int64_t i = 0; i < (int64_t)components * components; i++) {
        clustering->overlap[i] = (double)overlap[i];
        if (!(overlap[i] >= 0.0f) || isinf(overlap[i])) {
            return GMV_FAIL(GMV_ERR_DATA, "an overlap of components is below 0 or not finite");
        }
    }
    for (int k = 0; k < components; k++) {
        if (!(cluster[k] >= 0.0f && cluster[k] < (float)components)) {
            return GMV_FAIL(GMV_ERR_DATA, "a cluster is not one of 0 to %d", components - 1);
        }
        clustering->cluster[k] = (int)cluster[k];
    }
    return GMV_OK;
}

static gmv_status read_numbers(hid_t group, gmv_clustering *clustering)
{
    int64_t shape[2];
    int dims;
    float *overlap = NULL, *cluster = NULL;
    gmv_status status;
    GMV_GO(gmv_h5io_shape(group, "overlap", &dims, shape));
    int64_t components = shape[0];
    bool square = dims == 2 && shape[1] == components && components > 0 && components < 1 << 16;
    GMV_GO(square ? GMV_OK : GMV_FAIL(GMV_ERR_DATA, "overlaps are not of pairs of components"));
    clustering->components = (int)components;
    GMV_GO(GMV_NEW(overlap, components * components, "overlaps of components"));
    GMV_GO(GMV_NEW(cluster, components, "clusters of components"));
    GMV_GO(gmv_h5io_read_f32(group, "overlap", 2, shape, overlap));
    GMV_GO(gmv_h5io_read_f32(group, "cluster", 1, shape, cluster));
    GMV_GO(GMV_NEW(clustering->overlap, components * components, "overlaps of components"));
    GMV_GO(GMV_NEW(clustering->cluster, components, "clusters of components"));
    status = take_numbers(clustering, overlap, cluster);
done:
    GMV_FREE(overlap);
    GMV_FREE(cluster);
    return status;
}

gmv_status gmv_checkpoint_read_clusters(hid_t file, gmv_checkpoint *checkpoint)
{
    if (H5Lexists(file, group_name, H5P_DEFAULT) <= 0) {
        return GMV_OK;
    }
    hid_t group = H5Gopen2(file, group_name, H5P_DEFAULT);
    if (group < 0) {
        return GMV_FAIL(GMV_ERR_DATA, "group %s is damaged", group_name);
    }
    gmv_status status;
    GMV_GO(gmv_h5io_get_i64(group, "cells", &checkpoint->clustering.cells));
    GMV_GO(gmv_h5io_get_text(group, "wanted", &checkpoint->clusters_wanted));
    status = read_numbers(group, &checkpoint->clustering);
done:
    H5Gclose(group);
    return status;
}
