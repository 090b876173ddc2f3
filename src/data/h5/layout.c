#include "layout.h"

#include "gmvae/mem.h"
#include "gmvae/names.h"

#include <stdio.h>
#include <string.h>

static gmv_status add_place(gmv_layout *layout, gmv_place **place)
{
    if (layout->n % 8 == 0) {
        GMV_TRY(GMV_GROW(layout->place, layout->n, layout->n + 8, "matrices of a file"));
    }
    *place = &layout->place[layout->n++];
    return GMV_OK;
}

/* One matrix below `root` ("" or a path that ends with a slash), if it is there; its genes are in `var`. */
static gmv_status add_anndata(gmv_layout *layout, const char *root, const char *name, const char *at, const char *var,
                              gmv_preference preference)
{
    gmv_place *place;
    char path[320];
    snprintf(path, sizeof path, "%.60s%.250s", root, at);
    if (!gmv_h5_has(layout->file, path)) {
        return GMV_OK;
    }
    GMV_TRY(add_place(layout, &place));
    memcpy(place->at, path, sizeof path);
    snprintf(place->name, sizeof place->name, "%.60s%.190s", root, name);
    snprintf(place->root, sizeof place->root, "%.60s", root);
    snprintf(place->obs, sizeof place->obs, "%sobs", root);
    snprintf(place->var, sizeof place->var, "%s%s", root, var);
    place->storage = GMV_STORED_ANNDATA;
    place->preference = preference;
    place->part = layout->parts;
    return GMV_OK;
}

/* All matrices of the anndata group `root`; they are one more part. */
static gmv_status read_anndata(gmv_layout *layout, const char *root)
{
    char path[320];
    gmv_texts layers = {NULL, 0};
    gmv_status status = GMV_OK;
    GMV_TRY(add_anndata(layout, root, "X", "X", "var", GMV_PREFER_X));
    snprintf(path, sizeof path, "%.200sraw/X", root);
    bool old = !gmv_h5_has(layout->file, path); /* before 0.7 the groups were "raw.X" and "raw.var" */
    GMV_TRY(add_anndata(layout, root, "raw/X", old ? "raw.X" : "raw/X", old ? "raw.var" : "raw/var", GMV_PREFER_RAW));
    snprintf(path, sizeof path, "%.200slayers", root);
    if (gmv_h5_is_group(layout->file, path)) {
        GMV_TRY(gmv_h5_children(layout->file, path, &layers));
    }
    for (int i = 0; i < layers.n; i++) {
        char name[200];
        int length = snprintf(name, sizeof name, "layers/%s", layers.at[i]);
        if (length < (int)sizeof name) { /* a longer name is no layer that a config could ask for */
            bool counts = strcmp(layers.at[i], "counts") == 0;
            GMV_GO(add_anndata(layout, root, name, name, "var", counts ? GMV_PREFER_COUNTS : GMV_PREFER_NEVER));
        }
    }
    layout->parts++;
done:
    gmv_texts_free(&layers);
    return status;
}

/* MuData: every modality is an anndata group. */
static gmv_status read_mudata(gmv_layout *layout)
{
    gmv_texts modality;
    gmv_status status = GMV_OK;
    int rna = -1, readable = 0;
    GMV_TRY(gmv_h5_children(layout->file, "mod", &modality));
    for (int i = 0; i < modality.n; i++) {
        char root[320], obs[330];
        int length = snprintf(root, sizeof root, "mod/%.300s/", modality.at[i]);
        snprintf(obs, sizeof obs, "%sobs", root);
        if (length < 60 && gmv_h5_has(layout->file, obs)) {
            rna = strcmp(modality.at[i], "rna") == 0 ? layout->parts : rna;
            readable++;
            GMV_GO(read_anndata(layout, root));
        }
    }
    layout->part = rna >= 0 ? rna : readable == 1 ? 0 : -1;
done:
    gmv_texts_free(&modality);
    return status;
}

