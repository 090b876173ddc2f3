/* What the C tests share: cmocka, tolerance classes, deterministic data, guarded backend memory.
 *
 * Every tolerance of the suite is in this file; a test names a class. Buffers have guard words before and
 * behind them and in the gaps between the rows of a matrix; T_OP looks at all of them after each operation.
 * Guards and outputs are filled with NaN, so that a value read from outside, or never written, shows.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gmvae/backend.h"
#include "gmvae/rng.h"

#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- tolerance classes ---- */

/* Relative error of pointwise results: a few dozen roundings. */
static const double T_POINTWISE = 1e-5;
static const double T_PART = 5e-7; /* of the largest part of a float sum of a few parts */
/* Gradients of whole operations: error of the vector over the norm of the vector. */
static const double T_GRADIENT = 1e-4;
/* A double reference against its own central differences, and double against long double. */
static const double T_DIFFERENCE = 1e-6;
/* Printed tables of ten digits. */
static const double T_TABLE = 1e-10;
/* Sums: T_SUM sqrt(n) eps sum |terms|, from the random walk of the rounding errors of n equal terms. */
static const double T_SUM = 2.0;
/* Smallest numbers that count: results below it may be flushed to zero. */
static const double T_TINY = 1e-37;
/* Errors that include/gmvae/math/special.h and act.h state, measured by tests/unit/special.c. */
static const double T_EXP_ULP = 1.1;
static const double T_LOG_ULP = 1.0;
static const double T_LOG_NEAR_ONE = 4e-8;
static const double T_LOG1P = 3e-7;
static const double T_RECIPROCAL_ULP = 1.0;
static const double T_LOGISTIC = 4e-7;
static const double T_LOG_EXCESS = 3e-7;
static const double T_LOG_EXCESS_BOTH = 1e-6;
static const double T_SINCOS = 2e-7;
static const double T_LOG_RISING = 1e-10;
static const double T_ERF = 2e-7;
static const double T_ERF_SMALL = 4e-7;
/* A statistic of random numbers, in standard errors: false alarm once in 10^9. */
static const double T_SIGMAS = 6.0;

/* ---- host memory of one test, freed when it ends ---- */

typedef struct t_piece {
    struct t_piece *next;
    double align;
} t_piece;

static t_piece *t_pieces;

static inline void *t_alloc(size_t count, size_t size)
{
    t_piece *piece = calloc(1, sizeof *piece + count * size + 1);
    if (piece == NULL) {
        fprintf(stderr, "out of memory in a test\n");
        abort();
    }
    piece->next = t_pieces;
    t_pieces = piece;
    return piece + 1;
}

static inline double *t_doubles(size_t n)
{
    return t_alloc(n, sizeof(double));
}

static inline float *t_host_floats(size_t n)
{
    return t_alloc(n, sizeof(float));
}

/* ---- deterministic data ---- */

static inline uint64_t t_mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* Uniform in [0, 1): the `index`-th number of sequence `seed`. */
static inline double t_unit(uint64_t seed, uint64_t index)
{
    return (double)(t_mix(t_mix(seed) + index) >> 11) * 0x1p-53;
}

/* n floats in [-scale, scale). */
static inline float *t_random(uint64_t seed, size_t n, double scale)
{
    float *values = t_host_floats(n);
    for (size_t i = 0; i < n; i++) {
        values[i] = (float)(scale * (2.0 * t_unit(seed, i) - 1.0));
    }
    return values;
}

static inline double *t_widen(const float *values, size_t n)
{
    double *wide = t_doubles(n);
    for (size_t i = 0; i < n; i++) {
        wide[i] = (double)values[i];
    }
    return wide;
}

/* Dense grids are thinned where a tool (valgrind) makes every step fifty times slower. */
static inline int t_thin(int full)
{
    return getenv("GMVAE_TEST_QUICK") != NULL ? (full + 99) / 100 : full;
}

static inline bool t_wanted(const char *variable)
{
    const char *value = getenv(variable);
    return value != NULL && strcmp(value, "0") != 0;
}

/* Where every step costs a hundred times as much (TSan), cases are left out that take the same ways as others. */
static inline bool t_few(void)
{
    return t_wanted("GMVAE_TEST_FEW");
}

/* All shapes with all variants: the products that are sums otherwise, see t_case(). */
static inline bool t_deep(void)
{
    return t_wanted("GMVAE_TEST_DEEP") && !t_few();
}

