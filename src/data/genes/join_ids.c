/* Genes of one name that are other genes by the ids beside their names. */
#include "../h5/column.h"
#include "gene_ids.h"
#include "join.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { most_columns = 8, most_looked_at = 64 };

static const char *id_at(const gmv_gene_join *join, int l, int32_t place)
{
    const gmv_gene_list *list = &join->lists->list[l];
    return list->id == NULL || list->id[place] < 0 ? NULL : join->lists->id.at[list->id[place]];
}

static bool is_by_place(const gmv_gene_join *join, int l, int32_t place)
{
    const bool *by_place = join->lists->list[l].by_place;
    return by_place != NULL && by_place[place];
}

/* The model's; NULL: none. */
static const char *known_id(const gmv_gene_join *join, int64_t g)
{
    char *const *id = join->known != NULL ? join->known->gene_id : NULL;
    return id == NULL || id[g][0] == '\0' ? NULL : id[g];
}

/* Of a gene in use, before some of them are left out of the lists. */
static const char *id_of_gene(const gmv_gene_join *join, int64_t g)
{
    const char *id = known_id(join, g);
    for (int l = 0; l < join->lists->n && id == NULL; l++) {
        int32_t at = join->match[l].at[g];
        id = at >= 0 ? id_at(join, l, at) : NULL;
    }
    return id;
}

gmv_status gmv_join_take_ids(const gmv_gene_join *join, char ***id)
{
    bool any = false;
    *id = NULL;
    for (int64_t g = 0; g < join->genes && !any; g++) {
        any = id_of_gene(join, g) != NULL;
    }
    if (!any) {
        return GMV_OK;
    }
    GMV_TRY(GMV_NEW(*id, join->genes, "ids of genes"));
    for (int64_t g = 0; g < join->genes; g++) {
        const char *text = id_of_gene(join, g);
        GMV_TRY(gmv_copy_text(&(*id)[g], text != NULL ? text : ""));
    }
    return GMV_OK;
}

/* Gene g of the list, which lists a and b have under other ids; a is -1 for the model. */
static void take_example(gmv_gene_join *join, int64_t g, int a, int b, bool apart)
{
    if (join->other_ids.apart + join->other_ids.joined == 0 || (apart && join->other_ids.apart == 0)) {
        join->other_ids.gene = (int32_t)g;
        join->other_ids.list[0] = a;
        join->other_ids.list[1] = b;
        join->other_ids.place[0] = a >= 0 ? join->match[a].at[g] : -1;
        join->other_ids.place[1] = join->match[b].at[g];
    }
}

gmv_status gmv_join_compare_ids(gmv_gene_join *join)
{
    for (int64_t g = 0; g < join->genes; g++) {
        const char *before = known_id(join, g); /* the model's, else that of the first list that has one */
        int first = -1;
        bool joined = false, apart = false;
        for (int l = 0; l < join->lists->n; l++) {
            int32_t *at = &join->match[l].at[g];
            const char *id = *at >= 0 ? id_at(join, l, *at) : NULL;
            if (id == NULL || before == NULL || strcmp(id, before) == 0 || !gmv_gene_ids_compare(id, before)) {
                first = id != NULL && before == NULL ? l : first;
                before = before == NULL ? id : before;
                continue;
            }
            bool by_place =
                is_by_place(join, l, *at) || (first >= 0 && is_by_place(join, first, join->match[first].at[g]));
            take_example(join, g, first, l, by_place);
            apart = apart || by_place;
            joined = joined || !by_place;
            if (by_place) {
                *at = -1;
                join->match[l].found--;
            }
        }
        join->other_ids.apart += apart;
        join->other_ids.joined += joined && !apart;
    }
    return GMV_OK;
}

/* ---- what is said ---- */

static int file_of_list(const gmv_gene_join *join, int l)
{
    int f = 0;
    while (join->source[f].list != l) {
        f++;
    }
    return f;
}

