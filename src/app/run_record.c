#include "run_record.h"

#include "cli.h"
#include "hardware.h"

#include "gmvae/files.h"
#include "gmvae/history.h"
#include "gmvae/log.h"
#include "gmvae/mem.h"
#include "gmvae/stage.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static void record_path(const gmv_config *config, char *path)
{
    snprintf(path, GMV_PATH_ROOM, "%.4000s/run.json", config->output_dir);
}

/* ---- a session ---- */

static void put_time(cJSON *session)
{
    char text[32];
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    cJSON_AddStringToObject(session, "began", text);
}

static void put_versions(cJSON *session)
{
    cJSON *versions = cJSON_AddObjectToObject(session, "versions");
    gmv_version version;
    for (int i = 0; gmv_version_at(i, &version); i++) {
        cJSON_AddStringToObject(versions, version.name, version.text);
    }
}

static void put_hardware(cJSON *session, const gmv_run *run, const gmv_backend *backend, int hosts)
{
    char text[700];
    gmv_backend_describe(backend, text, sizeof text);
    cJSON_AddStringToObject(session, "compute", text);
    gmv_processor_name(text, sizeof text);
    cJSON_AddStringToObject(session, "processor", text);
    cJSON_AddNumberToObject(session, "hosts", hosts);
    cJSON_AddNumberToObject(session, "ranks", run->comm.size);
    cJSON_AddNumberToObject(session, "threads", run->comm.cores);
    cJSON_AddNumberToObject(session, "host_memory", (double)gmv_meminfo_bytes("MemTotal"));
}

/* What changes while it goes on. */
static void put_progress(cJSON *session, int64_t epoch)
{
    cJSON *seconds = cJSON_CreateObject();
    for (int s = 0; s < GMV_STAGES; s++) {
        double spent = gmv_stage_seconds((gmv_stage)s);
        char text[32];
        snprintf(text, sizeof text, "%.3f", spent);
        if (spent >= 0.0005) {
            cJSON_AddRawToObject(seconds, gmv_stage_name((gmv_stage)s), text);
        }
    }
    static const char *const keys[] = {"to_epoch", "peak_memory", "seconds"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        cJSON_DeleteItemFromObjectCaseSensitive(session, keys[k]);
    }
    cJSON_AddNumberToObject(session, "to_epoch", (double)epoch);
    cJSON_AddNumberToObject(session, "peak_memory", (double)gmv_peak_memory());
    cJSON_AddItemToObject(session, "seconds", seconds);
}

/* ---- the file ---- */

static gmv_status write_file(const gmv_run_record *record)
{
    char path[GMV_PATH_ROOM];
    gmv_output out;
    record_path(record->config, path);
    char *text = cJSON_Print(record->all);
    if (text == NULL) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s: no memory for it", path);
    }
    gmv_status status = gmv_output_begin(&out, path);
    if (status == GMV_OK) {
        fprintf(out.stream, "%s\n", text);
        status = gmv_output_end(&out, GMV_OK);
    }
    free(text);
    return status;
}

/* The sessions of before; a file that is no record of ours is replaced, as its times would say nothing. */
static gmv_status open_file(gmv_run_record *record, bool resumed)
{
    cJSON *sessions = NULL;
    if (resumed) {
        gmv_status status = gmv_record_read(&record->all, record->config->output_dir);
        if (status != GMV_OK) {
            gmv_warn("%s; the times of before are lost", gmv_error_message());
            gmv_error_clear();
        }
        sessions = cJSON_GetObjectItemCaseSensitive(record->all, "sessions");
    }
    if (!cJSON_IsArray(sessions)) {
        cJSON_Delete(record->all);
        record->all = cJSON_CreateObject();
        sessions = cJSON_AddArrayToObject(record->all, "sessions");
    }
    record->now = cJSON_CreateObject();
    return cJSON_AddItemToArray(sessions, record->now)
               ? GMV_OK
               : GMV_FAIL(GMV_ERR_ENVIRONMENT, "%s/run.json: no memory for it", record->config->output_dir);
}

gmv_status gmv_run_record_begin(gmv_run_record *record, const gmv_run *run, const gmv_backend *backend, bool resumed,
                                int64_t epoch)
{
    int64_t hosts = run->comm.local_rank == 0;
    gmv_status status = GMV_OK;
    gmv_comm_sum_i64(&run->comm, &hosts, 1);
    *record = (gmv_run_record){.config = &run->config};
    if (run->comm.rank == 0) {
        status = open_file(record, resumed);
    }
    if (run->comm.rank == 0 && status == GMV_OK) {
        put_time(record->now);
        cJSON_AddNumberToObject(record->now, "from_epoch", (double)epoch);
        put_versions(record->now);
        put_hardware(record->now, run, backend, (int)hosts);
        put_progress(record->now, epoch);
        status = write_file(record);
    }
    return gmv_comm_agree(&run->comm, status);
}

void gmv_run_record_fini(gmv_run_record *record)
{
    cJSON_Delete(record->all);
    record->all = record->now = NULL;
}

void gmv_run_record_keep(gmv_run_record *record, int64_t epoch)
{
    if (record->now == NULL || record->failed) {
        return;
    }
    put_progress(record->now, epoch);
    if (write_file(record) != GMV_OK) {
        gmv_warn("%s; the times in it stay as they were", gmv_error_message());
        gmv_error_clear();
        record->failed = true;
    }
}