/* Whether a shape is tried with a variant. Of shapes and variants (likelihoods, objectives) the sum is tried, not the
 * product: `every` shape that is chosen for it with all variants, and each of the others with one, whose turn it is. */
static inline bool t_case(uint64_t shape, int variant, int variants, bool every)
{
    return every || t_deep() || variant == (int)(shape % (uint64_t)variants);
}

/* ---- comparisons ---- */

static inline void t_same_bits(const char *what, const void *got, const void *want, size_t bytes)
{
    if (bytes == 0 || memcmp(got, want, bytes) == 0) {
        return;
    }
    const unsigned char *a = got, *b = want;
    size_t i = 0;
    while (a[i] == b[i]) {
        i++;
    }
    float x = 0.0f, y = 0.0f;
    size_t word = i / sizeof x * sizeof x, length = bytes - word < sizeof x ? bytes - word : sizeof x;
    memcpy(&x, a + word, length);
    memcpy(&y, b + word, length);
    fail_msg("%s: bits differ from byte %zu of %zu (as a float %.9g, expected %.9g)", what, i, bytes, (double)x,
             (double)y);
}

/* |got - want| <= tolerance * scale, where scale defaults to |want|. NaN and infinity must match. */
static inline void t_near(const char *what, double got, double want, double tolerance, double scale)
{
    if (isnan(want) || isinf(want)) {
        if (isnan(want) ? !isnan(got) : got != want) {
            fail_msg("%s: %.9g, expected %g", what, got, want);
        }
        return;
    }
    double bound = tolerance * (scale > fabs(want) ? scale : fabs(want)) + T_TINY;
    if (!(fabs(got - want) <= bound)) {
        fail_msg("%s: %.17g, expected %.17g: off by %.3g, allowed %.3g", what, got, want, fabs(got - want), bound);
    }
}

/* Pointwise class against a double reference. Values that come from cancelling terms are compared on the
 * scale of the array (its root mean square). */
static inline void t_pointwise(const char *what, const float *got, const double *want, size_t n)
{
    double square = 0.0;
    for (size_t i = 0; i < n; i++) {
        square += want[i] * want[i];
    }
    double scale = n > 0 ? sqrt(square / (double)n) : 0.0;
    char name[160];
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%s[%zu of %zu]", what, i, n);
        t_near(name, (double)got[i], want[i], T_POINTWISE, scale);
    }
}

/* Sum class: magnitude[i] is the sum of the absolute values of the `terms` terms of want[i]. */
static inline void t_sums(const char *what, const float *got, const double *want, const double *magnitude, size_t n,
                          double terms)
{
    char name[160];
    double tolerance = T_SUM * sqrt(terms + 4.0) * (double)FLT_EPSILON;
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%s[%zu of %zu]", what, i, n);
        t_near(name, (double)got[i], want[i], tolerance, magnitude[i]);
    }
}

static inline double t_norm(const double *values, size_t n)
{
    double square = 0.0;
    for (size_t i = 0; i < n; i++) {
        square += values[i] * values[i];
    }
    return sqrt(square);
}

/* Gradient class: ||got - want|| <= T_GRADIENT ||want||. `floor` is the size below which a gradient is
 * noise: the norm that rounding of the terms it is made of explains; 0 where there is none. */
static inline void t_gradient(const char *what, const float *got, const double *want, size_t n, double floor)
{
    double square = 0.0, norm = t_norm(want, n);
    for (size_t i = 0; i < n; i++) {
        double error = (double)got[i] - want[i];
        square += error * error;
    }
    double bound = T_GRADIENT * (norm > floor ? norm : floor) + T_TINY;
    if (!(sqrt(square) <= bound)) {
        size_t worst = 0;
        for (size_t i = 0; i < n; i++) {
            if (!(fabs((double)got[i] - want[i]) <= fabs((double)got[worst] - want[worst]))) {
                worst = i;
            }
        }
        fail_msg("%s: gradient of %zu off by %.3g of norm %.3g, allowed %.3g; worst [%zu] %.9g, expected %.9g", what, n,
                 sqrt(square), norm, bound, worst, (double)got[worst], want[worst]);
    }
}

/* A scalar function of a vector, in double; `context` is the test's. */
typedef double (*t_function)(void *context);

