#define _GNU_SOURCE /* gethostname */
#include "lock_record.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { file_bytes = 1024 };
static const int64_t first_space = 0xEFFFFFFC; /* of the host itself: PROC_PID_INIT_INO of Linux */

/* The rows of the file. */
static const struct {
    const char *name;
    size_t offset, size;
} text_field[] = {
#define ROW(field)                                                                                                     \
    {                                                                                                                  \
#field, offsetof(gmv_lock_record, field), sizeof(((gmv_lock_record *)0)->field)                                \
    }
    ROW(token), ROW(command), ROW(host), ROW(boot), ROW(job), ROW(since),
#undef ROW
};
static const struct {
    const char *name;
    size_t offset;
} number_field[] = {
#define ROW(field)                                                                                                     \
    {                                                                                                                  \
#field, offsetof(gmv_lock_record, field)                                                                       \
    }
    ROW(pid),
    ROW(started),
    ROW(space),
    ROW(beat),
#undef ROW
};
enum {
    texts = sizeof text_field / sizeof *text_field,
    numbers = sizeof number_field / sizeof *number_field,
};

/* First line of a file of the system, "" where there is none. */
static void first_line(const char *path, char *line, size_t size)
{
    FILE *in = fopen(path, "r");
    if (in == NULL || fgets(line, (int)size, in) == NULL) {
        line[0] = '\0';
    }
    line[strcspn(line, "\n")] = '\0';
    if (in != NULL) {
        fclose(in);
    }
}

int64_t gmv_process_start(int64_t pid)
{
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%" PRId64 "/stat", pid);
    first_line(path, line, sizeof line);
    const char *at = strrchr(line, ')'); /* the name before may hold anything */
    char state = 0;
    long long start = 0;
    if (at == NULL || sscanf(at + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %lld",
                             &state, &start) != 2) {
        return kill((pid_t)pid, 0) != 0 && errno == ESRCH ? 0 : -1;
    }
    return state == 'Z' || state == 'X' ? 0 : start;
}

static void describe_job(char *job, size_t size)
{
    static const char *const variable[] = {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"};
    for (size_t i = 0; i < sizeof variable / sizeof *variable; i++) {
        const char *value = getenv(variable[i]);
        if (value != NULL && value[0] != '\0') {
            snprintf(job, size, "%s", value);
            return;
        }
    }
}

static int64_t own_space(void)
{
    struct stat info;
    return stat("/proc/self/ns/pid", &info) == 0 ? (int64_t)info.st_ino : 0;
}

gmv_status gmv_lock_describe(gmv_lock_record *record, const char *command)
{
    uint64_t number;
    struct tm at;
    time_t now = time(NULL);
    memset(record, 0, sizeof *record);
    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number) {
        return GMV_FAIL(GMV_ERR_ENVIRONMENT, "no random numbers: %s", strerror(errno));
    }
    record->whole = true;
    snprintf(record->token, sizeof record->token, "%016" PRIx64, number);
    snprintf(record->command, sizeof record->command, "%s", command);
    gethostname(record->host, sizeof record->host - 1);
    first_line("/proc/sys/kernel/random/boot_id", record->boot, sizeof record->boot);
    describe_job(record->job, sizeof record->job);
    if (gmtime_r(&now, &at) != NULL) {
        strftime(record->since, sizeof record->since, "%Y-%m-%dT%H:%M:%SZ", &at);
    }
    record->pid = (int64_t)getpid();
    record->started = gmv_process_start(record->pid);
    record->space = own_space();
    return GMV_OK;
}

bool gmv_lock_write(int fd, const gmv_lock_record *record)
{
    char text[file_bytes];
    size_t used = 0;
    for (int i = 0; i < texts; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s %s\n", text_field[i].name,
                                 (const char *)record + text_field[i].offset);
    }
    for (int i = 0; i < numbers; i++) {
        int64_t value;
        memcpy(&value, (const char *)record + number_field[i].offset, sizeof value);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s %" PRId64 "\n", number_field[i].name, value);
    }
    memset(text + used, ' ', sizeof text - used);
    text[sizeof text - 1] = '\n';
    return pwrite(fd, text, sizeof text, 0) == (ssize_t)sizeof text && fsync(fd) == 0;
}

