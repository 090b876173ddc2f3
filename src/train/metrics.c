/* metrics.jsonl: one JSON object a line, in the order things happened. */
#include "gmvae/log.h"
#include "gmvae/train.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { path_room = 4200, line_room = 1024 };

static void metrics_path(const gmv_config *config, const char *suffix, char *path)
{
    snprintf(path, path_room, "%s/metrics.jsonl%s", config->output_dir, suffix);
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

/* Training goes on without its log, but not in silence. */
static void warn_once(const char *path)
{
    static bool warned;
    if (!warned) {
        gmv_warn("%s: cannot be written: %s; training goes on without it", path, strerror(errno));
    }
    warned = true;
}

void gmv_metrics_append(const gmv_trainer *trainer, const char *split, const gmv_evaluation *e, double cells_per_s)
{
    if (trainer->comm->rank != 0) {
        return;
    }
    char path[path_room];
    metrics_path(trainer->config, "", path);
    FILE *out = fopen(path, "a");
    if (out == NULL) {
        warn_once(path);
        return;
    }
    const gmv_progress *progress = &trainer->progress;
    fprintf(out, "{\"epoch\": %" PRId64 ", \"step\": %" PRId64 ", \"split\": \"%s\"", progress->epoch, progress->step,
            split);
    put_number(out, "neg_elbo", e->neg_elbo);
    put_number(out, "neg_elbo_objective", e->objective);
    put_number(out, "reconstruction", e->term[GMV_TERM_RECONSTRUCTION]);
    put_number(out, "kl_w", e->term[GMV_TERM_KL_W]);
    put_number(out, "kl_z", e->term[GMV_TERM_KL_Z]);
    put_number(out, "kl_x", e->term[GMV_TERM_KL_X]);
    int64_t epoch = progress->epoch > 0 && progress->batch == 0 ? progress->epoch - 1 : progress->epoch;
    put_number(out, "lr", gmv_learning_rate(trainer->config, epoch));
    put_number(out, "kl_weight", trainer->kl_weight);
    put_number(out, "grad_norm", trainer->last_norm);
    put_number(out, "cells_per_s", cells_per_s);
    fprintf(out, ", \"active_clusters\": %d, \"cells\": %" PRId64 "}\n", e->active_clusters, e->cells);
    if (fclose(out) != 0) {
        warn_once(path);
    }
}

gmv_status gmv_metrics_rewind(const gmv_config *config, int64_t step)
{
    char path[path_room], kept[path_room], line[line_room];
    metrics_path(config, "", path);
    metrics_path(config, ".tmp", kept);
    FILE *in = fopen(path, "r");
    if (in == NULL) {
        return GMV_OK;
    }
    FILE *out = fopen(kept, "w");
    if (out == NULL) {
        fclose(in);
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: cannot be written: %s", kept, strerror(errno));
    }
    while (fgets(line, sizeof line, in) != NULL) {
        const char *at = strstr(line, "\"step\": ");
        bool whole = strchr(line, '\n') != NULL; /* a line cut short by a crash is dropped */
        if (at != NULL && whole && strtoll(at + 8, NULL, 10) <= step) {
            fputs(line, out);
        }
    }
    fclose(in);
    if (fclose(out) != 0 || rename(kept, path) != 0) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: cannot be written: %s", path, strerror(errno));
    }
    return GMV_OK;
}
