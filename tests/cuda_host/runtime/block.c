/* The scheduler of a block. A thread that waits goes straight to the next one that is ready; threads that never
 * wait run one after the other on a single fiber. */
#include "coh.h"

#include "fiber.h"

#include <stdio.h>
#include <string.h>

enum { WORDS = COH_MAX_THREADS / 64 };

static struct block {
    const coh_grid *grid;
    coh_fiber *fibers[COH_MAX_THREADS]; /* made so far, the free ones behind `taken` */
    int made, taken;
    const int *order;
    int n;
    int current; /* thread, or -1 */
    int exited;
    int at_barrier;
    int result;      /* of the last barrier that was passed */
    int combined[2]; /* counts of the barrier being waited for: false, true */
    int first_there; /* thread that came first to the barrier */
    bool divergent;  /* another thread came to another barrier */
    uint64_t ready[WORDS];
    coh_fiber host, *running;
    coh_thread thread[COH_MAX_THREADS];
    char begin, end, barrier[2]; /* for a race detector: what happens before what */
    unsigned int passed; /* barriers; the next has its own word, which threads reach before all have left this */
} block = {.current = -1};

uint3 threadIdx;

coh_thread *coh_thread_at(int number)
{
    return &block.thread[number];
}

int coh_current_thread(void)
{
    return block.current;
}

int coh_block_threads(void)
{
    return block.n;
}

bool coh_in_thread(void)
{
    return block.current >= 0;
}

/* ---- who goes on ---- */

void coh_wake(int number)
{
    coh_thread *thread = &block.thread[number];
    thread->state = COH_RUNS;
    block.ready[thread->position / 64] |= UINT64_C(1) << thread->position % 64;
}

/* @return the ready thread that follows `position` in the order, taken from the ready ones; -1: none is */
static int next_ready(int position)
{
    int word = position / 64;
    uint64_t bits = block.ready[word] & ~UINT64_C(0) << position % 64;
    for (int tried = 0; tried <= WORDS; tried++) {
        if (bits != 0) {
            int bit = __builtin_ctzll(bits);
            block.ready[word] &= ~(UINT64_C(1) << bit);
            return block.order[word * 64 + bit];
        }
        word = (word + 1) % WORDS;
        bits = block.ready[word];
    }
    return -1;
}

static void make_current(int next)
{
    block.current = next;
    block.thread[next].state = COH_RUNS;
    threadIdx = block.thread[next].index;
}

static void fiber_main(void);

static coh_fiber *take_fiber(void)
{
    if (block.taken == block.made) {
        block.fibers[block.made++] = coh_fiber_new(fiber_main);
    }
    return block.fibers[block.taken++];
}

static void switch_to(coh_fiber *next)
{
    coh_fiber *from = block.running;
    block.running = next;
    if (from != next) {
        coh_fiber_switch(from, next);
    }
}

static void switch_to_thread(int next)
{
    coh_thread *thread = &block.thread[next];
    if (thread->fiber == NULL) {
        thread->fiber = take_fiber();
    }
    make_current(next);
    switch_to(thread->fiber);
}

void coh_wait(void)
{
    int self = block.current;
    int next = next_ready(block.thread[self].position);
    if (next < 0) {
        coh_report_block("its threads wait for each other");
    }
    if (next != self) {
        switch_to_thread(next);
    } else {
        block.thread[self].state = COH_RUNS;
    }
}

/* After the end of a thread. The next one takes over the fiber if it has none yet; a race detector needs a
 * stack for each, since stacks say nothing about the order of threads. */
static void go_on(int ended)
{
    int next = next_ready(block.thread[ended].position);
    if (next >= 0 && block.thread[next].fiber == NULL && !COH_RACES) {
        block.thread[next].fiber = block.running;
        make_current(next);
        return;
    }
    if (!COH_RACES) {
        block.fibers[--block.taken] = block.running;
    }
    if (next >= 0) {
        switch_to_thread(next);
    } else if (block.exited == block.n) {
        switch_to(&block.host);
    } else {
        coh_report_block("its threads wait for others that have exited, or for each other");
    }
}

static void fiber_main(void)
{
    coh_fiber_arrived();
    for (;;) {
        int self = block.current;
        coh_acquire(&block.begin);
        block.grid->kernel.call(block.grid->kernel.function, block.grid->arguments);
        coh_release(&block.end);
        block.thread[self].state = COH_EXITED;
        block.exited++;
        coh_warp_exited(self);
        go_on(self);
    }
}

static uint3 index_of(int number, dim3 size)
{
    unsigned int n = (unsigned int)number;
    uint3 index = {n % size.x, n / size.x % size.y, n / size.x / size.y};
    return index;
}

