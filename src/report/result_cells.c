/* embedding.h5ad, as far as a page tells of it. */
#include "report.h"

#include "../data/check/h5_check.h"
#include "../data/h5/h5.h"

#include "gmvae/files.h"
#include "gmvae/mem.h"

#include <string.h>
#include <unistd.h>

static void column_fini(gmv_column *column)
{
    for (int i = 0; column->level != NULL && i < column->levels; i++) {
        gmv_free(column->level[i]);
    }
    GMV_FREE(column->level);
    GMV_FREE(column->code);
    GMV_FREE(column->key);
}

void gmv_result_cells_fini(gmv_result_cells *result)
{
    column_fini(&result->cluster);
    column_fini(&result->component);
    column_fini(&result->label);
    for (int b = 0; b < result->batches; b++) {
        column_fini(&result->batch[b]);
    }
    GMV_FREE(result->batch);
    GMV_FREE(result->layout);
    GMV_FREE(result->by_counts);
    GMV_FREE(result->certainty);
    GMV_FREE(result->counts);
    GMV_FREE(result->tree);
    GMV_FREE(result->cluster_of);
}

/* Codes that are none of the levels count as missing. */
static gmv_status read_codes(const gmv_h5 *file, const char *path, int64_t cells, gmv_column *column)
{
    hid_t dataset = -1;
    int64_t dims[1], first[1] = {0}, count[1] = {cells};
    GMV_TRY(gmv_h5_open_dataset(file, path, 1, &dataset, dims));
    gmv_status status;
    GMV_GO(dims[0] == cells ? GMV_OK : GMV_FAIL(GMV_ERR_DATA, "%s: %s is not one of each cell", file->path, path));
    GMV_GO(GMV_NEW(column->code, cells, "codes of cells"));
    GMV_GO(gmv_h5_read(file, dataset, 1, first, count, H5T_NATIVE_INT32, column->code));
    for (int64_t i = 0; i < cells; i++) {
        bool good = column->code[i] >= 0 && column->code[i] < column->levels;
        column->code[i] = good ? column->code[i] : -1;
    }
done:
    H5Dclose(dataset);
    return status;
}

/* A column that is not there, or not categorical, has no levels. */
static gmv_status read_column(const gmv_h5 *file, const char *key, int64_t cells, gmv_column *column)
{
    char categories[1200], codes[1200];
    gmv_texts names = {NULL, 0};
    snprintf(categories, sizeof categories, "obs/%.1000s/categories", key);
    snprintf(codes, sizeof codes, "obs/%.1000s/codes", key);
    if (key[0] == '\0' || !gmv_h5_has(file, categories) || !gmv_h5_has(file, codes)) {
        return GMV_OK;
    }
    GMV_TRY(gmv_copy_text(&column->key, key));
    GMV_TRY(gmv_h5_texts_at(file, categories, NULL, &names));
    column->levels = names.n;
    column->level = names.at;
    return read_codes(file, codes, cells, column);
}

/* Numbers of each cell: [cells, cols], or [cells] for cols 1. NULL where there is no such dataset. */
static gmv_status read_numbers(const gmv_h5 *file, const char *path, int64_t cells, int cols, float **numbers)
{
    hid_t dataset = -1;
    int ndims = cols > 1 ? 2 : 1;
    int64_t dims[2] = {0, cols}, first[2] = {0, 0}, count[2] = {cells, cols};
    if (!gmv_h5_has(file, path)) {
        return GMV_OK;
    }
    GMV_TRY(gmv_h5_open_dataset(file, path, ndims, &dataset, dims));
    gmv_status status;
    GMV_GO(dims[0] == cells && (ndims == 1 || dims[1] == cols)
               ? GMV_OK
               : GMV_FAIL(GMV_ERR_DATA, "%s: %s is not one row of each cell", file->path, path));
    GMV_GO(GMV_NEW(*numbers, cells * cols, "numbers of cells"));
    status = gmv_h5_read(file, dataset, ndims, first, count, H5T_NATIVE_FLOAT, *numbers);
done:
    H5Dclose(dataset);
    return status;
}

