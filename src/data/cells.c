#include "gmvae/data.h"

#include "fingerprint.h"
#include "genes/gene_lists.h"
#include "genes/gene_stats.h"
#include "genes/join.h"
#include "h5/file_stamp.h"
#include "inputs.h"
#include "rows/pack.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/stage.h"
#include "gmvae/stream.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What gmv_cells_load works with until the cells are complete. */
typedef struct loader {
    const gmv_comm *comm;
    const gmv_config *config;
    const gmv_reading *reading;
    gmv_cells *cells;
    gmv_source *source;   /* [cells->files] */
    gmv_gene_lists lists; /* genes of the sources */
    gmv_factors factors;
    gmv_factor key;     /* obs column of the validation */
    gmv_nnz values;     /* stored in the local rows, as far as known beforehand */
    gmv_packer *packer; /* while rows are read into memory */
    gmv_prints prints;
    bool stream; /* the cells stay on disk */
} loader;

static gmv_status take_sources(loader *load)
{
    gmv_cells *cells = load->cells;
    gmv_source *source = load->source;
    GMV_TRY(GMV_NEW(cells->file_start, cells->files + 1, "input files"));
    GMV_TRY(GMV_NEW(cells->obs, cells->files, "input files"));
    GMV_TRY(GMV_NEW(cells->stamp, cells->files, "input files"));
    for (int f = 0; f < cells->files; f++) {
        GMV_TRY(gmv_copy_text(&cells->obs[f], source[f].place.obs));
        cells->stamp[f] = source[f].looked_at;
        source[f].stamp = &cells->stamp[f];
        cells->file_start[f + 1] = cells->file_start[f] + source[f].rows;
    }
    cells->total = cells->file_start[cells->files];
    if (cells->total == 0) {
        return GMV_FAIL(GMV_ERR_DATA, "%s and the other files have no cells", cells->file[0]);
    }
    return gmv_copy_text(&cells->matrix, source[0].place.name);
}

static gmv_status survey_sources(loader *load)
{
    gmv_cells *cells = load->cells;
    gmv_texts files;
    GMV_TRY(gmv_paths_expand(&files, load->comm, load->reading->paths));
    cells->files = files.n;
    cells->file = files.at;
    GMV_TRY(gmv_comm_agree(load->comm, gmv_factors_init(&load->factors, load->config, load->reading)));
    GMV_TRY(gmv_sources_survey(&load->source, &load->lists, &files, load->comm, load->config, load->reading,
                               gmv_factors_add_levels, &load->factors));
    GMV_TRY(gmv_factors_unite(&load->factors, load->comm));
    GMV_TRY(gmv_comm_agree(load->comm, take_sources(load)));
    return load->reading->training ? gmv_comm_agree(load->comm, gmv_refuse_repeated_files(cells)) : GMV_OK;
}

/* The genes in use before n_top has chosen, and every list's map to them. Collective. */
static gmv_status choose_genes(loader *load)
{
    gmv_cells *cells = load->cells;
    gmv_names used = {0};
    gmv_status status = gmv_genes_join(&used, &cells->gene_id, &load->lists, load->source, cells->files, load->comm,
                                       load->config, load->reading->known);
    cells->genes = (int32_t)used.n;
    cells->gene = gmv_names_take(&used);
    return status;
}

/* Rows of this rank: whole logical shards. */
static gmv_status assign_rows(loader *load)
{
    gmv_cells *cells = load->cells;
    int shards = (int)load->config->data_shards, rank = load->comm->rank, size = load->comm->size;
    cells->shards = shards;
    GMV_TRY(GMV_NEW(cells->shard_start, shards + 1, "shards"));
    for (int s = 0; s <= shards; s++) { /* s * N / S without overflow: N < 2^40, S <= 65536 */
        cells->shard_start[s] = cells->total / shards * s + cells->total % shards * s / shards;
    }
    cells->first_shard = (int)((int64_t)rank * shards / size);
    cells->end_shard = (int)((int64_t)(rank + 1) * shards / size);
    cells->first = cells->shard_start[cells->first_shard];
    cells->count = cells->shard_start[cells->end_shard] - cells->first;
    return GMV_OK;
}

