#include "join.h"

#include "genes.h"

#include "gmvae/mem.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

bool gmv_gene_drop_version(const char *name, char *plain, size_t size)
{
    const char *at = name;
    if (strncmp(at, "ENS", 3) != 0) {
        return false;
    }
    while (isupper((unsigned char)*at)) {
        at++;
    }
    const char *number = at;
    while (isdigit((unsigned char)*at)) {
        at++;
    }
    const char *dot = at, *end = at + 1;
    if (dot - number < 6 || *dot != '.') {
        return false;
    }
    while (isdigit((unsigned char)*end)) {
        end++;
    }
    size_t before = (size_t)(dot - name), after = strlen(end);
    if (end == dot + 1 || (*end != '\0' && *end != '_') || before + after >= size) {
        return false;
    }
    memcpy(plain, name, before);
    memcpy(plain + before, end, after + 1);
    return true;
}

/* ---- one list of a file ---- */

/* Of every name without a version, which gene of a list has it, from 1; -1: several, 0: none. */
static gmv_status place_plain(const gmv_gene_join *join, const int32_t *gene, int64_t n, int32_t **place)
{
    GMV_TRY(GMV_NEW(*place, join->lists->name.n, "names without versions"));
    for (int64_t i = 0; i < n; i++) {
        int32_t *at = &(*place)[join->plain[gene[i]]];
        *at = *at == 0 ? (int32_t)i + 1 : -1;
    }
    return GMV_OK;
}

static bool has_versions(const gmv_gene_join *join, const int32_t *gene, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (join->plain[gene[i]] != gene[i]) {
            return true;
        }
    }
    return false;
}

/* Those not found so far. A name that several genes of a side share says nothing: they stay apart. So no gene can be
 * taken twice: were the file's gene found already, by its full name, the list would have two of this plain name. */
static gmv_status match_plain(const gmv_gene_join *join, const gmv_gene_list *of_file, gmv_gene_match *match)
{
    int32_t *wanted = NULL, *there = NULL, ambiguous = -1;
    gmv_status status = GMV_OK;
    GMV_GO(place_plain(join, join->list, join->genes, &wanted));
    GMV_GO(place_plain(join, of_file->gene, of_file->n, &there));
    for (int64_t g = 0; g < join->genes; g++) {
        int32_t plain = join->plain[join->list[g]];
        if (match->at[g] >= 0 || there[plain] == 0) {
            continue;
        }
        if (wanted[plain] < 0 || there[plain] < 0) {
            ambiguous = ambiguous < 0 ? (int32_t)g : ambiguous;
            match->ambiguous++;
            continue;
        }
        match->at[g] = there[plain] - 1;
        match->example = match->example < 0 ? (int32_t)g : match->example;
        match->versions++;
        match->found++;
    }
    match->example = match->example < 0 ? ambiguous : match->example;
done:
    GMV_FREE(wanted);
    GMV_FREE(there);
    return status;
}

/* Finds the genes of the list: by equal names; then, where neither side has two that differ in it alone, without the
 * version. */
static gmv_status match_list(const gmv_gene_join *join, const gmv_gene_list *of_file, gmv_gene_match *match)
{
    int32_t *place = NULL; /* from 1 */
    match->example = -1;
    GMV_TRY(GMV_NEW(match->at, join->genes, "the join of genes"));
    GMV_TRY(GMV_NEW(place, join->lists->name.n, "the join of genes"));
    for (int32_t j = 0; j < of_file->n; j++) {
        place[of_file->gene[j]] = j + 1;
    }
    for (int64_t g = 0; g < join->genes; g++) {
        match->at[g] = place[join->list[g]] - 1;
        match->found += match->at[g] >= 0;
    }
    GMV_FREE(place);
    bool plain = match->found < join->genes &&
                 (has_versions(join, join->list, join->genes) || has_versions(join, of_file->gene, of_file->n));
    return plain ? match_plain(join, of_file, match) : GMV_OK;
}

/* ---- all lists ---- */

/* Names that are asked for, as places among those of the files. */
static gmv_status take_names(gmv_gene_join *join, const gmv_names *wanted)
{
    GMV_TRY(GMV_NEW(join->list, wanted->n, "the join of genes"));
    for (join->genes = 0; join->genes < wanted->n; join->genes++) {
        int64_t at;
        GMV_TRY(gmv_names_add(&join->lists->name, wanted->at[join->genes], &at, NULL));
        join->list[join->genes] = (int32_t)at;
    }
    return GMV_OK;
}

