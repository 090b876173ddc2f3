/* sweep.csv, sweep.json, sweep.md and the terminal. */
#include "sweep_rows.h"

#include "gmvae/files.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { cell_room = 96, most_shown = 50 };

typedef char cell[cell_room];

static const char *state_word(gmv_trial_state state)
{
    static const char *const words[] = {"waiting", "done", "left behind", "failed"};
    return words[state];
}

/* ---- a row for each run ---- */

static void write_csv(const gmv_sweep_rows *t, FILE *out)
{
    fputs("run,state,exit_code", out);
    for (int a = 0; a < t->over->n; a++) {
        fputc(',', out);
        gmv_print_csv_text(out, t->over->at[a].path);
    }
    fputs(",seed,epochs", out);
    for (int c = 0; c < GMV_COLUMNS; c++) {
        fprintf(out, t->shown[c] ? ",%s" : "%.0s", gmv_sweep_columns[c].key);
    }
    fputs(",why\n", out);
    for (int i = 0; i < t->plan->n; i++) {
        const gmv_trial *trial = &t->plan->trial[i];
        gmv_print_csv_text(out, trial->name);
        fprintf(out, ",%s,", state_word(t->outcome[i].state));
        if (t->outcome[i].state != GMV_TRIAL_WAITING) {
            fprintf(out, "%d", gmv_exit_code(t->outcome[i].status));
        }
        for (int a = 0; a < t->over->n; a++) {
            fputc(',', out);
            gmv_print_csv_text(out, t->plan->value[trial->combination][a]);
        }
        fprintf(out, ",%" PRId64 ",%" PRId64, t->row[i].seed, t->row[i].epochs);
        for (int c = 0; c < GMV_COLUMNS; c++) {
            fputs(t->shown[c] ? "," : "", out);
            if (t->shown[c] && isfinite(t->row[i].value[c])) {
                fprintf(out, "%.10g", t->row[i].value[c]);
            }
        }
        fputc(',', out);
        gmv_print_csv_text(out, t->outcome[i].why);
        fputc('\n', out);
    }
}

static void write_json_run(const gmv_sweep_rows *t, int i, FILE *out)
{
    const gmv_trial *trial = &t->plan->trial[i];
    fputs("    {\"run\": ", out);
    gmv_print_json_text(out, trial->name);
    fprintf(out, ", \"state\": \"%s\", \"settings\": {", state_word(t->outcome[i].state));
    for (int a = 0; a < t->over->n; a++) {
        fputs(a > 0 ? ", " : "", out);
        gmv_print_json_text(out, t->over->at[a].path);
        fputs(": ", out);
        gmv_print_json_text(out, t->plan->value[trial->combination][a]);
    }
    fprintf(out, "}, \"seed\": %" PRId64 ", \"epochs\": %" PRId64, t->row[i].seed, t->row[i].epochs);
    for (int c = 0; c < GMV_COLUMNS; c++) {
        if (t->shown[c] && isfinite(t->row[i].value[c])) {
            fprintf(out, ", \"%s\": %.10g", gmv_sweep_columns[c].key, t->row[i].value[c]);
        } else if (t->shown[c]) {
            fprintf(out, ", \"%s\": null", gmv_sweep_columns[c].key);
        }
    }
    if (t->outcome[i].state == GMV_TRIAL_FAILED) {
        fprintf(out, ", \"exit_code\": %d, \"why\": ", gmv_exit_code(t->outcome[i].status));
        gmv_print_json_text(out, t->outcome[i].why);
    }
    fputs(i + 1 < t->plan->n ? "},\n" : "}\n", out);
}

static void write_json(const gmv_sweep_rows *t, FILE *out)
{
    const gmv_config *config = &t->plan->run->config;
    fprintf(out, "{\n  \"method\": \"%s\",\n  \"combinations\": %d,\n  \"repeats\": %" PRId64 ",\n  \"runs\": [\n",
            gmv_config_choice("sweep.method", config->sweep_method), t->plan->combinations, config->sweep_repeats);
    for (int i = 0; i < t->plan->n; i++) {
        write_json_run(t, i, out);
    }
    fputs("  ]\n}\n", out);
}

