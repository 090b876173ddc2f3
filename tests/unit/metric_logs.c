/* Records that do not fit are not begun. */
#include "harness.h"

#include "../../src/train/metric_logs.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static void all_or_nothing(void **state)
{
    (void)state;
    static const char path[] = "metric-logs-test", record[] = "ten bytes.";
    struct rlimit before, full;
    struct stat info;
    unlink(path);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    full = before;
    full.rlim_cur = 15;
    assert_true(gmv_append_whole(path, record, 10));
    setrlimit(RLIMIT_FSIZE, &full);
    assert_false(gmv_append_whole(path, record, 10));
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, 10);
    assert_true(gmv_append_whole(path, record, 10));
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, 20);
    unlink(path);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        T_TEST(all_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