/* The list before files that lack some of it have been looked at. Collective. */
static gmv_status choose_list(gmv_gene_join *join)
{
    const gmv_gene_list *first = gmv_join_list(join, 0);
    gmv_names wanted = {0};
    gmv_status status = GMV_OK;
    if (join->reference) {
        const char *file = join->config->data_genes_file;
        snprintf(join->name, sizeof join->name, "%.255s", join->known != NULL ? "the model" : file);
        GMV_GO(join->known != NULL ? gmv_genes_known(&wanted, join->known)
                                   : gmv_genes_from_file(&wanted, join->comm, file, "data.genes.file"));
        GMV_GO(take_names(join, &wanted));
    } else {
        snprintf(join->name, sizeof join->name, "%.255s", join->source[0].path);
        GMV_GO(GMV_NEW(join->list, first->n, "the join of genes"));
        memcpy(join->list, first->gene, (size_t)first->n * sizeof *join->list);
        join->genes = first->n;
    }
done:
    gmv_names_fini(&wanted);
    return status;
}

static gmv_status drop_versions(gmv_gene_join *join)
{
    gmv_names *name = &join->lists->name;
    int64_t full = name->n;
    char text[128];
    GMV_TRY(GMV_NEW(join->plain, 2 * full, "names without versions"));
    for (int64_t i = 0; i < full; i++) {
        int64_t at = i;
        if (gmv_gene_drop_version(name->at[i], text, sizeof text)) {
            GMV_TRY(gmv_names_add(name, text, &at, NULL));
            join->plain[at] = (int32_t)at;
        }
        join->plain[i] = (int32_t)at;
    }
    return GMV_OK;
}

bool gmv_join_everywhere(const gmv_gene_join *join, int64_t g)
{
    for (int l = 0; l < join->lists->n; l++) {
        if (join->match[l].at[g] < 0) {
            return false;
        }
    }
    return true;
}

/* Drops what some file lacks from the list. */
static void keep_shared(gmv_gene_join *join)
{
    int64_t kept = 0;
    for (int64_t g = 0; g < join->genes; g++) {
        if (!gmv_join_everywhere(join, g)) {
            continue;
        }
        for (int l = 0; l < join->lists->n; l++) {
            join->match[l].at[kept] = join->match[l].at[g];
        }
        join->list[kept++] = join->list[g];
    }
    join->genes = kept;
}

static gmv_status map_lists(const gmv_gene_join *join)
{
    for (int l = 0; l < join->lists->n; l++) {
        gmv_gene_list *list = &join->lists->list[l];
        const gmv_gene_match *match = &join->match[l];
        bool same = list->n == join->genes;
        for (int64_t g = 0; g < join->genes && same; g++) {
            same = match->at[g] == (int32_t)g;
        }
        if (same) {
            continue;
        }
        GMV_TRY(GMV_NEW(list->map, list->n, "the map of genes"));
        for (int32_t j = 0; j < list->n; j++) {
            list->map[j] = -1;
        }
        for (int64_t g = 0; g < join->genes; g++) {
            if (match->at[g] >= 0) {
                list->map[match->at[g]] = (int32_t)g;
            }
        }
    }
    return GMV_OK;
}

static gmv_status join_lists(gmv_gene_join *join, gmv_names *used, char ***id)
{
    GMV_TRY(drop_versions(join));
    GMV_TRY(GMV_NEW(join->match, join->lists->n, "the join of genes"));
    for (int l = 0; l < join->lists->n; l++) {
        GMV_TRY(match_list(join, &join->lists->list[l], &join->match[l]));
    }
    GMV_TRY(gmv_join_compare_ids(join));
    GMV_TRY(gmv_join_report_ids(join));
    GMV_TRY(gmv_join_check(join));
    GMV_TRY(gmv_join_report(join));
    if (!join->reference) {
        keep_shared(join);
    }
    for (int64_t g = 0; g < join->genes; g++) {
        GMV_TRY(gmv_names_add(used, gmv_join_name(join, g), NULL, NULL));
    }
    GMV_TRY(gmv_join_take_ids(join, id));
    return map_lists(join);
}

gmv_status gmv_genes_join(gmv_names *used, char ***id, gmv_gene_lists *lists, const gmv_source *source, int files,
                          const gmv_comm *comm, const gmv_config *config, const gmv_known *known)
{
    gmv_gene_join join = {
        .comm = comm, .config = config, .known = known, .source = source, .files = files, .lists = lists};
    join.reference = known != NULL || config->data_genes == GMV_GENES_FILE;
    memset(used, 0, sizeof *used);
    gmv_status status = gmv_comm_agree(comm, choose_list(&join));
    if (status == GMV_OK) {
        status = gmv_comm_agree(comm, join_lists(&join, used, id));
    }
    for (int l = 0; join.match != NULL && l < lists->n; l++) {
        GMV_FREE(join.match[l].at);
    }
    GMV_FREE(join.match);
    GMV_FREE(join.plain);
    GMV_FREE(join.list);
    return status;
}
