/* Device memory. Each allocation has pages of its own between two that can never be accessed; its data end as
 * close to the last one as CUDA's alignment of 256 bytes allows, and guard words fill the rest. Host code can
 * reach none of it, except while a copy or a kernel runs. Freed allocations stay inaccessible for a while. */
#include "coh.h"

#include "annotate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALIGNMENT = 256, MAX_FREED = 1024 };

/* NaN as bfloat16, float and double, and an unlikely result. */
static const unsigned char guard_bytes[2] = {0xdb, 0xff};

typedef struct allocation {
    char *pages; /* the first one is a guard, and the last */
    size_t mapped;
    char *data;
    size_t bytes;
    int device;
} allocation;

typedef struct list {
    allocation *at;
    int n;
} list;

static list live, freed;
static size_t used[64]; /* by device */
static bool is_open;

static size_t page_size(void)
{
    static size_t page;
    page = page != 0 ? page : (size_t)sysconf(_SC_PAGESIZE);
    return page;
}

static void append(list *to, const allocation *one)
{
    to->at = coh_resize(to->at, (size_t)(to->n + 1) * sizeof *to->at);
    to->at[to->n++] = *one;
}

static void take_out(list *from, int i)
{
    memmove(&from->at[i], &from->at[i + 1], (size_t)(--from->n - i) * sizeof *from->at);
}

static int find(const list *in, const void *at)
{
    for (int i = 0; i < in->n; i++) {
        if ((size_t)((const char *)at - in->at[i].pages) < in->at[i].mapped) {
            return i;
        }
    }
    return -1;
}

/* ---- protection ---- */

static void protect(const allocation *one, int how)
{
    if (mprotect(one->pages + page_size(), one->mapped - 2 * page_size(), how) != 0) {
        coh_die("mprotect of device memory failed");
    }
}

void coh_arena_open(void)
{
    for (int i = 0; i < live.n && !is_open; i++) {
        protect(&live.at[i], PROT_READ | PROT_WRITE);
    }
    is_open = true;
}

void coh_arena_close(void)
{
    for (int i = 0; i < live.n && is_open; i++) {
        protect(&live.at[i], PROT_NONE);
    }
    is_open = false;
}

/* ---- guards ---- */

static COH_UNCHECKED bool guards_intact(const char *from, const char *end, const char **where)
{
    for (; from < end; from++) {
        if ((unsigned char)*from != guard_bytes[(size_t)from % 2]) {
            *where = from;
            return false;
        }
    }
    return true;
}

static void check_guards_of(const allocation *one, size_t in_front, const char *who)
{
    const char *first = one->pages + page_size(), *end = one->pages + one->mapped - page_size(), *where = NULL;
    if ((size_t)(one->data - first) > in_front) {
        first = one->data - in_front;
    }
    if (!guards_intact(first, one->data, &where)) {
        coh_die("out of bounds: %s wrote %td bytes before an allocation of %zu bytes", who, one->data - where,
                one->bytes);
    }
    if (!guards_intact(one->data + one->bytes, end, &where)) {
        coh_die("out of bounds: %s wrote %td bytes behind the end of an allocation of %zu bytes", who,
                where - (one->data + one->bytes), one->bytes);
    }
}

void coh_check_guards(const char *who)
{
    for (int i = 0; i < live.n; i++) {
        check_guards_of(&live.at[i], ALIGNMENT, who);
    }
}

static void fill(const allocation *one)
{
    char *first = one->pages + page_size();
    size_t inner = one->mapped - 2 * page_size();
    for (size_t i = 0; i < inner; i++) {
        first[i] = (char)guard_bytes[(size_t)(first + i) % 2];
        if (first + i + 1 == one->data) {
            i += one->bytes;
        }
    }
    memset(one->data, 0xff, one->bytes);
    coh_poison(one->pages, one->mapped);
    coh_unpoison(one->data, one->bytes);
}

/* ---- allocating ---- */

static void *allocate(size_t bytes, int device)
{
    size_t page = page_size(), aligned = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    size_t inner = (aligned + page - 1) / page * page;
    allocation one = {NULL, inner + 2 * page, NULL, bytes, device};
    one.pages = mmap(NULL, one.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (one.pages == MAP_FAILED) {
        return NULL;
    }
    one.data = one.pages + page + inner - aligned;
    protect(&one, PROT_READ | PROT_WRITE);
    fill(&one);
    if (!is_open) {
        protect(&one, PROT_NONE);
    }
    append(&live, &one);
    used[device] += bytes;
    return one.data;
}

cudaError_t cudaMalloc(void **block, size_t bytes)
{
    COH_CALL(cudaMalloc);
    cudaError_t error = coh_forbid_in_capture();
    if (error != cudaSuccess || block == NULL) {
        return coh_say(error != cudaSuccess ? error : cudaErrorInvalidValue);
    }
    *block = NULL;
    int device = coh_current_device();
    if (bytes > coh_setting()->memory - used[device % 64]) {
        return coh_say(cudaErrorMemoryAllocation);
    }
    if (bytes > 0) {
        *block = allocate(bytes, device % 64);
        return coh_say(*block != NULL ? cudaSuccess : cudaErrorMemoryAllocation);
    }
    return cudaSuccess;
}

static void forget_oldest(void)
{
    allocation *oldest = &freed.at[0];
    coh_unpoison(oldest->pages, oldest->mapped);
    munmap(oldest->pages, oldest->mapped);
    take_out(&freed, 0);
}

cudaError_t cudaFree(void *block)
{
    COH_CALL(cudaFree);
    cudaError_t error = coh_forbid_in_capture();
    if (error != cudaSuccess || block == NULL) {
        return coh_say(error);
    }
    coh_queue_drain();
    int i = find(&live, block);
    if (i < 0 || live.at[i].data != block) {
        return coh_say(cudaErrorInvalidValue);
    }
    coh_arena_open();
    allocation one = live.at[i];
    check_guards_of(&one, one.mapped, "something");
    protect(&one, PROT_NONE);
    madvise(one.pages, one.mapped, MADV_DONTNEED);
    coh_poison(one.pages, one.mapped);
    used[one.device] -= one.bytes;
    take_out(&live, i);
    append(&freed, &one);
    if (freed.n > MAX_FREED) {
        forget_oldest();
    }
    return coh_say(coh_device_error());
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    COH_CALL(cudaMemGetInfo);
    *total_bytes = coh_setting()->memory;
    *free_bytes = *total_bytes - used[coh_current_device() % 64];
    return cudaSuccess;
}

/* ---- questions ---- */

bool coh_on_device(const void *at, size_t bytes)
{
    int i = find(&live, at);
    if (i < 0) {
        return false;
    }
    size_t offset = (size_t)((const char *)at - live.at[i].data);
    return offset <= live.at[i].bytes && bytes <= live.at[i].bytes - offset;
}

bool coh_points_to_device(const void *at, int *device)
{
    int i = find(&live, at);
    if (i >= 0) {
        *device = live.at[i].device;
    }
    return i >= 0;
}

bool coh_describe_address(const void *at, char *text, size_t size)
{
    int i = find(&live, at);
    const list *in = i >= 0 ? &live : &freed;
    i = i >= 0 ? i : find(&freed, at);
    if (i < 0) {
        return false;
    }
    snprintf(text, size, "%s at %p (%sallocation of %zu bytes, offset %td)",
             in == &freed ? "freed device memory" : "device memory", at, in == &freed ? "freed " : "", in->at[i].bytes,
             (const char *)at - in->at[i].data);
    return true;
}
