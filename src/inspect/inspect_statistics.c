/* Statistics of the counts that inspect shows, from one pass over the rows in blocks. */
#include "../data/genes/gene_stats.h"
#include "../data/rows/matrix_blocks.h"
#include "../data/rows/pack.h"
#include "cell_stats.h"
#include "inspect.h"

#include "gmvae/mem.h"
#include "gmvae/packed.h"
#include "gmvae/signals.h"
#include "gmvae/text.h"

#include <stdlib.h>
#include <string.h>

typedef struct pass {
    gmv_histogram totals, genes;
    gmv_gene_counts counts;
    gmv_packer packer;
    gmv_texts names;
    int64_t nnz;
    double total, largest;
} pass;

/* An empty packer for so many rows. */
static gmv_status make_room(gmv_packer *packer, int32_t genes, int64_t rows)
{
    if (packer->row_capacity >= rows && packer->indptr != NULL) {
        gmv_packer_reset(packer);
        return GMV_OK;
    }
    gmv_packer_fini(packer);
    return gmv_packer_init(packer, genes, rows, 0);
}

static void add_sums(pass *p, const gmv_packed *block)
{
    for (gmv_nnz at = 0; at < block->indptr[block->rows]; at++) {
        double count = gmv_packed_count(block, at);
        p->total += count;
        p->largest = count > p->largest ? count : p->largest;
    }
    p->nnz += block->indptr[block->rows];
}

static gmv_status read_blocks(pass *p, const gmv_matrix *matrix)
{
    gmv_block_reader reader;
    gmv_row_source source = {.matrix = matrix, .gene = p->names.at};
    gmv_status status = gmv_block_reader_init(&reader, matrix, NULL, 0, matrix->rows);
    while (status == GMV_OK && reader.next < reader.end) {
        status = gmv_stop_check();
        status = status == GMV_OK ? gmv_block_reader_next(&reader) : status;
        if (status == GMV_OK) {
            status = make_room(&p->packer, (int32_t)matrix->cols, reader.block.rows);
        }
        if (status == GMV_OK) {
            status = gmv_packer_add(&p->packer, &source, &reader.block);
        }
        if (status == GMV_OK) {
            gmv_packed block = gmv_packer_view(&p->packer);
            add_sums(p, &block);
            gmv_cell_stats_add(&p->totals, &p->genes, &block);
            status = gmv_gene_counts_add(&p->counts, &block, NULL);
        }
    }
    gmv_block_reader_fini(&reader);
    return status;
}

static void summarise_cells(const gmv_histogram *histogram, double *summary)
{
    static const double share[] = {0.25, 0.5, 0.75};
    summary[0] = (double)histogram->least;
    for (int q = 0; q < 3; q++) {
        summary[1 + q] = (double)gmv_histogram_quantile(histogram, share[q]);
    }
    summary[4] = (double)histogram->most;
    summary[5] = histogram->n > 0 ? histogram->sum / (double)histogram->n : 0.0;
}

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of one figure of each gene. @param[in] sorted  [genes] scratch */
static void summarise_genes(const double *value, int64_t genes, double *sorted, double *summary)
{
    double sum = 0.0;
    memcpy(sorted, value, (size_t)genes * sizeof *sorted);
    qsort(sorted, (size_t)genes, sizeof *sorted, compare_numbers);
    for (int q = 0; q < 5; q++) {
        int64_t at = (q * genes + 3) / 4 - 1; /* as gmv_histogram_quantile */
        summary[q] = sorted[at < 0 ? 0 : at];
    }
    for (int64_t g = 0; g < genes; g++) {
        sum += value[g];
    }
    summary[5] = sum / (double)genes;
}

static int compare_genes(const void *a, const void *b)
{
    const gmv_inspect_gene *x = a, *y = b;
    if (x->score != y->score) {
        return x->score < y->score ? 1 : -1;
    }
    return (x->place > y->place) - (x->place < y->place);
}

static gmv_status summarise(gmv_inspect_statistics *found, const pass *p)
{
    gmv_comm alone = gmv_comm_alone();
    int32_t genes = p->counts.genes;
    double *mean = NULL, n = 0;
    int64_t *present = NULL;
    gmv_inspect_gene *gene = NULL;
    gmv_status status;
    GMV_GO(GMV_NEW(mean, 5 * (int64_t)genes, "statistics of genes"));
    GMV_GO(GMV_NEW(present, genes, "statistics of genes"));
    GMV_GO(GMV_NEW(gene, genes, "statistics of genes"));
    double *variance = mean + genes, *zeros = variance + genes, *score = zeros + genes, *sorted = score + genes;
    GMV_GO(gmv_gene_moments(&p->counts, &alone, true, mean, variance, present, &n));
    GMV_GO(gmv_gene_scores(&p->counts, &alone, GMV_FLAVOR_SEURAT_V3, true, score));
    for (int32_t g = 0; g < genes; g++) {
        zeros[g] = 1.0 - (double)present[g] / n;
        found->genes_seen += present[g] > 0;
        gene[g] = (gmv_inspect_gene){g, NULL, mean[g], variance[g], zeros[g], score[g]};
    }
    summarise_cells(&p->totals, found->totals);
    summarise_cells(&p->genes, found->genes);
    summarise_genes(mean, genes, sorted, found->mean);
    summarise_genes(variance, genes, sorted, found->variance);
    summarise_genes(zeros, genes, sorted, found->zeros);
    qsort(gene, (size_t)genes, sizeof *gene, compare_genes);
    for (int i = 0; i < genes && i < GMV_INSPECT_GENES && gene[i].score > 0.0; i++) {
        found->gene[i] = gene[i];
        GMV_GO(gmv_copy_text(&found->gene[i].name, p->names.at[gene[i].place]));
        found->listed = i + 1;
    }
    found->there = true;
done:
    GMV_FREE(mean);
    GMV_FREE(present);
    GMV_FREE(gene);
    return status;
}

