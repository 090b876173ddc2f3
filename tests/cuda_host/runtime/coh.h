/* Inside of the runtime. Layers, bottom up: settings, errors, memory, queue (items), then the API's files. */
#pragma once

#include "coh/launch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

enum {
    COH_MAX_THREADS = 1024,
    COH_WARP = 32,
    COH_STATIC_SHARED = 48 * 1024,
    COH_OPTIN_SHARED = 227 * 1024,
    COH_SMS = 132
};

/* ---- settings.c ---- */

typedef enum coh_order { COH_FORWARD, COH_REVERSE, COH_SCATTERED } coh_order;

typedef struct coh_settings {
    coh_order order;
    uint64_t seed;
    size_t memory; /* bytes of each device */
    int devices;
} coh_settings;

/* What the environment says, read once. */
const coh_settings *coh_setting(void);

/* Next number of the one sequence that all random choices come from. */
uint64_t coh_random(void);

/* ---- error.c ---- */

/* One lock around every call: what the device does is done inside calls. */
int coh_lock(void);
void coh_unlock(const int *locked);

/* Gives other host threads a chance while this one waits. */
void coh_yield(void);

/* @return the error that the call has to fail with before it does anything: injected, or of a broken device */
cudaError_t coh_refuse(const char *call);

/* @return the injected result of this call of `name`; 0: none; COH_HANG for "hang" */
int coh_injected(const char *name);
enum { COH_HANG = -1 };

/* Sets the last error of this host thread. @return `error` */
cudaError_t coh_say(cudaError_t error);

/* An asynchronous error, which every later call returns. */
void coh_break_device(cudaError_t error);
cudaError_t coh_device_error(void);

/* Device chosen by this host thread. */
int coh_current_device(void);

