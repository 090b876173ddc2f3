#include "fingerprint.h"

#include "genes/gene_lists.h"
#include "genes/genes.h"

#include "gmvae/mem.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum {
    rows_at_a_time = 1 << 14,
    piece_rows = 1 << 8,
    most_samples = 1 << 16,
    least_values = 20, /* cells with fewer may have the same counts by chance */
    escape = 255
};

static uint64_t mix(uint64_t a, uint64_t b)
{
    const uint64_t both[2] = {a, b};
    return XXH3_64bits(both, sizeof both);
}

static uint64_t hash_of_text(const char *text)
{
    return XXH3_64bits(text, strlen(text));
}

gmv_status gmv_prints_init(gmv_prints *prints, gmv_cells *cells)
{
    uint64_t total = (uint64_t)cells->total;
    cells->sample_below = total <= most_samples ? UINT64_MAX : UINT64_MAX / total * most_samples;
    GMV_TRY(GMV_NEW(cells->file_counts, cells->files, "fingerprints of files"));
    GMV_TRY(GMV_NEW(prints->hash, rows_at_a_time, "hashes of cells"));
    GMV_TRY(GMV_NEW(prints->level, cells->covariates, "hashes of levels"));
    prints->covariates = cells->covariates;
    for (int c = 0; c < cells->covariates; c++) {
        const gmv_factor *factor = &cells->covariate[c];
        GMV_TRY(GMV_NEW(prints->level[c], factor->levels, "hashes of levels"));
        for (int l = 0; l < factor->levels; l++) {
            prints->level[c][l] = hash_of_text(factor->level[l]);
        }
    }
    return GMV_OK;
}

void gmv_prints_fini(gmv_prints *prints)
{
    for (int c = 0; prints->level != NULL && c < prints->covariates; c++) {
        GMV_FREE(prints->level[c]);
    }
    GMV_FREE(prints->level);
    GMV_FREE(prints->hash);
    GMV_FREE(prints->sample);
}

/* ---- rows ---- */

