/* Queued work. An item runs once all that it comes after is done; which of those that could run is next, is
 * chosen so that code which forgot to order them fails. Work runs only inside of calls that wait or ask. */
#include "coh.h"

#include "annotate.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_PENDING = 4096, RECYCLED_SIZES = 48 };

typedef struct items {
    coh_item **at;
    int n;
} items;

static items ready, started;
static int pending;
static uint64_t last_number, favourite;

static void append(items *to, coh_item *item)
{
    to->at = coh_resize(to->at, (size_t)(to->n + 1) * sizeof(coh_item *));
    to->at[to->n++] = item;
}

static coh_item *take_out(items *from, int i)
{
    coh_item *item = from->at[i];
    from->at[i] = from->at[--from->n];
    return item;
}

/* ---- ops ---- */

/* In a build for a race detector, memory of ops is kept for other ops: `free` would be seen as a write by the
 * host, which is rightly not ordered after the work that read it. */
static void *kept[RECYCLED_SIZES];

static int size_class(size_t bytes)
{
    int class = 8;
    while (((size_t)1 << class) < bytes) {
        class ++;
    }
    return class;
}

static coh_op *op_memory(size_t bytes)
{
    int class = size_class(bytes);
    void *block = kept[class];
    if (!COH_RACES || block == NULL) {
        return coh_resize(NULL, COH_RACES ? (size_t)1 << class : bytes);
    }
    memcpy(&kept[class], block, sizeof block);
    return block;
}

static void release_op_memory(coh_op *op, size_t bytes)
{
    int class = size_class(bytes);
    if (COH_RACES) {
        coh_copy_quietly(op, &kept[class], sizeof kept[class]);
        kept[class] = op;
    } else {
        free(op);
    }
}

void coh_copy_quietly(void *to, const void *from, size_t bytes)
{
    if (!COH_RACES) {
        memcpy(to, from, bytes);
        return;
    }
    volatile unsigned char *out = to;
    const volatile unsigned char *in = from;
    for (size_t i = 0; i < bytes; i++) {
        out[i] = in[i];
    }
}

enum { HEADER = (sizeof(coh_op) + 15) / 16 * 16 };

coh_op *coh_op_new(const char *name, bool (*run)(coh_op *, coh_item *), size_t payload)
{
    coh_op *op = op_memory(HEADER + payload);
    volatile unsigned char *byte = (void *)op;
    for (size_t i = 0; i < HEADER + payload; i++) {
        byte[i] = 0;
    }
    op->references = 1;
    op->name = name;
    op->run = run;
    op->bytes = payload;
    return op;
}

void *coh_payload(coh_op *op)
{
    return (char *)op + HEADER;
}

void coh_op_release(coh_op *op)
{
    if (--op->references == 0) {
        if (op->dispose != NULL) {
            op->dispose(op);
        }
        release_op_memory(op, HEADER + op->bytes);
    }
}

/* ---- items ---- */

void coh_item_hold(coh_item *item)
{
    item->references++;
}

void coh_item_release(coh_item **item)
{
    coh_item *one = *item;
    *item = NULL;
    if (one != NULL && --one->references == 0) {
        coh_op_release(one->op);
        free(one->before);
        free(one);
    }
}

static bool step(void);

coh_item *coh_item_new(coh_op *op, int lane)
{
    while (pending >= MAX_PENDING && step()) { /* a device's queue is finite, too */
    }
    coh_context_of(lane); /* made now: making it orders what the host did before */
    coh_item *item = coh_new(sizeof *item);
    item->op = op;
    op->references++;
    item->references = 2; /* the caller's and the queue's */
    item->lane = lane;
    item->number = ++last_number;
    item->waits_for = 1; /* until coh_item_ready */
    pending++;
    if (op->ordered != NULL) {
        op->ordered(op, item);
    }
    return item;
}

