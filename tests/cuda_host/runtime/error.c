/* Last errors, injected errors, the lock. */
#include "coh.h"

#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- state of a host thread; no thread-local variables, see shared.c ---- */

typedef struct host_thread {
    cudaError_t last;
    int device;
} host_thread;

static pthread_key_t key;
static cudaError_t device_error;

static void make_key(void)
{
    if (pthread_key_create(&key, free) != 0) {
        coh_die("no key for the state of threads");
    }
}

static host_thread *this_thread(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_key);
    host_thread *thread = pthread_getspecific(key);
    if (thread == NULL) {
        thread = coh_new(sizeof *thread);
        pthread_setspecific(key, thread);
    }
    return thread;
}

cudaError_t coh_say(cudaError_t error)
{
    if (error != cudaSuccess && error != cudaErrorNotReady) {
        this_thread()->last = error;
    }
    return error;
}

int coh_current_device(void)
{
    return this_thread()->device;
}

cudaError_t cudaSetDevice(int device)
{
    COH_CALL(cudaSetDevice);
    if (device < 0 || device >= coh_setting()->devices) {
        return coh_say(cudaErrorInvalidDevice);
    }
    this_thread()->device = device;
    return cudaSuccess;
}

cudaError_t cudaPeekAtLastError(void)
{
    COH_LOCKED;
    return device_error != cudaSuccess ? device_error : this_thread()->last;
}

cudaError_t cudaGetLastError(void)
{
    COH_LOCKED;
    cudaError_t last = this_thread()->last;
    this_thread()->last = cudaSuccess;
    return device_error != cudaSuccess ? device_error : last;
}

/* ---- the lock ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int coh_lock(void)
{
    pthread_mutex_lock(&lock);
    coh_catch_faults();
    return 1;
}

void coh_unlock(const int *locked)
{
    (void)locked;
    coh_arena_close();
    pthread_mutex_unlock(&lock);
}

void coh_yield(void)
{
    coh_arena_close();
    pthread_mutex_unlock(&lock);
    sched_yield();
    pthread_mutex_lock(&lock);
}

/* ---- injected errors: GMVAE_CUDA_HOST_FAIL=call:n=code,... ---- */

typedef struct rule {
    char name[64];
    int nth, result, calls;
} rule;

static rule rules[32];
static int n_rules;

static void add_rule(const char *text, size_t length)
{
    char one[128], code[32];
    rule r = {0};
    snprintf(one, sizeof one, "%.*s", (int)length, text);
    if (n_rules == 32 || sscanf(one, "%63[^:]:%d=%31s", r.name, &r.nth, code) != 3) {
        coh_die("GMVAE_CUDA_HOST_FAIL: \"%s\" is not call:n=code (or there are more than 32)", one);
    }
    r.result = strcmp(code, "hang") == 0 ? COH_HANG : atoi(code);
    rules[n_rules++] = r;
}

static void read_rules(void)
{
    const char *text = getenv("GMVAE_CUDA_HOST_FAIL");
    while (text != NULL && *text != '\0') {
        size_t length = strcspn(text, ",");
        add_rule(text, length);
        text += length + (text[length] == ',');
    }
}

int coh_injected(const char *name)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, read_rules);
    int result = 0;
    for (int i = 0; i < n_rules; i++) {
        if (strcmp(rules[i].name, name) == 0 && ++rules[i].calls == rules[i].nth) {
            result = rules[i].result;
        }
    }
    return result;
}

cudaError_t coh_refuse(const char *call)
{
    int injected = coh_injected(call);
    if (injected != 0) {
        return (cudaError_t)injected;
    }
    return coh_setting()->devices == 0 ? cudaErrorNoDevice : device_error;
}

void coh_break_device(cudaError_t error)
{
    device_error = error;
}

cudaError_t coh_device_error(void)
{
    return device_error;
}

/* ---- texts ---- */

const char *cudaGetErrorName(cudaError_t error)
{
    switch (error) {
    case cudaSuccess:
        return "cudaSuccess";
#define COH_ERROR(name, value, text)                                                                                   \
    case cudaError##name:                                                                                              \
        return "cudaError" #name;
#include "coh/errors.def"
#undef COH_ERROR
    }
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error)
{
    switch (error) {
    case cudaSuccess:
        return "no error";
#define COH_ERROR(name, value, text)                                                                                   \
    case cudaError##name:                                                                                              \
        return text;
#include "coh/errors.def"
#undef COH_ERROR
    }
    return "unrecognized error code";
}

static void print(const char *format, va_list list)
{
    char text[2048];
    vsnprintf(text, sizeof text, format, list);
    fprintf(stderr, "cuda-on-host: %s\n", text);
}

void coh_explain(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    print(format, list);
    va_end(list);
}

void coh_die(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    print(format, list);
    va_end(list);
    abort();
}
