/* markers.h5ad: clusters by genes. */
#include "embedding_skeleton.h"
#include "h5ad_file.h"

#include "../data/h5/h5.h"

#include "gmvae/files.h"
#include "gmvae/markers.h"
#include "gmvae/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const int64_t other_bytes = 1 << 20; /* what HDF5 and short texts need */
static const int64_t bytes_of_rank = 160;   /* of a gene in a cluster's list: its name and four numbers, generously */

/* Bytes of the names of genes, generously: a file that has failed cannot be closed. */
static int64_t bytes_of_names(const gmv_cells *cells)
{
    int64_t bytes = 0;
    for (int32_t g = 0; g < cells->genes; g++) {
        bytes += 64 + (int64_t)strlen(cells->gene[g]);
        bytes += cells->gene_id != NULL ? 64 + (int64_t)strlen(cells->gene_id[g]) : 0;
    }
    return bytes;
}

static gmv_status write_clusters(const gmv_h5ad *out, const gmv_markers *markers)
{
    static char *const columns[] = {"cells"};
    int64_t clusters = markers->clusters;
    GMV_TRY(gmv_h5ad_group(out, "obs", "dataframe", "0.2.0"));
    GMV_TRY(gmv_h5ad_attribute_text(out, "obs", "_index", "_index"));
    GMV_TRY(gmv_h5ad_attribute_texts(out, "obs", "column-order", 1, columns));
    GMV_TRY(gmv_h5ad_strings(out, "obs/_index", clusters));
    for (int c = 0; c < markers->clusters; c++) {
        char name[16], *text = name;
        snprintf(name, sizeof name, "%d", c);
        GMV_TRY(gmv_h5ad_write_strings(out, "obs/_index", c, 1, &text));
    }
    GMV_TRY(gmv_h5ad_array(out, "obs/cells", H5T_STD_I64LE, 1, &clusters));
    return gmv_h5ad_write(out, "obs/cells", H5T_NATIVE_INT64, 0, clusters, markers->cells);
}

/* ---- the table that scanpy.get.rank_genes_groups_df reads ---- */

/* Clusters with cells side by side, each with its first genes. */
typedef struct ranking {
    int columns; /* clusters with cells */
    int64_t rows;
    int cluster[GMV_H5AD_COLUMNS];
    char name[GMV_H5AD_COLUMNS][16], *column[GMV_H5AD_COLUMNS];
    char **gene; /* [rows, columns] borrowed */
    float *value;
    double *none; /* NaN */
} ranking;

static gmv_status rank(ranking *r, const gmv_markers *markers, int64_t genes, const gmv_cells *cells)
{
    r->rows = genes > 0 && genes < markers->genes ? genes : markers->genes;
    for (int c = 0; c < markers->clusters; c++) {
        if (markers->cells[c] > 0) {
            snprintf(r->name[r->columns], sizeof r->name[0], "%d", c);
            r->column[r->columns] = r->name[r->columns];
            r->cluster[r->columns++] = c;
        }
    }
    int64_t n = r->rows * r->columns;
    GMV_TRY(GMV_NEW(r->gene, n, "first genes of clusters"));
    GMV_TRY(GMV_NEW(r->value, n, "first genes of clusters"));
    GMV_TRY(GMV_NEW(r->none, n, "first genes of clusters"));
    for (int64_t i = 0; i < n; i++) {
        const int32_t *ranked = markers->ranked + (int64_t)r->cluster[i % r->columns] * markers->genes;
        r->gene[i] = cells->gene[ranked[i / r->columns]];
        r->none[i] = NAN;
    }
    return GMV_OK;
}

static gmv_status write_figure(const gmv_h5ad *out, const char *path, const ranking *r, const gmv_markers *markers,
                               gmv_marker_figure figure)
{
    for (int64_t i = 0; i < r->rows * r->columns; i++) {
        int64_t first = (int64_t)r->cluster[i % r->columns] * markers->genes;
        r->value[i] = markers->value[figure][first + markers->ranked[first + i / r->columns]];
    }
    return gmv_h5ad_records(out, path, H5T_NATIVE_FLOAT, r->columns, r->column, r->rows, r->value);
}