/* Reports a fault of the program under test and aborts. */
void coh_die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Says on stderr why a call is refused, where its error code does not. */
void coh_explain(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define COH_LOCKED __attribute__((cleanup(coh_unlock), unused)) int locked = coh_lock()

/* First line of a call of the runtime. */
#define COH_CALL(name)                                                                                                 \
    COH_LOCKED;                                                                                                        \
    cudaError_t refusal = coh_refuse(#name);                                                                           \
    if (refusal != cudaSuccess) {                                                                                      \
        return coh_say(refusal);                                                                                       \
    }

/* ---- arena.c: device memory; pinned.c: host memory known to the runtime ---- */

/* Lets host code reach device memory (for kernels and copies), and not. */
void coh_arena_open(void);
void coh_arena_close(void);

/* The same for the allocation around `at` alone: opening all is slow where there is much memory. */
void coh_arena_open_at(const void *at);

/* Kernels will not use that allocation: it stays closed to them. */
void coh_arena_idle(const void *at);

/* @return whether [at, at + bytes) lies in one allocation of a device */
bool coh_on_device(const void *at, size_t bytes);
bool coh_points_to_device(const void *at, int *device);
bool coh_is_pinned(const void *at, size_t bytes);

/* Ends the program when guard bytes around an allocation were written; `who` ran last. */
void coh_check_guards(const char *who);

/* Describes the allocation (also a freed one) that `at` belongs to. @return false: none */
bool coh_describe_address(const void *at, char *text, size_t size);

/* ---- fault.c ---- */

/* Catches wrong accesses on this host thread. */
void coh_catch_faults(void);

/* ---- fiber.c ---- */

typedef struct coh_fiber coh_fiber;

/* Context of a race detector for the work of a lane: a stream, or those nodes of graphs that come from one. */
void *coh_context_of(int lane);

/* ---- grid.c ---- */

typedef struct coh_grid {
    coh_kernel kernel;
    dim3 grid, block;
    size_t shared;
    const void *arguments;
} coh_grid;

/* Runs in `context` what is not done by threads. */
void coh_grid_run(const coh_grid *grid, void *context);

/* Name of the kernel or library call that runs, and where; "" when none does. */
const char *coh_running(void);
void coh_set_running(const char *what);

/* Text of the block and thread that run, for messages. */
void coh_describe_place(char *text, size_t size);

/* ---- block.c ---- */

/* Runs the threads of a block, in the order `order[0..n)` where barriers leave a choice. */
void coh_block_run(const coh_grid *grid, void *context, const int *order, int n);
bool coh_in_thread(void);

/* Inside of block.c and warp.c: a thread waits; `wake` makes it ready. */
typedef struct coh_thread {
    coh_fiber *fiber;
    uint3 index;
    int position; /* in the order */
    enum { COH_UNSTARTED, COH_RUNS, COH_AT_BARRIER, COH_AT_WARP, COH_EXITED } state;
    coh_barrier_kind barrier;
    coh_warp_call call; /* file and line: of barriers too */
    unsigned long long result;
    char arrived, *after; /* for a race detector: before and after a __syncwarp */
} coh_thread;

coh_thread *coh_thread_at(int number);
int coh_current_thread(void);
int coh_block_threads(void);
void coh_wait(void);
void coh_wake(int number);
void coh_report_block(const char *what) __attribute__((noreturn));

void coh_warp_reset(int threads);
void coh_warp_exited(int number);

/* ---- shared.c ---- */

/* Fills shared memory, static and dynamic, with 0xff. */
void coh_shared_prepare(size_t dynamic);
void coh_shared_fill(void);
bool coh_shared_contains(const void *at);

/* ---- queue.c ---- */

typedef struct coh_item coh_item;
typedef struct coh_op coh_op;

/* What is to be done; an item of the queue and a node of a graph refer to it. */
struct coh_op {
    int references;
    const char *name;
    cudaError_t fault;                            /* injected: appears when the op is executed */
    bool (*run)(coh_op *op, coh_item *item);      /* @return whether it is finished at once */
    bool (*finished)(coh_op *op, coh_item *item); /* asked again and again when it was not */
    void (*ordered)(coh_op *op, coh_item *item);  /* an item of the op was made: adds dependencies */
    void (*dispose)(coh_op *op);                  /* releases what the payload holds */
    size_t bytes;                                 /* of the payload */
};

/* One execution of an op. */
struct coh_item {
    coh_op *op;
    int references;
    int lane;
    uint64_t number;
    int waits_for;    /* unfinished dependencies */
    coh_item **after; /* dependencies, kept until the item runs */
    int n_after;
    coh_item **before; /* who waits for this one */
    int n_before;
    enum { COH_QUEUED, COH_STARTED, COH_DONE } state;
    double time;    /* seconds, when it was finished */
    void *progress; /* of an op that takes its time */
};

/* A new op with one reference, its payload zeroed. */
coh_op *coh_op_new(const char *name, bool (*run)(coh_op *, coh_item *), size_t payload);
void *coh_payload(coh_op *op);
void coh_op_release(coh_op *op);

/* memcpy that a race detector does not see: payloads are recycled between unordered work. */
void coh_copy_quietly(void *to, const void *from, size_t bytes);

/* A new item of `op` (which gets a reference); it can run once coh_item_ready was called and all that it
 * comes after is done. @return with one reference for the caller */
coh_item *coh_item_new(coh_op *op, int lane);
void coh_item_after(coh_item *item, coh_item *dependency);
void coh_item_ready(coh_item *item);
void coh_item_hold(coh_item *item);
void coh_item_release(coh_item **item);

/* Runs work until `item` is done; what else runs, and when, is random. */
void coh_item_wait(coh_item *item);

/* Runs a little work. @return whether `item` is done */
bool coh_item_query(coh_item *item);

/* Runs all work of the queue. */
void coh_queue_drain(void);

/* ---- stream.c, capture.c, graph.c ---- */

typedef struct CUevent_st coh_event;
typedef struct coh_capture coh_capture;

struct CUstream_st {
    struct CUstream_st *next;
    int number;
    int device;
    unsigned int flags;
    int priority;
    coh_item *tail;       /* last item, or NULL */
    coh_capture *capture; /* not NULL while capturing */
    int *ends;            /* nodes of the capture that the next one comes after */
    int n_ends;
};

struct CUevent_st {
    unsigned int flags;
    coh_item *item;       /* of the last record, or NULL */
    coh_capture *capture; /* last recorded there, or NULL */
    int *ends;
    int n_ends;
};

/* Queues the op, or adds it to the graph that is captured. Takes the caller's reference to the op. */
cudaError_t coh_submit(cudaStream_t stream, coh_op *op);

/* @return why work cannot be submitted to the stream */
cudaError_t coh_check_stream(cudaStream_t stream);

/* Waits for all work of the stream. */
void coh_stream_finish(cudaStream_t stream);
cudaStream_t coh_streams(void);

/* For calls that are not allowed while a graph is captured: makes the capture invalid. */
cudaError_t coh_forbid_in_capture(void);
cudaError_t coh_invalidate(coh_capture *capture);
coh_capture *coh_capture_hold(coh_capture *capture);
void coh_capture_release(coh_capture **capture);
bool coh_capture_active(const coh_capture *capture);
cudaError_t coh_capture_add(cudaStream_t stream, coh_op *op);
cudaError_t coh_capture_record(cudaStream_t stream, coh_event *event);
cudaError_t coh_capture_wait(cudaStream_t stream, const coh_event *event);

typedef struct coh_node {
    coh_op *op;
    int lane;
    int *after; /* earlier nodes */
    int n_after;
} coh_node;

struct CUgraph_st {
    coh_node *nodes; /* in the order of capture, which is topological */
    int n, room;
};

int coh_graph_add(cudaGraph_t graph, coh_op *op, int lane, const int *after, int n_after);
void coh_graph_free(cudaGraph_t graph);

/* Adds to `list` the numbers of `more` that it lacks. */
void coh_unite(int **list, int *n, const int *more, int n_more);

/* ---- memory of the runtime itself; ends the program when there is none ---- */

void *coh_new(size_t bytes);
void *coh_resize(void *block, size_t bytes);

#pragma GCC visibility pop