gmv_status gmv_inspect_statistics_read(gmv_inspect_statistics *found, gmv_inspect_matrix *seen,
                                       const gmv_matrix *matrix)
{
    pass p = {0};
    gmv_status status = GMV_OK;
    if (matrix->rows == 0 || matrix->cols == 0) {
        return GMV_OK;
    }
    GMV_GO(gmv_matrix_genes(matrix, NULL, &p.names));
    GMV_GO(gmv_histogram_init(&p.totals));
    GMV_GO(gmv_histogram_init(&p.genes));
    GMV_GO(gmv_gene_counts_init(&p.counts, (int32_t)matrix->cols));
    GMV_GO(read_blocks(&p, matrix));
    GMV_GO(summarise(found, &p));
    seen->is_count = true;
    seen->nnz = p.nnz;
    seen->total = p.total;
    seen->largest = p.largest;
done:
    gmv_packer_fini(&p.packer);
    gmv_gene_counts_fini(&p.counts);
    gmv_histogram_fini(&p.totals);
    gmv_histogram_fini(&p.genes);
    gmv_texts_free(&p.names);
    return status;
}

void gmv_inspect_statistics_fini(gmv_inspect_statistics *found)
{
    for (int i = 0; i < found->listed; i++) {
        GMV_FREE(found->gene[i].name);
    }
}

/* ---- printing ---- */

static const char *const summary_name[] = {"min", "q1", "median", "q3", "max", "mean"};

static void print_row(const char *name, const double *summary, FILE *out)
{
    fprintf(out, "  %-20s", name);
    for (int i = 0; i < 6; i++) {
        fprintf(out, " %10.5g", summary[i]);
    }
    fputc('\n', out);
}

void gmv_inspect_print_statistics_text(const gmv_inspect_statistics *found, FILE *out)
{
    enum { shown = 12 };
    if (!found->there) {
        return;
    }
    fprintf(out, "statistics            ");
    for (int i = 0; i < 6; i++) {
        fprintf(out, " %10s", summary_name[i]);
    }
    fputc('\n', out);
    print_row("counts of a cell", found->totals, out);
    print_row("genes of a cell", found->genes, out);
    print_row("mean of a gene", found->mean, out);
    print_row("variance of a gene", found->variance, out);
    print_row("zeros of a gene", found->zeros, out);
    fprintf(out, "  genes with a count   %lld\n", (long long)found->genes_seen);
    fputs("  most variable       ", out);
    for (int i = 0; i < found->listed && i < shown; i++) {
        fprintf(out, "%s %s", i > 0 ? "," : "", gmv_shown(found->gene[i].name).at);
    }
    fputs("  (seurat_v3)\n", out);
}

static void print_summary_json(const char *name, const double *summary, FILE *out)
{
    fprintf(out, "\"%s\": {", name);
    for (int i = 0; i < 6; i++) {
        fprintf(out, "%s\"%s\": %.10g", i > 0 ? ", " : "", summary_name[i], summary[i]);
    }
    fputc('}', out);
}

void gmv_inspect_print_statistics_json(const gmv_inspect_statistics *found, FILE *out)
{
    if (!found->there) {
        fputs(", \"statistics\": null", out);
        return;
    }
    fputs(", \"statistics\": {\"cell\": {", out);
    print_summary_json("total", found->totals, out);
    fputs(", ", out);
    print_summary_json("genes", found->genes, out);
    fprintf(out, "}, \"gene\": {\"with_counts\": %lld, ", (long long)found->genes_seen);
    print_summary_json("mean", found->mean, out);
    fputs(", ", out);
    print_summary_json("variance", found->variance, out);
    fputs(", ", out);
    print_summary_json("zeros", found->zeros, out);
    fputs("}, \"variable_genes\": {\"flavor\": \"seurat_v3\", \"genes\": [", out);
    for (int i = 0; i < found->listed; i++) {
        const gmv_inspect_gene *gene = &found->gene[i];
        fputs(i > 0 ? ", {\"name\": " : "{\"name\": ", out);
        gmv_print_json_text(out, gene->name);
        fprintf(out, ", \"mean\": %.10g, \"variance\": %.10g, \"zeros\": %.10g, \"score\": %.10g}", gene->mean,
                gene->variance, gene->zeros, gene->score);
    }
    fputs("]}}", out);
}
