/* What is said about a join of genes. */
#include "column.h"
#include "join.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { shown_files = 6, shown_names = 3 };

typedef struct line {
    char at[512];
    int names;
} line;

static void add_name(line *text, const char *name)
{
    size_t used = strlen(text->at);
    if (text->names < shown_names) {
        snprintf(text->at + used, sizeof text->at - used, "%s'%s'", used > 0 ? ", " : "", gmv_shown(name).at);
    } else if (text->names == shown_names) {
        snprintf(text->at + used, sizeof text->at - used, " ...");
    }
    text->names++;
}

/* Genes of the list that a file lacks, and genes of a file that are not in the list. */
static line lacked_names(const gmv_gene_join *join, int f)
{
    line text = {"", 0};
    for (int64_t g = 0; g < join->list.n && text.names <= shown_names; g++) {
        if (join->match[f].at[g] < 0) {
            add_name(&text, join->list.at[g]);
        }
    }
    return text;
}

static gmv_status other_names(const gmv_gene_join *join, int f, line *text)
{
    const gmv_names *genes = &join->source[f].genes;
    bool *matched = NULL;
    GMV_TRY(GMV_NEW(matched, genes->n, "the join of genes"));
    for (int64_t g = 0; g < join->list.n; g++) {
        if (join->match[f].at[g] >= 0) {
            matched[join->match[f].at[g]] = true;
        }
    }
    *text = (line){"", 0};
    for (int64_t j = 0; j < genes->n && text->names <= shown_names; j++) {
        if (!matched[j]) {
            add_name(text, genes->at[j]);
        }
    }
    GMV_FREE(matched);
    return GMV_OK;
}

/* ", of which FILE has the columns a, b": what data.gene_column could name. */
static gmv_status columns_of(const gmv_source *source, char *text, size_t size)
{
    gmv_texts names;
    text[0] = '\0';
    GMV_TRY(gmv_column_names(&source->matrix.var, &names));
    for (int i = 0; i < names.n && i < 8; i++) {
        size_t used = strlen(text);
        snprintf(text + used, size - used, "%s%s", i > 0 ? ", " : " (there are ", gmv_shown(names.at[i]).at);
    }
    if (names.n > 0) {
        size_t used = strlen(text);
        snprintf(text + used, size - used, "%s)", names.n > 8 ? " ..." : "");
    }
    gmv_texts_free(&names);
    return GMV_OK;
}

static int64_t found_everywhere(const gmv_gene_join *join)
{
    int64_t n = 0;
    for (int64_t g = 0; g < join->list.n; g++) {
        bool everywhere = true;
        for (int f = 0; f < join->files && everywhere; f++) {
            everywhere = join->match[f].at[g] >= 0;
        }
        n += everywhere;
    }
    return n;
}

/* The file with the smallest part of the list. */
static int poorest(const gmv_gene_join *join)
{
    int least = 0;
    for (int f = 1; f < join->files; f++) {
        least = join->match[f].found < join->match[least].found ? f : least;
    }
    return least;
}

/* "LIST names its genes 'A', 'B' ..., FILE 'C', 'D' ...; what to do". */
static gmv_status unlike_names(const gmv_gene_join *join, int f, char *text, size_t size)
{
    line others, lacked = lacked_names(join, f);
    char columns[300];
    GMV_TRY(other_names(join, f, &others));
    GMV_TRY(columns_of(&join->source[f], columns, sizeof columns));
    snprintf(text, size,
             "%.200s names genes %.300s, this file %.300s; data.gene_column takes the names from a column of %s%.300s",
             join->name, lacked.at, others.at[0] != '\0' ? others.at : "only those", join->source[f].matrix.var.path,
             columns);
    return GMV_OK;
}

