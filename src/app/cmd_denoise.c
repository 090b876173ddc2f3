/* denoise: expected expression of cells, also as if they had been measured in another batch. */
#include "gene_choice.h"
#include "level_choice.h"
#include "session.h"

#include "gmvae/embedding.h"
#include "gmvae/files.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/signals.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { most_values = 1 << 23 }; /* of predictors that are there at a time, a head */

typedef struct denoising {
    const gmv_run *run;
    gmv_session session;
    gmv_gene_choice genes;
    gmv_level_choice levels;
    gmv_expression expression;
    gmv_cell_outputs outputs; /* one: the layer */
    gmv_embedding_file *file;
    int draws_at_once;
    double scale;    /* 0: the library */
    float *fraction; /* [GMV_EVAL_CELLS, G] */
    float *value;    /* [GMV_EVAL_CELLS, genes] */
    float library[GMV_EVAL_CELLS];
} denoising;

/* ---- cells ---- */

static bool has_counts(const void *context, gmv_gidx row)
{
    return gmv_is_chosen(context, GMV_CELLS_ALL, row);
}

/* Mean over all draws of the fractions of the batch's cells. */
static gmv_status expect_batch(denoising *d, int n)
{
    const gmv_batch *batch = &d->session.feed.batch;
    int samples = (int)d->run->config.denoise_samples;
    gmv_decoding how = {.cells = n, .batch = batch, .measured = !(d->scale > 0.0), .weight = 1.0f / (float)samples};
    GMV_TRY(gmv_expression_clear(&d->expression, n));
    for (int first = 0; first < samples; first += d->draws_at_once) {
        how.draws = samples - first < d->draws_at_once ? samples - first : d->draws_at_once;
        GMV_TRY(gmv_expression_draw_latents(&d->expression, batch, how.draws, first));
        GMV_TRY(gmv_expression_add_chosen(&d->expression, &how, &d->levels));
    }
    return gmv_expression_take(&d->expression, n, d->fraction);
}

static gmv_status put_batch(denoising *d, const gmv_visit *visit)
{
    gmv_backend *b = d->session.backend;
    int64_t genes = d->session.cells->genes;
    const float *output[] = {d->value};
    GMV_TRY(expect_batch(d, visit->n));
    GMV_TRY(b->op->download(b, d->library, d->session.feed.batch.library, visit->n * (int64_t)sizeof *d->library));
    for (int i = 0; i < visit->n; i++) {
        float scale = d->scale > 0.0 ? (float)d->scale : d->library[i];
        for (int g = 0; g < d->genes.n; g++) {
            d->value[(int64_t)i * d->genes.n + g] = scale * d->fraction[i * genes + d->genes.at[g]];
        }
    }
    return gmv_embedding_put(d->file, visit->n, visit->row, output);
}

static gmv_status put_cells(denoising *d)
{
    const gmv_cells *cells = d->session.cells;
    gmv_visit visit;
    gmv_status status;
    GMV_GO(gmv_visit_begin(&visit, &d->session.feed, cells, (gmv_row_filter){has_counts, cells}));
    for (;;) {
        GMV_GO(gmv_stop_check());
        GMV_GO(gmv_visit_next(&visit, d->session.model->input));
        if (visit.n == 0) {
            break;
        }
        GMV_GO(put_batch(d, &visit));
    }
done:
    gmv_visit_end(&visit);
    return status;
}

/* ---- all of it ---- */

static gmv_status make_room(denoising *d)
{
    int64_t genes = d->session.cells->genes, most = most_values / (GMV_EVAL_CELLS * genes);
    int64_t samples = d->run->config.denoise_samples;
    most = most > GMV_EVAL_DRAWS ? GMV_EVAL_DRAWS : most > 1 ? most : 1;
    d->draws_at_once = (int)(most < samples ? most : samples);
    GMV_TRY(GMV_NEW(d->fraction, GMV_EVAL_CELLS * genes, "expected expression"));
    GMV_TRY(GMV_NEW(d->value, GMV_EVAL_CELLS * (int64_t)d->genes.n, "expected expression"));
    return gmv_expression_init(&d->expression, d->session.model, GMV_EVAL_CELLS, d->draws_at_once,
                               d->session.cells->covariates);
}