static gmv_status count_part(void *context, gmv_source *source, int64_t first, int64_t end)
{
    const gmv_matrix *matrix = &source->input->matrix;
    int64_t ends[2];
    (void)context;
    GMV_TRY(gmv_h5_read_i64(&source->input->file, matrix->indptr, first, 1, &ends[0]));
    GMV_TRY(gmv_h5_read_i64(&source->input->file, matrix->indptr, end, 1, &ends[1]));
    if (ends[0] < 0 || ends[1] < ends[0] || ends[1] > matrix->nnz) {
        return GMV_FAIL(GMV_ERR_DATA,
                        "%s: %s/indptr does not ascend between rows %" PRId64 " and %" PRId64 "; the file is damaged",
                        source->path, matrix->name, first, end);
    }
    source->values = ends[1] - ends[0];
    return GMV_OK;
}

static gmv_status guess_part(void *context, gmv_source *source, int64_t first, int64_t end)
{
    gmv_nnz *guess = context;
    int64_t values = 0;
    GMV_TRY(gmv_matrix_guess_values(&source->input->matrix, first, end, &values));
    *guess += values;
    return GMV_OK;
}

/* Stored values in the local rows: an upper bound of the packed ones. Dense matrices grow instead, those stored by
 * genes are counted by their reader: of these a guess, when it matters whether all fit into memory. Only files that lie
 * on several ranks are opened to count: at most two on a rank. */
static gmv_status count_values(const loader *load, gmv_nnz *values, gmv_nnz *guess)
{
    const gmv_cells *cells = load->cells;
    *values = *guess = 0;
    for (int f = 0; f < cells->files; f++) {
        gmv_source *source = &load->source[f];
        int64_t first, end;
        gmv_local_rows(cells, source, &first, &end);
        if (source->kind != GMV_MATRIX_CSR) {
            GMV_TRY(load->config->data_residence == GMV_RESIDENCE_AUTO
                        ? gmv_source_visit(cells, source, guess_part, guess)
                        : GMV_OK);
        } else if (end - first == source->rows) {
            source->values = source->nnz;
        } else {
            GMV_TRY(gmv_source_visit(cells, source, count_part, NULL));
        }
        *values += source->values;
    }
    return GMV_OK;
}

/* Whether the rows stay on disk, and everything that is needed to read them. Collective. */
static gmv_status prepare_reading(loader *load)
{
    bool asked = load->config->data_residence == GMV_RESIDENCE_STREAM;
    int refused = -1;
    gmv_nnz guess = 0;
    GMV_TRY(gmv_comm_agree(load->comm, count_values(load, &load->values, &guess)));
    GMV_TRY(gmv_choose_stream(load->cells, load->comm, load->config, load->values + guess, &load->stream));
    GMV_TRY(gmv_open_csr_arrays(load->cells, load->comm, load->source, load->stream, &refused));
    refused = load->config->data_cache == GMV_CACHE_NONE ? refused : -1;
    if (load->stream && refused >= 0 && asked) {
        return gmv_refuse_stream(&load->source[refused]);
    }
    if (load->stream && refused >= 0) {
        gmv_warn("%s cannot be read as a stream (data.residence): all cells are kept in memory",
                 load->cells->file[refused]);
        load->stream = false;
    }
    return !load->stream
               ? GMV_OK
               : gmv_comm_agree(load->comm, gmv_sort_stored_rows(load->cells, load->comm, load->config, load->source));
}