/* Takes one line apart. @return whether its name is one of ours */
static bool take_line(gmv_lock_record *record, char *line)
{
    char *value = strchr(line, ' ');
    if (value == NULL) {
        return false;
    }
    *value++ = '\0';
    for (int i = 0; i < texts; i++) {
        if (strcmp(line, text_field[i].name) == 0) {
            snprintf((char *)record + text_field[i].offset, text_field[i].size, "%s", value);
            return true;
        }
    }
    for (int i = 0; i < numbers; i++) {
        if (strcmp(line, number_field[i].name) == 0) {
            int64_t number = strtoll(value, NULL, 10);
            memcpy((char *)record + number_field[i].offset, &number, sizeof number);
            return true;
        }
    }
    return false;
}

gmv_lock_reading gmv_lock_read(const char *path, gmv_lock_record *record)
{
    char text[file_bytes + 1], *rest = text;
    FILE *in;
    struct stat info;
    int lines = 0;
    memset(record, 0, sizeof *record);
    if (lstat(path, &info) != 0 && errno == ENOENT) {
        return GMV_LOCK_GONE;
    }
    if (gmv_file_open(path, &in) != NULL) {
        return errno == ENOENT && !S_ISLNK(info.st_mode) ? GMV_LOCK_GONE : GMV_LOCK_NO_FILE;
    }
    size_t length = fread(text, 1, file_bytes, in);
    fstat(fileno(in), &info);
    fclose(in);
    text[length] = '\0';
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        lines += take_line(record, line);
    }
    record->whole =
        lines == texts + numbers && strlen(record->token) == 16 && strspn(record->token, "0123456789abcdef") == 16;
    if (!record->whole) {
        snprintf(record->token, sizeof record->token, "incomplete-%" PRIu64, (uint64_t)info.st_ino);
    }
    return GMV_LOCK_READ;
}

gmv_lock_state gmv_lock_holder(const gmv_lock_record *record)
{
    gmv_lock_record here;
    if (!record->whole || gmv_lock_describe(&here, "") != GMV_OK || here.boot[0] == '\0') {
        return GMV_HOLDER_ELSEWHERE;
    }
    if (strcmp(here.boot, record->boot) == 0 && here.space == record->space) {
        int64_t start = gmv_process_start(record->pid);
        bool known = start > 0 && record->started > 0;
        return start == 0 || (known && start != record->started) ? GMV_HOLDER_GONE /* or another has its number */
               : known                                           ? GMV_HOLDER_RUNS
                                                                 : GMV_HOLDER_ELSEWHERE;
    }
    /* the host has started anew; containers, and hosts without a name of their own, may be others of the same name */
    bool same_host = strcmp(here.host, record->host) == 0 && strncmp(here.host, "localhost", 9) != 0;
    bool restarted = strcmp(here.boot, record->boot) != 0 && here.space == first_space && record->space == first_space;
    return same_host && restarted ? GMV_HOLDER_GONE : GMV_HOLDER_ELSEWHERE;
}

gmv_lock_shown gmv_lock_show(const gmv_lock_record *record)
{
    gmv_lock_shown shown;
    if (!record->whole) {
        snprintf(shown.at, sizeof shown.at, "a run that did not say which");
        return shown;
    }
    snprintf(shown.at, sizeof shown.at, "gmvae_dist %s (host %s, process %" PRId64 "%s%s, since %s)", record->command,
             record->host, record->pid, record->job[0] != '\0' ? ", job " : "", record->job, record->since);
    for (char *c = shown.at; *c != '\0'; c++) {
        *c = *c < 0x20 || *c > 0x7e ? '?' : *c;
    }
    return shown;
}

gmv_status gmv_lock_refuse(const char *path, const gmv_lock_record *record)
{
    gmv_lock_shown holder = gmv_lock_show(record);
    return GMV_FAIL(GMV_ERR_ENVIRONMENT,
                    "%s: %s works in this folder; let it end, or set another output.dir (remove the file if it is "
                    "certain that no such process runs)",
                    path, holder.at);
}
