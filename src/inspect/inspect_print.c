#include "inspect.h"

#include "gmvae/text.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { levels_shown = 8, levels_listed = 200 };

static const char *const kind_name[] = {
    [GMV_MATRIX_CSR] = "csr", [GMV_MATRIX_CSC] = "csc", [GMV_MATRIX_DENSE] = "dense"};

void gmv_print_path(const char *path, FILE *out)
{
    char shown[4200];
    snprintf(shown, sizeof shown, "%s", path);
    gmv_make_printable(shown);
    fputs(shown, out);
}

/* Share of zeros; with nothing to divide by there are none. */
static double zeros_of(const gmv_inspect_matrix *m)
{
    double entries = (double)m->rows * (double)m->cols;
    return entries > 0 ? 1.0 - (double)m->nnz / entries : 0.0;
}

static void print_number(FILE *out, double value)
{
    if (isfinite(value)) {
        fprintf(out, value == floor(value) && fabs(value) < 9e15 ? "%.0f" : "%.9g", value);
    } else {
        fputs("null", out);
    }
}

static void print_sums_json(const gmv_inspect_matrix *m, FILE *out)
{
    fprintf(out, "\"nnz\": %" PRId64 ", \"total\": ", m->nnz);
    print_number(out, m->total);
    fprintf(out, ", \"zeros\": %.9g, \"max\": ", zeros_of(m));
    print_number(out, m->largest);
}

static void print_column_json(const gmv_inspect_column *column, FILE *out)
{
    gmv_print_json_text(out, column->name);
    fprintf(out, ": {\"kind\": \"%s\", \"levels\": ", column->kind);
    if (column->levels < 0) {
        fputs("null}", out);
        return;
    }
    fprintf(out, "%" PRId64 ", \"missing\": %" PRId64 ", \"counts\": {", column->levels, column->missing);
    for (int i = 0; i < column->level.n && i < levels_listed; i++) {
        fputs(i > 0 ? ", " : "", out);
        gmv_print_json_text(out, column->level.at[i]);
        fprintf(out, ": %" PRId64, column->cells[i]);
    }
    fputs("}}", out);
}

static void print_matrix_json(const gmv_inspect_matrix *m, FILE *out)
{
    fputs("{\"name\": ", out);
    gmv_print_json_text(out, m->name);
    if (m->problem[0] != '\0') {
        fputs(", \"problem\": ", out);
        gmv_print_json_text(out, m->problem);
        fputs("}", out);
        return;
    }
    fprintf(out, ", \"kind\": \"%s\", \"dtype\": \"%s\", \"shape\": [%" PRId64 ", %" PRId64 "]", kind_name[m->kind],
            m->dtype, m->rows, m->cols);
    fprintf(out, ", \"stored\": %" PRId64 ", \"counts\": %s, ", m->stored, m->is_count ? "true" : "false");
    print_sums_json(m, out);
    fputs("}", out);
}

void gmv_inspect_print_json(const gmv_inspected *found, FILE *out)
{
    fputs("{\"file\": ", out);
    gmv_print_json_text(out, found->path);
    fprintf(out, ", \"format\": \"%s\", \"encoding\": ", found->format);
    gmv_print_json_text(out, found->encoding);
    fprintf(out, ", \"cells\": %" PRId64 ", \"genes\": %" PRId64 ", \"matrix\": ", found->cells, found->genes);
    if (found->main < 0) {
        fputs("null, \"nnz\": 0, \"total\": 0, \"zeros\": null", out);
    } else {
        gmv_print_json_text(out, found->matrix[found->main].name);
        fputs(", ", out);
        print_sums_json(&found->matrix[found->main], out);
    }
    fputs(", \"auto\": ", out);
    if (found->automatic < 0) {
        fputs("null", out);
    } else {
        gmv_print_json_text(out, found->matrix[found->automatic].name);
    }
    fputs(", \"obs\": {", out);
    for (int i = 0; i < found->columns; i++) {
        fputs(i > 0 ? ", " : "", out);
        print_column_json(&found->column[i], out);
    }
    fputs("}, \"matrices\": [", out);
    for (int i = 0; i < found->matrices; i++) {
        fputs(i > 0 ? ", " : "", out);
        print_matrix_json(&found->matrix[i], out);
    }
    fputs("], \"obsm\": [", out);
    for (int i = 0; i < found->obsm.n; i++) {
        fputs(i > 0 ? ", " : "", out);
        gmv_print_json_text(out, found->obsm.at[i]);
    }
    fputs("], \"problem\": ", out);
    if (found->problem[0] == '\0') {
        fputs("null", out);
    } else {
        gmv_print_json_text(out, found->problem);
    }
    gmv_inspect_print_statistics_json(&found->statistics, out);
    fputs("}\n", out);
}

