#include "genes.h"

#include "h5.h"

#include "gmvae/log.h"
#include "gmvae/mem.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

gmv_status gmv_genes_read(gmv_names *genes, const char *path, const gmv_texts *raw)
{
    gmv_names all = {0};
    gmv_status status = GMV_OK;
    memset(genes, 0, sizeof *genes);
    for (int i = 0; i < raw->n; i++) {
        GMV_GO(gmv_names_add(&all, raw->at[i], NULL, NULL));
    }
    int repeated = 0, first = -1;
    for (int i = 0; i < raw->n; i++) {
        bool is_new = true;
        GMV_GO(gmv_names_add(genes, raw->at[i], NULL, &is_new));
        if (is_new) {
            continue;
        }
        first = first < 0 ? i : first;
        repeated++;
        for (int k = 1; !is_new; k++) {
            char name[600];
            snprintf(name, sizeof name, "%.500s-%d", raw->at[i], k);
            if (gmv_names_find(&all, name) < 0) {
                GMV_GO(gmv_names_add(genes, name, NULL, &is_new));
            }
        }
    }
    if (repeated > 0) {
        gmv_warn("%s: %d gene names are repeated, the first is '%s'; they get a suffix -1, -2 ...", path, repeated,
                 gmv_shown(raw->at[first]).at);
    }
done:
    gmv_names_fini(&all);
    if (status != GMV_OK) {
        gmv_names_fini(genes);
    }
    return status;
}

/* Whole text file into a new string. */
static gmv_status read_text(const char *path, char **text)
{
    *text = NULL;
    FILE *in = fopen(path, "rb");
    if (in == NULL) {
        return GMV_FAIL(GMV_ERR_CONFIG, "%s: cannot be opened: %s (data.genes.file)", path, strerror(errno));
    }
    gmv_status status = GMV_OK;
    int64_t used = 0, room = 0;
    size_t got = 0;
    do {
        if (used + 1 >= room) {
            int64_t larger = 2 * room + 65536;
            GMV_GO(GMV_GROW(*text, room, larger, "the list of genes"));
            room = larger;
        }
        got = fread(*text + used, 1, (size_t)(room - used - 1), in);
        used += (int64_t)got;
    } while (got > 0);
done:
    fclose(in);
    if (status != GMV_OK) {
        GMV_FREE(*text);
    }
    return status;
}

/* Adds a name that must be new. */
static gmv_status add_once(gmv_names *wanted, const char *name)
{
    bool is_new = true;
    GMV_TRY(gmv_names_add(wanted, name, NULL, &is_new));
    if (!is_new) {
        return GMV_FAIL(GMV_ERR_CONFIG, "gene '%s' is named twice", gmv_shown(name).at);
    }
    return GMV_OK;
}

static gmv_status parse_genes(gmv_names *wanted, char *text, const char *genes_file)
{
    char *rest = text;
    if (strncmp(rest, "\xEF\xBB\xBF", 3) == 0) {
        rest += 3;
    }
    for (char *line = strtok_r(rest, "\r\n", &rest); line != NULL; line = strtok_r(NULL, "\r\n", &rest)) {
        while (isspace((unsigned char)*line)) {
            line++;
        }
        size_t length = strlen(line);
        while (length > 0 && isspace((unsigned char)line[length - 1])) {
            line[--length] = '\0';
        }
        if (length > 0) {
            GMV_TRY(add_once(wanted, line));
        }
    }
    if (wanted->n == 0) {
        return GMV_FAIL(GMV_ERR_CONFIG, "%s: names no gene (data.genes.file)", genes_file);
    }
    return GMV_OK;
}

