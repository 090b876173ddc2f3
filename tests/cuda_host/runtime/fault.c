/* Says in the program's own terms what a wrong access was: by host code, by a kernel, of what memory. */
#define _GNU_SOURCE
#include "coh.h"

#include "fiber.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

static struct sigaction before;
static pthread_key_t stack_key;

static void report(const void *at)
{
    char place[256], memory[256];
    coh_describe_place(place, sizeof place);
    if (coh_describe_address(at, memory, sizeof memory)) {
        coh_die("%s touched %s", place, memory);
    }
    if (coh_shared_contains(at)) {
        coh_die("%s touched memory behind its dynamic shared memory", place);
    }
    if (coh_is_stack_guard(at)) {
        coh_die("%s: stack overflow", place);
    }
    if (coh_in_thread()) {
        coh_die("%s touched %p, which is no device memory", place, at);
    }
}

/* Not ours: the handler of before (a sanitizer's, or none) gets the access when it is repeated. */
static void handle(int number, siginfo_t *info, void *context)
{
    (void)context;
    report(info->si_addr);
    sigaction(number, &before, NULL);
}

static void make_key(void)
{
    pthread_key_create(&stack_key, free);
}

/* Test frameworks put handlers of their own in place for each test, and leave a kernel in the middle: ours comes back
 * with the next call. */
static void install(void)
{
    struct sigaction action = {0}, present;
    if (sigaction(SIGSEGV, NULL, &present) == 0 && (present.sa_flags & SA_SIGINFO) != 0 &&
        present.sa_sigaction == handle) {
        return;
    }
    before = present;
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &action, NULL);
}

/* The handler needs a stack of its own on every host thread, as the fiber's may be what is full. */
void coh_catch_faults(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_key);
    install();
    if (pthread_getspecific(stack_key) != NULL) {
        return;
    }
    stack_t stack = {0}, present = {0};
    sigaltstack(NULL, &present);
    stack.ss_size = 64 * 1024;
    stack.ss_sp = coh_new(stack.ss_size);
    if ((present.ss_flags & SS_DISABLE) != 0) { /* otherwise it has a sanitizer's */
        sigaltstack(&stack, NULL);
    }
    pthread_setspecific(stack_key, stack.ss_sp);
}