/* A matrix of a 10x group: its names, and of which type its features are ("" for all). */
static gmv_status add_10x(gmv_layout *layout, const char *group, const char *name, const char *kind, bool v3)
{
    gmv_place *place;
    char by_id[320];
    GMV_TRY(add_place(layout, &place));
    snprintf(place->name, sizeof place->name, "%.250s", name);
    snprintf(place->at, sizeof place->at, "%.250s", group);
    snprintf(place->obs, sizeof place->obs, "%.250s/barcodes", group);
    snprintf(place->var, sizeof place->var, "%.250s/%s", group, v3 ? "features/name" : "gene_names");
    snprintf(by_id, sizeof by_id, "%.250s/%s", group, v3 ? "features/id" : "genes");
    if (!gmv_h5_has(layout->file, place->var) && gmv_h5_has(layout->file, by_id)) {
        memcpy(place->var, by_id, sizeof by_id);
    }
    if (kind[0] != '\0') {
        snprintf(place->kinds, sizeof place->kinds, "%.250s/features/feature_type", group);
        snprintf(place->kind, sizeof place->kind, "%.127s", kind);
    }
    place->storage = GMV_STORED_10X;
    place->preference = GMV_PREFER_X;
    place->part = layout->parts++;
    return GMV_OK;
}

/* What the user may choose from: the names of all places. */
static void list_places(const gmv_layout *layout, const char *wanted, char *text, size_t size)
{
    const char *name[64];
    gmv_texts names = {(char **)(void *)name, 0};
    for (int i = 0; i < layout->n && i < 64; i++) {
        name[names.n++] = layout->place[i].name;
    }
    gmv_names_hint(&names, wanted, text, size);
}

/* Cell Ranger 3 and later: one group, whose features may be of several types. */
static gmv_status read_10x_v3(gmv_layout *layout)
{
    static const char kinds_at[] = "matrix/features/feature_type", genes[] = "Gene Expression";
    gmv_names kinds = {0};
    gmv_texts each = {NULL, 0};
    gmv_status status = GMV_OK;
    if (gmv_h5_has(layout->file, kinds_at)) {
        GMV_GO(gmv_h5_texts_at(layout->file, kinds_at, NULL, &each));
    }
    for (int i = 0; i < each.n && kinds.n < 64; i++) {
        GMV_GO(gmv_names_add(&kinds, each.at[i], NULL, NULL));
    }
    for (int64_t k = 0; k < kinds.n; k++) {
        GMV_GO(add_10x(layout, "matrix", kinds.at[k], kinds.at[k], true));
    }
    if (kinds.n == 0) {
        GMV_GO(add_10x(layout, "matrix", "matrix", "", true));
    }
    int64_t found = gmv_names_find(&kinds, genes);
    layout->part = found >= 0 ? (int)found : layout->n == 1 ? 0 : -1;
done:
    gmv_texts_free(&each);
    gmv_names_fini(&kinds);
    return status;
}

/* Cell Ranger 1 and 2: a group for every genome. */
static gmv_status read_10x_v2(gmv_layout *layout, const gmv_texts *groups)
{
    for (int i = 0; i < groups->n; i++) {
        char path[600];
        snprintf(path, sizeof path, "%.250s/barcodes", groups->at[i]);
        if (strlen(groups->at[i]) < 250 && gmv_h5_has(layout->file, path)) {
            GMV_TRY(add_10x(layout, groups->at[i], groups->at[i], "", false));
        }
    }
    layout->part = layout->n == 1 ? 0 : -1;
    return GMV_OK;
}

static gmv_status not_readable(const gmv_layout *layout, const gmv_texts *groups)
{
    const gmv_h5 *file = layout->file;
    char hint[700];
    if (gmv_h5_has(file, "row_attrs") && gmv_h5_has(file, "matrix")) {
        return GMV_FAIL(
            GMV_ERR_DATA,
            "%s: a Loom file, which is not read; convert it: python -c \"import anndata, h5py; f = "
            "h5py.File('%s'); t = lambda g: {{'Gene': 'var_names', 'CellID': 'obs_names'}.get(k, k): v.asstr()[:] "
            "if v.dtype.kind in 'SO' else v[:] for k, v in f[g].items() if v.ndim == 1}; "
            "anndata.AnnData(f['matrix'][:].T, t('col_attrs'), t('row_attrs')).write_h5ad('cells.h5ad')\"",
            file->path, file->path);
    }
    if (gmv_h5_is_group(file, "assays") && gmv_h5_has(file, "cell.names")) {
        return GMV_FAIL(
            GMV_ERR_DATA,
            "%s: an h5Seurat file, which is not read; convert it: Rscript -e \"SeuratDisk::Convert('%s', dest "
            "= 'h5ad')\"",
            file->path, file->path);
    }
    gmv_names_hint(groups, "obs", hint, sizeof hint);
    return GMV_FAIL(GMV_ERR_DATA, "%s: not an h5ad (%s is missing) nor a 10x or MuData file; %s", file->path,
                    gmv_h5_has(file, "obs") ? "var" : "obs", hint);
}

