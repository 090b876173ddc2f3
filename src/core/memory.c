/* Memory that this machine, or the container the program runs in, has to give. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "gmvae/mem.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

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

gmv_addresses gmv_memory_addresses(void)
{
    struct rlimit limit;
    int64_t used = field("/proc/self/status", "VmSize"), kilobyte = 1024;
    bool limited = getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    return (gmv_addresses){limited ? (int64_t)limit.rlim_cur : -1, used < 0 ? -1 : used * kilobyte};
}

void gmv_memory_save_addresses(void)
{
#ifdef M_ARENA_MAX
    if (gmv_memory_addresses().limit >= 0) {
        mallopt(M_ARENA_MAX, 1); /* an arena sets 64 MiB aside, and takes 128 for a moment */
    }
#endif
}

static void *map(int64_t bytes)
{
    return mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

int gmv_memory_blocks(int most, int64_t bytes, int64_t rest)
{
    int n = 0;
    void *kept = map(rest), *last = NULL; /* each block begins with the address of the one before */
    while (kept != MAP_FAILED && n < most) {
        void *block = map(bytes);
        if (block == MAP_FAILED) {
            break;
        }
        *(void **)block = last;
        last = block;
        n++;
    }
    for (void *before; last != NULL; last = before) {
        before = *(void **)last;
        munmap(last, (size_t)bytes);
    }
    if (kept != MAP_FAILED) {
        munmap(kept, (size_t)rest);
    }
    return n;
}
