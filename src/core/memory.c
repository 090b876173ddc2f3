/* Memory that this machine, or the container the program runs in, has to give. */
#include "gmvae/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number behind "NAME " or "NAME:" at the start of a line; -1 when there is none. */
static int64_t field(const char *path, const char *name)
{
    char line[256];
    int64_t value = -1;
    size_t length = strlen(name);
    FILE *in = fopen(path, "r");
    if (in == NULL) {
        return -1;
    }
    while (value < 0 && fgets(line, sizeof line, in) != NULL) {
        if (strncmp(line, name, length) == 0 && (length == 0 || line[length] == ':' || line[length] == ' ')) {
            char *end = NULL;
            int64_t read = strtoll(line + length + (length > 0), &end, 10);
            value = end != line + length + (length > 0) ? read : -1;
        }
    }
    fclose(in);
    return value;
}

int64_t gmv_memory_available(void)
{
    int64_t free_here = field("/proc/meminfo", "MemAvailable"), kilobyte = 1024;
    free_here = free_here < 0 ? INT64_MAX : free_here * kilobyte;
    int64_t limit = field("/sys/fs/cgroup/memory.max", ""), used = field("/sys/fs/cgroup/memory.current", "");
    int64_t cache = field("/sys/fs/cgroup/memory.stat", "inactive_file");
    if (limit < 0 || used < 0) {
        return free_here;
    }
    int64_t left = limit - used + (cache > 0 ? cache : 0); /* what files are cached in is given back */
    left = left > 0 ? left : 0;
    return left < free_here ? left : free_here;
}
