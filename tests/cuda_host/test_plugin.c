/* A plug-in carries the runtime within it, and shows nothing of it. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void a_plugin_runs_kernels(void **state)
{
    (void)state;
    int numbers[64];
    for (int i = 0; i < 64; i++) {
        numbers[i] = i;
    }
    void *plugin = dlopen(PLUGIN, RTLD_NOW | RTLD_LOCAL);
    if (plugin == NULL) {
        fail_msg("%s", dlerror());
    }
    int (*reverse)(int *) = NULL;
    void *found = dlsym(plugin, "plugin_reverse");
    assert_non_null(found);
    memcpy(&reverse, &found, sizeof reverse);
    assert_int_equal(reverse(numbers), 0);
    for (int i = 0; i < 64; i++) {
        assert_int_equal(numbers[i], 63 - i);
    }
    static const char *const hidden[] = {"cudaMalloc",    "cublasCreate", "cublasSgemm",
                                         "ncclAllReduce", "coh_launch",   "threadIdx"};
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) {
        if (dlsym(plugin, hidden[i]) != NULL) {
            fail_msg("%s is visible", hidden[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_plugin_runs_kernels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
