#include "hardware.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* The value of the first line of a file "NAME: VALUE" of this name. */
static void find_value(const char *file, const char *name, char *value, size_t size)
{
    char line[256];
    size_t length = strlen(name);
    FILE *in = fopen(file, "r");
    value[0] = '\0';
    while (in != NULL && value[0] == '\0' && fgets(line, sizeof line, in) != NULL) {
        const char *colon = strchr(line, ':');
        if (colon != NULL && strncmp(line, name, length) == 0 && line[length + strspn(line + length, " \t")] == ':') {
            const char *begin = colon + 1 + strspn(colon + 1, " \t");
            snprintf(value, size, "%.*s", (int)strcspn(begin, "\n"), begin);
        }
    }
    if (in != NULL) {
        fclose(in);
    }
}

void gmv_read_line(const char *file, char *line, int size)
{
    line[0] = '\0';
    FILE *in = fopen(file, "r");
    if (in != NULL) {
        if (fgets(line, size, in) == NULL) {
            line[0] = '\0';
        }
        fclose(in);
    }
    line[strcspn(line, "\n")] = '\0';
}

int64_t gmv_meminfo_bytes(const char *name)
{
    char kilobytes[64];
    find_value("/proc/meminfo", name, kilobytes, sizeof kilobytes);
    return (int64_t)strtoll(kilobytes, NULL, 10) * 1024;
}

void gmv_processor_name(char *text, size_t size)
{
    find_value("/proc/cpuinfo", "model name", text, size);
}

int64_t gmv_peak_memory(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (int64_t)usage.ru_maxrss * 1024 : 0;
}
