/* embedding.h5ad: rank 0 writes strings, attributes and obs, then all ranks write their rows of numbers. */
#include "embedding_obs.h"
#include "h5ad_file.h"
#include "h5ad_write.h"

#include "../data/file_levels.h"
#include "../data/h5.h"

#include "gmvae/data.h"
#include "gmvae/mem.h"

#include <mpi.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char latent_path[] = "obsm/X_gmvae", probability_path[] = "obsm/gmvae_cluster_prob",
                  cluster_path[] = "obs/gmvae_cluster", code_path[] = "obs/gmvae_cluster/codes",
                  elbo_path[] = "obs/gmvae_neg_elbo", file_path[] = "obs/gmvae_file";
enum { file_rows = 1 << 16 };

/* All K clusters are categories, also those without a cell. */
static gmv_status write_clusters(const gmv_h5ad *out, int clusters, gmv_gidx cells)
{
    GMV_TRY(gmv_h5ad_group(out, cluster_path, "categorical", "0.2.0"));
    GMV_TRY(gmv_h5ad_attribute_bool(out, cluster_path, "ordered", false));
    GMV_TRY(gmv_h5ad_strings(out, "obs/gmvae_cluster/categories", clusters));
    for (int k = 0; k < clusters; k++) {
        char name[16], *text = name;
        snprintf(name, sizeof name, "%d", k);
        GMV_TRY(gmv_h5ad_write_strings(out, "obs/gmvae_cluster/categories", k, 1, &text));
    }
    return gmv_h5ad_array(out, code_path, gmv_h5ad_code_type(clusters), 1, &cells);
}

static gmv_status write_uns(const gmv_h5ad *out, const gmv_embedding *embedding)
{
    GMV_TRY(gmv_h5ad_group(out, "uns", "dict", "0.1.0"));
    GMV_TRY(gmv_h5ad_group(out, "uns/gmvae_dist", "dict", "0.1.0"));
    if (embedding->config != NULL) {
        GMV_TRY(gmv_h5ad_scalar_text(out, "uns/gmvae_dist/config", embedding->config));
    }
    if (embedding->checkpoint != NULL) {
        GMV_TRY(gmv_h5ad_scalar_text(out, "uns/gmvae_dist/checkpoint", embedding->checkpoint));
    }
    GMV_TRY(gmv_h5ad_scalar_i64(out, "uns/gmvae_dist/epoch", embedding->epoch));
    return gmv_h5ad_scalar_text(out, "uns/gmvae_dist/version", GMVAE_VERSION);
}

/* An empty table: the file has no X. */
static gmv_status write_var(const gmv_h5ad *out)
{
    GMV_TRY(gmv_h5ad_group(out, "var", "dataframe", "0.2.0"));
    GMV_TRY(gmv_h5ad_attribute_text(out, "var", "_index", "_index"));
    GMV_TRY(gmv_h5ad_attribute_texts(out, "var", "column-order", 0, NULL));
    return gmv_h5ad_strings(out, "var/_index", 0);
}

static bool has_clusters(const gmv_embedding *embedding)
{
    return embedding->clusters > 0 && embedding->probability != NULL;
}

/* The model or its evaluation distinguishes cells by their file. */
static bool has_files(const gmv_cells *cells)
{
    bool found = cells->label != NULL && strcmp(cells->label->key, GMV_FILE_KEY) == 0;
    for (int c = 0; c < cells->covariates && !found; c++) {
        found = strcmp(cells->covariate[c].key, GMV_FILE_KEY) == 0;
    }
    return found;
}

static gmv_status write_file_codes(const gmv_h5ad *out, const gmv_cells *cells)
{
    int32_t *code = NULL;
    gmv_status status = GMV_OK;
    GMV_TRY(GMV_NEW(code, file_rows, "files of cells"));
    for (int f = 0; f < cells->files; f++) {
        for (int i = 0; i < file_rows; i++) {
            code[i] = f;
        }
        for (gmv_gidx at = cells->file_start[f]; at < cells->file_start[f + 1]; at += file_rows) {
            gmv_gidx left = cells->file_start[f + 1] - at;
            GMV_GO(gmv_h5ad_write(out, "obs/gmvae_file/codes", H5T_NATIVE_INT32, at,
                                  left < file_rows ? left : file_rows, code));
        }
    }
done:
    GMV_FREE(code);
    return status;
}

