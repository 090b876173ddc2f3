/* allocate, release, upload, download, clear. */
#include "harness.h"

static const int64_t sizes[] = {0, 1, 3, 64, 4095, 1 << 20};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void allocated_memory_is_zero(void **state)
{
    (void)state;
    for (int i = 0; i < SIZES; i++) {
        void *block = NULL;
        unsigned char *host = t_alloc((size_t)sizes[i], 1), *zero = t_alloc((size_t)sizes[i], 1);
        memset(host, 1, (size_t)sizes[i]);
        t_ok(t_backend->op->allocate(t_backend, &block, sizes[i], "a test"), "allocate");
        T_OP(download, host, block, sizes[i]);
        t_same_bits("new memory", host, zero, (size_t)sizes[i]);
        T_OP(release, block);
    }
    T_OP(release, NULL);
}

static void what_goes_up_comes_down(void **state)
{
    (void)state;
    for (int i = 0; i < SIZES; i++) {
        unsigned char *host = t_alloc((size_t)sizes[i], 1), *back = t_alloc((size_t)sizes[i], 1);
        for (int64_t k = 0; k < sizes[i]; k++) {
            host[k] = (unsigned char)t_mix((uint64_t)k);
        }
        void *block = t_bytes(sizes[i], NULL);
        T_OP(upload, block, host, sizes[i]);
        T_OP(download, back, block, sizes[i]);
        t_same_bits("copy", back, host, (size_t)sizes[i]);
        memset(host, 0, (size_t)sizes[i]);
        T_OP(clear, block, sizes[i]);
        T_OP(download, back, block, sizes[i]);
        t_same_bits("cleared memory", back, host, (size_t)sizes[i]);
    }
}

/* The views of types.h name the elements they say. */
static void views_reach_their_elements(void **state)
{
    (void)state;
    float *host = t_random(1, 7 * 5, 1.0);
    gmv_mat m = t_mat(7, 5, host);
    float *part = t_get_mat(gmv_mat_columns(gmv_mat_rows(m, 2, 3), 1, 4));
    for (int i = 0; i < 3; i++) {
        t_same_bits("view", part + i * 4, host + (2 + i) * 5 + 1, 4 * sizeof(float));
    }
}

static const struct CMUnitTest tests[] = {
    T_TEST(allocated_memory_is_zero),
    T_TEST(what_goes_up_comes_down),
    T_TEST(views_reach_their_elements),
};
T_MAIN_ON_BACKEND(tests)
