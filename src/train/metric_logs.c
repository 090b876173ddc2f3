#include "metric_logs.h"

#include "gmvae/files.h"
#include "gmvae/log.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* An event file is called by when it was begun, so that a TensorBoard that is open turns from the one before to it. */
static const char events_begin[] = "events.out.tfevents.", events_end[] = ".gmvae_dist";

bool gmv_append_whole(const char *path, const void *bytes, size_t n)
{
    FILE *out = gmv_file_append(path);
    if (out == NULL) {
        return false;
    }
    off_t before = fseeko(out, 0, SEEK_END) == 0 ? ftello(out) : -1;
    bool good = fwrite(bytes, 1, n, out) == n && fflush(out) == 0;
    int reason = errno;
    if (!good && before >= 0 && ftruncate(fileno(out), before) != 0) { /* half a record would hide those behind it */
        reason = errno;
    }
    if (fclose(out) != 0 && good) {
        return false;
    }
    errno = reason;
    return good;
}

/* ---- what a line says ---- */

static double number_in(const cJSON *line, const char *key)
{
    return cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(line, key));
}

/* Lists, which have no place in a table, are left out here and below. */
static void put_csv_names(FILE *out, const cJSON *line)
{
    const char *before = "";
    for (const cJSON *item = line->child; item != NULL; item = item->next) {
        if (!cJSON_IsArray(item)) {
            fprintf(out, "%s%s", before, item->string);
            before = ",";
        }
    }
    fputc('\n', out);
}

/* Numbers with the digits of the line; nothing for null. */
static void put_csv(FILE *out, const cJSON *line)
{
    const char *before = "";
    for (const cJSON *item = line->child; item != NULL; item = item->next) {
        if (cJSON_IsArray(item)) {
            continue;
        }
        fputs(before, out);
        before = ",";
        if (cJSON_IsNumber(item)) {
            fprintf(out, "%.15g", item->valuedouble);
        } else if (cJSON_IsString(item)) {
            fputs(item->valuestring, out);
        }
    }
    fputc('\n', out);
}

/* All numbers but the two that say where they are. */
static void put_events(FILE *out, const cJSON *line)
{
    gmv_scalar scalar[GMV_MOST_SCALARS];
    int n = 0;
    const char *split = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(line, "split"));
    double when = number_in(line, "time");
    for (const cJSON *item = line->child; item != NULL && n < GMV_MOST_SCALARS; item = item->next) {
        if (cJSON_IsNumber(item) && strcmp(item->string, "step") != 0 && strcmp(item->string, "time") != 0) {
            scalar[n++] = (gmv_scalar){split != NULL ? split : "other", item->string, item->valuedouble};
        }
    }
    gmv_tensorboard_put(out, isfinite(when) ? when : (double)time(NULL), (int64_t)number_in(line, "step"), n, scalar);
}

/* A line as an object; NULL for what a crash has cut short. */
static cJSON *parse(const char *line)
{
    cJSON *object = cJSON_Parse(line);
    if (!cJSON_IsObject(object) || !isfinite(number_in(object, "step"))) {
        cJSON_Delete(object);
        return NULL;
    }
    return object;
}

/* ---- the files ---- */

static void (*const put[])(FILE *out,
                           const cJSON *line) = {[GMV_LOG_CSV] = put_csv, [GMV_LOG_TENSORBOARD] = put_events};
enum { n_logs = sizeof put / sizeof *put };

static void path_of(const gmv_config *config, int log, int64_t events, char *path)
{
    if (log == GMV_LOG_CSV) {
        snprintf(path, GMV_PATH_ROOM, "%.4000s/metrics.csv", config->output_dir);
    } else {
        snprintf(path, GMV_PATH_ROOM, "%.4000s/%s%010" PRId64 "%s", config->output_dir, events_begin, events,
                 events_end);
    }
}

/* Removes the event files of this program whose number is below. @return the highest number there was, or -1 */
static int64_t remove_events(const char *folder, int64_t below)
{
    size_t begin = sizeof events_begin - 1;
    int64_t highest = -1;
    DIR *dir = opendir(folder);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char *end = entry->d_name;
        int64_t number = strncmp(end, events_begin, begin) == 0 ? strtoll(end + begin, &end, 10) : -1;
        if (number < 0 || number >= INT64_MAX / 2 || strcmp(end, events_end) != 0) {
            continue;
        }
        highest = number > highest ? number : highest;
        if (number < below) {
            unlinkat(dirfd(dir), entry->d_name, 0);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return highest;
}

/* All lines of metrics.jsonl. */
static gmv_status convert(const gmv_config *config, int log, FILE *out)
{
    char path[GMV_PATH_ROOM], *text = NULL;
    size_t room = 0;
    FILE *in;
    bool named = false;
    snprintf(path, sizeof path, "%.4000s/metrics.jsonl", config->output_dir);
    const char *why = gmv_file_open(path, &in);
    if (log == GMV_LOG_TENSORBOARD) {
        gmv_tensorboard_begin(out, (double)time(NULL));
    }
    if (why != NULL) {
        return errno == ENOENT ? GMV_OK : GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: %s; remove it", path, why);
    }
    while (getline(&text, &room, in) >= 0) {
        cJSON *line = parse(text);
        if (line != NULL && log == GMV_LOG_CSV && !named) {
            put_csv_names(out, line);
            named = true;
        }
        if (line != NULL) {
            put[log](out, line);
        }
        cJSON_Delete(line);
    }
    free(text);
    fclose(in);
    return GMV_OK;
}

gmv_status gmv_metric_logs_begin(const gmv_config *config, int64_t *events)
{
    char path[GMV_PATH_ROOM];
    gmv_output out;
    int64_t now = (int64_t)time(NULL), last = remove_events(config->output_dir, 0);
    *events = now > last ? now : last + 1;
    for (int log = 0; log < n_logs; log++) {
        if (gmv_config_logs(config, log)) {
            path_of(config, log, *events, path);
            GMV_TRY(gmv_output_begin(&out, path));
            GMV_TRY(gmv_output_end(&out, convert(config, log, out.stream)));
        }
    }
    if (gmv_config_logs(config, GMV_LOG_TENSORBOARD)) {
        remove_events(config->output_dir, *events);
    }
    return GMV_OK;
}

static void append_to(const gmv_config *config, int log, int64_t events, const cJSON *line)
{
    static bool warned[n_logs];
    char path[GMV_PATH_ROOM], *bytes = NULL;
    size_t n = 0;
    struct stat info;
    path_of(config, log, events, path);
    FILE *out = open_memstream(&bytes, &n);
    bool good = out != NULL;
    if (good && log == GMV_LOG_CSV && (stat(path, &info) != 0 || info.st_size == 0)) {
        put_csv_names(out, line);
    }
    if (good) {
        put[log](out, line);
        good = fclose(out) == 0;
    }
    if (!(good && gmv_append_whole(path, bytes, n)) && !warned[log]) {
        gmv_warn("%s: cannot be written: %s; training goes on without it", path, strerror(errno));
        warned[log] = true;
    }
    free(bytes);
}

void gmv_metric_logs_append(const gmv_config *config, int64_t events, const char *text)
{
    cJSON *line = config->output_logs.n > 0 ? parse(text) : NULL;
    for (int log = 0; log < n_logs && line != NULL; log++) {
        if (gmv_config_logs(config, log)) {
            append_to(config, log, events, line);
        }
    }
    cJSON_Delete(line);
}