/* ---- a row for each combination ---- */

/* Mean and standard deviation (of a sample; NaN of one) over the repeats of a combination that have the figure. */
static void summarise(const gmv_sweep_rows *t, int combination, int c, double *mean, double *sd)
{
    int repeats = t->repeats, n = 0;
    double sum = 0.0, squares = 0.0;
    const gmv_sweep_row *first = &t->row[combination * repeats];
    for (int i = 0; i < repeats; i++) {
        if (isfinite(first[i].value[c])) {
            sum += first[i].value[c];
            n++;
        }
    }
    *mean = n > 0 ? sum / n : (double)NAN;
    for (int i = 0; i < repeats; i++) {
        if (isfinite(first[i].value[c])) {
            squares += (first[i].value[c] - *mean) * (first[i].value[c] - *mean);
        }
    }
    *sd = n > 1 ? sqrt(squares / (n - 1)) : (double)NAN;
}

static void print_summary(const gmv_sweep_rows *t, int combination, int c, char *text)
{
    double mean, sd;
    summarise(t, combination, c, &mean, &sd);
    if (isfinite(sd)) {
        snprintf(text, cell_room, "%.*f ± %.*f", gmv_sweep_columns[c].digits, mean, gmv_sweep_columns[c].digits, sd);
    } else if (isfinite(mean)) {
        snprintf(text, cell_room, "%.*f", gmv_sweep_columns[c].digits, mean);
    }
}

/* "6", or "5 of 6" where not all have results. */
static void print_runs(const gmv_sweep_rows *t, int combination, char *text)
{
    int repeats = t->repeats, done = 0;
    for (int i = 0; i < repeats; i++) {
        gmv_trial_state state = t->outcome[combination * repeats + i].state;
        done += state == GMV_TRIAL_DONE || state == GMV_TRIAL_LEFT;
    }
    snprintf(text, cell_room, done < repeats ? "%d of %d" : "%d", done, repeats);
}

static int width_of(const char *text)
{
    int width = 0;
    for (; *text != '\0'; text++) {
        width += (*text & 0xc0) != 0x80; /* bytes of a character behind its first take no place */
    }
    return width;
}

/* Title and rows of the table. @param[out] cells  [combinations + 1][*n] */
static gmv_status fill_cells(const gmv_sweep_rows *t, cell **cells, int *n)
{
    bool halving = t->plan->run->config.sweep_method == GMV_METHOD_HALVING;
    int rows = t->plan->combinations + 1, shown = 0;
    for (int c = 0; c < GMV_COLUMNS; c++) {
        shown += t->shown[c];
    }
    *n = t->over->n + 1 + halving + shown;
    GMV_TRY(GMV_NEW(*cells, (int64_t)rows * *n, "the table of a sweep"));
    for (int r = 0; r < rows; r++) {
        cell *at = *cells + (int64_t)r * *n;
        for (int a = 0; a < t->over->n; a++) {
            snprintf(*at++, cell_room, "%s", r == 0 ? gmv_axis_name(t->over, a) : t->plan->value[r - 1][a]);
        }
        snprintf(*at, cell_room, "%s", "runs");
        if (r > 0) {
            print_runs(t, r - 1, *at);
        }
        at++;
        if (halving) {
            snprintf(*at, cell_room, "%s", "epochs");
            if (r > 0) {
                snprintf(*at, cell_room, "%" PRId64, t->row[(r - 1) * (t->repeats)].epochs);
            }
            at++;
        }
        for (int c = 0; c < GMV_COLUMNS; c++) {
            if (t->shown[c] && r == 0) {
                snprintf(*at++, cell_room, "%s", gmv_sweep_columns[c].title);
            } else if (t->shown[c]) {
                print_summary(t, r - 1, c, *at++);
            }
        }
    }
    return GMV_OK;
}

static void print_line(cell *of, const int *width, int n, char *line, size_t room)
{
    size_t used = 0;
    line[0] = '\0';
    for (int c = 0; c < n && used + cell_room + 8 < room; c++) {
        used += (size_t)snprintf(line + used, room - used, "| %s%*s ", of[c], width[c] - width_of(of[c]), "");
    }
    snprintf(line + used, room - used, "|");
}

