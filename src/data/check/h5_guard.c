#define _GNU_SOURCE /* dladdr1, MAP_FIXED_NOREPLACE */
#include "h5_guard.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__GLIBC__) && defined(__LP64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

/* ---- blocks ---- */

enum {
    unfilled = 0xA5,
    most_filled = 1 << 16,
    most_blocks = 1 << 13, /* each is a mapping of its own, of which the kernel allows 65,530 */
    most_small = most_blocks / 2,
    small_bytes = 256,
    most_looked_at = 256,
    resting = 256 /* blocks of a page that wait, given back, before the first of them is taken again */
};

/* At the beginning of the pages of a block, on whose end it ends, whatever that does to its alignment: types of n bytes
 * are aligned to n in blocks of a multiple of n bytes. */
typedef struct head {
    size_t bytes; /* of the block */
    size_t room;  /* of the pages */
    bool rests;   /* given back */
    struct head *next;
} head;

/* Addresses that neither the kernel nor the loader hand out, taken in turn: 10^7 until one is met again. Blocks lie
 * far apart: an access that misses one by less than a unit does not find another. */
static const uintptr_t first = (uintptr_t)1 << 44, end = (uintptr_t)5 << 44, unit = (uintptr_t)1 << 22;
static uintptr_t next = (uintptr_t)1 << 44;
static size_t page;
static int64_t live, rested;
static head *oldest, **youngest = &oldest; /* of those that rest */

static bool is_guarded(const void *block)
{
    return (uintptr_t)block >= first && (uintptr_t)block < end;
}

/* The head of a block is in its first page or in the one before. */
static head *head_of(void *block)
{
    return (head *)((char *)block - (uintptr_t)block % unit);
}

/* That n bytes are as they were left. */
static void check_unfilled(const char *at, size_t n)
{
    if (n > 0 && (at[0] != (char)unfilled || memcmp(at, at + 1, n - 1) != 0)) {
        abort();
    }
}

