/* Shared memory. The static variables are thread-local (see cuda_on_host.h), so that they make up the
 * thread-local block of the module this file is linked into: the module must have no others. The dynamic part
 * ends at a page that cannot be accessed. */
#define _GNU_SOURCE
#include "coh.h"

#include "annotate.h"

#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static _Thread_local volatile char anchor;

static struct range {
    char *at;
    size_t bytes;
} fixed, dynamic, room;

static int find_module(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size, (void)unused;
    const volatile char *wanted = &anchor;
    char *start = info->dlpi_tls_data;
    for (int i = 0; start != NULL && i < info->dlpi_phnum; i++) {
        const size_t bytes = info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type == PT_TLS && wanted >= start && wanted < start + bytes) {
            fixed.at = start;
            fixed.bytes = bytes;
            return 1;
        }
    }
    return 0;
}

static void make_room(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    room.bytes = (COH_OPTIN_SHARED + page - 1) / page * page;
    room.at = mmap(NULL, room.bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room.at == MAP_FAILED || mprotect(room.at + room.bytes, page, PROT_NONE) != 0) {
        coh_die("no memory for shared memory");
    }
}

void coh_shared_prepare(size_t bytes)
{
    anchor = 0; /* the block exists once it was touched */
    if (dl_iterate_phdr(find_module, NULL) == 0) {
        coh_die("the thread-local block of this module is not to be found");
    }
    if (room.at == NULL) {
        make_room();
    }
    coh_poison(room.at, room.bytes);
    dynamic.bytes = bytes;
    dynamic.at = room.at + room.bytes - (bytes + 15) / 16 * 16;
    coh_unpoison(dynamic.at, bytes);
}

void coh_shared_fill(void)
{
    memset(fixed.at, 0xff, fixed.bytes);
    memset(dynamic.at, 0xff, dynamic.bytes);
}

bool coh_shared_contains(const void *at)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return room.at != NULL && (size_t)((const char *)at - room.at) < room.bytes + page;
}

void *coh_dynamic_shared(void)
{
    return dynamic.at;
}
