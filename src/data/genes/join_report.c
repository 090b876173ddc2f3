/* What is said about a join of genes. */
#include "../h5/column.h"
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
    for (int64_t g = 0; g < join->genes && text.names <= shown_names; g++) {
        if (gmv_join_match(join, f)->at[g] < 0) {
            add_name(&text, gmv_join_name(join, g));
        }
    }
    return text;
}

static gmv_status other_names(const gmv_gene_join *join, int f, line *text)
{
    const gmv_gene_list *genes = gmv_join_list(join, f);
    const gmv_gene_match *match = gmv_join_match(join, f);
    bool *matched = NULL;
    GMV_TRY(GMV_NEW(matched, genes->n, "the join of genes"));
    for (int64_t g = 0; g < join->genes; g++) {
        if (match->at[g] >= 0) {
            matched[match->at[g]] = true;
        }
    }
    *text = (line){"", 0};
    for (int32_t j = 0; j < genes->n && text->names <= shown_names; j++) {
        if (!matched[j]) {
            add_name(text, join->lists->name.at[genes->gene[j]]);
        }
    }
    GMV_FREE(matched);
    return GMV_OK;
}

/* " (there are a, b)": what data.gene_column could name. Rank 0 has the words, and what it says is what is printed. */
static gmv_status columns_of(const gmv_gene_join *join, int f, char *text, size_t size)
{
    gmv_h5 file;
    gmv_table var;
    gmv_texts names = {NULL, 0};
    gmv_status status = GMV_OK;
    text[0] = '\0';
    if (join->comm->rank != 0) {
        return GMV_OK;
    }
    GMV_TRY(gmv_h5_open(&file, join->source[f].path, NULL));
    GMV_GO(gmv_table_open(&var, &file, join->source[f].place.var));
    GMV_GO(gmv_column_names(&var, &names));
    for (int i = 0; i < names.n && i < 8; i++) {
        size_t used = strlen(text);
        snprintf(text + used, size - used, "%s%s", i > 0 ? ", " : " (there are ", gmv_shown(names.at[i]).at);
    }
    if (names.n > 0) {
        size_t used = strlen(text);
        snprintf(text + used, size - used, "%s)", names.n > 8 ? " ..." : "");
    }
done:
    gmv_texts_free(&names);
    gmv_h5_close(&file);
    return status;
}

static int64_t found_everywhere(const gmv_gene_join *join)
{
    int64_t n = 0;
    for (int64_t g = 0; g < join->genes; g++) {
        n += gmv_join_everywhere(join, g);
    }
    return n;
}

/* The file with the smallest part of the list. */
static int poorest(const gmv_gene_join *join)
{
    int least = 0;
    for (int f = 1; f < join->files; f++) {
        least = gmv_join_match(join, f)->found < gmv_join_match(join, least)->found ? f : least;
    }
    return least;
}

/* "LIST names its genes 'A', 'B' ..., FILE 'C', 'D' ...; what to do". */
static gmv_status unlike_names(const gmv_gene_join *join, int f, char *text, size_t size)
{
    line others, lacked = lacked_names(join, f);
    char columns[300];
    GMV_TRY(other_names(join, f, &others));
    GMV_TRY(columns_of(join, f, columns, sizeof columns));
    snprintf(text, size,
             "%.200s names genes %.300s, this file %.300s; data.gene_column takes the names from a column of %s%.300s",
             join->name, lacked.at, others.at[0] != '\0' ? others.at : "only those", join->source[f].place.var,
             columns);
    return GMV_OK;
}

/* Genes of a list in a text file that nobody has: most likely typing errors. */
static gmv_status check_wanted(const gmv_gene_join *join)
{
    line few = {"", 0};
    int64_t missing = 0;
    for (int64_t g = 0; g < join->genes; g++) {
        bool somewhere = false;
        for (int l = 0; l < join->lists->n && !somewhere; l++) {
            somewhere = join->match[l].at[g] >= 0;
        }
        if (!somewhere) {
            missing++;
            add_name(&few, gmv_join_name(join, g));
        }
    }
    if (missing == 0) {
        return GMV_OK;
    }
    return GMV_FAIL(GMV_ERR_CONFIG, "%s: %" PRId64 " of %" PRId64 " genes are not in %s%s: %s", join->name, missing,
                    join->genes, join->files > 1 ? "any of the files, the first of which is " : "",
                    join->source[0].path, few.at);
}

