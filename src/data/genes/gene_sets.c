/* Which genes were measured for which cells. */
#include "../inputs.h"
#include "gene_lists.h"

#include "gmvae/mem.h"

#include <string.h>

/* The genes in use that a list has; returns how many. */
static int32_t mark_present(const gmv_gene_list *list, int32_t genes, uint8_t *present)
{
    int32_t n = 0;
    for (int32_t j = 0; j < list->n; j++) {
        int32_t gene = list->map != NULL ? list->map[j] : j;
        if (gene >= 0) {
            present[gene] = 1;
            n++;
        }
    }
    return list->map != NULL ? n : genes;
}

/* Every list's row of the table is tried as a new set, and given up when it is there already. */
static void fill_table(gmv_cells *cells, const gmv_gene_lists *lists, uint8_t *table, int32_t *set)
{
    size_t genes = (size_t)cells->genes;
    int sets = 0;
    for (int l = 0; l < lists->n; l++) {
        uint8_t *mine = table + (size_t)sets * genes;
        memset(mine, 0, genes);
        int32_t n = mark_present(&lists->list[l], cells->genes, mine);
        int s = 0;
        while (s < sets && memcmp(table + (size_t)s * genes, mine, genes) != 0) {
            s++;
        }
        set[l] = s;
        if (s == sets) {
            cells->set_genes[sets++] = n;
        }
    }
    cells->packed.sets = sets;
}

static gmv_status make_table(gmv_cells *cells, const gmv_source *source, const gmv_gene_lists *lists)
{
    uint8_t *table = NULL;
    int32_t *set = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(cells->set_genes, lists->n, "sets of genes"));
    GMV_GO(GMV_NEW(cells->file_set, cells->files, "sets of genes"));
    GMV_GO(GMV_NEW(set, lists->n, "sets of genes"));
    GMV_GO(GMV_NEW(table, (int64_t)lists->n * cells->genes, "sets of genes"));
    cells->packed.present = table;
    fill_table(cells, lists, table, set);
    for (int f = 0; f < cells->files; f++) {
        cells->file_set[f] = set[source[f].list];
    }
    GMV_GO(
        GMV_GROW(table, (int64_t)lists->n * cells->genes, (int64_t)cells->packed.sets * cells->genes, "sets of genes"));
    cells->packed.present = table;
done:
    GMV_FREE(set);
    return status;
}

static gmv_status fill_rows(gmv_cells *cells)
{
    int32_t *set = NULL;
    GMV_TRY(GMV_NEW(set, cells->count, "sets of genes"));
    for (int f = 0; f < cells->files; f++) {
        gmv_gidx first = cells->file_start[f] - cells->first, end = cells->file_start[f + 1] - cells->first;
        for (gmv_gidx i = first > 0 ? first : 0; i < end && i < cells->count; i++) {
            set[i] = cells->file_set[f];
        }
    }
    cells->packed.set = set;
    return GMV_OK;
}

gmv_status gmv_gene_sets(gmv_cells *cells, const gmv_source *source, const gmv_gene_lists *lists, bool stream)
{
    bool all = true;
    for (int l = 0; l < lists->n; l++) {
        const gmv_gene_list *list = &lists->list[l];
        int64_t has = 0;
        for (int32_t j = 0; j < list->n && list->map != NULL; j++) {
            has += list->map[j] >= 0;
        }
        all = all && (list->map == NULL || has == cells->genes);
    }
    if (all) {
        return GMV_OK;
    }
    GMV_TRY(make_table(cells, source, lists));
    return stream ? GMV_OK : fill_rows(cells);
}

int gmv_cells_file(const gmv_cells *cells, gmv_gidx row)
{
    int low = 0, high = cells->files - 1; /* the last one that starts at or before the row: not one without cells */
    while (low < high) {
        int middle = high - (high - low) / 2;
        if (cells->file_start[middle] <= row) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

int32_t gmv_cells_present(const gmv_cells *cells, gmv_gidx i)
{
    return cells->set_genes == NULL ? cells->genes
                                    : cells->set_genes[cells->file_set[gmv_cells_file(cells, cells->first + i)]];
}

const uint8_t *gmv_genes_measured(const gmv_cells *cells, gmv_gidx row)
{
    return cells->set_genes == NULL
               ? NULL
               : cells->packed.present + (int64_t)cells->file_set[gmv_cells_file(cells, row)] * cells->genes;
}