/* Columns that hold ids in some file, each once, in the order of the files. @return  a file that has none; -1: all do */
static int list_columns(const gmv_gene_join *join, const char **name, int *n)
{
    *n = 0;
    for (int f = 0; f < join->files; f++) {
        const char *column = join->source[f].id_column;
        int i = 0;
        while (i < *n && strcmp(name[i], column) != 0) {
            i++;
        }
        if (column[0] == '\0' || i == most_columns) {
            return f;
        }
        name[i] = column;
        *n += i == *n;
    }
    return -1;
}

/* Whether data.gene_column with these columns takes the ids of every file that is looked at. */
static bool columns_work(const gmv_gene_join *join, const char **name, int n)
{
    gmv_texts columns = {(char **)(void *)name, n};
    bool works = true;
    for (int f = 0; f < join->files && f < most_looked_at && works; f++) {
        gmv_h5 file;
        gmv_table var;
        if (gmv_h5_open(&file, join->source[f].path, NULL) != GMV_OK) {
            gmv_error_clear();
            return false;
        }
        works = gmv_table_open(&var, &file, join->source[f].place.var) == GMV_OK;
        int at = works ? gmv_gene_column_find(&var, &columns) : -1;
        works = at >= 0 && strcmp(name[at], join->source[f].id_column) == 0;
        gmv_h5_close(&file);
    }
    gmv_error_clear();
    return works;
}

/* "data.gene_column: [gene_ids] joins genes by their ids". */
static void advise(const gmv_gene_join *join, char *text, size_t size)
{
    const char *name[most_columns], *turned[most_columns];
    int n, without = list_columns(join, name, &n);
    for (int i = 0; i < n; i++) {
        turned[i] = name[n - 1 - i];
    }
    const char **working = columns_work(join, name, n) ? name : columns_work(join, turned, n) ? turned : NULL;
    if (without >= 0 || working == NULL) {
        snprintf(text, size,
                 "to join genes by their ids, each file needs a column with them (data.gene_column)%s%.200s",
                 without >= 0 ? ", which there is not in " : "", without >= 0 ? join->source[without].path : "");
        return;
    }
    size_t used = (size_t)snprintf(text, size, "data.gene_column: [");
    for (int i = 0; i < n; i++) {
        used += (size_t)snprintf(text + used, size - used, "%s%s", i > 0 ? ", " : "", gmv_shown(working[i]).at);
    }
    snprintf(text + used, size - used, "] joins genes by their ids%s",
             join->known != NULL                          ? ", in a model trained with it"
             : join->config->data_genes == GMV_GENES_FILE ? ", which data.genes.file must then hold"
                                                          : "");
}

gmv_status gmv_join_report_ids(const gmv_gene_join *join)
{
    int64_t apart = join->other_ids.apart, joined = join->other_ids.joined, all = apart + joined;
    char advice[900], fate[200];
    if (all == 0 || join->comm->rank != 0) {
        return GMV_OK;
    }
    advise(join, advice, sizeof advice);
    if (joined == 0) {
        snprintf(fate, sizeof fate, "%s missing in the second", apart == 1 ? "it counts as" : "they count as");
    } else if (apart == 0) {
        snprintf(fate, sizeof fate, "%s joined by name all the same", joined == 1 ? "it is" : "they are");
    } else {
        snprintf(fate, sizeof fate,
                 "%" PRId64 " with repeated names count%s as missing in the second, %" PRId64
                 " %s joined by name all the same",
                 apart, apart == 1 ? "s" : "", joined, joined == 1 ? "is" : "are");
    }
    const int *list = join->other_ids.list;
    const int32_t *place = join->other_ids.place;
    bool model = list[0] < 0;
    const char *first = model ? known_id(join, join->other_ids.gene) : id_at(join, list[0], place[0]);
    gmv_warn("%" PRId64 " gene%s the same name in %s and other ids, such as '%s': %s in %s, %s in %s; %s; %s", all,
             all == 1 ? " has" : "s have", model ? "the model and in files" : "several files",
             gmv_shown(gmv_join_name(join, join->other_ids.gene)).at, gmv_shown(first).at,
             model ? "the model" : join->source[file_of_list(join, list[0])].path,
             gmv_shown(id_at(join, list[1], place[1])).at, join->source[file_of_list(join, list[1])].path, fate,
             advice);
    return GMV_OK;
}