/* Genes of a list in a text file that nobody has: most likely typing errors. */
static gmv_status check_wanted(const gmv_gene_join *join)
{
    line few = {"", 0};
    int64_t missing = 0;
    for (int64_t g = 0; g < join->list.n; g++) {
        bool somewhere = false;
        for (int f = 0; f < join->files && !somewhere; f++) {
            somewhere = join->match[f].at[g] >= 0;
        }
        if (!somewhere) {
            missing++;
            add_name(&few, join->list.at[g]);
        }
    }
    if (missing == 0) {
        return GMV_OK;
    }
    return GMV_FAIL(GMV_ERR_CONFIG, "%s: %" PRId64 " of %" PRId64 " genes are not in %s%s: %s", join->name, missing,
                    join->list.n, join->files > 1 ? "any of the files, the first of which is " : "",
                    join->source[0].file.path, few.at);
}

gmv_status gmv_join_check(const gmv_gene_join *join)
{
    char why[1800];
    bool known = join->request->known_gene != NULL;
    int f = poorest(join);
    int64_t found = join->match[f].found, n = join->list.n;
    if (join->reference && !known) {
        GMV_TRY(check_wanted(join));
    }
    if (join->reference && (known ? found * 20 < n || found == 0 : found == 0)) {
        GMV_TRY(unlike_names(join, f, why, sizeof why));
        return GMV_FAIL(GMV_ERR_DATA,
                        "%s: has %" PRId64 " of the %" PRId64
                        " genes of %s, too few to say anything about its cells; %s",
                        join->source[f].file.path, found, n, join->name, why);
    }
    if (!join->reference && found_everywhere(join) == 0) {
        GMV_TRY(unlike_names(join, f, why, sizeof why));
        return GMV_FAIL(GMV_ERR_DATA,
                        "%s: no gene is in all %d files, and %" PRId64 " are in this one and the first; %s",
                        join->source[f].file.path, join->files, found, why);
    }
    return GMV_OK;
}

/* Logs names that match without their versions, and those that would match several. */
static void report_versions(const gmv_gene_join *join)
{
    int64_t versions = 0, ambiguous = 0;
    int with = -1, without = -1;
    for (int f = 0; f < join->files; f++) {
        const gmv_gene_match *match = &join->match[f];
        versions += match->versions;
        ambiguous += match->ambiguous;
        with = with < 0 && match->versions > 0 ? f : with;
        without = without < 0 && match->ambiguous > 0 && match->versions == 0 ? f : without;
    }
    if (versions > 0) {
        int32_t g = join->match[with].example;
        gmv_log("genes: %" PRId64 " names match without their Ensembl versions, such as '%s' of %s with '%s' of %s",
                versions, gmv_shown(join->source[with].genes.at[join->match[with].at[g]]).at,
                join->source[with].file.path, gmv_shown(join->list.at[g]).at, join->name);
    }
    if (ambiguous > 0) {
        char example[200] = "";
        if (without >= 0) {
            snprintf(example, sizeof example, ", such as '%s'",
                     gmv_shown(join->list.at[join->match[without].example]).at);
        }
        gmv_warn("%" PRId64
                 " genes of %s match several that differ in the Ensembl version alone%s; they count as missing",
                 ambiguous, join->name, example);
    }
}

static void report_reference(const gmv_gene_join *join)
{
    int shown = 0, more = 0;
    int64_t n = join->list.n;
    for (int f = 0; f < join->files; f++) {
        int64_t found = join->match[f].found;
        if (found == n) {
            continue;
        }
        if (shown == shown_files) {
            more++;
            continue;
        }
        bool little = join->request->known_gene != NULL && found * 5 < n * 4;
        (little ? gmv_warn : gmv_log)("%s: has %" PRId64 " of the %" PRId64
                                      " genes of %s; the others are masked in its cells: %s",
                                      join->source[f].file.path, found, n, join->name, lacked_names(join, f).at);
        shown++;
    }
    if (more > 0) {
        int f = poorest(join);
        gmv_log("genes: %d more files lack some; %s has least, %" PRId64, more, join->source[f].file.path,
                join->match[f].found);
    }
}

/* How often a gene was seen, by its name without the version. */
typedef struct seen_gene {
    int files, last;
    int64_t sum; /* of 1 + the numbers of these files: tells which one is missing when it is one */
} seen_gene;

