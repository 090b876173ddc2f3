/* markers.h5ad, as far as a page tells of it: the first genes of each cluster. */
#include "report.h"

#include "../data/check/h5_check.h"
#include "../data/h5/h5.h"

#include "gmvae/files.h"
#include "gmvae/mem.h"
#include "gmvae/text.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

void gmv_result_markers_fini(gmv_result_markers *markers)
{
    for (int i = 0; markers->gene != NULL && i < markers->clusters * GMV_SHOWN_MARKERS; i++) {
        gmv_free(markers->gene[i].gene);
    }
    GMV_FREE(markers->gene);
    GMV_FREE(markers->cells);
    markers->clusters = 0;
}

/* All of a dataset of numbers whose shape is known. @param[in] type  of the memory */
static gmv_status read_array(const gmv_h5 *file, const char *path, int ndims, const int64_t *shape, hid_t type,
                             void *numbers)
{
    hid_t dataset = -1;
    int64_t dims[2] = {0, 0};
    const int64_t first[2] = {0, 0};
    GMV_TRY(gmv_h5_open_dataset(file, path, ndims, &dataset, dims));
    bool good = dims[0] == shape[0] && (ndims == 1 || dims[1] == shape[1]);
    gmv_status status = good ? gmv_h5_read(file, dataset, ndims, first, shape, type, numbers)
                             : GMV_FAIL(GMV_ERR_DATA, "%s: %s has another shape", file->path, path);
    H5Dclose(dataset);
    return status;
}

/* Whether they are of the clusters that the embedding has. */
static gmv_status check_clusters(const gmv_h5 *file, const gmv_result_cells *result)
{
    int64_t components = result->component.levels;
    int *of = NULL;
    if (result->cluster_of == NULL) {
        return GMV_OK;
    }
    GMV_TRY(GMV_NEW(of, components, "clusters of components"));
    gmv_status status = read_array(file, "uns/gmvae_dist/component_cluster", 1, &components, H5T_NATIVE_INT, of);
    bool same = status == GMV_OK && memcmp(of, result->cluster_of, (size_t)components * sizeof *of) == 0;
    gmv_free(of);
    return status != GMV_OK || same ? status
                                    : GMV_FAIL(GMV_ERR_DATA, "%s is of other clusters than embedding.h5ad", file->path);
}

/* The largest positive changes of a cluster. @param[in] change, probability  [genes] */
static gmv_status take_first(gmv_marker *first, const gmv_texts *genes, const float *change, const float *probability)
{
    int best[GMV_SHOWN_MARKERS], n = 0;
    for (int g = 0; g < genes->n; g++) {
        if (!(change[g] > 0.0f) || (n == GMV_SHOWN_MARKERS && !(change[g] > change[best[n - 1]]))) {
            continue;
        }
        int at = n < GMV_SHOWN_MARKERS ? n++ : n - 1;
        for (; at > 0 && change[g] > change[best[at - 1]]; at--) {
            best[at] = best[at - 1];
        }
        best[at] = g;
    }
    for (int i = 0; i < n; i++) {
        first[i].change = change[best[i]];
        first[i].probability = probability[best[i]];
        GMV_TRY(gmv_copy_text(&first[i].gene, genes->at[best[i]]));
    }
    return GMV_OK;
}

static gmv_status read_genes(const gmv_h5 *file, gmv_result_markers *markers, const gmv_texts *genes)
{
    int64_t clusters = markers->clusters, shape[2] = {clusters, genes->n}, figures = clusters * genes->n;
    float *change = NULL, *probability = NULL;
    gmv_status status;
    GMV_GO(GMV_NEW(markers->cells, clusters, "cells of clusters"));
    GMV_GO(GMV_NEW(markers->gene, clusters * GMV_SHOWN_MARKERS, "genes of clusters"));
    GMV_GO(read_array(file, "obs/cells", 1, shape, H5T_NATIVE_INT64, markers->cells));
    GMV_GO(GMV_NEW(change, figures, "figures of genes"));
    GMV_GO(GMV_NEW(probability, figures, "figures of genes"));
    GMV_GO(read_array(file, "layers/log2_fold_change", 2, shape, H5T_NATIVE_FLOAT, change));
    GMV_GO(read_array(file, "layers/probability", 2, shape, H5T_NATIVE_FLOAT, probability));
    for (int64_t c = 0; c < clusters; c++) {
        GMV_GO(take_first(markers->gene + c * GMV_SHOWN_MARKERS, genes, change + c * genes->n,
                          probability + c * genes->n));
    }
done:
    gmv_free(change);
    gmv_free(probability);
    return status;
}