static void print_matrix_text(const gmv_inspected *found, int i, FILE *out)
{
    const gmv_inspect_matrix *m = &found->matrix[i];
    if (m->problem[0] != '\0') {
        fprintf(out, "  %-20s not readable: %s\n", gmv_shown(m->name).at, gmv_shown(m->problem).at);
        return;
    }
    fprintf(out, "  %-20s %-5s %-8s %" PRId64 " x %" PRId64 "  ", gmv_shown(m->name).at, kind_name[m->kind], m->dtype,
            m->rows, m->cols);
    fprintf(out, "%" PRId64 " non-zeros, total ", m->nnz);
    print_number(out, m->total);
    fprintf(out, ", %s%s\n", m->is_count ? "counts" : "not counts", i == found->automatic ? "  <- auto" : "");
}

static void print_column_text(const gmv_inspect_column *column, FILE *out)
{
    fprintf(out, "  %-20s %s", gmv_shown(column->name).at, column->kind);
    if (column->levels >= 0) {
        fprintf(out, ", %" PRId64 " levels", column->levels);
        for (int i = 0; i < column->level.n && i < levels_shown; i++) {
            fprintf(out, "%s%s (%" PRId64 ")", i > 0 ? ", " : ": ", gmv_shown(column->level.at[i]).at,
                    column->cells[i]);
        }
        fputs(column->levels > levels_shown ? ", ..." : "", out);
        if (column->missing > 0) {
            fprintf(out, "; %" PRId64 " cells without a value", column->missing);
        }
    }
    fputc('\n', out);
}

void gmv_inspect_print_text(const gmv_inspected *found, FILE *out)
{
    gmv_print_path(found->path, out);
    fprintf(out, ": %s (%s)\n", found->format, found->encoding);
    fprintf(out, "cells %" PRId64 ", genes %" PRId64 "\n", found->cells, found->genes);
    if (found->main >= 0) {
        const gmv_inspect_matrix *m = &found->matrix[found->main];
        fprintf(out, "%s: %" PRId64 " non-zeros, %.2f%% zeros, total ", gmv_shown(m->name).at, m->nnz,
                100.0 * zeros_of(m));
        print_number(out, m->total);
        fputs(", largest ", out);
        print_number(out, m->largest);
        if (m->smallest < 0) {
            fprintf(out, ", smallest %.6g", m->smallest);
        }
        fputc('\n', out);
    }
    gmv_inspect_print_statistics_text(&found->statistics, out);
    fprintf(out, "matrices%s\n", found->matrices == 0 ? ": none" : "");
    for (int i = 0; i < found->matrices; i++) {
        print_matrix_text(found, i, out);
    }
    fprintf(out, "obs%s\n", found->columns == 0 ? ": no columns" : "");
    for (int i = 0; i < found->columns; i++) {
        print_column_text(&found->column[i], out);
    }
    if (found->obsm.n > 0) {
        fputs("obsm", out);
        for (int i = 0; i < found->obsm.n; i++) {
            fprintf(out, "%s %s", i > 0 ? "," : "", gmv_shown(found->obsm.at[i]).at);
        }
        fputc('\n', out);
    }
    if (found->problem[0] != '\0' && !found->refused) { /* else it is an error */
        fprintf(out, "train needs a setting: %s\n", found->problem);
    }
}
