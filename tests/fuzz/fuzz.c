/* Runs our own parsers on damaged input, in process.
 *
 *   fuzz_parsers [--seconds N | --cases N] [--seed N] [--from CASE] [TARGET ...]
 *
 * A case is made from (seed, target, number) alone; what ends the program is preceded by a line that repeats it. */
#include "fuzz.h"

#include "gmvae/log.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

enum { most_seconds = 60 }; /* for one case */

static const fuzz_target *const targets[] = {&fuzz_config, &fuzz_chunks, &fuzz_rows,
                                             &fuzz_matrix, &fuzz_text,   &fuzz_checkpoint};
enum { target_count = sizeof targets / sizeof *targets };

typedef struct plan {
    int64_t seconds, cases, from;
    uint64_t seed;
    bool chosen[target_count];
} plan;

static char current[128]; /* how to repeat the case at hand */
static gmv_comm comm;     /* size 0: not started */

uint64_t fuzz_next(fuzz_rng *rng)
{
    uint64_t z = rng->state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

int64_t fuzz_below(fuzz_rng *rng, int64_t n)
{
    return n > 0 ? (int64_t)(fuzz_next(rng) % (uint64_t)n) : 0;
}

bool fuzz_once_in(fuzz_rng *rng, int64_t n)
{
    return fuzz_below(rng, n) == 0;
}

const gmv_comm *fuzz_comm(void)
{
    if (comm.size == 0) {
        FUZZ_CHECK(gmv_comm_init(&comm, NULL, NULL) == GMV_OK);
        gmv_log_init(false);
    }
    return &comm;
}

static void put_word(fuzz_rng *rng, unsigned char *bytes, int64_t n, int64_t at)
{
    static const uint64_t limits[] = {0,          1,         0x7F,       0x80,       0xFF,
                                      0x7FFF,     0xFFFF,    0x7FFFFFFF, 0x80000000, UINT32_MAX,
                                      1ull << 40, INT64_MAX, 1ull << 63, UINT64_MAX};
    uint64_t word = limits[fuzz_below(rng, sizeof limits / sizeof *limits)];
    int64_t width = (int64_t)2 << fuzz_below(rng, 3);
    memcpy(bytes + at, &word, (size_t)(width < n - at ? width : n - at));
}

static void copy_span(fuzz_rng *rng, unsigned char *bytes, int64_t n, int64_t at)
{
    int64_t from = fuzz_below(rng, n), length = 1 + fuzz_below(rng, 64), later = from > at ? from : at;
    memmove(bytes + at, bytes + from, (size_t)(length < n - later ? length : n - later));
}

void fuzz_mutate(fuzz_rng *rng, unsigned char *bytes, int64_t n)
{
    for (int64_t left = n > 0 ? 1 + fuzz_below(rng, 8) : 0; left > 0; left--) {
        int64_t at = fuzz_below(rng, n);
        switch (fuzz_below(rng, 5)) {
        case 0:
        case 1:
            bytes[at] = (unsigned char)fuzz_next(rng);
            break;
        case 2:
            bytes[at] ^= (unsigned char)(1u << fuzz_below(rng, 8));
            break;
        case 3:
            put_word(rng, bytes, n, at);
            break;
        default:
            copy_span(rng, bytes, n, at);
        }
    }
}

void fuzz_touch(const void *bytes, int64_t n)
{
    static volatile unsigned char sum;
    const unsigned char *at = bytes;
    for (int64_t i = 0; i < n; i++) {
        sum = (unsigned char)(sum ^ at[i]);
    }
}

static void tell_current(void)
{
    ssize_t done = write(STDERR_FILENO, current, strlen(current));
    (void)done;
}

void fuzz_fail(const char *file, int line, const char *condition)
{
    tell_current();
    fprintf(stderr, "%s:%d: does not hold: %s; message: %s\n", file, line, condition, gmv_error_message());
    abort();
}

static void too_long(int number)
{
    (void)number;
    tell_current();
    static const char text[] = "the case does not end\n";
    ssize_t done = write(STDERR_FILENO, text, sizeof text - 1);
    (void)done;
    _exit(1);
}

static void run_case(const fuzz_target *target, uint64_t seed, int64_t number)
{
    fuzz_rng rng = {seed * UINT64_C(0xD1342543DE82EF95) + (uint64_t)number};
    fuzz_next(&rng);
    int64_t live = gmv_alloc_live();
    snprintf(current, sizeof current, "fuzz_parsers --seed %" PRIu64 " --from %" PRId64 " --cases 1 %s:\n", seed,
             number, target->name);
    alarm(most_seconds);
    gmv_error_clear();
    target->one(&rng);
    alarm(0);
    FUZZ_CHECK(gmv_alloc_live() == live);
}

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + 1e-9 * (double)at.tv_nsec;
}

static bool choose(plan *p, const char *name)
{
    for (int t = 0; t < target_count; t++) {
        if (strcmp(targets[t]->name, name) == 0) {
            p->chosen[t] = true;
            return true;
        }
    }
    fprintf(stderr, "fuzz_parsers: no target '%s'\n", name);
    return false;
}

static bool parse(plan *p, int argc, char **argv)
{
    bool any = false;
    *p = (plan){.seconds = 10, .cases = INT64_MAX, .seed = 1};
    for (int i = 1; i < argc; i++) {
        bool has_value = argv[i][0] == '-' && i + 1 < argc;
        int64_t value = has_value ? strtoll(argv[i + 1], NULL, 10) : 0;
        if (has_value && strcmp(argv[i], "--seconds") == 0) {
            p->seconds = value;
        } else if (has_value && strcmp(argv[i], "--cases") == 0) {
            p->cases = value;
            p->seconds = INT32_MAX;
        } else if (has_value && strcmp(argv[i], "--seed") == 0) {
            p->seed = (uint64_t)value;
        } else if (has_value && strcmp(argv[i], "--from") == 0) {
            p->from = value;
        } else {
            any = true;
            if (!choose(p, argv[i])) {
                return false;
            }
        }
        i += has_value;
    }
    for (int t = 0; t < target_count && !any; t++) {
        p->chosen[t] = true;
    }
    return true;
}

int main(int argc, char **argv)
{
    plan p;
    if (!parse(&p, argc, argv)) {
        return 2;
    }
    char folder[] = "/tmp/fuzz-parsers-XXXXXX"; /* files of the case at hand, left there by a crash */
    FUZZ_CHECK(mkdtemp(folder) != NULL && chdir(folder) == 0);
    signal(SIGALRM, too_long);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_set_death_callback(tell_current);
#endif
    int chosen = 0;
    for (int t = 0; t < target_count; t++) {
        chosen += p.chosen[t];
    }
    for (int t = 0; t < target_count; t++) {
        double begin = now(), end = begin + (double)p.seconds / chosen;
        int64_t n = 0;
        if (p.chosen[t]) {
            targets[t]->prepare();
            for (; n < p.cases && now() < end; n++) {
                run_case(targets[t], p.seed, p.from + n);
            }
            printf("%-10s seed %" PRIu64 ", %" PRId64 " cases, %.1f s\n", targets[t]->name, p.seed, n, now() - begin);
            fflush(stdout);
        }
    }
    if (comm.size > 0) {
        gmv_comm_fini(&comm);
    }
    return rmdir(folder) == 0 ? 0 : 1;
}
