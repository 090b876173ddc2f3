/* Which genes were measured for which cells. */
#include "inputs.h"

#include "gmvae/mem.h"

#include <string.h>

/* The genes in use that a source has; returns how many. */
static int32_t mark_present(const gmv_source *source, int32_t genes, uint8_t *present)
{
    int32_t n = 0;
    for (int64_t j = 0; j < source->genes.n; j++) {
        int64_t gene = source->map != NULL ? source->map[j] : j;
        if (gene >= 0) {
            present[gene] = 1;
            n++;
        }
    }
    return source->map != NULL ? n : genes;
}

/* Every file's row of the table is tried as a new set, and given up when it is there already. */
static void fill_table(gmv_cells *cells, gmv_source *source, uint8_t *table)
{
    size_t genes = (size_t)cells->genes;
    int sets = 0;
    for (int f = 0; f < cells->files; f++) {
        uint8_t *mine = table + (size_t)sets * genes;
        memset(mine, 0, genes);
        int32_t n = mark_present(&source[f], cells->genes, mine);
        int s = 0;
        while (s < sets && memcmp(table + (size_t)s * genes, mine, genes) != 0) {
            s++;
        }
        cells->file_set[f] = s;
        if (s == sets) {
            cells->set_genes[sets++] = n;
        }
    }
    cells->packed.sets = sets;
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

gmv_status gmv_gene_sets(gmv_cells *cells, gmv_source *source, bool stream)
{
    uint8_t *table = NULL;
    bool all = true;
    for (int f = 0; f < cells->files; f++) {
        int64_t has = 0;
        for (int64_t j = 0; j < source[f].genes.n && source[f].map != NULL; j++) {
            has += source[f].map[j] >= 0;
        }
        all = all && (source[f].map == NULL || has == cells->genes);
    }
    if (all) {
        return GMV_OK;
    }
    GMV_TRY(GMV_NEW(cells->set_genes, cells->files, "sets of genes"));
    GMV_TRY(GMV_NEW(cells->file_set, cells->files, "sets of genes"));
    GMV_TRY(GMV_NEW(table, (int64_t)cells->files * cells->genes, "sets of genes"));
    cells->packed.present = table;
    fill_table(cells, source, table);
    GMV_TRY(GMV_GROW(table, (int64_t)cells->files * cells->genes, (int64_t)cells->packed.sets * cells->genes,
                     "sets of genes"));
    cells->packed.present = table;
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