gmv_status gmv_join_check(const gmv_gene_join *join)
{
    char why[1800];
    bool known = join->known != NULL;
    int f = poorest(join);
    int64_t found = gmv_join_match(join, f)->found, n = join->genes;
    if (join->reference && !known) {
        GMV_TRY(check_wanted(join));
    }
    if (join->reference && (known ? found * 20 < n || found == 0 : found == 0)) {
        GMV_TRY(unlike_names(join, f, why, sizeof why));
        return GMV_FAIL(GMV_ERR_DATA,
                        "%s: has %" PRId64 " of the %" PRId64
                        " genes of %s, too few to say anything about its cells; %s",
                        join->source[f].path, found, n, join->name, why);
    }
    if (!join->reference && found_everywhere(join) == 0) {
        GMV_TRY(unlike_names(join, f, why, sizeof why));
        return GMV_FAIL(GMV_ERR_DATA,
                        "%s: no gene is in all %d files, and %" PRId64 " are in this one and the first; %s",
                        join->source[f].path, join->files, found, why);
    }
    return GMV_OK;
}

/* Logs names that match without their versions, and those that would match several. */
static void report_versions(const gmv_gene_join *join)
{
    int64_t versions = 0, ambiguous = 0;
    int with = -1, without = -1;
    for (int f = 0; f < join->files; f++) {
        const gmv_gene_match *match = gmv_join_match(join, f);
        versions += match->versions;
        ambiguous += match->ambiguous;
        with = with < 0 && match->versions > 0 ? f : with;
        without = without < 0 && match->ambiguous > 0 && match->versions == 0 ? f : without;
    }
    if (versions > 0) {
        const gmv_gene_match *match = gmv_join_match(join, with);
        int32_t gene = gmv_join_list(join, with)->gene[match->at[match->example]];
        gmv_log("genes: %" PRId64 " name%s Ensembl version%s, such as '%s' of %s with '%s' of %s", versions,
                versions == 1 ? " matches without its" : "s match without their", versions == 1 ? "" : "s",
                gmv_shown(join->lists->name.at[gene]).at, join->source[with].path,
                gmv_shown(gmv_join_name(join, match->example)).at, join->name);
    }
    if (ambiguous > 0) {
        char example[200] = "";
        if (without >= 0) {
            snprintf(example, sizeof example, ", such as '%s'",
                     gmv_shown(gmv_join_name(join, gmv_join_match(join, without)->example)).at);
        }
        gmv_warn("%" PRId64 " gene%s of %s match%s several that differ in the Ensembl version alone%s; %s as missing",
                 ambiguous, ambiguous == 1 ? "" : "s", join->name, ambiguous == 1 ? "es" : "", example,
                 ambiguous == 1 ? "it counts" : "they count");
    }
}

static void report_reference(const gmv_gene_join *join)
{
    int shown = 0, more = 0;
    int64_t n = join->genes;
    for (int f = 0; f < join->files; f++) {
        int64_t found = gmv_join_match(join, f)->found;
        if (found == n) {
            continue;
        }
        if (shown == shown_files) {
            more++;
            continue;
        }
        bool little = join->known != NULL && found * 5 < n * 4;
        (little ? gmv_warn : gmv_log)("%s: has %" PRId64 " of the %" PRId64
                                      " genes of %s; the others are masked in its cells: %s",
                                      join->source[f].path, found, n, join->name, lacked_names(join, f).at);
        shown++;
    }
    if (more > 0) {
        int f = poorest(join);
        gmv_log("genes: %d more file%s some; %s has least, %" PRId64, more, more == 1 ? " lacks" : "s lack",
                join->source[f].path, gmv_join_match(join, f)->found);
    }
}

/* How often a gene was seen, by its name without the version. */
typedef struct seen_gene {
    int files, last; /* last: list, from 1 */
    int64_t sum;     /* of 1 + the numbers of these files: tells which one is missing when it is one */
} seen_gene;