static void start_block(const coh_grid *grid, void *context, const int *order, int n)
{
    block.grid = grid;
    block.order = order;
    block.n = n;
    block.exited = 0;
    block.at_barrier = 0;
    block.divergent = false;
    memset(block.combined, 0, sizeof block.combined);
    memset(block.ready, 0, sizeof block.ready);
    for (int position = 0; position < n; position++) {
        coh_thread *thread = &block.thread[order[position]];
        thread->fiber = NULL;
        thread->state = COH_UNSTARTED;
        thread->position = position;
        thread->index = index_of(order[position], grid->block);
        block.ready[position / 64] |= UINT64_C(1) << position % 64;
    }
    block.taken = 0;
    while (COH_RACES && block.made < n) {
        block.fibers[block.made++] = coh_fiber_new(fiber_main); /* a thread that made another would be ordered before */
    }
    block.host.context = context;
    block.running = &block.host;
    coh_warp_reset(n);
}

void coh_block_run(const coh_grid *grid, void *context, const int *order, int n)
{
    start_block(grid, context, order, n);
    coh_release(&block.begin);
    int start = coh_setting()->order == COH_SCATTERED ? (int)(coh_random() % (uint64_t)n) : 0;
    switch_to_thread(next_ready(start));
    coh_acquire(&block.end);
    block.current = -1;
}

/* ---- the barrier ---- */

static bool same_place(const coh_thread *a, const coh_thread *b)
{
    return a->barrier == b->barrier && a->call.line == b->call.line && strcmp(a->call.file, b->call.file) == 0;
}

static void arrive(int self, coh_barrier_kind kind, int predicate, const char *file, int line)
{
    coh_thread *thread = &block.thread[self];
    thread->state = COH_AT_BARRIER;
    thread->barrier = kind;
    thread->call.file = file;
    thread->call.line = line;
    block.combined[predicate != 0]++;
    if (block.at_barrier++ == 0) {
        block.first_there = self;
    } else if (!same_place(thread, &block.thread[block.first_there])) {
        block.divergent = true;
    }
}

static void open_barrier(int last, coh_barrier_kind kind)
{
    int yes = block.combined[1];
    block.result = kind == COH_SYNC_OR ? yes > 0 : kind == COH_SYNC_AND ? yes == block.n : yes;
    block.combined[0] = block.combined[1] = 0;
    block.at_barrier = 0;
    block.passed++;
    for (int i = 0; i < block.n; i++) {
        if (i != last) {
            coh_wake(i);
        }
    }
    block.thread[last].state = COH_RUNS;
}

int coh_barrier(coh_barrier_kind kind, int predicate, const char *file, int line)
{
    int self = block.current;
    char *order = &block.barrier[block.passed % 2];
    arrive(self, kind, predicate, file, line);
    coh_release(order);
    if (block.at_barrier < block.n) {
        coh_wait();
    } else if (block.divergent) {
        coh_report_block("its threads are at different barriers");
    } else {
        open_barrier(self, kind);
    }
    coh_acquire(order);
    return block.result;
}

unsigned int coh_active_mask(void)
{
    unsigned int mask = 0;
    int first = block.current / COH_WARP * COH_WARP;
    for (int lane = 0; lane < COH_WARP && first + lane < block.n; lane++) {
        mask |= (unsigned int)(block.thread[first + lane].state != COH_EXITED) << lane;
    }
    return mask;
}

/* ---- what went wrong ---- */

static bool same_state(const coh_thread *a, const coh_thread *b)
{
    if (a->state != b->state) {
        return false;
    }
    return a->state != COH_AT_BARRIER && a->state != COH_AT_WARP
               ? true
               : same_place(a, b) && (a->state != COH_AT_WARP || a->call.mask == b->call.mask);
}

static int describe(const coh_thread *thread, int count, char *text, size_t size)
{
    uint3 i = thread->index;
    int n = snprintf(text, size, "\n  %d thread%s, first (%u,%u,%u): ", count, count == 1 ? "" : "s", i.x, i.y, i.z);
    size_t used = n > 0 && (size_t)n < size ? (size_t)n : size;
    if (thread->state == COH_AT_BARRIER) {
        n = snprintf(text + used, size - used, "at __syncthreads, %s:%d", thread->call.file, thread->call.line);
    } else if (thread->state == COH_AT_WARP) {
        n = snprintf(text + used, size - used, "at a warp operation with mask 0x%08x, %s:%d", thread->call.mask,
                     thread->call.file, thread->call.line);
    } else {
        n = snprintf(text + used, size - used, "%s", thread->state == COH_EXITED ? "exited" : "running");
    }
    return (int)used + (n > 0 ? n : 0);
}

void coh_report_block(const char *what)
{
    char text[1536] = "";
    size_t used = 0;
    for (int i = 0, groups = 0; i < block.n && groups < 8; i++) {
        int count = 0, first = i;
        for (int j = 0; j < block.n; j++) {
            if (same_state(&block.thread[j], &block.thread[i])) {
                first = j < first ? j : first;
                count++;
            }
        }
        if (first == i && used < sizeof text) {
            used += (size_t)describe(&block.thread[i], count, text + used, sizeof text - used);
            groups++;
        }
    }
    coh_die("divergent barrier: kernel %s, block (%u,%u,%u): %s%s", coh_running(), blockIdx.x, blockIdx.y, blockIdx.z,
            what, text);
}
