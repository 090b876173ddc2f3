#include "fiber.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(COH_ASAN) || defined(COH_TSAN)
enum { STACK_BYTES = 512 * 1024 };
#else
enum { STACK_BYTES = 128 * 1024 };
#endif

static coh_fiber *came_from, *came_to;
static const void **guards;
static int n_guards;

static char *new_stack(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *base =
        mmap(NULL, page + STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED || mprotect(base, page, PROT_NONE) != 0) {
        coh_die("no memory for the stack of a thread");
    }
    guards = coh_resize(guards, (size_t)(n_guards + 1) * sizeof *guards);
    guards[n_guards++] = base;
    return base + page;
}

bool coh_is_stack_guard(const void *at)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < n_guards; i++) {
        if ((size_t)((const char *)at - (const char *)guards[i]) < page) {
            return true;
        }
    }
    return false;
}

#if defined(__x86_64__)

/* Saves what the callee has to preserve on the old stack and goes on with the new one. The control words of the
 * floating-point units are left alone: device code does not change them. */
void coh_stack_switch(void **from, void *to);
__asm__(".text\n"
        ".hidden coh_stack_switch\n"
        ".globl coh_stack_switch\n"
        ".type coh_stack_switch, @function\n"
        "coh_stack_switch:\n"
        "    .cfi_startproc\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    retq\n"
        "    .cfi_endproc\n"
        ".size coh_stack_switch, .-coh_stack_switch\n");

/* Six registers, the address to return to, and a zero where the entry's caller would be: there unwinding ends.
 * The zero lies so that the stack is aligned as after a call. */
static void prepare(coh_fiber *fiber, void (*entry)(void))
{
    void **top = (void **)(void *)((char *)(size_t)fiber->stack + fiber->bytes);
    void **slot = top - 1;
    *slot = NULL;
    *--slot = (void *)(size_t)entry;
    for (int i = 0; i < 6; i++) {
        *--slot = NULL;
    }
    fiber->at = slot;
}

static void jump(coh_fiber *from, coh_fiber *to)
{
    coh_stack_switch(&from->at, to->at);
}

#else

static void prepare(coh_fiber *fiber, void (*entry)(void))
{
    getcontext(&fiber->state);
    fiber->state.uc_stack.ss_sp = (void *)(size_t)fiber->stack;
    fiber->state.uc_stack.ss_size = fiber->bytes;
    fiber->state.uc_link = NULL;
    makecontext(&fiber->state, entry, 0);
}

static void jump(coh_fiber *from, coh_fiber *to)
{
    swapcontext(&from->state, &to->state);
}

#endif

coh_fiber *coh_fiber_new(void (*entry)(void))
{
    coh_fiber *fiber = coh_new(sizeof *fiber);
    fiber->stack = new_stack();
    fiber->bytes = STACK_BYTES;
    fiber->context = coh_new_context();
    prepare(fiber, entry);
    return fiber;
}

/* The bounds of the host thread's own stack are only known to AddressSanitizer, which says them here. */
void coh_fiber_arrived(void)
{
#if defined(COH_ASAN)
    __sanitizer_finish_switch_fiber(came_to->fake_stack, &came_from->stack, &came_from->bytes);
#endif
}

void coh_fiber_switch(coh_fiber *from, coh_fiber *to)
{
    came_from = from;
    came_to = to;
#if defined(COH_ASAN)
    __sanitizer_start_switch_fiber(&from->fake_stack, to->stack, to->bytes);
#endif
    coh_enter_context(to->context);
    jump(from, to);
    coh_fiber_arrived();
}

/* Work that is not ordered must not share contexts; race detectors know some thousand. */
void *coh_context_of(int lane)
{
    static void *contexts[256];
    void **context = &contexts[lane % 256];
    if (*context == NULL && COH_RACES) {
        *context = coh_new_context();
    }
    return *context;
}