static head *map_pages(size_t room)
{
    for (int tries = 0; tries < 64; tries++) {
        next = room < end - next ? next : first;
        void *want = (char *)0 + next;
        next += (room / unit + 1) * unit; /* at least a page of it stays empty */
        head *h = mmap(want, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (h == want) {
            h->room = room;
            return h;
        }
        if (h == MAP_FAILED && errno != EEXIST) {
            return NULL;
        }
        if (h != MAP_FAILED) { /* an old kernel takes the address for a hint */
            munmap(h, room);
        }
    }
    return NULL;
}

static head *take_oldest(void)
{
    head *h = oldest;
    oldest = h->next;
    youngest = oldest == NULL ? &oldest : youngest;
    rested--;
    check_unfilled((char *)h + page - h->bytes, h->bytes);
    return h;
}

/* A block of `unfilled`, or of zeros. */
static void *take(size_t bytes, bool zeroed)
{
    bytes += bytes < small_bytes && bytes % 8 == 4 ? 4 : 0; /* bitshuffle reads one parameter more than it is given */
    if (live >= (bytes < small_bytes ? most_small : most_blocks) || bytes >= end - first) {
        return NULL;
    }
    size_t room = (bytes + sizeof(head) + page - 1) / page * page;
    bool fresh = room > page || rested < resting;
    head *h = fresh ? map_pages(room) : take_oldest();
    if (h == NULL) {
        return NULL;
    }
    h->bytes = bytes;
    h->rests = false;
    char *block = (char *)h + room - bytes;
    if (fresh) {
        size_t filled = zeroed ? 0 : bytes < most_filled ? bytes : most_filled;
        memset(h + 1, unfilled, (size_t)(block - (char *)(h + 1)) + filled);
    } else if (zeroed) {
        memset(block, 0, bytes);
    }
    live++;
    return block;
}

static void give_back(head *h, char *block)
{
    size_t in_front = (size_t)(block - (char *)(h + 1));
    if (h->rests || block != (char *)h + h->room - h->bytes) {
        abort();
    }
    in_front = in_front < most_looked_at ? in_front : most_looked_at;
    check_unfilled(block - in_front, in_front);
    live--;
    if (h->room > page) {
        munmap(h, h->room);
        return;
    }
    memset(block, unfilled, h->bytes);
    h->rests = true;
    h->next = NULL;
    *youngest = h;
    youngest = &h->next;
    rested++;
}

static void *guarded_malloc(size_t bytes)
{
    void *block = take(bytes, false);
    return block != NULL ? block : malloc(bytes);
}

static void *guarded_calloc(size_t count, size_t size)
{
    void *block = size == 0 || count <= SIZE_MAX / size ? take(count * size, true) : NULL;
    return block != NULL ? block : calloc(count, size);
}

static void guarded_free(void *block)
{
    if (is_guarded(block)) {
        give_back(head_of(block), block);
    } else {
        free(block);
    }
}

static void *guarded_realloc(void *block, size_t bytes)
{
    if (block != NULL && !is_guarded(block)) {
        return realloc(block, bytes);
    }
    void *grown = guarded_malloc(bytes);
    if (block != NULL && grown != NULL) {
        size_t old = head_of(block)->bytes;
        memcpy(grown, block, old < bytes ? old : bytes);
        guarded_free(block);
    }
    return grown;
}

/* ---- whose calls are led here ---- */

static void *guarded_dlopen(const char *file, int flags);

/* Filters that are plug-ins give HDF5's blocks back, too; what they take for themselves they may want aligned. */
static const struct {
    const char *name;
    uintptr_t address;
    bool of_plugins;
} replacement[] = {{"malloc", (uintptr_t)guarded_malloc, false},
                   {"calloc", (uintptr_t)guarded_calloc, false},
                   {"realloc", (uintptr_t)guarded_realloc, true},
                   {"free", (uintptr_t)guarded_free, true},
                   {"dlopen", (uintptr_t)guarded_dlopen, false}};

/* The value of an entry of a library's dynamic section; 0 when there is none. */
static uintptr_t entry_of(const struct link_map *library, int64_t tag)
{
    for (const ElfW(Dyn) *at = library->l_ld; at->d_tag != DT_NULL; at++) {
        if (at->d_tag == tag) {
            return at->d_un.d_val;
        }
    }
    return 0;
}

/* A table of relocations names the slots that hold addresses of functions of other libraries. @return how many were replaced */
static int replace_in(const struct link_map *library, int64_t table, int64_t table_bytes, bool plugin)
{
    const ElfW(Rela) *at = (const ElfW(Rela) *)entry_of(library, table);
    const ElfW(Sym) *symbol = (const ElfW(Sym) *)entry_of(library, DT_SYMTAB);
    const char *names = (const char *)entry_of(library, DT_STRTAB);
    size_t n = at != NULL ? entry_of(library, table_bytes) / sizeof *at : 0;
    int replaced = 0;
    for (size_t i = 0; i < n; i++) {
        char *slot = (char *)(library->l_addr + at[i].r_offset), *of = slot - (uintptr_t)slot % page;
        const char *name = names + symbol[ELF64_R_SYM(at[i].r_info)].st_name;
        for (size_t r = 0; r < sizeof replacement / sizeof *replacement; r++) {
            if ((!plugin || replacement[r].of_plugins) && strcmp(name, replacement[r].name) == 0 &&
                mprotect(of, page, PROT_READ | PROT_WRITE) == 0) {
                memcpy(slot, &replacement[r].address, sizeof replacement[r].address);
                replaced++;
            }
        }
    }
    return replaced;
}

static int replace_all(const struct link_map *library, bool plugin)
{
    return replace_in(library, DT_JMPREL, DT_PLTRELSZ, plugin) + replace_in(library, DT_RELA, DT_RELASZ, plugin);
}

static void *guarded_dlopen(const char *file, int flags)
{
    struct link_map *plugin = NULL;
    void *handle = dlopen(file, flags);
    if (handle != NULL && dlinfo(handle, RTLD_DI_LINKMAP, &plugin) == 0) {
        replace_all(plugin, true);
    }
    return handle;
}

bool gmv_h5_guard_memory(void)
{
    Dl_info info;
    struct link_map *library = NULL;
    page = (size_t)sysconf(_SC_PAGESIZE);
    void *trial = map_pages(page), *function = dlsym(RTLD_NEXT, "H5open"); /* not the program's own stub */
    if (trial == NULL || function == NULL || dladdr1(function, &info, (void **)&library, RTLD_DL_LINKMAP) == 0) {
        return false;
    }
    munmap(trial, page);
    return library != NULL && replace_all(library, false) >= 4;
}

#else

bool gmv_h5_guard_memory(void)
{
    return false;
}

#endif
