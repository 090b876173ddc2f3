/* Steps that are recorded and run again with other numbers, and reports to the host. */
#include "harness.h"

enum { COLS = 5 };

/* out += scale of the step * x. */
typedef struct addition {
    gmv_step *step;
    gmv_mat x;
    gmv_vec out;
    int called; /* how often the operations were called, not run again */
} addition;

static gmv_status add_scaled(void *context)
{
    addition *a = context;
    a->called++;
    return t_backend->op->add_column_sums(t_backend, a->x, &a->step->scale, a->out);
}

/* As a sequence; whether its operations were called. */
static bool add_in_sequence(gmv_sequence_key key, float scale, addition *a)
{
    gmv_step step = {.scale = scale};
    int before = a->called;
    t_ok(t_backend->op->set_step(t_backend, a->step, &step), "set_step");
    step.scale = NAN; /* it was read */
    t_ok(t_backend->op->sequence(t_backend, &key, add_scaled, a), "sequence");
    return a->called > before;
}

static void sequences_run_again_with_other_numbers(void **state)
{
    (void)state;
    float *ones = t_host_floats(COLS), *zeros = t_host_floats(COLS);
    for (int i = 0; i < COLS; i++) {
        ones[i] = 1.0f;
    }
    gmv_step *step = t_bytes(sizeof *step, NULL);
    addition one = {step, t_mat(1, COLS, ones), t_vec(COLS, zeros), 0}, other = one;
    other.out = t_vec(COLS, zeros);
    float want[2] = {0.0f, 0.0f};
    for (int round = 0; round < 6; round++) {
        float scale = (float)(1 << round);
        gmv_sequence_key key =
            round % 2 == 0 ? (gmv_sequence_key){.rows = 7} : (gmv_sequence_key){.rows = 7, .turn = 1};
        bool called = add_in_sequence(key, scale, round % 2 == 0 ? &one : &other);
        assert_true(called || round >= 2);
        /* a device records at the second meeting, and only runs the record from the third on */
        assert_true(called == (round < 4 || strcmp(t_backend->name, "cuda") != 0));
        want[round % 2] += scale;
    }
    /* memory may have moved since: whatever was recorded is forgotten */
    t_vec(3, NULL);
    assert_true(add_in_sequence((gmv_sequence_key){.rows = 7}, 64.0f, &one));
    want[0] += 64.0f;
    float *got_one = t_get_vec(one.out), *got_other = t_get_vec(other.out);
    for (int i = 0; i < COLS; i++) {
        assert_true(got_one[i] == want[0] && got_other[i] == want[1]);
    }
}

/* More distinct sequences than a backend may want to keep; every number of a key counts. */
static void many_sequences(void **state)
{
    (void)state;
    float one = 1.0f, zero = 0.0f;
    gmv_mat x = t_mat(1, 1, &one);
    gmv_step *step = t_bytes(sizeof *step, NULL);
    addition sum[5];
    for (int k = 0; k < 5; k++) {
        sum[k] = (addition){step, x, t_vec(1, &zero), 0};
    }
    for (int round = 0; round < 3; round++) {
        for (int rows = 0; rows < 20; rows++) {
            for (int k = 0; k < 5; k++) {
                gmv_sequence_key key = {k == 1, rows, k == 2, k == 3, k == 4};
                add_in_sequence(key, 1.0f, &sum[k]);
            }
        }
    }
    for (int round = 0; round < 3; round++) { /* few enough to be kept */
        for (int k = 0; k < 5; k++) {
            gmv_sequence_key key = {k == 1, 0, k == 2, k == 3, k == 4};
            add_in_sequence(key, 1.0f, &sum[k]);
        }
    }
    for (int k = 0; k < 5; k++) {
        assert_true(t_get_vec(sum[k].out)[0] == 63.0f);
    }
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
