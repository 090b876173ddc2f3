/* markers.csv and markers.h5ad: found when training ends, or by the command. */
#include "run_markers.h"

#include "gmvae/files.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/stage.h"
#include "gmvae/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void put_row(FILE *out, const gmv_markers *m, const gmv_cells *cells, int cluster, int rank)
{
    int64_t first = (int64_t)cluster * m->genes;
    int32_t gene = m->ranked[first + rank];
    fprintf(out, "%d,%d,", cluster, rank + 1);
    gmv_print_csv_text(out, cells->gene[gene]);
    fputc(',', out);
    gmv_print_csv_text(out, cells->gene_id != NULL ? cells->gene_id[gene] : "");
    for (int f = 0; f < GMV_MARKERS; f++) {
        float value = m->value[f][first + gene];
        fprintf(out, isnan(value) ? "," : ",%.6g", (double)value);
    }
    fputc('\n', out);
}

static gmv_status write_table(const char *path, const gmv_markers *m, const gmv_cells *cells, int64_t most)
{
    gmv_output output;
    int32_t genes = most > 0 && most < m->genes ? (int32_t)most : m->genes;
    GMV_TRY(gmv_output_begin(&output, path));
    fputs("cluster,rank,gene,gene_id", output.stream);
    for (int f = 0; f < GMV_MARKERS; f++) {
        fprintf(output.stream, ",%s", gmv_marker_name((gmv_marker_figure)f));
    }
    fputc('\n', output.stream);
    for (int c = 0; c < m->clusters; c++) {
        for (int32_t rank = 0; rank < genes && m->cells[c] > 0; rank++) {
            put_row(output.stream, m, cells, c, rank);
        }
    }
    return gmv_output_end(&output, GMV_OK);
}

void gmv_marker_table_path(const char *path, char *table)
{
    snprintf(table, GMV_RESULT_ROOM, "%.*s.csv", (int)(strlen(path) - strlen(".h5ad")), path);
}

/* Both files, on rank 0. */
static gmv_status write_files(const gmv_config *config, const gmv_markers *markers, const gmv_cells *cells,
                              const gmv_result *result)
{
    char *text = NULL, table[GMV_RESULT_ROOM];
    gmv_embedding from = {.clustering = result->clustering, .checkpoint = result->checkpoint, .epoch = result->epoch};
    gmv_marker_table_path(result->path, table);
    GMV_TRY(gmv_config_text(config, &text));
    from.config = text;
    gmv_status status = gmv_write_markers(result->path, markers, config->markers_genes, cells, &from);
    GMV_FREE(text);
    return status == GMV_OK ? write_table(table, markers, cells, config->markers_genes) : status;
}

static gmv_status make_markers(gmv_markers *markers, const gmv_config *config, const gmv_comm *comm, gmv_model *model,
                               gmv_feed *feed, const gmv_cells *cells, const gmv_result *result)
{
    const gmv_marker_options options = {config->markers_delta, (int)config->markers_cells};
    GMV_TRY(gmv_find_markers(markers, result->clustering, model, feed, cells, comm, &options));
    bool writes = comm->rank == 0 && markers->compared >= 2;
    return gmv_comm_agree(comm, writes ? write_files(config, markers, cells, result) : GMV_OK);
}

gmv_status gmv_make_markers(gmv_markers *markers, const gmv_config *config, const gmv_comm *comm, gmv_model *model,
                            gmv_feed *feed, const gmv_cells *cells, const gmv_result *result)
{
    gmv_stage before = gmv_stage_enter(GMV_STAGE_MARKERS);
    gmv_status status = make_markers(markers, config, comm, model, feed, cells, result);
    gmv_stage_enter(before);
    return status;
}

/* Markers of a training before this one would pass for its own. */
static void remove_earlier(const gmv_comm *comm, const gmv_result *result)
{
    char table[GMV_RESULT_ROOM];
    gmv_marker_table_path(result->path, table);
    if (comm->rank == 0) {
        unlink(result->path);
        unlink(table);
    }
}

gmv_status gmv_make_trained_markers(const gmv_config *config, const gmv_comm *comm, gmv_model *model, gmv_feed *feed,
                                    const gmv_cells *cells, const gmv_result *result)
{
    gmv_markers markers = {0};
    char why[1024] = "";
    int clusters = result->clustering->clusters;
    gmv_status status = GMV_OK;
    if (clusters == 0) {
        snprintf(why, sizeof why, "the model has no clusters");
    } else if (clusters > GMV_TRAINED_MARKERS) {
        snprintf(why, sizeof why, "%d clusters take long to compare; gmvae_dist markers does it", clusters);
    } else if (clusters > 1) {
        status = gmv_make_markers(&markers, config, comm, model, feed, cells, result);
    }
    if (status == GMV_ERR_NUMERIC) { /* of the same parameters on every rank */
        snprintf(why, sizeof why, "%s", gmv_error_message());
        gmv_error_clear();
        status = GMV_OK;
    } else if (status == GMV_OK && why[0] == '\0' && markers.compared < 2) {
        snprintf(why, sizeof why, "all cells are of one cluster");
    }
    if (status == GMV_OK && why[0] != '\0') {
        gmv_log("markers are left out: %s", why);
        remove_earlier(comm, result);
    }
    gmv_markers_fini(&markers);
    return status;
}
