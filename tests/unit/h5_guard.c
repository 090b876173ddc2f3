/* What HDF5 does beside its memory ends a process that guards it, whatever lies there. */
#include "harness.h"

#include "../../src/data/check/h5_guard.h"

#include <hdf5.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { no_guard = 77 };

/* Signal that ends a process of its own in which `work` is done with this number, 0 when none does. */
static int end_of(void (*work)(size_t), size_t number)
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL); /* not the test library's */
        signal(SIGABRT, SIG_DFL);
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        H5open();
        H5set_free_list_limits(0, 0, 0, 0, 0, 0);
        if (!gmv_h5_guard_memory()) {
            _exit(no_guard);
        }
        work(number);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == no_guard) {
        skip();
    }
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static volatile char *take(size_t bytes)
{
    volatile char *block = H5allocate_memory(bytes, false);
    if (block == NULL) {
        _exit(1);
    }
    return block;
}

static void read_behind(size_t bytes)
{
    (void)take(bytes)[bytes];
}

static void write_behind(size_t bytes)
{
    take(bytes)[bytes] = 0;
}

static void write_in_front(size_t bytes)
{
    volatile char *block = take(bytes);
    block[-1] = 0;
    H5free_memory((void *)block);
}

static void read_behind_grown(size_t bytes)
{
    volatile char *block = take(1);
    *block = 7;
    block = H5resize_memory((void *)block, bytes);
    if (block == NULL || *block != 7) {
        _exit(1);
    }
    (void)block[bytes];
}

static void follow_given_back(size_t bytes)
{
    void **block = (void **)take(bytes);
    H5free_memory(block);
    (void)**(volatile char *volatile *)block;
}

static void write_given_back(size_t bytes)
{
    volatile char *block = take(bytes);
    H5free_memory((void *)block);
    block[0] = 0;
    for (int i = 0; i < 4096; i++) { /* it is one of these */
        H5free_memory((void *)take(bytes));
    }
}

static void give_back_twice(size_t bytes)
{
    char *block = H5allocate_memory(bytes, false);
    H5free_memory(block);
    H5free_memory(block);
}

/* What belongs to blocks, more of them than are guarded, and what any program may do. */
static void keep_within(size_t bytes)
{
    enum { blocks = 20000 };
    static volatile char *block[blocks];
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < blocks; i++) {
            block[i] = H5allocate_memory(bytes, i % 2 == 0);
            if (block[i] == NULL || (i % 2 == 0 && (block[i][0] != 0 || block[i][bytes - 1] != 0))) {
                _exit(1);
            }
            memset((void *)block[i], i, bytes);
        }
        for (int i = 0; i < blocks; i++) {
            if (block[i][0] != (char)i || block[i][bytes - 1] != (char)i) {
                _exit(1);
            }
            H5free_memory((void *)block[i]);
        }
    }
}

static void beside_blocks(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 13, 16, 4071, 4072, 4073, 4096, 100001, (size_t)3 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(end_of(read_behind, sizes[i]), SIGSEGV);
        assert_int_equal(end_of(write_behind, sizes[i]), SIGSEGV);
        assert_int_equal(end_of(read_behind_grown, sizes[i]), SIGSEGV);
    }
    assert_int_equal(end_of(write_in_front, 13), SIGABRT);
}

static void blocks_given_back(void **state)
{
    (void)state;
    assert_int_equal(end_of(follow_given_back, 8), SIGSEGV);
    assert_int_equal(end_of(follow_given_back, 100000), SIGSEGV);
    assert_int_equal(end_of(write_given_back, 13), SIGABRT);
    assert_int_equal(end_of(write_given_back, 100000), SIGSEGV);
    assert_int_equal(end_of(give_back_twice, 13), SIGABRT);
    assert_int_equal(end_of(give_back_twice, 100000), SIGSEGV);
}

static void blocks_themselves(void **state)
{
    (void)state;
    assert_int_equal(end_of(keep_within, 13), 0);
    assert_int_equal(end_of(keep_within, 700), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(beside_blocks), cmocka_unit_test(blocks_given_back),
                                       cmocka_unit_test(blocks_themselves)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