void coh_item_after(coh_item *item, coh_item *dependency)
{
    if (dependency == NULL) {
        return;
    }
    coh_item_hold(dependency);
    item->after = coh_resize(item->after, (size_t)(item->n_after + 1) * sizeof(coh_item *));
    item->after[item->n_after++] = dependency;
    if (dependency->state != COH_DONE) {
        dependency->before = coh_resize(dependency->before, (size_t)(dependency->n_before + 1) * sizeof(coh_item *));
        dependency->before[dependency->n_before++] = item;
        item->waits_for++;
    }
}

static void one_less(coh_item *item)
{
    if (--item->waits_for == 0) {
        append(&ready, item);
    }
}

void coh_item_ready(coh_item *item)
{
    coh_release(item);
    one_less(item);
}

/* ---- running ---- */

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void finish(coh_item *item)
{
    item->state = COH_DONE;
    item->time = seconds();
    pending--;
    for (int i = 0; i < item->n_before; i++) {
        one_less(item->before[i]);
    }
    item->n_before = 0;
    coh_item_release(&item);
}

/* Runs `how` in the context of the item's lane, after all that it comes after. */
static bool in_lane(coh_item *item, bool (*how)(coh_op *, coh_item *))
{
    void *host = coh_enter_context(coh_context_of(item->lane));
    coh_acquire(item);
    for (int i = 0; i < item->n_after; i++) {
        coh_acquire(item->after[i]);
    }
    coh_set_running(item->op->name);
    bool done = coh_device_error() != cudaSuccess || how(item->op, item);
    coh_set_running("");
    coh_release(item);
    coh_enter_context(host);
    return done;
}

static void start(coh_item *item)
{
    bool done = in_lane(item, item->op->run);
    for (int i = 0; i < item->n_after; i++) {
        coh_item_release(&item->after[i]);
    }
    free(item->after);
    item->after = NULL;
    item->n_after = 0;
    if (item->op->fault != cudaSuccess) {
        coh_break_device(item->op->fault);
    }
    if (done) {
        finish(item);
    } else {
        item->state = COH_STARTED;
        append(&started, item);
    }
}

/* The lane with the lowest key runs as long as it can: so streams overtake each other by far. */
static uint64_t key_of(const coh_item *item)
{
    if (coh_setting()->order != COH_SCATTERED) {
        uint64_t lane = (uint64_t)item->lane;
        return (coh_setting()->order == COH_FORWARD ? lane : 0xffffffffu - lane) << 32 | (item->number & 0xffffffffu);
    }
    uint64_t z = ((uint64_t)item->lane + favourite) * 0x9e3779b97f4a7c15u;
    return (z ^ z >> 29) * 0xbf58476d1ce4e5b9u;
}

static int choose(void)
{
    if (coh_setting()->order == COH_SCATTERED) {
        uint64_t dice = coh_random();
        if (dice % 8 == 0) {
            favourite = coh_random();
        } else if (dice % 8 < 4) {
            return (int)(coh_random() % (uint64_t)ready.n);
        }
    }
    int best = 0;
    for (int i = 1; i < ready.n; i++) {
        best = key_of(ready.at[i]) < key_of(ready.at[best]) ? i : best;
    }
    return best;
}

/* @return whether anything went on */
static bool step(void)
{
    bool progress = false;
    for (int i = started.n - 1; i >= 0; i--) {
        if (in_lane(started.at[i], started.at[i]->op->finished)) {
            finish(take_out(&started, i));
            progress = true;
        }
    }
    if (ready.n > 0) {
        start(take_out(&ready, choose()));
        progress = true;
    }
    return progress;
}

void coh_item_wait(coh_item *item)
{
    while (item->state != COH_DONE) {
        if (!step()) {
            coh_yield();
        }
    }
    coh_acquire(item);
}

bool coh_item_query(coh_item *item)
{
    if (item->state != COH_DONE) {
        step();
    }
    if (item->state == COH_DONE) {
        coh_acquire(item);
    }
    return item->state == COH_DONE;
}

void coh_queue_drain(void)
{
    while (pending > 0) {
        if (!step()) {
            coh_yield();
        }
    }
}