static gmv_status count_files(const gmv_gene_join *join, gmv_names *all, seen_gene **seen)
{
    int64_t room = 0;
    char text[128];
    for (int f = 0; f < join->files; f++) {
        const gmv_names *genes = &join->source[f].genes;
        for (int64_t j = 0; j < genes->n; j++) {
            bool plain = gmv_gene_drop_version(genes->at[j], text, sizeof text);
            int64_t at;
            GMV_TRY(gmv_names_add(all, plain ? text : genes->at[j], &at, NULL));
            if (at >= room) {
                GMV_TRY(GMV_GROW(*seen, room, 2 * at + 1024, "counts of genes"));
                room = 2 * at + 1024;
            }
            if ((*seen)[at].last != f + 1) {
                (*seen)[at].files++;
                (*seen)[at].sum += f + 1;
                (*seen)[at].last = f + 1;
            }
        }
    }
    return GMV_OK;
}

/* The file that alone lacks most genes. */
static gmv_status report_cost(const gmv_gene_join *join)
{
    gmv_names all = {0};
    seen_gene *seen = NULL;
    int64_t *cost = NULL, whole = (int64_t)join->files * (join->files + 1) / 2;
    line few = {"", 0};
    gmv_status status = GMV_OK;
    int worst = 0;
    GMV_GO(GMV_NEW(cost, join->files, "counts of genes"));
    GMV_GO(count_files(join, &all, &seen));
    for (int64_t i = 0; i < all.n; i++) {
        if (seen[i].files == join->files - 1) {
            cost[whole - seen[i].sum - 1]++;
        }
    }
    for (int f = 1; f < join->files; f++) {
        worst = cost[f] > cost[worst] ? f : worst;
    }
    for (int64_t i = 0; i < all.n && few.names <= shown_names; i++) {
        if (seen[i].files == join->files - 1 && whole - seen[i].sum - 1 == worst) {
            add_name(&few, all.at[i]);
        }
    }
    if (cost[worst] > 0) {
        gmv_log("genes: %s costs most: it alone lacks %" PRId64 " that all others have: %s",
                join->source[worst].file.path, cost[worst], few.at);
    }
done:
    gmv_names_fini(&all);
    GMV_FREE(seen);
    GMV_FREE(cost);
    return status;
}

static gmv_status report_shared(const gmv_gene_join *join)
{
    int64_t shared = found_everywhere(join), least = join->source[0].genes.n, most = least;
    for (int f = 1; f < join->files; f++) {
        int64_t n = join->source[f].genes.n;
        least = n < least ? n : least;
        most = n > most ? n : most;
    }
    if (shared == most) {
        return GMV_OK;
    }
    gmv_log("genes: %" PRId64 " are in all %d files and are used; "
            "data.genes.file would keep a list of which each file may lack some",
            shared, join->files);
    for (int f = 0; f < join->files && f < shown_files; f++) {
        gmv_log("  %s: %" PRId64 " genes, %" PRId64 " of them in the first file", join->source[f].file.path,
                join->source[f].genes.n, join->match[f].found);
    }
    if (join->files > shown_files) {
        gmv_log("  and %d more files; the smallest has %" PRId64 " genes, the largest %" PRId64,
                join->files - shown_files, least, most);
    }
    if (join->files > 2) {
        GMV_TRY(report_cost(join));
    }
    if (shared * 5 < least) {
        char why[1800];
        int f = poorest(join);
        GMV_TRY(unlike_names(join, f, why, sizeof why));
        gmv_warn("%s: only %" PRId64 " genes are in all %d files, of %" PRId64 " in the smallest; %s",
                 join->source[f].file.path, shared, join->files, least, why);
    }
    return GMV_OK;
}

gmv_status gmv_join_report(const gmv_gene_join *join)
{
    report_versions(join);
    if (join->reference) {
        report_reference(join);
        return GMV_OK;
    }
    return report_shared(join);
}