/* What will be written, and whether there is room. */
static gmv_status show_plan(const denoising *d)
{
    const gmv_config *config = &d->run->config;
    const gmv_cells *cells = d->session.cells;
    double bytes = (double)cells->total * (4.0 * d->genes.n + 16.0);
    char folder[GMV_PATH_ROOM], levels[160];
    gmv_log("denoise %" PRId64 " cell%s, %d of %d genes: %" PRId64 " draw%s of each cell, under %s, times %s",
            cells->total, cells->total == 1 ? "" : "s", d->genes.n, cells->genes, config->denoise_samples,
            config->denoise_samples == 1 ? "" : "s", gmv_level_choice_text(&d->levels, cells, levels, sizeof levels),
            config->denoise_scale);
    gmv_log("file    %s: %.4g MB and the columns of obs", d->session.result.path, bytes * 1e-6);
    GMV_TRY(gmv_folder_check(config->output_dir, "output.dir", folder));
    return gmv_file_check_room(folder, d->session.result.path, bytes, bytes,
                               "set output.dir to a disk with room, or name fewer genes in denoise.genes");
}

static gmv_status write_file(denoising *d)
{
    const gmv_comm *comm = &d->run->comm;
    char *text = NULL;
    gmv_embedding file = {.outputs = &d->outputs,
                          .checkpoint = d->session.path,
                          .epoch = d->session.result.epoch,
                          .without_bounds = true,
                          .genes = d->genes.n,
                          .gene = d->genes.gene,
                          .gene_id = d->genes.gene_id};
    d->outputs.n = 1;
    d->outputs.at[0] = (gmv_cell_output){.name = "denoised", .kind = GMV_OUTPUT_LAYER, .cols = d->genes.n};
    gmv_status status = gmv_comm_agree(comm, gmv_config_text(&d->run->config, &text));
    file.config = text;
    status = status == GMV_OK ? gmv_embedding_begin(&d->file, d->session.result.path, d->session.cells, comm, &file)
                              : status;
    status = status == GMV_OK ? put_cells(d) : status;
    status = gmv_embedding_end(&d->file, comm, status);
    GMV_FREE(text);
    return status;
}

static gmv_status denoise(denoising *d, gmv_run *run)
{
    const gmv_purpose purpose = {.kind = "denoised", .end = "h5ad", .dry_run = run->dry_run};
    const gmv_config *config = &run->config;
    const gmv_cells *cells;
    bool library = strcmp(config->denoise_scale, "library") == 0;
    d->scale = library ? 0.0 : strtod(config->denoise_scale, NULL);
    GMV_TRY(gmv_session_open(&d->session, run, &purpose));
    cells = d->session.cells;
    GMV_TRY(gmv_choose_genes(&d->genes, config, cells, &run->comm));
    GMV_TRY(gmv_choose_levels(&d->levels, "denoise.batch", config->denoise_batch, cells, &run->comm));
    GMV_TRY(gmv_comm_agree(&run->comm, make_room(d)));
    GMV_TRY(gmv_comm_agree(&run->comm, run->comm.rank == 0 ? show_plan(d) : GMV_OK));
    if (run->dry_run) {
        gmv_log("dry run: config, data, memory and room are in order; nothing was written");
        return GMV_OK;
    }
    GMV_TRY(write_file(d));
    gmv_log("wrote %s: %" PRId64 " cells, %d genes", d->session.result.path, cells->total, d->genes.n);
    return GMV_OK;
}

gmv_status gmv_cmd_denoise(gmv_run *run)
{
    denoising d = {.run = run};
    gmv_status status = denoise(&d, run);
    gmv_expression_fini(&d.expression);
    gmv_gene_choice_fini(&d.genes);
    gmv_level_choice_fini(&d.levels);
    GMV_FREE(d.fraction);
    GMV_FREE(d.value);
    gmv_session_close(&d.session);
    return gmv_name_stop(status, "before denoised.h5ad was written");
}
