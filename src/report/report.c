/* report.html: sentences, figures, tables and the config, in one file that needs no other. */
#include "report.h"

#include "gmvae/files.h"
#include "gmvae/mem.h"
#include "gmvae/report.h"
#include "gmvae/stage.h"
#include "gmvae/text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char head[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>gmvae_dist "
    "report</title>\n<style>\n"
    ":root { --ink: #333; --faint: #dedede; --paper: #fff; --fine: #0a6b3d; --worry: #a34700; --share: #084594; "
    "--on-share: #fafafa; }\n"
    "@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --faint: #444; --paper: #1b1d1f; --fine: #6fd3a0; "
    "--worry: "
    "#ffa657; --share: #6cb2ff; --on-share: #10161d; } }\n"
    "body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem; "
    "margin: 0 "
    "auto; padding: 0 1rem 4rem; }\n"
    "h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }\n"
    ".verdicts { list-style: none; padding: 0; } .verdicts li { border-left: 4px solid var(--fine); padding: .3rem "
    ".8rem; "
    "margin: .5rem 0; } .verdicts li.worry { border-color: var(--worry); }\n"
    "figure, .wide { margin: 1.2rem 0; overflow-x: auto; } svg { max-width: 100%; height: auto; display: block; } "
    "@media (max-width: 40rem) { svg { max-width: none; } }\n"
    ".spot { fill: transparent; } .spot:hover { fill: var(--ink); fill-opacity: .12; }\n"
    "#tip { position: fixed; display: none; white-space: pre-line; background: var(--ink); color: var(--paper); "
    "padding: .3rem "
    ".6rem; border-radius: .3rem; font-size: .85rem; pointer-events: none; max-width: 22rem; }\n"
    "table { border-collapse: collapse; } th, td { text-align: right; padding: .2rem .8rem; border-bottom: 1px solid "
    "var(--faint); } th:first-child, td:first-child { text-align: left; } th { cursor: pointer; } td.genes, th.genes { "
    "text-align: left; }\n"
    "pre { overflow-x: auto; border: 1px solid var(--faint); padding: .8rem; font-size: .8rem; }\n"
    "</style>\n</head>\n<body>\n";

/* Values where somebody points, and tables that sort. */
static const char script[] =
    "<div id=\"tip\"></div>\n<script>\n"
    "const tip = document.getElementById('tip');\n"
    "document.addEventListener('pointerover', event => {\n"
    "  const text = event.target.dataset && event.target.dataset.tip;\n"
    "  tip.style.display = text ? 'block' : 'none';\n"
    "  if (text) tip.textContent = text;\n"
    "});\n"
    "document.addEventListener('pointermove', event => {\n"
    "  tip.style.left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8) + 'px';\n"
    "  tip.style.top = Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8) + 'px';\n"
    "});\n"
    "for (const head of document.querySelectorAll('th')) head.addEventListener('click', () => {\n"
    "  const column = head.cellIndex, body = head.closest('table').tBodies[0], down = head.dataset.down !== '1';\n"
    "  head.dataset.down = down ? '1' : '';\n"
    "  const value = row => { const text = row.cells[column].textContent, number = parseFloat(text); return "
    "isNaN(number) ? text "
    ": number; };\n"
    "  [...body.rows].sort((a, b) => { const x = value(a), y = value(b); return (x < y ? -1 : x > y ? 1 : 0) * (down ? "
    "-1 : 1); "
    "}).forEach(row => body.append(row));\n"
    "});\n</script>\n";

/* What was trained is what the folder says, whatever config names the folder. */
static gmv_status read_config(gmv_run_files *run)
{
    char path[GMV_PATH_ROOM], *text = NULL;
    int64_t length = 0;
    snprintf(path, sizeof path, "%.4000s/config.resolved.yaml", run->config->output_dir);
    if (access(path, F_OK) != 0) {
        run->trained = *run->config;
        return gmv_config_text(run->config, &run->config_text);
    }
    GMV_TRY(gmv_config_read_file(path, &text, &length));
    gmv_status status = gmv_config_parse(&run->trained, path, text, length, 0, NULL);
    run->has_trained = status == GMV_OK;
    run->config_text = text;
    return status;
}

/* Numbers of the evaluation, with their standard errors beside them. */
static void put_evaluation(FILE *page, const cJSON *evaluation)
{
    const cJSON *item;
    fputs("<h2>Held-out cells</h2>\n<div class=\"wide\"><table><thead><tr><th>figure</th><th>value</th><th>standard "
          "error</th></tr></thead><tbody>\n",
          page);
    cJSON_ArrayForEach(item, evaluation)
    {
        char error[200];
        size_t length = strlen(item->string);
        if (!cJSON_IsNumber(item) || (length > 3 && strcmp(item->string + length - 3, "_se") == 0)) {
            continue;
        }
        snprintf(error, sizeof error, "%.180s_se", item->string);
        const cJSON *of_error = cJSON_GetObjectItemCaseSensitive(evaluation, error);
        fputs("<tr><td>", page);
        gmv_print_html_text(page, item->string);
        fprintf(page, "</td><td>%.6g</td><td>", item->valuedouble);
        fprintf(page, cJSON_IsNumber(of_error) ? "%.3g" : "", cJSON_IsNumber(of_error) ? of_error->valuedouble : 0.0);
        fputs("</td></tr>\n", page);
    }
    fputs("</tbody></table></div>\n", page);
}

