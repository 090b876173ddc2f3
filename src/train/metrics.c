/* metrics.jsonl: one JSON object a line, in the order things happened. */
#include "metric_logs.h"

#include "gmvae/files.h"
#include "gmvae/log.h"
#include "gmvae/train.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void metrics_path(const gmv_config *config, char *path)
{
    snprintf(path, GMV_PATH_ROOM, "%.4000s/metrics.jsonl", config->output_dir);
}

/* JSON has no NaN or infinity: null stands for them. */
static void put_number(FILE *out, const char *name, double value)
{
    if (isfinite(value)) {
        fprintf(out, ", \"%s\": %.9g", name, value);
    } else {
        fprintf(out, ", \"%s\": null", name);
    }
}

/* Four digits: the last may depend on the number of ranks. */
static void put_shares(FILE *out, int n, const double *share)
{
    fputs(", \"component_mass\": [", out);
    for (int k = 0; k < n; k++) {
        fprintf(out, "%s%.4g", k > 0 ? ", " : "", isfinite(share[k]) ? share[k] : 0.0);
    }
    fputc(']', out);
}

/* Training goes on without its log, but not in silence. */
static void keep(const gmv_trainer *trainer, const char *line)
{
    static bool warned;
    char path[GMV_PATH_ROOM];
    metrics_path(trainer->config, path);
    if (!gmv_append_whole(path, line, strlen(line)) && !warned) {
        gmv_warn("%s: cannot be written: %s; training goes on without it", path, strerror(errno));
        warned = true;
    }
    gmv_metric_logs_append(trainer->config, trainer->events, line);
}

static double seconds_since_1970(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The line of what happened after `step` updates. */
static void append(const gmv_trainer *trainer, int64_t epoch, int64_t step, const char *split, const gmv_evaluation *e,
                   double cells_per_s)
{
    if (trainer->comm->rank != 0) {
        return;
    }
    char *line = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&line, &length);
    if (out == NULL) {
        return; /* no memory for a line: it will be missed elsewhere */
    }
    fprintf(out, "{\"epoch\": %" PRId64 ", \"step\": %" PRId64 ", \"split\": \"%s\"", epoch, step, split);
    put_number(out, "neg_elbo", e->neg_elbo);
    put_number(out, "neg_elbo_objective", e->objective);
    for (int i = 0; i < e->terms->n; i++) {
        if (e->terms->at[i].in_bound) {
            put_number(out, e->terms->at[i].name, e->term[i]);
        }
    }
    put_number(out, "lr", trainer->seen.lr);
    put_number(out, "kl_weight", trainer->seen.kl_weight);
    put_number(out, "grad_norm", trainer->last_norm);
    put_number(out, "cells_per_s", cells_per_s);
    if (e->components > 0) {
        fprintf(out, ", \"active_clusters\": %d", e->active_components);
    }
    if (e->share != NULL && e->components > 0) {
        put_shares(out, e->components, e->share);
    }
    fprintf(out, ", \"cells\": %" PRId64 ", \"time\": %.3f}\n", e->cells, seconds_since_1970());
    if (fclose(out) == 0) {
        keep(trainer, line);
    }
    free(line);
}

void gmv_metrics_append(const gmv_trainer *trainer, const char *split, const gmv_evaluation *e, double cells_per_s)
{
    append(trainer, trainer->progress.epoch, trainer->progress.step, split, e, cells_per_s);
}

void gmv_metrics_step(const gmv_trainer *trainer)
{
    const gmv_terms *terms = &trainer->model->terms;
    gmv_evaluation e = {.cells = trainer->seen.cells,
                        .terms = terms,
                        .components = gmv_components_of(&trainer->model->outputs)->cols,
                        .neg_elbo = gmv_terms_bound(terms, trainer->last),
                        .objective = gmv_terms_objective(terms, trainer->last)};
    memcpy(e.term, trainer->last, sizeof e.term);
    append(trainer, trainer->seen.epoch, trainer->seen.step, "step", &e, NAN);
}

static gmv_status rewind_to(const gmv_config *config, int64_t step)
{
    char path[GMV_PATH_ROOM], *line = NULL;
    size_t room = 0;
    FILE *in;
    gmv_output out;
    metrics_path(config, path);
    const char *why = gmv_file_open(path, &in);
    if (why != NULL) {
        return errno == ENOENT ? GMV_OK : GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: %s; remove it", path, why);
    }
    gmv_status status = gmv_output_begin(&out, path);
    while (status == GMV_OK && getline(&line, &room, in) >= 0) {
        const char *at = strstr(line, "\"step\": ");
        bool whole = strchr(line, '\n') != NULL; /* a line cut short by a crash is dropped */
        if (at != NULL && whole && strtoll(at + 8, NULL, 10) <= step) {
            fputs(line, out.stream);
        }
    }
    free(line);
    fclose(in);
    return gmv_output_end(&out, status);
}

gmv_status gmv_metrics_begin(gmv_trainer *trainer, int64_t step)
{
    GMV_TRY(rewind_to(trainer->config, step));
    return gmv_metric_logs_begin(trainer->config, &trainer->events);
}