/* @param[in] out  NULL: the terminal */
static void print_table(const gmv_sweep_rows *t, cell *cells, int n, FILE *out)
{
    enum { room = 8192, most_columns = 64 };
    char line[room];
    int rows = t->plan->combinations + 1, last = out == NULL && rows > most_shown + 1 ? most_shown + 1 : rows;
    int width[most_columns] = {0};
    cell rule[most_columns];
    n = n < (int)most_columns ? n : (int)most_columns;
    for (int c = 0; c < n; c++) {
        for (int r = 0; r < rows; r++) {
            int w = width_of(cells[(int64_t)r * n + c]);
            width[c] = w > width[c] ? w : width[c];
        }
        snprintf(rule[c], cell_room, "%.*s", width[c] < 90 ? width[c] : 90,
                 "------------------------------------------------------------------------------------------");
    }
    for (int r = 0; r <= last; r++) {
        cell *from = r == 0 ? cells : r == 1 ? rule : cells + (int64_t)(r - 1) * n;
        print_line(from, width, n, line, sizeof line);
        if (out != NULL) {
            fprintf(out, "%s\n", line);
        } else {
            gmv_log("%s", line);
        }
    }
    if (out == NULL && last < rows) {
        gmv_log("and %d more rows in sweep.md", rows - last);
    }
}

static void write_markdown(const gmv_sweep_rows *t, cell *cells, int n, FILE *out)
{
    int failed = 0;
    fputs("Mean ± standard deviation over the runs of each combination, on held-out cells; nats per cell.\n\n", out);
    print_table(t, cells, n, out);
    for (int i = 0; i < t->plan->n; i++) {
        if (t->outcome[i].state == GMV_TRIAL_FAILED) {
            fprintf(out, "%s- `%s` failed (exit code %d): %s\n", failed++ == 0 ? "\n" : "", t->plan->trial[i].name,
                    gmv_exit_code(t->outcome[i].status), t->outcome[i].why);
        }
    }
}

static void show_best(const gmv_sweep_rows *t)
{
    char text[300];
    int best = -1;
    double lowest = INFINITY, mean, sd;
    for (int c = 0; c < t->plan->combinations; c++) {
        summarise(t, c, 0, &mean, &sd);
        if (t->outcome[c * (t->repeats)].state != GMV_TRIAL_LEFT && mean < lowest) {
            lowest = mean;
            best = c;
        }
    }
    if (best >= 0 && t->plan->combinations > 1) {
        gmv_log("lowest held-out -ELBO: %s", gmv_combination_text(t->plan, best, text, sizeof text));
    }
}

typedef enum table_form { csv, json, markdown } table_form;

static gmv_status write_file(const gmv_sweep_rows *t, cell *cells, int n, table_form form)
{
    static const char *const end[] = {"csv", "json", "md"};
    char path[GMV_PATH_ROOM];
    gmv_output out;
    snprintf(path, sizeof path, "%.4000s/sweep.%s", t->plan->run->config.output_dir, end[form]);
    GMV_TRY(gmv_output_begin(&out, path));
    if (form == csv) {
        write_csv(t, out.stream);
    } else if (form == json) {
        write_json(t, out.stream);
    } else {
        write_markdown(t, cells, n, out.stream);
    }
    return gmv_output_end(&out, GMV_OK);
}

gmv_status gmv_sweep_table_write(const gmv_sweep_plan *plan, const gmv_trial_outcome *outcome)
{
    gmv_sweep_rows t;
    cell *cells = NULL;
    int n = 0;
    gmv_status status;
    GMV_GO(gmv_sweep_rows_read(&t, plan, outcome));
    GMV_GO(fill_cells(&t, &cells, &n));
    for (table_form f = csv; f <= markdown; f++) {
        GMV_GO(write_file(&t, cells, n, f));
    }
    GMV_GO(gmv_sweep_draw(&t));
    print_table(&t, cells, n, NULL);
    show_best(&t);
done:
    gmv_sweep_rows_fini(&t);
    gmv_free(cells);
    return status;
}