static gmv_status read_file(void *context, gmv_source *source, int64_t first, int64_t end)
{
    loader *load = context;
    gmv_row_source rows = gmv_source_rows(source, &load->lists);
    if (!source->shared && !source->store.is_open) { /* those of shared ones are opened by all ranks together */
        GMV_TRY(gmv_csr_arrays_open(&source->store, rows.matrix, first, end, false));
    }
    int64_t before = load->packer->rounded;
    gmv_work work = gmv_work_begin((double)load->cells->count, "reading %s", source->path);
    work.from = (double)load->packer->rows;
    gmv_status status = gmv_read_rows(load->packer, &rows, &source->store, first, end, &work);
    source->rounded = load->packer->rounded - before;
    gmv_csr_arrays_close(&source->store);
    return status;
}

static gmv_status read_rows(loader *load)
{
    gmv_packer packer = {0};
    gmv_cells *cells = load->cells;
    gmv_status status = GMV_OK;
    load->packer = &packer;
    GMV_GO(gmv_packer_init(&packer, cells->genes, cells->count, load->values));
    GMV_GO(gmv_sources_visit(cells, load->source, NULL, read_file, load));
    GMV_CHECK(packer.rows == cells->count);
    GMV_GO(gmv_packer_finish(&packer, &cells->packed));
    cells->packed.first_cell = cells->first;
done:
    gmv_packer_fini(&packer);
    return status;
}

/* Rows that are being looked through for the choice of genes. */
typedef struct gene_count {
    gmv_gene_counts counts;
    const gmv_split *split;
} gene_count;

static gmv_status count_genes(void *context, const gmv_packed *packed)
{
    gene_count *count = context;
    return gmv_gene_counts_add(&count->counts, packed, count->split);
}

/* map[g] = place of gene g among those that n_top keeps, or -1. Collective. */
static gmv_status choose_top_genes(const loader *load, int32_t *map, int32_t *kept)
{
    const gmv_cells *cells = load->cells;
    gene_count count = {.split = &cells->split};
    double *score = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(gmv_gene_counts_init(&count.counts, cells->genes));
    GMV_GO(GMV_NEW(score, cells->genes, "the choice of genes"));
    GMV_GO(load->stream ? gmv_walk_rows(cells, load->source, &load->lists, cells->genes, count_genes, &count)
                        : count_genes(&count, &cells->packed));
done:
    status = gmv_comm_agree(load->comm, status);
    if (status == GMV_OK) {
        status = gmv_gene_scores(&count.counts, load->comm, load->config->data_genes_flavor, false, score);
    }
    if (status == GMV_OK) {
        status =
            gmv_comm_agree(load->comm, gmv_genes_top(score, cells->genes, load->config->data_genes_n_top, map, kept));
    }
    gmv_gene_counts_fini(&count.counts);
    GMV_FREE(score);
    return status;
}

/* Leaves genes out of the maps: of what is yet to be read, and for the sets of genes. */
static gmv_status narrow_maps(const loader *load, const int32_t *map)
{
    for (int l = 0; l < load->lists.n; l++) {
        gmv_gene_list *list = &load->lists.list[l];
        if (list->map == NULL) {
            GMV_TRY(GMV_NEW(list->map, list->n, "the map of genes"));
            for (int32_t j = 0; j < list->n; j++) {
                list->map[j] = j;
            }
        }
        for (int32_t j = 0; j < list->n; j++) {
            list->map[j] = list->map[j] < 0 ? -1 : map[list->map[j]];
        }
    }
    return GMV_OK;
}

/* Of streamed cells before they are counted, of others when they have been read. */
static gmv_status keep_top_genes(loader *load)
{
    gmv_cells *cells = load->cells;
    int32_t *map = NULL, kept = 0;
    gmv_status status = GMV_OK;
    GMV_GO(gmv_comm_agree(load->comm, GMV_NEW(map, cells->genes, "the choice of genes")));
    GMV_GO(choose_top_genes(load, map, &kept));
    GMV_GO(gmv_comm_agree(load->comm, narrow_maps(load, map)));
    GMV_GO(gmv_comm_agree(load->comm, load->stream ? GMV_OK : gmv_packed_keep_genes(&cells->packed, map, kept)));
    cells->packed.first_cell = cells->first;
    for (int32_t g = 0; g < cells->genes; g++) {
        if (map[g] < 0) {
            GMV_FREE(cells->gene[g]);
        } else {
            cells->gene[map[g]] = cells->gene[g];
        }
        if (cells->gene_id != NULL && map[g] < 0) {
            GMV_FREE(cells->gene_id[g]);
        } else if (cells->gene_id != NULL) {
            cells->gene_id[map[g]] = cells->gene_id[g];
        }
    }
    gmv_log("genes: the %d of %d with the largest %s", (int)kept, (int)cells->genes,
            load->config->data_genes_flavor == GMV_FLAVOR_SEURAT_V3 ? "standardised variance (seurat_v3)"
                                                                    : "variance of log(1 + count)");
    cells->genes = kept;
done:
    GMV_FREE(map);
    return status;
}

