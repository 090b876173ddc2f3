/* Logs beside metrics.jsonl, of which they are made: output.logs names them. Rank 0; nothing is collective. */
#pragma once

#include "gmvae/config.h"

#include <stdio.h>

/* Appends bytes to a file of lines or records, all of them or none. False with errno. */
bool gmv_append_whole(const char *path, const void *bytes, size_t n);

/* Writes the logs of a folder anew, of the lines that its metrics.jsonl has. @param[out] events  number in the name of the
 * event file. Errors: GMV_ERR_ENVIRONMENT. */
gmv_status gmv_metric_logs_begin(const gmv_config *config, int64_t *events);

/* Appends what a line of metrics.jsonl says. A log that cannot be written is warned about, once. */
void gmv_metric_logs_append(const gmv_config *config, int64_t events, const char *line);

/* ---- event files ---- */

enum { GMV_MOST_SCALARS = 64 };

typedef struct gmv_scalar {
    const char *split, *name; /* the tag is split/name */
    double value;
} gmv_scalar;

/* The record with which a file begins. @param[in] time  seconds since 1970 */
void gmv_tensorboard_begin(FILE *out, double time);

/* A record with scalars of a step, at most GMV_MOST_SCALARS. */
void gmv_tensorboard_put(FILE *out, double time, int64_t step, int n, const gmv_scalar *scalar);
