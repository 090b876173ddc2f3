/* What rank 0 writes of embedding.h5ad before the ranks write their rows: texts, attributes, obs, and empty matrices. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "embedding_skeleton.h"
#include "embedding_obs.h"
#include "h5ad_file.h"

#include "../data/check/h5_check.h"
#include "../data/file_levels.h"
#include "../data/h5/h5.h"

#include "gmvae/data.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char file_path[] = "obs/gmvae_file", inputs_path[] = "uns/gmvae_dist/files";
enum { file_rows = 1 << 16 };

void gmv_embedding_matrix_at(const gmv_cell_output *output, char *path, size_t size)
{
    snprintf(path, size, "%s/%s", output->kind == GMV_OUTPUT_LAYER ? "layers" : "obsm", output->name);
}

void gmv_embedding_column_at(const char *name, char *path, size_t size)
{
    snprintf(path, size, "obs/%s", name);
}

/* All are categories, also those without a cell. */
static gmv_status write_categories(const gmv_h5ad *out, const gmv_cell_output *output, gmv_gidx cells)
{
    char column[GMV_EMBEDDING_PATH], categories[GMV_EMBEDDING_PATH], codes[GMV_EMBEDDING_PATH];
    gmv_embedding_column_at(output->column, column, sizeof column);
    snprintf(categories, sizeof categories, "obs/%s/categories", output->column);
    gmv_embedding_codes_at(output->column, codes, sizeof codes);
    GMV_TRY(gmv_h5ad_group(out, column, "categorical", "0.2.0"));
    GMV_TRY(gmv_h5ad_attribute_bool(out, column, "ordered", false));
    GMV_TRY(gmv_h5ad_strings(out, categories, output->cols));
    for (int k = 0; k < output->cols; k++) {
        char name[16], *text = name;
        snprintf(name, sizeof name, "%d", k);
        GMV_TRY(gmv_h5ad_write_strings(out, categories, k, 1, &text));
    }
    return gmv_h5ad_array(out, codes, gmv_h5ad_code_type(output->cols), 1, &cells);
}

static gmv_status write_output(const gmv_h5ad *out, const gmv_cell_output *output, gmv_gidx cells)
{
    char path[GMV_EMBEDDING_PATH];
    int64_t dims[2] = {cells, output->cols};
    gmv_embedding_matrix_at(output, path, sizeof path);
    GMV_TRY(gmv_h5ad_array(out, path, H5T_IEEE_F32LE, 2, dims));
    if (output->largest != NULL) {
        gmv_embedding_column_at(output->largest, path, sizeof path);
        GMV_TRY(gmv_h5ad_array(out, path, H5T_IEEE_F32LE, 1, &cells));
    }
    return output->column != NULL ? write_categories(out, output, cells) : GMV_OK;
}

/* How components become clusters. */
static gmv_status write_tree(const gmv_h5ad *out, const gmv_clustering *clustering)
{
    int64_t components = clustering->components;
    if (components == 0) {
        return GMV_OK;
    }
    GMV_TRY(gmv_h5ad_matrix(out, "uns/gmvae_dist/cluster_tree", H5T_IEEE_F64LE, components - 1, 4, clustering->tree));
    GMV_TRY(gmv_h5ad_scalar_f64(out, "uns/gmvae_dist/cluster_cut", clustering->cut));
    GMV_TRY(gmv_h5ad_array(out, "uns/gmvae_dist/component_cluster", H5T_STD_I32LE, 1, &components));
    return gmv_h5ad_write(out, "uns/gmvae_dist/component_cluster", H5T_NATIVE_INT, 0, components, clustering->cluster);
}

/* Whole path of an input file. Ownership: free. */
static char *whole_path(const gmv_cells *cells, int file)
{
    char *whole = realpath(cells->file[file], NULL);
    return whole != NULL ? whole : strdup(cells->file[file]);
}

static gmv_status write_inputs(const gmv_h5ad *out, const gmv_cells *cells)
{
    gmv_status status = gmv_h5ad_strings(out, inputs_path, cells->files);
    for (int f = 0; f < cells->files && status == GMV_OK; f++) {
        char *whole = whole_path(cells, f);
        status = gmv_h5ad_write_strings(out, inputs_path, f, 1, &whole);
        free(whole);
    }
    return status;
}

bool gmv_embedding_is_of(const char *path, const gmv_cells *cells, double check_seconds)
{
    gmv_h5 file = {0};
    gmv_texts inputs = {NULL, 0};
    char *checked = (char *)(uintptr_t)path;
    bool same = gmv_h5_check(&checked, 1, check_seconds) == GMV_OK && gmv_h5_open(&file, path, NULL) == GMV_OK &&
                gmv_h5_has(&file, inputs_path) && gmv_h5_texts_at(&file, inputs_path, NULL, &inputs) == GMV_OK &&
                inputs.n == cells->files;
    for (int f = 0; f < cells->files && same; f++) {
        char *whole = whole_path(cells, f);
        same = strcmp(inputs.at[f], whole) == 0;
        free(whole);
    }
    gmv_texts_free(&inputs);
    gmv_h5_close(&file);
    gmv_error_clear();
    return same;
}