/* Rank 0 looks at all files, the others at those whose rows they have. Collective. */
static gmv_status check_unchanged(const loader *load)
{
    gmv_status status = GMV_OK;
    for (int f = 0; f < load->cells->files && status == GMV_OK; f++) {
        int64_t first, end;
        gmv_local_rows(load->cells, &load->source[f], &first, &end);
        bool mine = load->comm->rank == 0 || end > first;
        status = mine ? gmv_file_unchanged(load->cells->file[f], &load->cells->stamp[f]) : GMV_OK;
    }
    return gmv_comm_agree(load->comm, status);
}

static void log_rounded(const loader *load)
{
    int64_t rounded = 0;
    for (int f = 0; f < load->cells->files; f++) {
        rounded += load->source[f].rounded;
    }
    gmv_comm_sum_i64(load->comm, &rounded, 1);
    if (load->config->data_round > 0) {
        gmv_log("round   %" PRId64 " values taken as the whole number within %g (data.round)", rounded,
                load->config->data_round);
    }
}

static void log_totals(const loader *load)
{
    const gmv_cells *cells = load->cells;
    int64_t sum[3] = {gmv_cells_values(cells), 0, 0}; /* counts, cells without, entries */
    for (int64_t i = 0; i < cells->count; i++) {
        sum[2] += gmv_cells_present(cells, i);
        sum[1] += gmv_cells_has_counts(cells, cells->first + i) ? 0 : 1;
    }
    gmv_comm_sum_i64(load->comm, sum, 3);
    double entries = (double)sum[2];
    gmv_log("cells: %" PRId64 " in %d file%s, %d gene%s, %" PRId64 " counts (%.2f%% zeros)", cells->total, cells->files,
            cells->files == 1 ? "" : "s", (int)cells->genes, cells->genes == 1 ? "" : "s", sum[0],
            entries > 0 ? 100.0 * (1.0 - (double)sum[0] / entries) : 0.0);
    if (sum[1] > 0) {
        gmv_warn("%" PRId64 " cell%s no count in the genes in use: %s not trained on and %s no cluster", sum[1],
                 sum[1] == 1 ? " has" : "s have", sum[1] == 1 ? "it is" : "they are", sum[1] == 1 ? "has" : "have");
    }
}

static gmv_status load_all(loader *load)
{
    const gmv_config *config = load->config;
    bool known = load->reading->known != NULL;
    gmv_cells *cells = load->cells;
    GMV_TRY(survey_sources(load));
    GMV_TRY(choose_genes(load));
    GMV_TRY(gmv_comm_agree(load->comm, assign_rows(load)));
    GMV_TRY(gmv_sources_share(cells, load->source, load->comm, config->data_driver));
    GMV_TRY(gmv_factors_load(&load->factors, cells, load->comm, load->source, &load->key));
    GMV_TRY(gmv_split_load(cells, load->comm, load->reading->held_out, (uint64_t)config->seed, &load->key));
    GMV_TRY(prepare_reading(load));
    GMV_TRY(load->stream ? GMV_OK : gmv_comm_agree(load->comm, read_rows(load)));
    if (!known && config->data_genes == GMV_GENES_N_TOP) {
        GMV_TRY(keep_top_genes(load));
    }
    GMV_TRY(gmv_comm_agree(load->comm, gmv_gene_sets(cells, load->source, &load->lists, load->stream)));
    GMV_TRY(gmv_comm_agree(load->comm, gmv_prints_init(&load->prints, cells)));
    if (load->stream) {
        GMV_TRY(gmv_comm_agree(
            load->comm, gmv_cells_to_stream(cells, load->comm, config, load->source, &load->lists, &load->prints)));
        gmv_log_cache(cells, load->comm, config);
    } else {
        GMV_TRY(gmv_comm_agree(load->comm, gmv_prints_add(&load->prints, cells, &cells->packed)));
    }
    GMV_TRY(gmv_prints_finish(&load->prints, cells, load->comm, config, load->reading, load->source, &load->lists));
    GMV_TRY(gmv_factors_finish(cells, load->comm));
    if (!known) {
        GMV_TRY(gmv_split_check_levels(cells, load->comm));
    }
    GMV_TRY(check_unchanged(load));
    log_rounded(load);
    log_totals(load);
    return GMV_OK;
}