gmv_status gmv_layout_read(gmv_layout *layout, const gmv_h5 *file)
{
    gmv_texts groups;
    memset(layout, 0, sizeof *layout);
    layout->file = file;
    bool mudata = false; /* which has obs and var too */
    GMV_TRY(gmv_h5_attribute_is(file, "/", "encoding-type", "MuData", &mudata));
    if (!mudata && gmv_h5_has(file, "obs") && gmv_h5_has(file, "var") &&
        (gmv_h5_has(file, "X") || !gmv_h5_is_group(file, "mod"))) {
        layout->format = "h5ad";
        return read_anndata(layout, "");
    }
    if (gmv_h5_is_group(file, "mod")) {
        layout->format = "h5mu";
        return read_mudata(layout);
    }
    GMV_TRY(gmv_h5_children(file, "/", &groups));
    layout->format = "10x";
    gmv_status status = gmv_h5_has(file, "matrix/barcodes") ? read_10x_v3(layout) : read_10x_v2(layout, &groups);
    if (status == GMV_OK && layout->n == 0) {
        status = not_readable(layout, &groups);
    }
    gmv_texts_free(&groups);
    return status;
}

void gmv_layout_free(gmv_layout *layout)
{
    GMV_FREE(layout->place);
    layout->n = 0;
}

static gmv_status nothing_found(const gmv_layout *layout, const char *wanted)
{
    char hint[700];
    bool automatic = strcmp(wanted, "auto") == 0;
    list_places(layout, wanted, hint, sizeof hint);
    if (automatic && layout->part < 0) {
        return GMV_FAIL(GMV_ERR_CONFIG, "%s: data.matrix must say which matrix to take; %s", layout->file->path, hint);
    }
    return GMV_FAIL(automatic ? GMV_ERR_DATA : GMV_ERR_CONFIG, "%s: no matrix '%s' in the file (data.matrix); %s",
                    layout->file->path, automatic ? "X" : gmv_shown(wanted).at, hint);
}

/* What is asked for in terms of one part: "X" of a MuData file is that of the modality that auto takes, and
 * "mod/rna" leaves the choice among the matrices of rna to auto. */
static void resolve(const gmv_layout *layout, const char *wanted, int *part, char *name, size_t size)
{
    *part = layout->part;
    snprintf(name, size, "%s", wanted);
    for (int i = 0; i < layout->n; i++) {
        const gmv_place *place = &layout->place[i];
        size_t root = strlen(place->root);
        if (root > 0 && strncmp(wanted, place->root, root - 1) == 0 && wanted[root - 1] == '\0') {
            *part = place->part;
            snprintf(name, size, "auto");
            return;
        }
        if (root > 0 && place->part == layout->part && strcmp(wanted, place->name + root) == 0) {
            snprintf(name, size, "%s", place->name);
            return;
        }
    }
}

gmv_status gmv_layout_find(const gmv_layout *layout, const char *wanted, const gmv_place *found[3], int *n)
{
    char name[300];
    int part;
    resolve(layout, wanted, &part, name, sizeof name);
    bool automatic = strcmp(name, "auto") == 0;
    *n = 0;
    for (int i = 0; i < layout->n && !automatic && *n == 0; i++) {
        if (strcmp(layout->place[i].name, name) == 0) {
            found[(*n)++] = &layout->place[i];
        }
    }
    for (int p = GMV_PREFER_COUNTS; automatic && p < GMV_PREFER_NEVER; p++) {
        for (int i = 0; i < layout->n; i++) {
            const gmv_place *place = &layout->place[i];
            if (place->part == part && (int)place->preference == p) {
                found[(*n)++] = place;
                break;
            }
        }
    }
    return *n > 0 ? GMV_OK : nothing_found(layout, wanted);
}

gmv_status gmv_referred_categories(const gmv_h5 *file, const char *path, char *categories, size_t size)
{
    hobj_ref_t reference;
    char name[1024] = "";
    hid_t attribute = H5Aopen_by_name(file->id, path, "categories", H5P_DEFAULT, H5P_DEFAULT);
    herr_t result = attribute < 0 ? -1 : 0;
    if (result >= 0) {
        hid_t type = H5Aget_type(attribute);
        result = H5Tequal(type, H5T_STD_REF_OBJ) > 0 ? H5Aread(attribute, H5T_STD_REF_OBJ, &reference) : -1;
        H5Tclose(type);
        H5Aclose(attribute);
    }
    hid_t target = result >= 0 ? H5Rdereference2(file->id, H5P_DEFAULT, H5R_OBJECT, &reference) : -1;
    ssize_t length = target >= 0 ? H5Iget_name(target, name, sizeof name) : 0;
    if (target >= 0) {
        H5Oclose(target);
    }
    if (length <= 0 || (size_t)length >= size) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: the categories of %s are a reference to nowhere; the file is damaged",
                        file->path, gmv_shown(path).at);
    }
    snprintf(categories, size, "%s", name[0] == '/' ? name + 1 : name);
    return GMV_OK;
}

