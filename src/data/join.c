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

/* Names without versions, and the gene of each: -1 when there are several. */
typedef struct plain_names {
    gmv_names name;
    int64_t *gene;
} plain_names;

static bool has_versions(const gmv_names *names)
{
    char plain[128];
    for (int64_t i = 0; i < names->n; i++) {
        if (gmv_gene_drop_version(names->at[i], plain, sizeof plain)) {
            return true;
        }
    }
    return false;
}

static const char *plain_name(const char *name, char *plain, size_t size)
{
    return gmv_gene_drop_version(name, plain, size) ? plain : name;
}

static gmv_status drop_versions(plain_names *plain, const gmv_names *names)
{
    char text[128];
    GMV_TRY(GMV_NEW(plain->gene, names->n, "names without versions"));
    for (int64_t i = 0; i < names->n; i++) {
        int64_t at;
        bool is_new;
        GMV_TRY(gmv_names_add(&plain->name, plain_name(names->at[i], text, sizeof text), &at, &is_new));
        plain->gene[at] = is_new ? i : -1;
    }
    return GMV_OK;
}

/* Those not found so far. A name that several genes of a side share says nothing: they stay apart. So no gene can be
 * taken twice: were the file's gene found already, by its full name, the list would have two of this plain name. */
static gmv_status match_plain(gmv_gene_match *match, const gmv_names *list, const gmv_names *file)
{
    plain_names wanted = {{0}, NULL}, there = {{0}, NULL};
    char text[128];
    int32_t ambiguous = -1;
    gmv_status status = GMV_OK;
    GMV_GO(drop_versions(&wanted, list));
    GMV_GO(drop_versions(&there, file));
    for (int64_t g = 0; g < list->n; g++) {
        const char *plain = plain_name(list->at[g], text, sizeof text);
        int64_t at = match->at[g] < 0 ? gmv_names_find(&there.name, plain) : -1;
        if (at < 0) {
            continue;
        }
        if (wanted.gene[gmv_names_find(&wanted.name, plain)] < 0 || there.gene[at] < 0) {
            ambiguous = ambiguous < 0 ? (int32_t)g : ambiguous;
            match->ambiguous++;
            continue;
        }
        match->at[g] = (int32_t)there.gene[at];
        match->example = match->example < 0 ? (int32_t)g : match->example;
        match->versions++;
        match->found++;
    }
    match->example = match->example < 0 ? ambiguous : match->example;
done:
    gmv_names_fini(&wanted.name);
    gmv_names_fini(&there.name);
    GMV_FREE(wanted.gene);
    GMV_FREE(there.gene);
    return status;
}

gmv_status gmv_genes_match(gmv_gene_match *match, const gmv_names *list, const gmv_names *file)
{
    memset(match, 0, sizeof *match);
    match->example = -1;
    GMV_TRY(GMV_NEW(match->at, list->n, "the join of genes"));
    for (int64_t g = 0; g < list->n; g++) {
        match->at[g] = (int32_t)gmv_names_find(file, list->at[g]);
        match->found += match->at[g] >= 0;
    }
    bool plain = match->found < list->n && (has_versions(list) || has_versions(file));
    return plain ? match_plain(match, list, file) : GMV_OK;
}

/* The list before files that lack some of it have been looked at. Collective. */
static gmv_status choose_list(gmv_gene_join *join, const gmv_comm *comm)
{
    const gmv_cells_request *request = join->request;
    const gmv_names *first = &join->source[0].genes;
    if (request->known_gene != NULL) {
        snprintf(join->name, sizeof join->name, "the model");
        return gmv_genes_known(&join->list, request);
    }
    if (request->genes_mode == GMV_GENES_FILE) {
        snprintf(join->name, sizeof join->name, "%.255s", request->genes_file);
        return gmv_genes_from_file(&join->list, comm, request->genes_file);
    }
    snprintf(join->name, sizeof join->name, "%.255s", join->source[0].file.path);
    for (int64_t j = 0; j < first->n; j++) {
        GMV_TRY(gmv_names_add(&join->list, first->at[j], NULL, NULL));
    }
    return GMV_OK;
}

/* Drops what some file lacks from the list. */
static gmv_status keep_shared(gmv_gene_join *join)
{
    gmv_names shared = {0};
    gmv_status status = GMV_OK;
    for (int64_t g = 0; g < join->list.n; g++) {
        bool everywhere = true;
        for (int f = 0; f < join->files && everywhere; f++) {
            everywhere = join->match[f].at[g] >= 0;
        }
        for (int f = 0; f < join->files && everywhere; f++) {
            join->match[f].at[shared.n] = join->match[f].at[g];
        }
        if (everywhere) {
            GMV_GO(gmv_names_add(&shared, join->list.at[g], NULL, NULL));
        }
    }
done:
    gmv_names_fini(&join->list);
    join->list = shared;
    return status;
}

static gmv_status map_sources(const gmv_gene_join *join)
{
    for (int f = 0; f < join->files; f++) {
        gmv_source *source = &join->source[f];
        const gmv_gene_match *match = &join->match[f];
        bool same = source->genes.n == join->list.n;
        for (int64_t g = 0; g < join->list.n && same; g++) {
            same = match->at[g] == (int32_t)g;
        }
        if (same) {
            continue;
        }
        GMV_TRY(GMV_NEW(source->map, source->genes.n, "the map of genes"));
        for (int64_t j = 0; j < source->genes.n; j++) {
            source->map[j] = -1;
        }
        for (int64_t g = 0; g < join->list.n; g++) {
            if (match->at[g] >= 0) {
                source->map[match->at[g]] = (int32_t)g;
            }
        }
    }
    return GMV_OK;
}

static gmv_status join_list(gmv_gene_join *join)
{
    GMV_TRY(GMV_NEW(join->match, join->files, "the join of genes"));
    for (int f = 0; f < join->files; f++) {
        GMV_TRY(gmv_genes_match(&join->match[f], &join->list, &join->source[f].genes));
    }
    GMV_TRY(gmv_join_check(join));
    GMV_TRY(gmv_join_report(join));
    if (!join->reference) {
        GMV_TRY(keep_shared(join));
    }
    return map_sources(join);
}

gmv_status gmv_genes_join(gmv_names *used, gmv_source *source, int files, const gmv_comm *comm,
                          const gmv_cells_request *request)
{
    gmv_gene_join join = {.request = request, .source = source, .files = files};
    join.reference = request->known_gene != NULL || request->genes_mode == GMV_GENES_FILE;
    gmv_status status = gmv_comm_agree(comm, choose_list(&join, comm));
    if (status == GMV_OK) {
        status = gmv_comm_agree(comm, join_list(&join));
    }
    for (int f = 0; join.match != NULL && f < files; f++) {
        GMV_FREE(join.match[f].at);
    }
    GMV_FREE(join.match);
    *used = join.list;
    return status;
}