/* First entry of the list of large counts at or behind a place. */
static int64_t find_large(const gmv_packed *packed, gmv_nnz at)
{
    int64_t low = 0, high = packed->overflows;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (packed->overflow_at[middle] < at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Of a row: its genes, its counts up to 255, and those that are larger. @param[in,out] large  its first, then the next
 * row's */
static uint64_t hash_of_row(const gmv_packed *packed, int64_t row, int64_t *large)
{
    gmv_nnz from = packed->indptr[row], end = packed->indptr[row + 1];
    size_t n = (size_t)(end - from);
    const void *genes = packed->gene16 != NULL ? (const void *)(packed->gene16 + from) : packed->gene32 + from;
    int64_t first = *large;
    while (*large < packed->overflows && packed->overflow_at[*large] < end) {
        ++*large;
    }
    if (n == 0) {
        return 1;
    }
    uint64_t parts[3] = {XXH3_64bits(genes, n * (packed->gene16 != NULL ? 2 : 4)),
                         XXH3_64bits(packed->count8 + from, n), 0};
    if (*large > first) {
        parts[2] = XXH3_64bits(packed->overflow_count + first, (size_t)(*large - first) * sizeof(uint32_t));
    }
    return XXH3_64bits(parts, sizeof parts);
}

static void hash_rows(const gmv_packed *packed, int64_t first, int64_t n, uint64_t *hash)
{
#pragma omp parallel for schedule(static)
    for (int64_t piece = 0; piece < n; piece += piece_rows) {
        int64_t end = piece + piece_rows < n ? piece + piece_rows : n;
        int64_t large = find_large(packed, packed->indptr[first + piece]);
        for (int64_t i = piece; i < end; i++) {
            hash[i] = hash_of_row(packed, first + i, &large);
        }
    }
}

static gmv_status sample_row(gmv_prints *prints, uint64_t hash, gmv_gidx row, bool held_out)
{
    if (prints->samples == 2 * (int64_t)most_samples) { /* the same cell again and again */
        return GMV_OK;
    }
    if (prints->samples == prints->room) {
        int64_t room = 2 * prints->room + 1024;
        GMV_TRY(GMV_GROW(prints->sample, prints->room, room, "a sample of cells"));
        prints->room = room;
    }
    prints->sample[prints->samples++] = (gmv_sampled_cell){hash, row, held_out};
    return GMV_OK;
}

static gmv_status take_row(gmv_prints *prints, gmv_cells *cells, gmv_gidx row, uint64_t hash, gmv_nnz values)
{
    gmv_fingerprint *print = &cells->fingerprint;
    bool held_out = gmv_split_holds_out(&cells->split, row);
    print->order += mix(hash, (uint64_t)row);
    print->held_out += held_out ? hash : 0;
    for (int c = 0; c < cells->covariates; c++) {
        gmv_factor *factor = &cells->covariate[c];
        factor->fingerprint += mix(hash, prints->level[c][gmv_factor_code(factor, row - cells->first)]);
    }
    return values >= least_values && hash <= cells->sample_below ? sample_row(prints, hash, row, held_out) : GMV_OK;
}

gmv_status gmv_prints_add(gmv_prints *prints, gmv_cells *cells, const gmv_packed *packed)
{
    int file = packed->rows > 0 ? gmv_cells_file(cells, packed->first_cell) : 0;
    for (int64_t at = 0; at < packed->rows; at += rows_at_a_time) {
        int64_t n = packed->rows - at < rows_at_a_time ? packed->rows - at : rows_at_a_time;
        hash_rows(packed, at, n, prints->hash);
        for (int64_t i = 0; i < n; i++) {
            gmv_gidx row = packed->first_cell + at + i;
            while (row >= cells->file_start[file + 1]) {
                file++;
            }
            cells->file_counts[file] += prints->hash[i];
            gmv_nnz values = packed->indptr[at + i + 1] - packed->indptr[at + i];
            GMV_TRY(take_row(prints, cells, row, prints->hash[i], values));
        }
    }
    return GMV_OK;
}

/* ---- all ranks ---- */

static gmv_status sum_over_ranks(gmv_cells *cells, const gmv_comm *comm)
{
    gmv_fingerprint *print = &cells->fingerprint;
    uint64_t *sum = NULL;
    int64_t n = 0, all = 2 + (int64_t)cells->covariates + cells->files;
    GMV_TRY(gmv_comm_agree(comm, GMV_NEW(sum, all, "fingerprints of files")));
    sum[n++] = print->order;
    sum[n++] = print->held_out;
    for (int c = 0; c < cells->covariates; c++) {
        sum[n++] = cells->covariate[c].fingerprint;
    }
    memcpy(sum + n, cells->file_counts, (size_t)cells->files * sizeof *sum);
    gmv_comm_sum_i64(comm, (int64_t *)sum, all);
    memcpy(cells->file_counts, sum + n, (size_t)cells->files * sizeof *sum);
    for (int c = cells->covariates; c-- > 0;) {
        cells->covariate[c].fingerprint = sum[--n];
    }
    print->order = sum[0];
    print->held_out = sum[1];
    print->counts = 0;
    for (int f = 0; f < cells->files; f++) {
        print->counts += cells->file_counts[f];
    }
    GMV_FREE(sum);
    return GMV_OK;
}

static uint64_t measured_genes(const gmv_cells *cells)
{
    uint64_t sum = 0;
    for (int f = 0; cells->packed.sets > 0 && f < cells->files; f++) {
        int32_t set = cells->file_set[f];
        uint64_t rows = (uint64_t)(cells->file_start[f + 1] - cells->file_start[f]);
        const uint8_t *present = cells->packed.present + (int64_t)set * cells->genes;
        sum += cells->set_genes[set] == cells->genes ? 0 : rows * XXH3_64bits(present, (size_t)cells->genes);
    }
    return sum;
}

/* Of the names in each file, which the genes in use were chosen from. */
static gmv_status named_genes(const gmv_cells *cells, const gmv_source *source, const gmv_gene_lists *lists,
                              uint64_t *sum)
{
    uint64_t *of_list = NULL;
    GMV_TRY(GMV_NEW(of_list, lists->n, "hashes of genes"));
    for (int l = 0; l < lists->n; l++) {
        for (int32_t j = 0; j < lists->list[l].n; j++) {
            of_list[l] += hash_of_text(lists->name.at[lists->list[l].gene[j]]);
        }
    }
    for (int f = 0; f < cells->files; f++) {
        *sum += (uint64_t)source[f].rows * mix(of_list[source[f].list], 0);
    }
    GMV_FREE(of_list);
    return GMV_OK;
}

/* Of the list as it is now: that of a checkpoint is read again. One that is no longer there is not known. Collective. */
static void listed_genes(const gmv_comm *comm, const char *genes_file, uint64_t *sum)
{
    gmv_names list = {0};
    bool known = gmv_genes_from_file(&list, comm, genes_file, "data.genes.file") == GMV_OK;
    if (!known) {
        gmv_error_clear();
    }
    for (int64_t g = 0; known && g < list.n; g++) {
        *sum = mix(*sum, hash_of_text(list.at[g]));
    }
    gmv_names_fini(&list);
}

static int by_hash(const void *a, const void *b)
{
    const gmv_sampled_cell *x = a, *y = b;
    return x->hash != y->hash ? (x->hash > y->hash) - (x->hash < y->hash) : (x->row > y->row) - (x->row < y->row);
}

static gmv_status gather_sample(gmv_prints *prints, gmv_cells *cells, const gmv_comm *comm)
{
    void *all = NULL;
    int64_t bytes = 0, size = (int64_t)sizeof *cells->sample;
    GMV_TRY(gmv_comm_concatenate(comm, prints->sample, prints->samples * size, &all, &bytes));
    if (comm->rank != 0) {
        gmv_free(all);
        return GMV_OK;
    }
    cells->sample = all;
    cells->samples = bytes / size;
    if (cells->samples > 0) {
        qsort(cells->sample, (size_t)cells->samples, sizeof *cells->sample, by_hash);
    }
    return GMV_OK;
}

gmv_status gmv_prints_finish(gmv_prints *prints, gmv_cells *cells, const gmv_comm *comm, const gmv_config *config,
                             const gmv_reading *reading, const gmv_source *source, const gmv_gene_lists *lists)
{
    gmv_fingerprint *print = &cells->fingerprint;
    GMV_TRY(sum_over_ranks(cells, comm));
    print->cells = cells->total;
    print->measured = measured_genes(cells);
    if (config->data_genes != GMV_GENES_FILE) {
        GMV_TRY(gmv_comm_agree(comm, named_genes(cells, source, lists, &print->genes)));
    } else if (reading->training) {
        listed_genes(comm, config->data_genes_file, &print->genes);
    }
    return gather_sample(prints, cells, comm);
}