static gmv_status read_tree(const gmv_h5 *file, gmv_result_cells *result)
{
    static const char tree_path[] = "uns/gmvae_dist/cluster_tree", cut_path[] = "uns/gmvae_dist/cluster_cut";
    int64_t components = result->component.levels, dims[2], first[2] = {0, 0}, count[2] = {components - 1, 4};
    hid_t tree = -1, of = -1, cut = -1;
    gmv_status status = GMV_OK;
    if (components == 0 || !gmv_h5_has(file, tree_path)) {
        return GMV_OK;
    }
    GMV_GO(gmv_h5_open_dataset(file, tree_path, 2, &tree, dims));
    GMV_GO(dims[0] == count[0] && dims[1] == 4 ? GMV_OK
                                               : GMV_FAIL(GMV_ERR_DATA, "%s: %s is no tree of %lld components",
                                                          file->path, tree_path, (long long)components));
    GMV_GO(GMV_NEW(result->tree, 4 * components, "the tree of components"));
    GMV_GO(GMV_NEW(result->cluster_of, components, "clusters of components"));
    GMV_GO(count[0] > 0 ? gmv_h5_read(file, tree, 2, first, count, H5T_NATIVE_DOUBLE, result->tree) : GMV_OK);
    GMV_GO(gmv_h5_open_dataset(file, "uns/gmvae_dist/component_cluster", 1, &of, dims));
    count[0] = components;
    GMV_GO(dims[0] == components ? gmv_h5_read(file, of, 1, first, count, H5T_NATIVE_INT, result->cluster_of)
                                 : GMV_FAIL(GMV_ERR_DATA, "%s: component_cluster is not one of each", file->path));
    cut = H5Dopen2(file->id, cut_path, H5P_DEFAULT);
    GMV_GO(cut >= 0 && H5Dread(cut, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, &result->cut) >= 0
               ? GMV_OK
               : gmv_h5_fail(file, cut_path));
done:
    if (tree >= 0) {
        H5Dclose(tree);
    }
    if (of >= 0) {
        H5Dclose(of);
    }
    if (cut >= 0) {
        H5Dclose(cut);
    }
    return status;
}

/* Children come before their parents, each once; else what draws the tree would not end. */
static gmv_status check_tree(const gmv_h5 *file, const gmv_result_cells *result)
{
    int leaves = result->component.levels;
    bool good = true, *taken = NULL;
    GMV_TRY(GMV_NEW(taken, 2 * (int64_t)leaves, "the tree of components"));
    for (int i = 0; result->tree != NULL && i + 1 < leaves && good; i++) {
        for (int c = 0; c < 2 && good; c++) {
            double child = result->tree[4 * i + c];
            good = child >= 0.0 && child < leaves + i && !taken[(int)child];
            taken[good ? (int)child : 0] = true;
        }
        good = good && result->tree[4 * i + 2] >= 0.0 && result->tree[4 * i + 2] <= 1.0;
    }
    for (int k = 0; result->cluster_of != NULL && k < leaves; k++) {
        good = good && result->cluster_of[k] >= 0 && result->cluster_of[k] < leaves;
    }
    gmv_free(taken);
    return good ? GMV_OK : GMV_FAIL(GMV_ERR_DATA, "%s: cluster_tree is no tree", file->path);
}

static gmv_status read_all(const gmv_h5 *file, const gmv_config *config, const gmv_texts *keys,
                           gmv_result_cells *result)
{
    hid_t bounds = -1;
    GMV_TRY(gmv_h5_open_dataset(file, "obs/gmvae_neg_elbo", 1, &bounds, &result->cells));
    H5Dclose(bounds);
    GMV_TRY(read_column(file, "gmvae_cluster", result->cells, &result->cluster));
    GMV_TRY(read_column(file, "gmvae_component", result->cells, &result->component));
    GMV_TRY(read_column(file, config->data_label_key, result->cells, &result->label));
    GMV_TRY(GMV_NEW(result->batch, keys->n, "batch keys"));
    for (int i = 0; i < keys->n; i++) {
        bool of_file = strcmp(keys->at[i], "@file") == 0;
        result->batches++;
        GMV_TRY(read_column(file, of_file ? "gmvae_file" : keys->at[i], result->cells, &result->batch[i]));
    }
    GMV_TRY(read_numbers(file, "obsm/X_umap", result->cells, 2, &result->layout));
    GMV_TRY(read_numbers(file, "obsm/X_counts_umap", result->cells, 2, &result->by_counts));
    GMV_TRY(read_numbers(file, "obs/gmvae_certainty", result->cells, 1, &result->certainty));
    GMV_TRY(read_numbers(file, "obs/gmvae_counts", result->cells, 1, &result->counts));
    GMV_TRY(read_tree(file, result));
    return check_tree(file, result);
}

gmv_status gmv_result_cells_read(gmv_result_cells *result, const gmv_config *config, const gmv_texts *batch_keys)
{
    char path[GMV_PATH_ROOM], *checked = path;
    gmv_h5 file = {0};
    memset(result, 0, sizeof *result);
    snprintf(path, sizeof path, "%.4000s/embedding.h5ad", config->output_dir);
    if (access(path, F_OK) != 0) {
        return GMV_OK;
    }
    GMV_TRY(gmv_h5_check(&checked, 1, config->data_check_seconds));
    gmv_status status = gmv_h5_open(&file, path, NULL);
    status = status == GMV_OK ? read_all(&file, config, batch_keys, result) : status;
    gmv_h5_close(&file);
    result->there = status == GMV_OK;
    return status;
}

gmv_status gmv_count_pairs(int64_t cells, const gmv_column *rows, const gmv_column *columns, int64_t **count)
{
    GMV_TRY(GMV_NEW(*count, (int64_t)rows->levels * columns->levels, "counts of pairs"));
    for (int64_t i = 0; i < cells; i++) {
        if (rows->code[i] >= 0 && columns->code[i] >= 0) {
            (*count)[(int64_t)rows->code[i] * columns->levels + columns->code[i]]++;
        }
    }
    return GMV_OK;
}
