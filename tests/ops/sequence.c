/* Steps that are recorded and run again with other numbers, and reports to the host. */
#include "harness.h"

enum { COLS = 5 };

/* out += scale of the step * x, as a sequence under `key`. *known as the backend says. */
static void add_scaled(int64_t key, gmv_step *at, float scale, gmv_mat x, gmv_vec out, bool *known)
{
    gmv_step step = {.scale = scale};
    t_ok(t_backend->op->set_step(t_backend, at, &step), "set_step");
    step.scale = NAN; /* it was read */
    t_ok(t_backend->op->sequence_begin(t_backend, key, known), "sequence_begin");
    if (!*known) {
        t_ok(t_backend->op->add_column_sums(t_backend, x, &at->scale, out), "add_column_sums");
    }
    t_ok(t_backend->op->sequence_end(t_backend), "sequence_end");
}

static void sequences_run_again_with_other_numbers(void **state)
{
    (void)state;
    float *ones = t_host_floats(COLS), *zeros = t_host_floats(COLS);
    for (int i = 0; i < COLS; i++) {
        ones[i] = 1.0f;
    }
    gmv_mat x = t_mat(1, COLS, ones);
    gmv_vec a = t_vec(COLS, zeros), b = t_vec(COLS, zeros);
    gmv_step *at = t_bytes(sizeof *at, NULL);
    float want_a = 0.0f, want_b = 0.0f;
    bool known;
    for (int round = 0; round < 6; round++) {
        float scale = (float)(1 << round);
        add_scaled(round % 2 == 0 ? 1 : -7, at, scale, x, round % 2 == 0 ? a : b, &known);
        assert_true(!known || round >= 2);
        /* a device records at the second meeting, and replays from the third on */
        assert_true(known || round < 4 || strcmp(t_backend->name, "cuda") != 0);
        *(round % 2 == 0 ? &want_a : &want_b) += scale;
    }
    /* memory may have moved since: whatever was recorded is forgotten */
    t_vec(3, NULL);
    add_scaled(1, at, 64.0f, x, a, &known);
    assert_false(known);
    want_a += 64.0f;
    float *got_a = t_get_vec(a), *got_b = t_get_vec(b);
    for (int i = 0; i < COLS; i++) {
        assert_true(got_a[i] == want_a && got_b[i] == want_b);
    }
}

/* More distinct sequences than a backend may want to keep. */
static void many_sequences(void **state)
{
    (void)state;
    float one = 1.0f, zero = 0.0f;
    gmv_mat x = t_mat(1, 1, &one);
    gmv_vec sum = t_vec(1, &zero);
    gmv_step *at = t_bytes(sizeof *at, NULL);
    bool known;
    for (int round = 0; round < 3; round++) {
        for (int key = 0; key < 100; key++) {
            add_scaled(key, at, 1.0f, x, sum, &known);
        }
    }
    assert_true(t_get_vec(sum)[0] == 300.0f);
}

static void reports_come_in_their_order(void **state)
{
    (void)state;
    float *values = t_random(1, GMV_REPORT_BYTES / sizeof(float), 1.0), got[GMV_REPORT_BYTES / sizeof(float)];
    gmv_vec x = t_vec(GMV_REPORT_BYTES / sizeof(float), values);
    for (int round = 0; round < 5; round++) {
        T_OP(report, x.at, GMV_REPORT_BYTES);
        T_OP(clear, x.at, 4); /* later work does not reach an earlier report */
        T_OP(report, x.at, 8);
        T_OP(upload, x.at, values, 4);
        T_OP(collect, got, GMV_REPORT_BYTES);
        t_same_bits("first report", got, values, GMV_REPORT_BYTES);
        T_OP(collect, got, 8);
        assert_true(got[0] == 0.0f && got[1] == values[1]);
    }
}

static const struct CMUnitTest tests[] = {
    T_TEST(sequences_run_again_with_other_numbers),
    T_TEST(many_sequences),
    T_TEST(reports_come_in_their_order),
};
T_MAIN_ON_BACKEND(tests)