static gmv_status count_files(const gmv_gene_join *join, seen_gene **seen)
{
    int *files = NULL;
    int64_t *sum = NULL;
    gmv_status status = GMV_OK;
    GMV_GO(GMV_NEW(files, join->lists->n, "counts of genes"));
    GMV_GO(GMV_NEW(sum, join->lists->n, "counts of genes"));
    GMV_GO(GMV_NEW(*seen, join->lists->name.n, "counts of genes"));
    for (int f = 0; f < join->files; f++) {
        files[join->source[f].list]++;
        sum[join->source[f].list] += f + 1;
    }
    for (int l = 0; l < join->lists->n; l++) {
        const gmv_gene_list *list = &join->lists->list[l];
        for (int32_t j = 0; j < list->n; j++) {
            seen_gene *gene = &(*seen)[join->plain[list->gene[j]]];
            if (gene->last != l + 1) {
                gene->files += files[l];
                gene->sum += sum[l];
                gene->last = l + 1;
            }
        }
    }
done:
    GMV_FREE(files);
    GMV_FREE(sum);
    return status;
}

/* The file that alone lacks most genes. */
static gmv_status report_cost(const gmv_gene_join *join)
{
    seen_gene *seen = NULL;
    int64_t *cost = NULL, whole = (int64_t)join->files * (join->files + 1) / 2;
    line few = {"", 0};
    gmv_status status = GMV_OK;
    int worst = 0;
    GMV_GO(GMV_NEW(cost, join->files, "counts of genes"));
    GMV_GO(count_files(join, &seen));
    for (int64_t i = 0; i < join->lists->name.n; i++) {
        if (seen[i].files == join->files - 1) {
            cost[whole - seen[i].sum - 1]++;
        }
    }
    for (int f = 1; f < join->files; f++) {
        worst = cost[f] > cost[worst] ? f : worst;
    }
    for (int64_t i = 0; i < join->lists->name.n && few.names <= shown_names; i++) {
        seen_gene *gene = &seen[join->plain[i]];
        if (gene->files == join->files - 1 && whole - gene->sum - 1 == worst) {
            add_name(&few, join->lists->name.at[join->plain[i]]);
            gene->files = 0; /* once */
        }
    }
    if (cost[worst] > 0) {
        gmv_log("genes: %s costs most: it alone lacks %" PRId64 " that all others have: %s", join->source[worst].path,
                cost[worst], few.at);
    }
done:
    GMV_FREE(seen);
    GMV_FREE(cost);
    return status;
}

static gmv_status report_shared(const gmv_gene_join *join)
{
    int64_t shared = found_everywhere(join), least = gmv_join_list(join, 0)->n, most = least;
    for (int f = 1; f < join->files; f++) {
        int64_t n = gmv_join_list(join, f)->n;
        least = n < least ? n : least;
        most = n > most ? n : most;
    }
    if (shared == most) {
        return GMV_OK;
    }
    gmv_log("genes: %" PRId64 " %s in all %d files and %s used; "
            "data.genes.file would keep a list of which each file may lack some",
            shared, shared == 1 ? "is" : "are", join->files, shared == 1 ? "is" : "are");
    for (int f = 0; f < join->files && f < shown_files; f++) {
        gmv_log("  %s: %d genes, %" PRId64 " of them in the first file", join->source[f].path,
                (int)gmv_join_list(join, f)->n, gmv_join_match(join, f)->found);
    }
    if (join->files > shown_files) {
        gmv_log("  and %d more file%s; the smallest has %" PRId64 " genes, the largest %" PRId64,
                join->files - shown_files, join->files - shown_files == 1 ? "" : "s", least, most);
    }
    if (join->files > 2) {
        GMV_TRY(report_cost(join));
    }
    if (shared * 5 < least) {
        char why[1800];
        int f = poorest(join);
        GMV_TRY(unlike_names(join, f, why, sizeof why));
        gmv_warn("%s: only %" PRId64 " gene%s in all %d files, of %" PRId64 " in the smallest; %s",
                 join->source[f].path, shared, shared == 1 ? " is" : "s are", join->files, least, why);
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
