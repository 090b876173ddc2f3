/* Ranks divided into parts that work by themselves, and numbers of shared work: each to one rank only. */
#include "harness.h"

enum { NUMBERS = 60 };

static void a_part_sums_by_itself(void **state)
{
    (void)state;
    gmv_comm part;
    int group = t_comm.rank / 2, before = 0;
    assert_int_equal(gmv_comm_part(&t_comm, group, &part), GMV_OK);
    assert_int_equal(part.rank, t_comm.rank % 2);
    assert_int_equal(part.size, t_comm.size - 2 * group < 2 ? 1 : 2);
    assert_int_equal(part.local_rank, t_comm.local_rank);
    for (int round = 0; round < 3 + group; round++) { /* not as often in all parts */
        int64_t value = t_comm.rank + 1;
        gmv_comm_sum_i64(&part, &value, 1);
        before = 2 * group;
        assert_int_equal(value, part.size == 1 ? before + 1 : 2 * before + 3);
    }
    gmv_status status = gmv_comm_agree(&part, group == 1 ? GMV_FAIL(GMV_ERR_DATA, "of one part") : GMV_OK);
    assert_int_equal(status, group == 1 ? GMV_ERR_DATA : GMV_OK);
    gmv_error_clear();
    gmv_comm_part_fini(&part);
    gmv_comm_barrier(&t_comm);
}

/* Rank 0 takes a few; the others are served while it waits for the sum. */
static void each_number_is_given_once(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++) {
        int64_t given[NUMBERS] = {0}, most = t_comm.rank == 0 && t_comm.size > 1 ? NUMBERS / 10 : NUMBERS + 1;
        gmv_comm_restart_numbers(&t_comm);
        for (int64_t number = 0, taken = 0; number < NUMBERS && taken < most; taken++) {
            number = gmv_comm_number();
            if (number < NUMBERS) {
                given[number]++;
            }
        }
        gmv_comm_sum_i64(&t_comm, given, NUMBERS);
        for (int i = 0; i < NUMBERS; i++) {
            assert_int_equal(given[i], 1);
        }
    }
}

static const struct CMUnitTest tests[] = {
    T_TEST(a_part_sums_by_itself),
    T_TEST(each_number_is_given_once),
};
T_MAIN_ON_BACKEND(tests)