/* The files read, by the names that are their levels. */
static gmv_status write_files(const gmv_h5ad *out, const gmv_cells *cells)
{
    GMV_TRY(gmv_h5ad_group(out, file_path, "categorical", "0.2.0"));
    GMV_TRY(gmv_h5ad_attribute_bool(out, file_path, "ordered", false));
    GMV_TRY(gmv_h5ad_strings(out, "obs/gmvae_file/categories", cells->files));
    for (int f = 0; f < cells->files; f++) {
        char *name = (char *)(uintptr_t)gmv_file_tail(cells->file, cells->files, f);
        GMV_TRY(gmv_h5ad_write_strings(out, "obs/gmvae_file/categories", f, 1, &name));
    }
    GMV_TRY(gmv_h5ad_array(out, "obs/gmvae_file/codes", gmv_h5ad_code_type(cells->files), 1, &cells->total));
    return write_file_codes(out, cells);
}

static gmv_status fill_skeleton(const gmv_h5ad *out, const gmv_cells *cells, const gmv_embedding *embedding)
{
    const char *reserved[3];
    int n = 0;
    int64_t dims[2] = {cells->total, embedding->dim};
    if (has_clusters(embedding)) {
        reserved[n++] = "gmvae_cluster";
    }
    if (embedding->neg_elbo != NULL) {
        reserved[n++] = "gmvae_neg_elbo";
    }
    if (has_files(cells)) {
        reserved[n++] = "gmvae_file";
    }
    GMV_TRY(gmv_h5ad_group(out, "/", "anndata", "0.1.0"));
    GMV_TRY(gmv_embedding_copy_obs(out, cells, n, reserved));
    GMV_TRY(write_var(out));
    GMV_TRY(gmv_h5ad_group(out, "obsm", "dict", "0.1.0"));
    GMV_TRY(write_uns(out, embedding));
    if (embedding->latent != NULL) {
        GMV_TRY(gmv_h5ad_array(out, latent_path, H5T_IEEE_F32LE, 2, dims));
    }
    if (has_clusters(embedding)) {
        dims[1] = embedding->clusters;
        GMV_TRY(gmv_h5ad_array(out, probability_path, H5T_IEEE_F32LE, 2, dims));
        GMV_TRY(write_clusters(out, embedding->clusters, cells->total));
    }
    if (has_files(cells)) {
        GMV_TRY(write_files(out, cells));
    }
    return embedding->neg_elbo != NULL ? gmv_h5ad_array(out, elbo_path, H5T_IEEE_F32LE, 1, dims) : GMV_OK;
}

static gmv_status write_skeleton(const char *path, const gmv_cells *cells, const gmv_embedding *embedding)
{
    gmv_h5ad out = {H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), path};
    if (out.id < 0) {
        return gmv_h5ad_fail(&out, "the file");
    }
    gmv_status status = fill_skeleton(&out, cells, embedding);
    return gmv_h5ad_finish(&out, status);
}

/* Rows [first, first + rows) of a dataset with `cols` columns (0: one dimension), in pieces that MPI-IO,
 * which counts with ints, can take. Independent. */
static gmv_status write_rows(const gmv_h5ad *out, const char *path, hid_t dataset, hid_t type, size_t size,
                             gmv_gidx first, gmv_gidx rows, int cols, const void *values)
{
    int64_t width = cols > 0 ? cols : 1, piece = ((int64_t)1 << 26) / width + 1;
    hid_t there = H5Dget_space(dataset);
    gmv_status status = GMV_OK;
    for (int64_t at = 0; at < rows && status == GMV_OK; at += piece) {
        hsize_t start[2] = {(hsize_t)(first + at), 0};
        hsize_t count[2] = {(hsize_t)(rows - at < piece ? rows - at : piece), (hsize_t)width};
        hid_t here = H5Screate_simple(cols > 0 ? 2 : 1, count, NULL);
        herr_t result = H5Sselect_hyperslab(there, H5S_SELECT_SET, start, NULL, count, NULL);
        const char *from = (const char *)values + (size_t)(at * width) * size;
        if (result < 0 || H5Dwrite(dataset, type, here, there, H5P_DEFAULT, from) < 0) {
            status = gmv_h5ad_fail(out, path);
        }
        H5Sclose(here);
    }
    H5Sclose(there);
    return status;
}