gmv_status gmv_embedding_uns(const gmv_h5ad *out, const gmv_cells *cells, const gmv_embedding *embedding)
{
    GMV_TRY(gmv_h5ad_group(out, "uns", "dict", "0.1.0"));
    GMV_TRY(gmv_h5ad_group(out, "uns/gmvae_dist", "dict", "0.1.0"));
    if (embedding->config != NULL) {
        GMV_TRY(gmv_h5ad_scalar_text(out, "uns/gmvae_dist/config", embedding->config));
    }
    if (embedding->checkpoint != NULL) {
        GMV_TRY(gmv_h5ad_scalar_text(out, "uns/gmvae_dist/checkpoint", embedding->checkpoint));
    }
    GMV_TRY(write_inputs(out, cells));
    GMV_TRY(embedding->clustering != NULL ? write_tree(out, embedding->clustering) : GMV_OK);
    GMV_TRY(gmv_h5ad_scalar_i64(out, "uns/gmvae_dist/epoch", embedding->epoch));
    return gmv_h5ad_scalar_text(out, "uns/gmvae_dist/version", GMVAE_VERSION);
}

/* There are several, or the model or its evaluation distinguishes cells by their file. */
static bool has_files(const gmv_cells *cells)
{
    bool found = cells->files > 1;
    found = found || (cells->label != NULL && strcmp(cells->label->key, GMV_FILE_KEY) == 0);
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
            GMV_GO(gmv_stop_check());
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
    const char **name = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(name, cells->files, "names of files"));
    GMV_GO(gmv_file_tails(cells->file, cells->files, name));
    GMV_GO(gmv_h5ad_group(out, file_path, "categorical", "0.2.0"));
    GMV_GO(gmv_h5ad_attribute_bool(out, file_path, "ordered", false));
    GMV_GO(gmv_h5ad_strings(out, "obs/gmvae_file/categories", cells->files));
    GMV_GO(gmv_h5ad_write_strings(out, "obs/gmvae_file/categories", 0, cells->files, (char **)(void *)name));
    GMV_GO(gmv_h5ad_array(out, "obs/gmvae_file/codes", gmv_h5ad_code_type(cells->files), 1, &cells->total));
    GMV_GO(write_file_codes(out, cells));
done:
    GMV_FREE(name);
    return status;
}

static gmv_status fill_skeleton(const gmv_h5ad *out, const char *name, const gmv_cells *cells,
                                const gmv_embedding *embedding)
{
    const gmv_cell_outputs *outputs = embedding->outputs;
    const char *reserved[2 * GMV_MAX_OUTPUTS + 3];
    int n = 0;
    for (int i = 0; i < outputs->n; i++) {
        const char *columns[] = {outputs->at[i].column, outputs->at[i].largest};
        for (int c = 0; c < 2; c++) {
            if (columns[c] != NULL) {
                reserved[n++] = columns[c];
            }
        }
    }
    if (!embedding->without_bounds) {
        reserved[n++] = "gmvae_neg_elbo";
        reserved[n++] = "gmvae_counts";
    }
    reserved[n++] = "gmvae_file";
    GMV_TRY(gmv_h5ad_group(out, "/", "anndata", "0.1.0"));
    GMV_TRY(gmv_embedding_copy_obs(out, cells, name, has_files(cells) ? n : n - 1, reserved));
    GMV_TRY(gmv_h5ad_genes(out, embedding->genes, embedding->gene, embedding->gene_id));
    GMV_TRY(gmv_h5ad_group(out, embedding->genes > 0 ? "layers" : "obsm", "dict", "0.1.0"));
    GMV_TRY(gmv_embedding_uns(out, cells, embedding));
    for (int i = 0; i < outputs->n; i++) {
        GMV_TRY(write_output(out, &outputs->at[i], cells->total));
    }
    if (has_files(cells)) {
        GMV_TRY(write_files(out, cells));
    }
    if (embedding->without_bounds) {
        return GMV_OK;
    }
    GMV_TRY(gmv_h5ad_array(out, GMV_EMBEDDING_BOUNDS, H5T_IEEE_F32LE, 1, &cells->total));
    return gmv_h5ad_array(out, GMV_EMBEDDING_COUNTS, H5T_IEEE_F32LE, 1, &cells->total);
}

/* HDF5 keeps the strings that were written in its cache of metadata, 32 MB of them if it may. */
static hid_t small_cache(void)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5AC_cache_config_t config = {.version = H5AC__CURR_CACHE_CONFIG_VERSION};
    if (H5Pget_mdc_config(access, &config) >= 0) {
        config.set_initial_size = true;
        config.initial_size = config.min_size = 1 << 20;
        config.max_size = 1 << 21;
        H5Pset_mdc_config(access, &config);
    }
    return access;
}

gmv_status gmv_embedding_skeleton(const gmv_output *output, const gmv_cells *cells, const gmv_embedding *embedding)
{
    hid_t access = small_cache();
    gmv_h5_lock_if_possible(access, output->temporary);
    gmv_h5ad out = {H5Fcreate(output->temporary, H5F_ACC_TRUNC, H5P_DEFAULT, access), output->path};
    H5Pclose(access);
    if (out.id < 0) {
        return gmv_h5ad_fail(&out, "the file");
    }
    gmv_status status = fill_skeleton(&out, out.path, cells, embedding);
    return gmv_h5ad_finish(&out, status);
}