static gmv_status write_page(FILE *page, gmv_gallery *gallery, const gmv_run_files *run)
{
    fputs(head, page);
    fputs("<h1>", page);
    gmv_print_html_text(page, run->config->output_dir);
    fputs("</h1>\n", page);
    GMV_TRY(gmv_write_verdicts(page, run));
    fputs("<h2>Pictures</h2>\n", page);
    GMV_TRY(gmv_write_figures(gallery, run));
    gmv_write_marker_table(page, &run->markers);
    if (run->evaluation != NULL) {
        put_evaluation(page, run->evaluation);
    }
    gmv_write_record(page, run->record);
    fputs("<h2>Config</h2>\n<pre>", page);
    gmv_print_html_text(page, run->config_text);
    fprintf(page, "</pre>\n<p>Written by gmvae_dist %s</p>\n%s</body>\n</html>\n", GMVAE_VERSION, script);
    return GMV_OK;
}

/* The page gets its name when all is well; pictures are there one after the other. */
static gmv_status write_files(const gmv_run_files *run)
{
    char path[GMV_PATH_ROOM], folder[GMV_PATH_ROOM];
    gmv_output out;
    snprintf(folder, sizeof folder, "%.4000s/pictures", run->config->output_dir);
    snprintf(path, sizeof path, "%.4000s/report.html", run->config->output_dir);
    GMV_TRY(gmv_make_folders(folder));
    GMV_TRY(gmv_output_begin(&out, path));
    gmv_gallery gallery = {.folder = folder, .page = out.stream};
    return gmv_output_end(&out, write_page(out.stream, &gallery, run));
}

/* Whether a file is older than the first line that the training wrote: it stayed when the folder was trained in anew. */
static bool is_earlier(const gmv_run_files *run, const char *name)
{
    char path[GMV_PATH_ROOM];
    struct stat info;
    double began = run->history.lines > 0 ? gmv_number_in(run->history.line[0], "time") : (double)NAN;
    snprintf(path, sizeof path, "%.4000s/%s", run->config->output_dir, name);
    return isfinite(began) && stat(path, &info) == 0 && (double)info.st_mtime + 1.0 < began;
}

static gmv_status read_results(gmv_run_files *run)
{
    const gmv_config *config = run->config;
    run->earlier_cells = is_earlier(run, "embedding.h5ad");
    run->earlier_evaluation = is_earlier(run, "evaluation.json");
    if (!run->earlier_cells) {
        GMV_TRY(gmv_result_cells_read(&run->result, config, &run->trained.data_batch_keys));
        GMV_TRY(gmv_result_markers_read(&run->markers, config, &run->result));
    }
    return run->earlier_evaluation ? GMV_OK : gmv_evaluation_read(&run->evaluation, config->output_dir);
}

static gmv_status write_report(const gmv_config *config)
{
    gmv_run_files run = {.config = config};
    gmv_status status;
    GMV_GO(read_config(&run));
    GMV_GO(gmv_history_read(&run.history, config->output_dir));
    GMV_GO(read_results(&run));
    GMV_GO(gmv_record_read(&run.record, config->output_dir));
    GMV_GO(gmv_predictive_read(&run.predictive, config->output_dir));
    GMV_GO(gmv_heat_map_read(&run.heat_map, config->output_dir));
    GMV_GO(run.history.lines > 0 || run.result.there
               ? GMV_OK
               : GMV_FAIL(GMV_ERR_DATA, "%s: there is no run to report of; train first, or set output.dir",
                          config->output_dir));
    status = write_files(&run);
done:
    gmv_history_fini(&run.history);
    gmv_result_cells_fini(&run.result);
    gmv_result_markers_fini(&run.markers);
    cJSON_Delete(run.evaluation);
    cJSON_Delete(run.record);
    cJSON_Delete(run.predictive);
    cJSON_Delete(run.heat_map);
    GMV_FREE(run.config_text);
    if (run.has_trained) {
        gmv_config_fini(&run.trained);
    }
    return status;
}

gmv_status gmv_write_report(const gmv_config *config)
{
    gmv_stage before = gmv_stage_enter(GMV_STAGE_REPORT);
    gmv_status status = write_report(config);
    gmv_stage_enter(before);
    return status;
}