static gmv_status read_file(const gmv_h5 *file, gmv_result_markers *markers, const gmv_result_cells *result)
{
    gmv_texts genes = {NULL, 0};
    hid_t dataset = -1;
    int64_t clusters;
    GMV_TRY(check_clusters(file, result));
    GMV_TRY(gmv_h5_open_dataset(file, "obs/cells", 1, &dataset, &clusters));
    H5Dclose(dataset);
    if (clusters < 1 || (result->cluster.levels > 0 && clusters != result->cluster.levels)) {
        return GMV_FAIL(GMV_ERR_DATA, "%s is of %" PRId64 " clusters", file->path, clusters);
    }
    markers->clusters = (int)clusters;
    GMV_TRY(gmv_h5_texts_at(file, "var/_index", NULL, &genes));
    gmv_status status = read_genes(file, markers, &genes);
    gmv_texts_free(&genes);
    return status;
}

gmv_status gmv_result_markers_read(gmv_result_markers *markers, const gmv_config *config,
                                   const gmv_result_cells *result)
{
    char path[GMV_PATH_ROOM], *checked = path;
    gmv_h5 file = {0};
    memset(markers, 0, sizeof *markers);
    snprintf(path, sizeof path, "%.4000s/markers.h5ad", config->output_dir);
    if (access(path, F_OK) != 0) {
        if (result->cluster.levels > 1) {
            snprintf(markers->why, sizeof markers->why,
                     "There is no markers.h5ad: gmvae_dist markers writes it, then gmvae_dist report shows it here.");
        }
        return GMV_OK;
    }
    gmv_status status = gmv_h5_check(&checked, 1, config->data_check_seconds);
    status = status == GMV_OK ? gmv_h5_open(&file, path, NULL) : status;
    status = status == GMV_OK ? read_file(&file, markers, result) : status;
    gmv_h5_close(&file);
    if (status == GMV_OK || status == GMV_STOPPED) {
        return status;
    }
    gmv_result_markers_fini(markers);
    snprintf(markers->why, sizeof markers->why, "Left out: %.1000s; gmvae_dist markers writes it anew.",
             gmv_error_message());
    gmv_error_clear();
    return GMV_OK;
}

const char *gmv_marker_names(const gmv_result_markers *markers, int cluster, int most, char *text, size_t size)
{
    const gmv_marker *first = markers->gene + (int64_t)cluster * GMV_SHOWN_MARKERS;
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < most && first[i].gene != NULL && used + 80 < size; i++) {
        used += (size_t)snprintf(text + used, size - used, "%s%.60s", i > 0 ? ", " : "", first[i].gene);
    }
    return text;
}

void gmv_write_marker_table(FILE *page, const gmv_result_markers *markers)
{
    if (markers->clusters == 0 && markers->why[0] == '\0') {
        return;
    }
    fputs("<h2>Genes of each cluster</h2>\n", page);
    if (markers->clusters == 0) {
        fputs("<p>", page);
        gmv_print_html_text(page, markers->why);
        fputs("</p>\n", page);
        return;
    }
    fputs("<div class=\"wide\"><table><thead><tr><th>cluster</th><th>cells</th><th class=\"genes\">genes, the largest "
          "fold changes first</th></tr></thead><tbody>\n",
          page);
    for (int c = 0; c < markers->clusters; c++) {
        const gmv_marker *first = markers->gene + (int64_t)c * GMV_SHOWN_MARKERS;
        fprintf(page, "<tr><td>%d</td><td>%" PRId64 "</td><td class=\"genes\">", c, markers->cells[c]);
        for (int i = 0; i < GMV_SHOWN_MARKERS && first[i].gene != NULL; i++) {
            fprintf(page, "%s<span data-tip=\"log2 fold change %.2f, probability %.2f\">", i > 0 ? ", " : "",
                    (double)first[i].change, (double)first[i].probability);
            gmv_print_html_text(page, first[i].gene);
            fputs("</span>", page);
        }
        fputs("</td></tr>\n", page);
    }
    fputs("</tbody></table></div>\n", page);
}