/* It wants p-values: there are none, which NaN says. */
static gmv_status write_ranking(const gmv_h5ad *out, const ranking *r, const gmv_markers *markers)
{
    static const char *const pvals[] = {"uns/rank_genes_groups/pvals", "uns/rank_genes_groups/pvals_adj"};
    GMV_TRY(gmv_h5ad_group(out, "uns/rank_genes_groups", "dict", "0.1.0"));
    GMV_TRY(gmv_h5ad_group(out, "uns/rank_genes_groups/params", "dict", "0.1.0"));
    GMV_TRY(gmv_h5ad_scalar_text(out, "uns/rank_genes_groups/params/groupby", "gmvae_cluster"));
    GMV_TRY(gmv_h5ad_scalar_text(out, "uns/rank_genes_groups/params/reference", "rest"));
    GMV_TRY(gmv_h5ad_scalar_text(out, "uns/rank_genes_groups/params/method", "gmvae_dist"));
    GMV_TRY(gmv_h5ad_text_records(out, "uns/rank_genes_groups/names", r->columns, r->column, r->rows, r->gene));
    GMV_TRY(write_figure(out, "uns/rank_genes_groups/scores", r, markers, GMV_MARKER_PROBABILITY));
    GMV_TRY(write_figure(out, "uns/rank_genes_groups/logfoldchanges", r, markers, GMV_MARKER_LOG2_FOLD_CHANGE));
    for (int p = 0; p < 2; p++) {
        GMV_TRY(gmv_h5ad_records(out, pvals[p], H5T_NATIVE_DOUBLE, r->columns, r->column, r->rows, r->none));
    }
    return GMV_OK;
}

static void ranking_fini(ranking *r)
{
    gmv_free((void *)r->gene);
    gmv_free(r->value);
    gmv_free(r->none);
}

/* ---- all of it ---- */

static gmv_status fill(const gmv_h5ad *out, const gmv_markers *markers, const ranking *r, const gmv_cells *cells,
                       const gmv_embedding *from)
{
    int64_t bytes = (int64_t)GMV_MARKERS * markers->clusters * markers->genes * (int64_t)sizeof(float);
    bytes += r->rows * r->columns * bytes_of_rank;
    GMV_TRY(gmv_h5ad_reserve(out, bytes + bytes_of_names(cells) + other_bytes));
    GMV_TRY(gmv_h5ad_group(out, "/", "anndata", "0.1.0"));
    GMV_TRY(write_clusters(out, markers));
    GMV_TRY(gmv_h5ad_genes(out, cells->genes, cells->gene, cells->gene_id));
    GMV_TRY(gmv_embedding_uns(out, cells, from));
    GMV_TRY(gmv_h5ad_scalar_f64(out, "uns/gmvae_dist/pseudocount", markers->pseudocount));
    GMV_TRY(r->columns > 0 ? write_ranking(out, r, markers) : GMV_OK);
    GMV_TRY(gmv_h5ad_group(out, "layers", "dict", "0.1.0"));
    for (int f = 0; f < GMV_MARKERS; f++) {
        char path[64];
        snprintf(path, sizeof path, "layers/%s", gmv_marker_name((gmv_marker_figure)f));
        GMV_TRY(gmv_h5ad_matrix(out, path, H5T_IEEE_F32LE, markers->clusters, markers->genes, markers->value[f]));
    }
    return GMV_OK;
}

static gmv_status write_file(const char *path, const gmv_markers *markers, const ranking *r, const gmv_cells *cells,
                             const gmv_embedding *from)
{
    gmv_output output;
    gmv_h5_prepare();
    GMV_TRY(gmv_output_begin(&output, path));
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    gmv_h5_lock_if_possible(access, output.temporary);
    gmv_h5ad out = {H5Fcreate(output.temporary, H5F_ACC_TRUNC, H5P_DEFAULT, access), output.path};
    H5Pclose(access);
    gmv_status status = out.id < 0 ? gmv_h5ad_fail(&out, "the file") : fill(&out, markers, r, cells, from);
    status = out.id >= 0 ? gmv_h5ad_finish(&out, status) : status;
    return gmv_output_end(&output, status);
}

gmv_status gmv_write_markers(const char *path, const gmv_markers *markers, int64_t genes, const gmv_cells *cells,
                             const gmv_embedding *from)
{
    ranking r = {.columns = 0};
    gmv_status status = markers->compared <= GMV_H5AD_COLUMNS ? rank(&r, markers, genes, cells) : GMV_OK;
    status = status == GMV_OK ? write_file(path, markers, &r, cells, from) : status;
    ranking_fini(&r);
    return status;
}