static int32_t largest_of(const float *value, int n)
{
    int32_t best = 0;
    for (int32_t k = 1; k < n; k++) {
        best = value[k] > value[best] ? k : best;
    }
    return best;
}

/* One dataset on all ranks: opening and closing are collective, so ranks agree in between. */
static gmv_status write_shared(const gmv_h5ad *out, const gmv_cells *cells, const gmv_comm *comm, const char *path,
                               hid_t type, size_t size, int cols, const void *values)
{
    hid_t dataset = H5Dopen2(out->id, path, H5P_DEFAULT);
    GMV_TRY(gmv_comm_agree(comm, dataset < 0 ? gmv_h5ad_fail(out, path) : GMV_OK));
    gmv_status status = write_rows(out, path, dataset, type, size, cells->first, cells->count, cols, values);
    status = gmv_comm_agree(comm, status);
    if (H5Dclose(dataset) < 0 && status == GMV_OK) {
        status = gmv_h5ad_fail(out, path);
    }
    return gmv_comm_agree(comm, status);
}

static gmv_status write_numbers(const gmv_h5ad *out, const gmv_cells *cells, const gmv_comm *comm,
                                const gmv_embedding *e, const int32_t *cluster)
{
    if (e->latent != NULL) {
        GMV_TRY(write_shared(out, cells, comm, latent_path, H5T_NATIVE_FLOAT, sizeof(float), e->dim, e->latent));
    }
    if (has_clusters(e)) {
        GMV_TRY(write_shared(out, cells, comm, probability_path, H5T_NATIVE_FLOAT, sizeof(float), e->clusters,
                             e->probability));
        GMV_TRY(write_shared(out, cells, comm, code_path, H5T_NATIVE_INT32, sizeof(int32_t), 0, cluster));
    }
    if (e->neg_elbo != NULL) {
        GMV_TRY(write_shared(out, cells, comm, elbo_path, H5T_NATIVE_FLOAT, sizeof(float), 0, e->neg_elbo));
    }
    return GMV_OK;
}

static gmv_status write_parallel(const char *path, const gmv_cells *cells, const gmv_comm *comm,
                                 const gmv_embedding *embedding)
{
    int32_t *cluster = NULL;
    GMV_TRY(gmv_comm_agree(comm, GMV_NEW(cluster, cells->count, "clusters of cells")));
    for (gmv_gidx i = 0; has_clusters(embedding) && i < cells->count; i++) {
        cluster[i] = largest_of(embedding->probability + i * embedding->clusters, embedding->clusters);
    }
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_mpio(access, (MPI_Comm)comm->world, MPI_INFO_NULL);
    H5Pset_all_coll_metadata_ops(access, true);
    H5Pset_coll_metadata_write(access, true);
    gmv_h5ad out = {H5Fopen(path, H5F_ACC_RDWR, access), path};
    H5Pclose(access);
    gmv_status status = gmv_comm_agree(comm, out.id < 0 ? gmv_h5ad_fail(&out, "the file") : GMV_OK);
    if (status == GMV_OK) {
        status = gmv_comm_agree(comm, gmv_h5ad_flush(&out, write_numbers(&out, cells, comm, embedding, cluster)));
        status = gmv_h5ad_close(&out, status);
    }
    GMV_FREE(cluster);
    return gmv_comm_agree(comm, status);
}

gmv_status gmv_embedding_write(const char *path, const gmv_cells *cells, const gmv_comm *comm,
                               const gmv_embedding *embedding)
{
    char temporary[4096];
    gmv_h5_prepare();
    int length = snprintf(temporary, sizeof temporary, "%s.part", path);
    GMV_CHECK(length > 0 && (size_t)length < sizeof temporary);
    gmv_status status = comm->rank == 0 ? write_skeleton(temporary, cells, embedding) : GMV_OK;
    status = gmv_comm_agree(comm, status);
    if (status == GMV_OK) {
        status = write_parallel(temporary, cells, comm, embedding);
    }
    if (comm->rank == 0 && status == GMV_OK) {
        status = gmv_h5ad_publish(temporary, path);
    }
    if (comm->rank == 0 && status != GMV_OK) {
        unlink(temporary);
    }
    return gmv_comm_agree(comm, status);
}