/* Gradient of `f` in x[0..n) by central differences of step `h`; x is restored. */
static inline double *t_differences(t_function f, void *context, double *x, size_t n, double h)
{
    double *gradient = t_doubles(n);
    for (size_t i = 0; i < n; i++) {
        double at = x[i];
        x[i] = at + h;
        double above = f(context);
        x[i] = at - h;
        double below = f(context);
        x[i] = at;
        gradient[i] = (above - below) / (2.0 * h);
    }
    return gradient;
}

/* Gradients too long for one difference an element: their products with a few random directions. A
 * relative error e of the gradient moves <g, u> by about e ||g||, u of independent elements of unit size. */
static inline void t_directions(const char *what, t_function f, void *context, double *x, const float *gradient,
                                size_t n, double h, double floor)
{
    double *at = t_doubles(n), *wide = t_widen(gradient, n);
    memcpy(at, x, n * sizeof *x);
    double norm = t_norm(wide, n);
    char name[160];
    for (uint64_t d = 0; d < 4 && n > 0; d++) {
        double product = 0.0, value[2];
        for (int side = 0; side < 2; side++) {
            for (size_t i = 0; i < n; i++) {
                double u = t_unit(77 + d, i) < 0.5 ? -1.0 : 1.0;
                x[i] = at[i] + (side == 0 ? h : -h) * u;
                product += side == 0 ? wide[i] * u : 0.0;
            }
            value[side] = f(context);
        }
        memcpy(x, at, n * sizeof *x);
        snprintf(name, sizeof name, "%s along direction %d", what, (int)d);
        t_near(name, product, (value[0] - value[1]) / (2.0 * h), 2.0 * T_GRADIENT, norm > floor ? norm : floor);
    }
}

/* ---- backend ---- */

static gmv_comm t_comm;
static gmv_backend *t_backend;

static inline void t_ok(gmv_status status, const char *what)
{
    if (status != GMV_OK) {
        fail_msg("%s: %s", what, gmv_error_message());
    }
}

enum { T_GUARD = 64 }; /* bytes before and behind a block: keeps the alignment of `allocate` */

typedef struct t_block {
    struct t_block *next;
    char *raw;
    int64_t bytes;
    float *view;        /* matrices: first element */
    int rows, cols, ld; /* gaps of a matrix whose ld > cols are guards too */
} t_block;

static t_block *t_blocks;
static unsigned char t_guard_word[T_GUARD];

/* `bytes` of backend memory with the given contents; NULL: NaN everywhere. */
static inline t_block *t_make(int64_t bytes, const void *from)
{
    t_block *block = t_alloc(1, sizeof *block);
    memset(t_guard_word, 0xFF, sizeof t_guard_word);
    void *raw = NULL;
    t_ok(t_backend->op->allocate(t_backend, &raw, bytes + 2 * T_GUARD, "a test"), "allocate");
    block->raw = raw;
    block->bytes = bytes;
    unsigned char *image = t_alloc(1, (size_t)bytes + 2 * T_GUARD);
    memset(image, 0xFF, (size_t)bytes + 2 * T_GUARD);
    if (from != NULL && bytes > 0) {
        memcpy(image + T_GUARD, from, (size_t)bytes);
    }
    t_ok(t_backend->op->upload(t_backend, raw, image, bytes + 2 * T_GUARD), "upload");
    block->next = t_blocks;
    t_blocks = block;
    return block;
}

static inline void *t_bytes(int64_t bytes, const void *from)
{
    return t_make(bytes, from)->raw + T_GUARD;
}

static inline gmv_vec t_vec(int64_t n, const float *from)
{
    return gmv_vec_of(t_bytes(n * (int64_t)sizeof(float), from), n);
}

/* A matrix of row stride ld; `from` is packed. */
static inline gmv_mat t_mat_ld(int rows, int cols, int ld, const float *from)
{
    size_t size = rows > 0 ? (size_t)(rows - 1) * (size_t)ld + (size_t)cols : 0;
    float *image = t_host_floats(size);
    memset(image, 0xFF, size * sizeof *image);
    for (int i = 0; i < rows && from != NULL; i++) {
        memcpy(image + (size_t)i * (size_t)ld, from + (size_t)i * (size_t)cols, (size_t)cols * sizeof *image);
    }
    t_block *block = t_make((int64_t)(size * sizeof *image), image);
    block->view = (float *)(void *)(block->raw + T_GUARD);
    block->rows = rows;
    block->cols = cols;
    block->ld = ld;
    gmv_mat m = {block->view, rows, cols, ld};
    return m;
}

/* The stride is larger than the width, so that code which forgets it fails. Of an even width rows start on 16 bytes,
 * for code that looks for that. */