/* The dataset in a group of values and a mask, or the element itself. */
static void find_values(const gmv_h5 *file, const char *element, char *values, size_t size)
{
    snprintf(values, size, "%.600s%s", element, gmv_h5_is_group(file, element) ? "/values" : "");
}

/* An index is written as any column: a dataset, codes and categories, or values and a mask. */
static gmv_status find_index(gmv_table *table)
{
    const gmv_h5 *file = table->file;
    char *name = NULL, index[600], part[640];
    GMV_TRY(gmv_h5_attribute_text(file, table->path, "_index", &name));
    snprintf(table->index_name, sizeof table->index_name, "%s", name != NULL ? name : "_index");
    GMV_FREE(name);
    snprintf(index, sizeof index, "%s/%s", table->path, table->index_name);
    if (!gmv_h5_has(file, index)) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: the index %s of %s is missing", file->path, gmv_shown(index).at,
                        gmv_shown(table->path).at);
    }
    find_values(file, index, table->index, sizeof table->index);
    snprintf(part, sizeof part, "%s/codes", index);
    if (gmv_h5_has(file, part)) {
        memcpy(table->index, part, sizeof part);
        snprintf(part, sizeof part, "%s/categories", index);
        find_values(file, part, table->index_levels, sizeof table->index_levels);
    } else if (!gmv_h5_is_group(file, index) && H5Aexists_by_name(file->id, index, "categories", H5P_DEFAULT) > 0) {
        GMV_TRY(gmv_referred_categories(file, index, part, sizeof part));
        find_values(file, part, table->index_levels, sizeof table->index_levels);
    }
    snprintf(part, sizeof part, "%s/mask", index);
    if (gmv_h5_has(file, part)) {
        memcpy(table->index_mask, part, sizeof part);
    }
    return GMV_OK;
}

/* "mod/NAME/obs": the cells of one modality are some of those of the file's own obs. */
static void find_common(gmv_table *table)
{
    char modality[320];
    size_t length = strlen(table->path);
    if (length < 9 || strncmp(table->path, "mod/", 4) != 0 || strcmp(table->path + length - 4, "/obs") != 0) {
        return;
    }
    snprintf(modality, sizeof modality, "%.*s", (int)(length - 8), table->path + 4);
    snprintf(table->rows_at, sizeof table->rows_at, "obsmap/%.300s", modality);
    if (gmv_h5_is_group(table->file, "obs") && gmv_h5_has(table->file, table->rows_at)) {
        snprintf(table->common, sizeof table->common, "obs");
    }
}

gmv_status gmv_table_open(gmv_table *table, const gmv_h5 *file, const char *path)
{
    hid_t dataset = -1;
    memset(table, 0, sizeof *table);
    table->file = file;
    snprintf(table->path, sizeof table->path, "%.319s", path);
    snprintf(table->index, sizeof table->index, "%.319s", path);
    if (!gmv_h5_has(file, path)) {
        return GMV_FAIL(GMV_ERR_DATA, "%s: %s is missing, which has the names", file->path, gmv_shown(path).at);
    }
    bool group = gmv_h5_is_group(file, path);
    if (group) {
        GMV_TRY(find_index(table));
        find_common(table);
    }
    GMV_TRY(gmv_h5_open_dataset(file, table->index, 1, &dataset, &table->rows));
    hid_t type = H5Dget_type(dataset);
    bool compound = H5Tget_class(type) == H5T_COMPOUND;
    table->kind = group ? GMV_TABLE_GROUP : compound ? GMV_TABLE_COMPOUND : GMV_TABLE_NAMES;
    char *field = compound ? H5Tget_member_name(type, 0) : NULL;
    if (field != NULL) {
        snprintf(table->index_name, sizeof table->index_name, "%s", field);
        H5free_memory(field);
    }
    H5Tclose(type);
    H5Dclose(dataset);
    return GMV_OK;
}
