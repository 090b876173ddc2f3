/* Memory of the host: aligned, zeroed where it says so, counted. */
#include "gmvae/mem.h"

#include "harness.h"

/* Blocks of these sizes are dirtied and freed, so that the next may lie where they lay. */
static void zeroed_and_aligned(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 63, 64, 65, 4096, 300001, ((int64_t)1 << 21) + 5, (int64_t)9 << 20};
    int64_t live = gmv_alloc_live();
    for (int turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            char *block, *room;
            assert_int_equal(GMV_ROOM(room, sizes[i], "room"), GMV_OK);
            assert_int_equal((uintptr_t)room % 64, 0);
            memset(room, 0x5a, (size_t)sizes[i]);
            GMV_FREE(room);
            assert_int_equal(GMV_NEW(block, sizes[i], "a block"), GMV_OK);
            assert_int_equal((uintptr_t)block % 64, 0);
            for (int64_t k = 0; k < sizes[i]; k++) {
                assert_true(block[k] == 0);
            }
            memset(block, 0x5a, (size_t)sizes[i]);
            assert_int_equal(GMV_GROW(block, sizes[i], 2 * sizes[i], "a block"), GMV_OK);
            assert_true(block[sizes[i] - 1] == 0x5a && block[sizes[i]] == 0 && block[2 * sizes[i] - 1] == 0);
            assert_int_equal(gmv_alloc_live(), live + 1);
            GMV_FREE(block);
        }
    }
    assert_int_equal(gmv_alloc_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(zeroed_and_aligned)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