static inline gmv_mat t_mat(int rows, int cols, const float *from)
{
    return t_mat_ld(rows, cols, cols % 2 == 0 ? (cols + 7) / 4 * 4 : cols + 3, from);
}

/* A number in backend memory. */
/* In backend memory: how many rows of a batch are cells. */
static inline int32_t *t_filled(int cells)
{
    int32_t value = (int32_t)cells;
    return t_bytes(sizeof value, &value);
}

static inline float *t_number(float value)
{
    return t_bytes(sizeof value, &value);
}

static inline void t_read(const void *from, void *to, int64_t bytes)
{
    t_ok(t_backend->op->download(t_backend, to, from, bytes), "download");
}

static inline float *t_get_vec(gmv_vec v)
{
    float *values = t_host_floats((size_t)v.n);
    t_read(v.at, values, v.n * (int64_t)sizeof *values);
    return values;
}

/* Rows are read together with the gaps between them: on a device each read costs more than what it moves. */
static inline float *t_image(const float *from, int rows, int cols, int ld)
{
    size_t size = rows > 0 ? (size_t)(rows - 1) * (size_t)ld + (size_t)cols : 0;
    float *image = t_host_floats(size);
    t_read(from, image, (int64_t)(size * sizeof *image));
    return image;
}

static inline float *t_get_mat(gmv_mat m)
{
    float *image = t_image(m.at, m.rows, m.cols, m.ld), *values = t_host_floats((size_t)m.rows * (size_t)m.cols);
    for (int i = 0; i < m.rows; i++) {
        memcpy(values + (size_t)i * (size_t)m.cols, image + (size_t)i * (size_t)m.ld, (size_t)m.cols * sizeof *values);
    }
    return values;
}

/* The gaps of a matrix as t_mat_ld filled them. */
static inline void t_check_gaps(const t_block *block, const char *after)
{
    const float *image = t_image(block->view, block->rows, block->cols, block->ld);
    for (int i = 0; i + 1 < block->rows; i++) {
        const uint32_t *gap = (const uint32_t *)(const void *)(image + (size_t)i * (size_t)block->ld);
        for (int j = block->cols; j < block->ld; j++) {
            if (gap[j] != UINT32_MAX) {
                fail_msg("%s wrote between the rows %d and %d of a matrix [%d, %d]", after, i, i + 1, block->rows,
                         block->cols);
            }
        }
    }
}

static inline void t_check_guards(const char *after)
{
    unsigned char word[T_GUARD];
    for (t_block *block = t_blocks; block != NULL; block = block->next) {
        for (int side = 0; side < 2; side++) {
            t_read(block->raw + (side == 0 ? 0 : T_GUARD + block->bytes), word, T_GUARD);
            if (memcmp(word, t_guard_word, T_GUARD) != 0) {
                fail_msg("%s wrote %s a buffer of %lld bytes", after, side == 0 ? "before" : "behind",
                         (long long)block->bytes);
            }
        }
        if (block->rows > 1 && block->ld > block->cols) {
            t_check_gaps(block, after);
        }
    }
}

static inline void t_release_blocks(void)
{
    while (t_blocks != NULL) {
        t_block *block = t_blocks;
        t_blocks = block->next;
        t_backend->op->release(t_backend, block->raw);
    }
}

