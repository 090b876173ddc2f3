/* heatmap.json as a picture: cells by cluster, genes by the cluster that has most of them. */
#include "report.h"

#include "gmvae/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct cell {
    int32_t group; /* -1: none; these come last */
    int number;    /* in the file */
} cell;

typedef struct gene {
    int group; /* where it is highest */
    double mean;
    int number;
} gene;

/* What is drawn, and in which order. */
typedef struct map {
    const gmv_column *column; /* of the groups */
    int cells, genes;
    float *value;  /* [cells, genes] as in the file */
    cell *cell;    /* [cells] in order */
    gene *gene;    /* [genes] in order */
    char **name;   /* [genes] in order, borrowed */
    float *sorted; /* [cells, genes] */
    int32_t *group;
} map;

static gmv_status damaged(void)
{
    return GMV_FAIL(GMV_ERR_DATA, "heatmap.json: its lists do not fit together; train writes it again");
}

static int by_group(const void *a, const void *b)
{
    const cell *x = a, *y = b;
    uint32_t one = (uint32_t)x->group, other = (uint32_t)y->group; /* -1 is the largest */
    return one != other ? (one < other ? -1 : 1) : x->number - y->number;
}

static int by_group_then_mean(const void *a, const void *b)
{
    const gene *x = a, *y = b;
    return x->group != y->group ? x->group - y->group
           : x->mean != y->mean ? (x->mean < y->mean ? 1 : -1)
                                : x->number - y->number;
}

static const cJSON *list_of(const cJSON *file, const char *key, int n)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(file, key);
    return cJSON_IsArray(list) && cJSON_GetArraySize(list) == n ? list : NULL;
}

/* log(1 + counts in 10,000) of each cell, and the groups of the cells. */
static gmv_status take_values(map *m, const cJSON *file, int64_t rows)
{
    const cJSON *row = list_of(file, "row", m->cells), *library = list_of(file, "library", m->cells),
                *count = list_of(file, "count", m->cells);
    if (row == NULL || library == NULL || count == NULL) {
        return damaged();
    }
    row = row->child;
    library = library->child;
    count = count->child;
    for (int i = 0; i < m->cells; i++, row = row->next, library = library->next, count = count->next) {
        if (!cJSON_IsNumber(row) || !(row->valuedouble >= 0.0 && row->valuedouble < (double)rows) ||
            cJSON_GetArraySize(count) != m->genes) {
            return damaged();
        }
        m->cell[i] = (cell){m->column->code[(int64_t)row->valuedouble], i};
        const cJSON *item = count->child;
        for (int g = 0; g < m->genes; g++, item = item->next) {
            double value = log1p(1e4 * item->valuedouble / library->valuedouble);
            m->value[(int64_t)i * m->genes + g] = cJSON_IsNumber(item) ? (float)value : NAN;
        }
    }
    return GMV_OK;
}

/* The group with the largest mean of a gene. @param[in,out] sum, n  [groups] scratch */
static void place_gene(const map *m, int g, double *sum, double *n)
{
    int groups = m->column->levels;
    memset(sum, 0, (size_t)groups * sizeof *sum);
    memset(n, 0, (size_t)groups * sizeof *n);
    for (int i = 0; i < m->cells; i++) {
        int group = m->cell[i].group;
        float value = m->value[(int64_t)m->cell[i].number * m->genes + g];
        if (group >= 0 && isfinite(value)) {
            sum[group] += (double)value;
            n[group] += 1.0;
        }
    }
    m->gene[g] = (gene){0, -1.0, g};
    for (int c = 0; c < groups; c++) {
        if (n[c] > 0.0 && sum[c] / n[c] > m->gene[g].mean) {
            m->gene[g] = (gene){c, sum[c] / n[c], g};
        }
    }
}

static gmv_status arrange(map *m, const cJSON *names)
{
    double *scratch = NULL;
    GMV_TRY(GMV_NEW(scratch, 2 * (int64_t)m->column->levels, "groups of a picture"));
    qsort(m->cell, (size_t)m->cells, sizeof *m->cell, by_group);
    for (int g = 0; g < m->genes; g++) {
        place_gene(m, g, scratch, scratch + m->column->levels);
    }
    gmv_free(scratch);
    qsort(m->gene, (size_t)m->genes, sizeof *m->gene, by_group_then_mean);
    for (int g = 0; g < m->genes; g++) {
        m->name[g] = cJSON_GetStringValue(cJSON_GetArrayItem(names, m->gene[g].number));
        if (m->name[g] == NULL) {
            return damaged();
        }
    }
    for (int i = 0; i < m->cells; i++) {
        m->group[i] = m->cell[i].group;
        for (int g = 0; g < m->genes; g++) {
            m->sorted[(int64_t)i * m->genes + g] = m->value[(int64_t)m->cell[i].number * m->genes + m->gene[g].number];
        }
    }
    return GMV_OK;
}

static gmv_status make_room(map *m)
{
    int64_t values = (int64_t)m->cells * m->genes;
    GMV_TRY(GMV_NEW(m->value, values, "a picture"));
    GMV_TRY(GMV_NEW(m->sorted, values, "a picture"));
    GMV_TRY(GMV_NEW(m->cell, m->cells, "a picture"));
    GMV_TRY(GMV_NEW(m->gene, m->genes, "a picture"));
    GMV_TRY(GMV_NEW(m->name, m->genes, "a picture"));
    return GMV_NEW(m->group, m->cells, "a picture");
}

gmv_status gmv_draw_heat_map(gmv_gallery *gallery, const gmv_result_cells *result, const cJSON *file)
{
    const cJSON *names = cJSON_GetObjectItemCaseSensitive(file, "gene");
    map m = {.column = result->cluster.levels > 0 ? &result->cluster : &result->label,
             .cells = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(file, "row")),
             .genes = cJSON_GetArraySize(names)};
    char title[200];
    gmv_status status;
    if (file == NULL || m.column->levels == 0 || m.cells == 0 || m.genes == 0) {
        return GMV_OK;
    }
    GMV_GO(make_room(&m));
    GMV_GO(take_values(&m, file, result->cells));
    GMV_GO(arrange(&m, names));
    const gmv_heat heat = {.rows = m.cells,
                           .columns = m.genes,
                           .column = m.name,
                           .value = m.sorted,
                           .groups = m.column->levels,
                           .of_groups = result->cluster.levels > 0 ? "cluster" : m.column->key,
                           .group = m.column->level,
                           .of_row = m.group};
    snprintf(title, sizeof title, "The %d genes that vary most in %d cells: log(1 + counts in 10,000)", m.genes,
             m.cells);
    status = gmv_draw_heat(gallery, "heatmap", title, &heat);
done:
    GMV_FREE(m.value);
    GMV_FREE(m.sorted);
    GMV_FREE(m.cell);
    GMV_FREE(m.gene);
    gmv_free((void *)m.name);
    GMV_FREE(m.group);
    return status;
}