gmv_status gmv_genes_from_file(gmv_names *wanted, const gmv_comm *comm, const char *genes_file)
{
    char *text = NULL;
    memset(wanted, 0, sizeof *wanted);
    gmv_status status = comm->rank == 0 ? read_text(genes_file, &text) : GMV_OK;
    status = gmv_comm_agree(comm, status);
    if (status == GMV_OK) {
        status = gmv_comm_broadcast_text(comm, &text, 0);
    }
    if (status == GMV_OK) {
        status = parse_genes(wanted, text, genes_file);
    }
    gmv_free(text);
    return gmv_comm_agree(comm, status);
}

gmv_status gmv_genes_known(gmv_names *wanted, const gmv_cells_request *request)
{
    memset(wanted, 0, sizeof *wanted);
    for (int i = 0; i < request->known_genes; i++) {
        GMV_TRY(add_once(wanted, request->known_gene[i]));
    }
    return GMV_OK;
}

/* Sums of round(2^24 log1p(c)) and round(2^24 log1p(c)^2) per gene: log1p(c) < 16.7, so 10^9 rows fit. */
static void add_logs(const gmv_packed *packed, const gmv_split *split, int64_t *sum, int64_t *square, int64_t *rows)
{
    const double scale = 16777216.0;
    int64_t small[2][255], overflow = 0;
    for (int c = 0; c < 255; c++) {
        double value = log1p(c);
        small[0][c] = llround(value * scale);
        small[1][c] = llround(value * value * scale);
    }
    for (int64_t i = 0; i < packed->rows; i++) {
        bool out = gmv_split_holds_out(split, packed->first_cell + i);
        *rows += !out && packed->indptr[i + 1] > packed->indptr[i];
        for (gmv_nnz at = packed->indptr[i]; at < packed->indptr[i + 1]; at++) {
            uint32_t c = packed->count8[at];
            c = c == 255 ? packed->overflow_count[overflow++] : c;
            if (out) {
                continue;
            }
            int64_t gene = packed->gene16 != NULL ? (int64_t)packed->gene16[at] : (int64_t)packed->gene32[at];
            double value = c < 255 ? 0.0 : log1p(c);
            sum[gene] += c < 255 ? small[0][c] : llround(value * scale);
            square[gene] += c < 255 ? small[1][c] : llround(value * value * scale);
        }
    }
}

typedef struct ranked {
    double variance;
    int32_t gene;
} ranked;

static int compare_ranked(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->variance != y->variance) {
        return x->variance < y->variance ? 1 : -1;
    }
    return (x->gene > y->gene) - (x->gene < y->gene);
}

gmv_status gmv_genes_top(const gmv_packed *packed, const gmv_comm *comm, const gmv_split *split, int64_t n_top,
                         int32_t *map, int32_t *kept)
{
    int64_t genes = packed->genes, *sum = NULL, rows = 0;
    ranked *order = NULL;
    gmv_status status = GMV_NEW(sum, 2 * genes + 1, "sums of genes");
    if (status == GMV_OK) {
        status = GMV_NEW(order, genes, "variances of genes");
    }
    GMV_GO(gmv_comm_agree(comm, status));
    add_logs(packed, split, sum, sum + genes, &rows);
    sum[2 * genes] = rows;
    gmv_comm_sum_i64(comm, sum, 2 * genes + 1);
    double n = (double)sum[2 * genes], scale = 16777216.0;
    for (int64_t g = 0; g < genes; g++) {
        double mean = (double)sum[g] / scale / n;
        order[g].variance = n > 0 ? (double)sum[genes + g] / scale / n - mean * mean : 0;
        order[g].gene = (int32_t)g;
        map[g] = -1;
    }
    qsort(order, (size_t)genes, sizeof *order, compare_ranked);
    *kept = (int32_t)(n_top < genes ? n_top : genes);
    for (int32_t k = 0; k < *kept; k++) {
        map[order[k].gene] = 0;
    }
    for (int64_t g = 0, next = 0; g < genes; g++) {
        map[g] = map[g] == 0 ? (int32_t)next++ : -1;
    }
done:
    GMV_FREE(sum);
    GMV_FREE(order);
    return status;
}