/* Runs an operation of the table: it must succeed and leave every guard alone. */
#define T_OP(name, ...)                                                                                                \
    do {                                                                                                               \
        gmv_error_clear();                                                                                             \
        t_ok(t_backend->op->name(t_backend, __VA_ARGS__), #name);                                                      \
        t_check_guards(#name);                                                                                         \
    } while (0)

/* The same for an operation without arguments. */
#define T_CALL(name)                                                                                                   \
    do {                                                                                                               \
        gmv_error_clear();                                                                                             \
        t_ok(t_backend->op->name(t_backend), #name);                                                                   \
        t_check_guards(#name);                                                                                         \
    } while (0)

/* ---- outputs of a run, to be compared bit for bit with those of another ---- */

enum { T_MAX_OUTPUTS = 32 };

typedef struct t_outputs {
    int n;
    float *at[T_MAX_OUTPUTS];
    size_t size[T_MAX_OUTPUTS];
} t_outputs;

static inline void t_keep(t_outputs *out, float *values, size_t n)
{
    out->at[out->n] = values;
    out->size[out->n++] = n;
}

static inline void t_keep_mat(t_outputs *out, gmv_mat m)
{
    t_keep(out, t_get_mat(m), (size_t)m.rows * (size_t)m.cols);
}

static inline void t_keep_vec(t_outputs *out, gmv_vec v)
{
    t_keep(out, t_get_vec(v), (size_t)v.n);
}

typedef void (*t_run)(const void *context, t_outputs *out);

/* Runs with one thread, again, and with two: all outputs have the same bits. Returns those of the first. */
static inline t_outputs t_repeatable(t_run run, const void *context)
{
    static const int threads[] = {1, 1, 2};
    static const char *const how[] = {"", "run again", "with 2 threads"};
    t_outputs first = {0};
    for (int r = 0; r < (t_few() ? 1 : 3); r++) {
        t_outputs out = {0};
        omp_set_num_threads(threads[r]);
        run(context, &out);
        t_release_blocks();
        if (r == 0) {
            first = out;
        }
        for (int i = 0; i < out.n; i++) {
            char what[64];
            snprintf(what, sizeof what, "output %d %s", i, how[r]);
            t_same_bits(what, out.at[i], first.at[i], out.size[i] * sizeof(float));
        }
    }
    return first;
}

/* ---- set-up and tear-down ---- */

static inline int t_end_test(void **state)
{
    (void)state;
    if (t_backend != NULL) {
        t_release_blocks();
    }
    while (t_pieces != NULL) {
        t_piece *piece = t_pieces;
        t_pieces = piece->next;
        free(piece);
    }
    omp_set_num_threads(2);
    return 0;
}

#define T_TEST(function) cmocka_unit_test_setup_teardown(function, NULL, t_end_test)

#if !defined(T_LONE_SUMS)
#define T_LONE_SUMS false
#endif

/* Several ranks of a test may have to share the one GPU there is. */
static inline gmv_status t_open_backend(gmv_backend **backend, const char *name)
{
    gmv_backend_options options = {.name = name, .share_gpu = true, .timeout = 60.0, .lone_sums = T_LONE_SUMS};
    return gmv_backend_open(backend, &options, &t_comm);
}

/* Opens t_backend again with another precision; NULL where it does not have it. */
static inline gmv_backend *t_open_with(gmv_precision precision)
{
    gmv_backend *backend = NULL;
    gmv_backend_options options = {.name = t_backend->name, .precision = precision, .share_gpu = true, .timeout = 60.0};
    gmv_status status = gmv_backend_open(&backend, &options, &t_comm);
    if (status == GMV_ERR_CONFIG && strcmp(t_backend->name, "cpu") == 0) {
        assert_non_null(strstr(gmv_error_message(), "train.precision"));
        gmv_error_clear();
        return NULL;
    }
    t_ok(status, "gmv_backend_open");
    return backend;
}

/* Runs a group on the backend that GMVAE_TEST_BACKEND names (default cpu). Exit status 77, "skipped", when
 * the backend is not there; the line it prints is what tests/run.sh counts. */
static inline int t_main_on_backend(int argc, char **argv, const struct CMUnitTest *tests, size_t n)
{
    const char *name = getenv("GMVAE_TEST_BACKEND");
    name = name != NULL ? name : "cpu";
    int result = 1;
    if (gmv_comm_init(&t_comm, &argc, &argv) != GMV_OK) {
        fprintf(stderr, "no MPI: %s\n", gmv_error_message());
        return 1;
    }
    if (t_open_backend(&t_backend, name) != GMV_OK) {
        fprintf(stderr, "backend %s skipped: %s\n", name, gmv_error_message());
        result = strcmp(name, "cpu") == 0 ? 1 : 77;
    } else {
        char text[256];
        gmv_backend_describe(t_backend, text, sizeof text);
        printf("# backend %s: %s\n", t_backend->name, text);
        result = _cmocka_run_group_tests(argv[0], tests, n, NULL, NULL) == 0 ? 0 : 1;
        if (result != 0 && t_comm.size > 1) {
            gmv_comm_fail_alone(&t_comm, GMV_ERR_INTERNAL); /* the others would wait for this rank */
        }
        gmv_backend_close(&t_backend);
    }
    gmv_comm_fini(&t_comm);
    return result;
}

#define T_MAIN_ON_BACKEND(tests)                                                                                       \
    int main(int argc, char **argv)                                                                                    \
    {                                                                                                                  \
        return t_main_on_backend(argc, argv, tests, sizeof(tests) / sizeof *(tests));                                  \
    }