/* What cannot be read or is refused may be of a file that something writes to. Collective. */
static gmv_status find_cause(const loader *load, gmv_status status)
{
    int changed = -1;
    if (status != GMV_ERR_DATA || load->cells->stamp == NULL ||
        gmv_cells_look_at_files(load->cells, load->comm, &changed) != GMV_OK || changed < 0) {
        return status;
    }
    gmv_error_clear();
    return gmv_file_has_changed(load->cells->file[changed]);
}

static gmv_status cells_load(gmv_cells **cells, const gmv_comm *comm, const gmv_config *config,
                             const gmv_reading *reading)
{
    *cells = NULL;
    loader load = {.comm = comm, .config = config, .reading = reading};
    GMV_TRY(gmv_comm_agree(comm, GMV_NEW(load.cells, 1, "the cells")));
    gmv_status status = find_cause(&load, load_all(&load));
    gmv_sources_close(&load.source, load.cells->files, comm);
    gmv_gene_lists_fini(&load.lists);
    gmv_factors_fini(&load.factors);
    gmv_factor_fini(&load.key);
    gmv_prints_fini(&load.prints);
    if (status != GMV_OK) {
        gmv_cells_destroy(&load.cells);
    }
    *cells = load.cells;
    return status;
}

gmv_status gmv_cells_load(gmv_cells **cells, const gmv_comm *comm, const gmv_config *config, const gmv_reading *reading)
{
    gmv_stage before = gmv_stage_enter(GMV_STAGE_LOADING);
    gmv_status status = cells_load(cells, comm, config, reading);
    gmv_stage_enter(before);
    return status;
}

void gmv_factor_fini(gmv_factor *factor)
{
    GMV_FREE(factor->key);
    GMV_FREE(factor->code);
    GMV_FREE(factor->code8);
    gmv_name_array_free(factor->level, factor->levels);
}

void gmv_cells_destroy(gmv_cells **cells)
{
    gmv_cells *c = *cells;
    if (c == NULL) {
        return;
    }
    for (int k = 0; k < c->covariates; k++) {
        gmv_factor_fini(&c->covariate[k]);
    }
    GMV_FREE(c->covariate);
    if (c->label != NULL) {
        gmv_factor_fini(c->label);
        GMV_FREE(c->label);
    }
    gmv_name_array_free(c->gene, c->genes);
    gmv_name_array_free(c->gene_id, c->genes);
    gmv_name_array_free(c->file, c->files);
    gmv_name_array_free(c->obs, c->files);
    gmv_packed_fini(&c->packed);
    gmv_stream_destroy(&c->stream);
    GMV_FREE(c->set_genes);
    GMV_FREE(c->file_set);
    GMV_FREE(c->shard_start);
    GMV_FREE(c->file_start);
    GMV_FREE(c->split.out);
    GMV_FREE(c->stamp);
    GMV_FREE(c->file_counts);
    GMV_FREE(c->sample);
    GMV_FREE(c->matrix);
    GMV_FREE(*cells);
}
