/* Where a run was computed, by what, and how long it took: run.json as tables. */
#include "report.h"

#include "gmvae/stage.h"
#include "gmvae/text.h"

#include <math.h>
#include <string.h>

static const double gigabyte = 1e9;

static void begin_table(FILE *page, const char *title, int columns, const char *const *column)
{
    fprintf(page, "<h2>%s</h2>\n<div class=\"wide\"><table><thead><tr>", title);
    for (int c = 0; c < columns; c++) {
        fprintf(page, "<th>%s</th>", column[c]);
    }
    fputs("</tr></thead><tbody>\n", page);
}

static void end_table(FILE *page)
{
    fputs("</tbody></table></div>\n", page);
}

static void put_text(FILE *page, const cJSON *object, const char *key)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
    fputs("<td>", page);
    gmv_print_html_text(page, text != NULL ? text : "");
    fputs("</td>", page);
}

static void put_number(FILE *page, const char *format, double value)
{
    fputs("<td>", page);
    if (isfinite(value)) {
        fprintf(page, format, value);
    }
    fputs("</td>", page);
}

/* Sum over sessions. */
static double seconds_of(const cJSON *sessions, const char *stage)
{
    const cJSON *session;
    double sum = 0.0;
    cJSON_ArrayForEach(session, sessions)
    {
        double seconds = gmv_number_in(cJSON_GetObjectItemCaseSensitive(session, "seconds"), stage);
        sum += isfinite(seconds) ? seconds : 0.0;
    }
    return sum;
}

static void put_times(FILE *page, const cJSON *sessions)
{
    static const char *const column[] = {"stage", "seconds", "percent"};
    double all = 0.0;
    for (int s = 0; s < GMV_STAGES; s++) {
        all += seconds_of(sessions, gmv_stage_name((gmv_stage)s));
    }
    begin_table(page, "Time", 3, column);
    for (int s = 0; s <= GMV_STAGES; s++) {
        const char *stage = s < GMV_STAGES ? gmv_stage_name((gmv_stage)s) : "all";
        double seconds = s < GMV_STAGES ? seconds_of(sessions, stage) : all;
        if (seconds > 0.0) {
            fprintf(page, "<tr><td>%s</td><td>%.2f</td><td>%.1f</td></tr>\n", stage, seconds, 100.0 * seconds / all);
        }
    }
    end_table(page);
}

static void put_sessions(FILE *page, const cJSON *sessions)
{
    static const char *const column[] = {"session",   "epochs",          "hosts",
                                         "ranks",     "threads of each", "computed",
                                         "processor", "memory, GB",      "peak of a rank, GB"};
    const cJSON *session;
    begin_table(page, "Hardware", (int)(sizeof column / sizeof *column), column);
    cJSON_ArrayForEach(session, sessions)
    {
        fputs("<tr>", page);
        put_text(page, session, "began");
        fprintf(page, "<td>%.0f to %.0f</td>", gmv_number_in(session, "from_epoch"),
                gmv_number_in(session, "to_epoch"));
        put_number(page, "%.0f", gmv_number_in(session, "hosts"));
        put_number(page, "%.0f", gmv_number_in(session, "ranks"));
        put_number(page, "%.0f", gmv_number_in(session, "threads"));
        put_text(page, session, "compute");
        put_text(page, session, "processor");
        put_number(page, "%.1f", gmv_number_in(session, "host_memory") / gigabyte);
        put_number(page, "%.2f", gmv_number_in(session, "peak_memory") / gigabyte);
        fputs("</tr>\n", page);
    }
    end_table(page);
}

/* Of the last session; others of before are named behind. */
static void put_versions(FILE *page, const cJSON *sessions)
{
    static const char *const column[] = {"library", "version"};
    int n = cJSON_GetArraySize(sessions);
    const cJSON *last = cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(sessions, n - 1), "versions"), *library;
    begin_table(page, "Versions", 2, column);
    cJSON_ArrayForEach(library, last)
    {
        const char *shown = cJSON_GetStringValue(library);
        fputs("<tr><td>", page);
        gmv_print_html_text(page, library->string);
        fputs("</td><td>", page);
        gmv_print_html_text(page, shown != NULL ? shown : "");
        for (int s = n - 2; s >= 0 && shown != NULL; s--) {
            const cJSON *versions = cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(sessions, s), "versions");
            const char *before = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(versions, library->string));
            if (before != NULL && strcmp(before, shown) != 0) {
                fputs("; before ", page);
                gmv_print_html_text(page, before);
                shown = before;
            }
        }
        fputs("</td></tr>\n", page);
    }
    end_table(page);
}

void gmv_write_record(FILE *page, const cJSON *record)
{
    const cJSON *sessions = cJSON_GetObjectItemCaseSensitive(record, "sessions");
    if (cJSON_GetArraySize(sessions) > 0) {
        put_times(page, sessions);
        put_sessions(page, sessions);
        put_versions(page, sessions);
    }
}
