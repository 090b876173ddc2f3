#include "run_predictive.h"

#include "run_metrics.h"

#include "gmvae/files.h"
#include "gmvae/log.h"
#include "gmvae/predictive.h"
#include "gmvae/stage.h"
#include "gmvae/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

/* Cells that counts are drawn for, and genes of the file, at most. */
enum { most_cells = 2000, most_genes = 2000 };

/* ---- predictive.json ---- */

/* The genes of the file, evenly taken from all. */
typedef struct chosen {
    const gmv_predictive *found;
    int64_t n;
} chosen;

static int32_t gene_at(const chosen *of, int64_t i)
{
    return (int32_t)(i * of->found->genes / of->n);
}

static void put_genes(FILE *out, const chosen *of, const char *name, const gmv_gene_sums *sums,
                      double (*figure)(const gmv_gene_sums *, int64_t))
{
    fprintf(out, "    \"%s\": [", name);
    for (int64_t i = 0; i < of->n; i++) {
        int32_t g = gene_at(of, i);
        double value = figure(&sums[g], of->found->measured[g]);
        fprintf(out, isfinite(value) ? "%s%.9g" : "%snull", i > 0 ? ", " : "", value);
    }
    fputs("],\n", out);
}

static void put_integers(FILE *out, const char *name, int64_t n, const int64_t *value, const char *end)
{
    fprintf(out, "  \"%s\": [", name);
    for (int64_t i = 0; i < n; i++) {
        fprintf(out, "%s%" PRId64, i > 0 ? ", " : "", value[i]);
    }
    fprintf(out, "]%s", end);
}

static void put_summary(FILE *out, const gmv_predictive_summary *s)
{
    const struct {
        const char *name;
        double value;
    } figure[] = {{"zeros", s->zeros},
                  {"zeros_drawn", s->zeros_drawn},
                  {"zeros_difference", s->zeros_difference},
                  {"zeros_correlation", s->zeros_correlation},
                  {"mean_ratio", s->mean_ratio},
                  {"variance_ratio", s->variance_ratio},
                  {"library_ratio", s->library_ratio}};
    for (size_t i = 0; i < sizeof figure / sizeof *figure; i++) {
        gmv_put_number(out, figure[i].name, "", "%.9g", figure[i].value);
    }
    fprintf(out, "  \"compared_genes\": %" PRId64 ",\n", s->compared);
}

static gmv_status write_file(const char *path, const gmv_predictive *found, char *const *gene)
{
    const chosen of = {found, found->genes < most_genes ? found->genes : most_genes};
    gmv_predictive_summary summary;
    gmv_output output;
    GMV_TRY(gmv_summarise_predictive(found, &summary));
    GMV_TRY(gmv_output_begin(&output, path));
    FILE *out = output.stream;
    fprintf(out, "{\n  \"cells\": %" PRId64 ",\n  \"cells_of\": %" PRId64 ",\n  \"genes\": %d,\n", found->cells,
            found->of, (int)found->genes);
    put_summary(out, &summary);
    fputs("  \"gene\": {\n    \"name\": [", out);
    for (int64_t i = 0; i < of.n; i++) {
        fputs(i > 0 ? ", " : "", out);
        gmv_print_json_text(out, gene[gene_at(&of, i)]);
    }
    fputs("],\n", out);
    put_genes(out, &of, "zeros", found->observed, gmv_share_of_zeros);
    put_genes(out, &of, "zeros_drawn", found->drawn, gmv_share_of_zeros);
    put_genes(out, &of, "mean", found->observed, gmv_mean_count);
    put_genes(out, &of, "mean_drawn", found->drawn, gmv_mean_count);
    put_genes(out, &of, "variance", found->observed, gmv_variance_of_counts);
    put_genes(out, &of, "variance_drawn", found->drawn, gmv_variance_of_counts);
    fputs("    \"cells\": [", out);
    for (int64_t i = 0; i < of.n; i++) {
        fprintf(out, "%s%" PRId64, i > 0 ? ", " : "", found->measured[gene_at(&of, i)]);
    }
    fputs("]\n  },\n", out);
    put_integers(out, "library", found->cells, found->library, ",\n");
    put_integers(out, "library_drawn", found->cells, found->drawn_library, "\n");
    fputs("}\n", out);
    return gmv_output_end(&output, GMV_OK);
}

/* ---- the run ---- */

static gmv_status check(const gmv_config *config, const gmv_comm *comm, gmv_model *model, gmv_feed *feed,
                        const gmv_cells *cells)
{
    gmv_predictive found = {0};
    char path[GMV_PATH_ROOM];
    snprintf(path, sizeof path, "%.4000s/predictive.json", config->output_dir);
    gmv_status status = gmv_predict_counts(&found, most_cells, model, feed, cells, comm);
    if (status == GMV_ERR_NUMERIC || status == GMV_ERR_CONFIG) {
        gmv_log("note    no predictive.json: %s", gmv_error_message());
        gmv_error_clear();
        status = GMV_OK;
        if (comm->rank == 0) {
            unlink(path); /* of an earlier model */
        }
    } else if (status == GMV_OK) {
        status = gmv_comm_agree(comm, comm->rank == 0 ? write_file(path, &found, cells->gene) : GMV_OK);
    }
    gmv_predictive_fini(&found);
    return status;
}

gmv_status gmv_check_predictive(const gmv_config *config, const gmv_comm *comm, gmv_model *model, gmv_feed *feed,
                                const gmv_cells *cells)
{
    gmv_stage before = gmv_stage_enter(GMV_STAGE_PREDICTIVE);
    gmv_status status = check(config, comm, model, feed, cells);
    gmv_stage_enter(before);
    return status;
}
