/* Operations of warps: votes, shuffles, reductions, __syncwarp. A lane arrives with what it asks for; the last
 * of the lanes of the mask works out the results of all. Lanes that have exited are excused, as on the device. */
#include "coh.h"

#include "annotate.h"

#include <string.h>

enum { MAX_WARPS = COH_MAX_THREADS / COH_WARP };

static struct warp {
    unsigned int here;  /* lanes that wait in an operation */
    unsigned int alive; /* lanes that exist and have not exited */
    char order[2];      /* for a race detector: of this __syncwarp and the one before, which lanes are still leaving */
    unsigned int passed;
} warps[MAX_WARPS];

void coh_warp_reset(int threads)
{
    for (int w = 0; w * COH_WARP < threads; w++) {
        int lanes = threads - w * COH_WARP;
        warps[w].here = 0;
        warps[w].alive = lanes >= COH_WARP ? 0xffffffffu : (1u << lanes) - 1u;
    }
}

static coh_thread *lane_of(int warp, int lane)
{
    return coh_thread_at(warp * COH_WARP + lane);
}

/* @return the lane that a shuffle reads; its own where the source is out of range */
static int source_lane(const coh_warp_call *call, int lane)
{
    int width = call->width, base = lane / width * width, delta = (int)(call->operand & 0xffu);
    int source = lane;
    switch (call->kind) {
    case COH_WARP_INDEX:
        return base + (int)(call->operand & (unsigned int)(width - 1));
    case COH_WARP_UP:
        source = lane - delta;
        return source < base ? lane : source;
    case COH_WARP_DOWN:
        source = lane + delta;
        return source >= base + width ? lane : source;
    default:
        source = lane ^ (delta & (COH_WARP - 1));
        return source >= base + width ? lane : source;
    }
}

/* Reading a lane that takes no part is undefined: it gives NaN. */
static unsigned long long shuffled(int warp, int lane, const coh_warp_call *call, unsigned int present)
{
    int source = source_lane(call, lane);
    return present >> source & 1u ? lane_of(warp, source)->call.value : ~0ull;
}

static unsigned int reduced(coh_warp_kind kind, unsigned int a, unsigned int b)
{
    switch (kind) {
    case COH_WARP_MIN:
        return a < b ? a : b;
    case COH_WARP_MAX:
        return a > b ? a : b;
    case COH_WARP_MIN_SIGNED:
        return (int)a < (int)b ? a : b;
    case COH_WARP_MAX_SIGNED:
        return (int)a > (int)b ? a : b;
    case COH_WARP_AND:
        return a & b;
    case COH_WARP_OR:
        return a | b;
    case COH_WARP_BITXOR:
        return a ^ b;
    default:
        return a + b;
    }
}

static unsigned int gathered(int warp, const coh_warp_call *call, unsigned int present)
{
    unsigned int result = 0;
    bool first = true;
    for (int lane = 0; lane < COH_WARP; lane++) {
        if ((present >> lane & 1u) == 0) {
            continue;
        }
        unsigned long long value = lane_of(warp, lane)->call.value;
        if (call->kind == COH_WARP_BALLOT || call->kind == COH_WARP_MATCH) {
            unsigned long long wanted = call->kind == COH_WARP_BALLOT ? 1 : call->value;
            result |= (unsigned int)(value == wanted) << lane;
        } else {
            result = first ? (unsigned int)value : reduced(call->kind, result, (unsigned int)value);
        }
        first = false;
    }
    return result;
}

static void give_results(int warp, unsigned int present)
{
    bool each = true;
    unsigned int common = 0;
    for (int lane = 0; lane < COH_WARP; lane++) {
        if ((present >> lane & 1u) == 0) {
            continue;
        }
        coh_thread *thread = lane_of(warp, lane);
        if (thread->call.kind >= COH_WARP_INDEX && thread->call.kind <= COH_WARP_XOR) {
            thread->result = shuffled(warp, lane, &thread->call, present);
            continue;
        }
        if (each || thread->call.kind == COH_WARP_MATCH) {
            common = thread->call.kind == COH_WARP_SYNC ? 0 : gathered(warp, &thread->call, present);
            each = false;
        }
        thread->result = common;
    }
}

/* What the lanes did before a __syncwarp happened before what they do after it; the last to come passes it on. */
static void order_lanes(int w, unsigned int present)
{
    char *order = &warps[w].order[warps[w].passed++ % 2];
    for (unsigned int left = present; left != 0; left &= left - 1u) {
        coh_thread *thread = lane_of(w, __builtin_ctz(left));
        coh_acquire(&thread->arrived);
        thread->after = order;
    }
    coh_release(order);
}

/* Ends the operation with this mask if all its lanes are there. They have to be at the same operation, not at
 * the same line. @return whether it ended */
static bool complete(int w, const coh_warp_call *call)
{
    struct warp *warp = &warps[w];
    unsigned int present = call->mask & warp->alive;
    if (present == 0 || (warp->here & present) != present) {
        return false;
    }
    for (int lane = 0; lane < COH_WARP; lane++) {
        const coh_warp_call *other = &lane_of(w, lane)->call;
        if ((present >> lane & 1u) != 0 && (other->mask != call->mask || other->kind != call->kind)) {
            return false;
        }
    }
    give_results(w, present);
    if (call->kind == COH_WARP_SYNC) {
        order_lanes(w, present);
    }
    warp->here &= ~present;
    for (int lane = 0; lane < COH_WARP; lane++) {
        if ((present >> lane & 1u) != 0) {
            coh_wake(w * COH_WARP + lane);
        }
    }
    return true;
}

/* An exit can be what the others were waiting for. */
void coh_warp_exited(int number)
{
    int w = number / COH_WARP;
    warps[w].alive &= ~(1u << number % COH_WARP);
    for (unsigned int left = warps[w].here; left != 0; left &= warps[w].here & (left - 1u)) {
        coh_warp_call call = lane_of(w, __builtin_ctz(left))->call;
        complete(w, &call);
    }
}

unsigned long long coh_warp(const coh_warp_call *call)
{
    int self = coh_current_thread(), w = self / COH_WARP;
    coh_thread *thread = coh_thread_at(self);
    thread->call = *call;
    thread->state = COH_AT_WARP;
    if ((call->mask >> self % COH_WARP & 1u) == 0) {
        coh_report_block("the mask of a warp operation lacks the thread that calls it");
    }
    if (call->width < 1 || call->width > COH_WARP || (call->width & (call->width - 1)) != 0) {
        coh_die("kernel %s: %s:%d: a shuffle of width %d", coh_running(), call->file, call->line, call->width);
    }
    warps[w].here |= 1u << self % COH_WARP;
    if (call->kind == COH_WARP_SYNC) {
        coh_release(&thread->arrived);
    }
    complete(w, call);
    coh_wait();
    if (call->kind == COH_WARP_SYNC) {
        coh_acquire(thread->after);
    }
    return thread->result;
}
