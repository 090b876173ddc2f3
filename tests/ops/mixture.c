/* mixture: terms, probabilities and gradients of every objective, and the worked example with known values. */
#include "harness.h"
#include "ref/mixture_ref.h"

typedef struct mixture_case {
    gmv_objective objective;
    int cells, draws, components, dim, width;
    float free_nats, scale;
    int gradients, probability;
    const float *hidden, *weight, *bias, *x, *posterior, *log_weight; /* log_weight NULL: all equal */
    int filled;                                                       /* rows that are cells; 0: all */
} mixture_case;

enum { TERMS, PROBABILITY, D_HIDDEN, D_WEIGHT, D_BIAS, D_X, D_POSTERIOR, D_LOG_WEIGHT, OUTPUTS };

/* The terms are some columns of a wider matrix. */
enum { FIRST = 1, BEHIND = FIRST + GMV_MIXTURE_TERMS, COLUMNS = BEHIND + 2 };

/* What the buffers that are added to hold before: zero, so that nothing hides the gradient. */
static float *zeros(int n)
{
    return t_host_floats((size_t)n);
}

static void keep_gradients(t_outputs *out, const gmv_mixture_args *a)
{
    t_keep_mat(out, a->d_hidden);
    t_keep_mat(out, a->d_weight);
    t_keep_vec(out, a->d_bias);
    t_keep_mat(out, a->d_x);
    t_keep_mat(out, a->d_posterior);
    t_keep_vec(out, a->d_log_weight);
}

static void run(const void *context, t_outputs *out)
{
    const mixture_case *c = context;
    int rows = c->cells * c->draws, raw = 2 * c->components * c->dim;
    gmv_mixture_args a = {0};
    a.objective = c->objective;
    a.components = c->components;
    a.free_nats = c->free_nats;
    a.draws = c->draws;
    a.hidden = t_mat(rows, c->width, c->hidden);
    a.weight = t_mat(raw, c->width, c->weight);
    a.bias = t_vec(raw, c->bias);
    a.log_weight = c->log_weight != NULL ? t_vec(c->components, c->log_weight) : (gmv_vec){0};
    a.x = t_mat(rows, c->dim, c->x);
    a.posterior = t_mat(c->cells, 2 * c->dim, c->posterior);
    a.filled = c->filled > 0 ? t_filled(c->filled) : NULL;
    gmv_mat terms = t_mat(c->cells, COLUMNS, t_random(1, (size_t)c->cells * COLUMNS, 1.0));
    a.terms = gmv_mat_columns(terms, FIRST, GMV_MIXTURE_TERMS);
    if (c->probability) {
        a.probability = t_mat(c->cells, c->components, NULL);
    }
    if (c->gradients) {
        a.scale = t_number(c->scale);
        a.d_hidden = t_mat(rows, c->width, NULL);
        a.d_weight = t_mat(raw, c->width, zeros(raw * c->width));
        a.d_bias = t_vec(raw, zeros(raw));
        a.d_x = t_mat(rows, c->dim, zeros(rows * c->dim));
        a.d_posterior = t_mat(c->cells, 2 * c->dim, zeros(c->cells * 2 * c->dim));
        a.d_log_weight = c->log_weight != NULL ? t_vec(c->components, zeros(c->components)) : (gmv_vec){0};
    }
    T_OP(mixture, &a);
    t_keep_mat(out, terms);
    t_keep_mat(out, a.probability);
    keep_gradients(out, &a);
    if (c->gradients) { /* a second call adds the same again */
        T_OP(mixture, &a);
        keep_gradients(out, &a);
    }
}

static mixture_case make(uint64_t seed, gmv_objective objective, int cells, int draws, int components, int dim,
                         int width)
{
    int rows = cells * draws, raw = 2 * components * dim;
    mixture_case c = {.objective = objective,
                      .cells = cells,
                      .draws = draws,
                      .components = components,
                      .dim = dim,
                      .width = width,
                      .scale = 0.125f,
                      .gradients = 1,
                      .probability = 1};
    c.hidden = t_random(seed, (size_t)(rows * width), 1.0);
    c.weight = t_random(seed + 1, (size_t)(raw * width), 1.0 / sqrt((double)(width > 0 ? width : 1)));
    c.bias = t_random(seed + 2, (size_t)raw, 0.7);
    c.posterior = t_random(seed + 3, (size_t)(cells * 2 * dim), 1.0);
    float *x = t_random(seed + 4, (size_t)(rows * dim), 1.7);
    for (int i = 0; i < rows * dim; i++) {
        const float *q = c.posterior + (size_t)(i / dim / draws) * 2 * (size_t)dim;
        int d = i % dim;
        x[i] = (float)((double)q[d] + sqrt(exp((double)q[dim + d]) + 1e-4) * (double)x[i]);
    }
    c.x = x;
    return c;
}

static mixture_ref reference(const mixture_case *c)
{
    size_t rows = (size_t)(c->cells * c->draws), raw = 2 * (size_t)(c->components * c->dim), dim = (size_t)c->dim;
    size_t cells = (size_t)c->cells;
    mixture_ref ref = {.objective = c->objective,
                       .cells = c->cells,
                       .draws = c->draws,
                       .components = c->components,
                       .dim = c->dim,
                       .width = c->width,
                       .free_nats = (double)c->free_nats,
                       .hidden = t_widen(c->hidden, rows * (size_t)c->width),
                       .weight = t_widen(c->weight, raw * (size_t)c->width),
                       .bias = t_widen(c->bias, raw),
                       .x = t_widen(c->x, rows * dim),
                       .posterior = t_widen(c->posterior, cells * 2 * dim),
                       .noise = t_doubles(rows * dim),
                       .kl_z = t_doubles(cells),
                       .kl_x = t_doubles(cells),
                       .prior = t_doubles(cells),
                       .probability = t_doubles(cells * (size_t)c->components)};
    ref.log_weight = c->log_weight != NULL ? t_widen(c->log_weight, (size_t)c->components) : NULL;
    for (size_t i = 0; i < rows * dim; i++) {
        const double *q = ref.posterior + i / dim / (size_t)c->draws * 2 * dim;
        ref.noise[i] = (ref.x[i] - q[i % dim]) / sqrt(exp(q[dim + i % dim]) + 1e-4);
    }
    return ref;
}

/* Terms come from densities of `dim` dimensions: errors on the scale of a log density. */
static void check_terms(const mixture_case *c, mixture_ref *ref, const t_outputs *out)
{
    const float *other = t_random(1, (size_t)c->cells * COLUMNS, 1.0);
    ref_mixture(ref);
    for (int i = 0; i < c->cells; i++) {
        const float *terms = out->at[TERMS] + i * COLUMNS + FIRST;
        double scale = (double)c->dim + fabs(ref->kl_x[i]) + fabs(ref->prior[i]);
        t_near("KL_Z", (double)terms[GMV_MIXTURE_KL_Z], ref->kl_z[i], T_POINTWISE, scale);
        t_near("KL_X", (double)terms[GMV_MIXTURE_KL_X], ref->kl_x[i], T_POINTWISE, scale);
        t_near("PRIOR", (double)terms[GMV_MIXTURE_PRIOR], ref->prior[i], T_POINTWISE, scale);
        t_same_bits("column before", terms - FIRST, other + i * COLUMNS, FIRST * sizeof *terms);
        t_same_bits("columns behind", terms + GMV_MIXTURE_TERMS, other + i * COLUMNS + BEHIND,
                    (COLUMNS - BEHIND) * sizeof *terms);
        for (int k = 0; k < c->components && c->probability; k++) {
            /* an error of a log density is a relative error of a probability */
            t_near("probability", (double)out->at[PROBABILITY][i * c->components + k],
                   ref->probability[i * c->components + k], T_POINTWISE, (double)c->dim);
        }
    }
}

static void check_gradients(const mixture_case *c, mixture_ref *ref, const t_outputs *out)
{
    double *variable[] = {ref->hidden, ref->weight, ref->bias, ref->x, ref->posterior, ref->log_weight};
    static const char *const name[] = {"d hidden", "d weight", "d bias", "d x", "d posterior", "d log weight"};
    /* one component: the terms of a gradient may cancel to nothing; what is left is measured by its parts */
    double floor = (double)c->scale * sqrt((double)c->cells) / 10.0;
    for (int k = 0; k < (ref->log_weight != NULL ? 6 : 5); k++) {
        size_t n = out->size[D_HIDDEN + k];
        float *gradient = t_host_floats(n);
        for (size_t i = 0; i < n; i++) {
            gradient[i] = out->at[D_HIDDEN + k][i] / c->scale;
            /* twice the gradient after the second call; d_hidden is overwritten */
            float again = out->at[OUTPUTS + k][i];
            t_near("added to", (double)again, (k == 0 ? 1.0 : 2.0) * (double)out->at[D_HIDDEN + k][i], T_POINTWISE,
                   floor);
        }
        if (n <= 200) {
            t_gradient(name[k], gradient, t_differences(ref_mixture, ref, variable[k], n, 1e-5), n,
                       floor / (double)c->scale);
        } else {
            t_directions(name[k], ref_mixture, ref, variable[k], gradient, n, 1e-6, floor / (double)c->scale);
        }
    }
}

static void check(const mixture_case *c)
{
    t_outputs out = t_repeatable(run, c);
    mixture_ref ref = reference(c);
    check_terms(c, &ref, &out);
    if (c->gradients) {
        check_gradients(c, &ref, &out);
    }
}

static const int shapes[][5] = {
    /* cells, draws, K, D, H */
    {0, 1, 3, 2, 4},  {1, 1, 1, 1, 1},   {2, 1, 3, 2, 5},    {2, 3, 1, 3, 4},     {3, 2, 4, 2, 3},
    {31, 1, 5, 7, 8}, {33, 3, 2, 33, 9}, {37, 10, 3, 5, 31}, {257, 1, 20, 8, 16}, {350, 3, 2, 3, 5},
};

/* Small shapes with each objective; the others, which differ in blocks, with one in turn. */
static bool is_tried(size_t shape, int objective)
{
    return t_case(shape, objective - GMV_OBJECTIVE_MARGINAL, GMV_OBJECTIVE_MC - GMV_OBJECTIVE_MARGINAL + 1,
                  shapes[shape][0] <= (t_few() ? 3 : 31));
}

static void terms_and_gradients(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        for (int objective = GMV_OBJECTIVE_MARGINAL; objective <= GMV_OBJECTIVE_MC; objective++) {
            if (!is_tried(s, objective)) {
                continue;
            }
            const int *p = shapes[s];
            mixture_case c = make(600 + s, (gmv_objective)objective, p[0], p[1], p[2], p[3], p[4]);
            check(&c);
        }
    }
}

/* Learned weights; and without a hidden layer the same mixture for all rows. */
static void weights_and_static_components(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const int *p = shapes[s];
        for (int weighted = 0; weighted < 2 && !(t_few() && p[0] > 40); weighted++) {
            mixture_case c =
                make(650 + s, GMV_OBJECTIVE_MARGINAL, p[0], p[1], p[2], p[3], s % 2 == 0 || !weighted ? 0 : p[4]);
            c.log_weight = weighted ? t_random(655 + s, (size_t)p[2], 1.5) : NULL;
            check(&c);
        }
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Free nats between the KL_Z of the cells: for half of them the gradient of KL_Z is off. The marginal
 * objective has none. */
static void free_nats_stop_the_cluster_term(void **state)
{
    (void)state;
    for (size_t s = 2; s < sizeof shapes / sizeof *shapes; s++) {
        for (int objective = GMV_OBJECTIVE_MARGINAL; objective <= GMV_OBJECTIVE_MC; objective++) {
            const int *p = shapes[s];
            if (p[2] == 1 || !is_tried(s, objective) || (t_few() && p[0] > 40)) {
                continue;
            }
            mixture_case c = make(700 + s, (gmv_objective)objective, p[0], p[1], p[2], p[3], p[4]);
            mixture_ref ref = reference(&c);
            ref_mixture(&ref);
            size_t n = (size_t)c.cells;
            double *sorted = t_doubles(n);
            memcpy(sorted, ref.kl_z, n * sizeof *sorted);
            qsort(sorted, n, sizeof *sorted, ascending);
            c.free_nats = (float)(0.5 * (sorted[(n - 1) / 2] + sorted[(n - 1) / 2 + (n > 1)]));
            check(&c);
        }
    }
}

/* In evaluation nothing but terms (and probabilities) is asked for. */
static void evaluation_wants_no_gradients(void **state)
{
    (void)state;
    for (int variant = 0; variant < 6; variant++) {
        mixture_case c = make(800, (gmv_objective)(variant / 2), 19, 2, 4, 3, 6);
        c.gradients = 0;
        c.probability = variant % 2;
        check(&c);
    }
}

/* Components far from the draw: shares underflow, terms stay exact. */
static void distant_components_stay_finite(void **state)
{
    (void)state;
    for (int objective = GMV_OBJECTIVE_MARGINAL; objective <= GMV_OBJECTIVE_MC; objective++) {
        mixture_case c = make(900, (gmv_objective)objective, 7, 2, 4, 5, 3);
        float *bias = t_host_floats(2 * 4 * 5);
        for (int i = 0; i < 2 * 4 * 5; i++) {
            bias[i] = i < 20 ? (float)(30 * (i / 5)) : -3.0f;
        }
        c.bias = bias;
        check(&c);
    }
}

/* Cells of a batch in another order: their outputs in that order. */
static void permuted_cells_permute_the_outputs(void **state)
{
    (void)state;
    enum { B = 41, M = 2, K = 3, D = 4, H = 5 };
    mixture_case c = make(1000, GMV_OBJECTIVE_PUBLISHED, B, M, K, D, H), p = c;
    float *hidden = t_host_floats(B * M * H), *x = t_host_floats(B * M * D), *posterior = t_host_floats(B * 2 * D);
    for (int i = 0; i < B; i++) {
        int from = (i * 7 + 3) % B;
        memcpy(hidden + i * M * H, c.hidden + from * M * H, M * H * sizeof(float));
        memcpy(x + i * M * D, c.x + from * M * D, M * D * sizeof(float));
        memcpy(posterior + i * 2 * D, c.posterior + from * 2 * D, 2 * D * sizeof(float));
    }
    p.hidden = hidden;
    p.x = x;
    p.posterior = posterior;
    t_outputs before = t_repeatable(run, &c), after = t_repeatable(run, &p);
    static const int width[OUTPUTS] = {COLUMNS, K, M * H, 0, 0, M * D, 2 * D, 0};
    for (int o = 0; o < OUTPUTS; o++) {
        for (int i = 0; i < B; i++) {
            size_t w = (size_t)width[o], skip = o == TERMS ? FIRST : 0, n = o == TERMS ? GMV_MIXTURE_TERMS : w;
            if (w > 0) { /* sums over the cells have no rows to compare */
                int from = (i * 7 + 3) % B;
                t_pointwise("permuted output", after.at[o] + (size_t)i * w + skip,
                            t_widen(before.at[o] + (size_t)from * w + skip, n), n);
            }
        }
    }
}

/* ---- rows that fill a batch up ---- */

/* Everything that belongs to a row: its place among the outputs and its width. */
static void check_rows_behind(const mixture_case *c, const t_outputs *filled, const t_outputs *alone)
{
    const int of_row[] = {D_HIDDEN, D_X}, of_cell[] = {PROBABILITY, D_POSTERIOR};
    for (int i = 0; i < c->cells; i++) {
        for (int k = 0; k < GMV_MIXTURE_TERMS; k++) {
            float term = filled->at[TERMS][i * COLUMNS + FIRST + k];
            assert_true(term == (i < c->filled ? alone->at[TERMS][i * COLUMNS + FIRST + k] : 0.0f));
        }
    }
    for (int k = 0; k < 4; k++) {
        int output = k < 2 ? of_row[k] : of_cell[k - 2];
        size_t cells = k < 2 ? alone->size[output] : alone->size[output];
        t_same_bits("rows of cells", filled->at[output], alone->at[output], cells * sizeof(float));
        for (size_t i = cells; i < filled->size[output]; i++) {
            assert_true(filled->at[output][i] == 0.0f);
        }
    }
}

/* They have no terms, probabilities and gradients, and no part in a sum, whatever they hold. */
static void rows_behind_the_cells(void **state)
{
    (void)state;
    enum { B = 37, M = 2, K = 3, D = 4, H = 5 };
    for (int variant = 0; variant < 5; variant++) {
        gmv_objective objective = variant < 3 ? (gmv_objective)variant : GMV_OBJECTIVE_MARGINAL;
        mixture_case c = make(1080, objective, B, M, K, D, variant == 4 ? 0 : H), other = c, alone = c;
        c.log_weight = other.log_weight = alone.log_weight = variant < 3 ? NULL : t_random(1081, K, 1.5);
        c.filled = other.filled = alone.cells = 30;
        float *hidden = t_random(1082, B * M * H, 9.0), *posterior = t_random(1083, B * 2 * D, 3.0);
        memcpy(hidden, c.hidden, (size_t)(30 * M * c.width) * sizeof(float));
        memcpy(posterior, c.posterior, 30 * 2 * D * sizeof(float));
        other.hidden = hidden;
        other.posterior = posterior;
        t_outputs first = t_repeatable(run, &c), second = t_repeatable(run, &other), fewer = t_repeatable(run, &alone);
        check_rows_behind(&c, &first, &fewer);
        for (int o = D_HIDDEN; o < OUTPUTS; o++) {
            t_same_bits("what the rows behind hold", first.at[o], second.at[o], first.size[o] * sizeof(float));
        }
        for (int o = D_WEIGHT; o <= D_BIAS; o++) {
            t_pointwise("sums over cells", first.at[o], t_widen(fewer.at[o], fewer.size[o]), fewer.size[o]);
        }
        t_pointwise("weights of components", first.at[D_LOG_WEIGHT],
                    t_widen(fewer.at[D_LOG_WEIGHT], fewer.size[D_LOG_WEIGHT]), fewer.size[D_LOG_WEIGHT]);
    }
}

/* ---- worked example: three components in two dimensions ---- */

static const double toy_mean[3][2] = {{0, 0}, {1, -1}, {-0.5, 0.25}};
static const double toy_sd[3][2] = {{1, 1}, {0.7, 1.3}, {2, 0.4}};
static const double toy_q[2][2] = {{0.1, -0.2}, {0.5, 0.9}}; /* means, standard deviations */

static double raw_variance(double sd)
{
    return log(sd * sd - 1e-4);
}

/* Components [first, first + K) of the example at n points x [n, 2]; the network's weight is zero. */
static mixture_case toy(gmv_objective objective, int first, int components, int n, const float *x)
{
    float *bias = t_host_floats(4 * (size_t)components), *posterior = t_host_floats(4 * (size_t)n);
    for (int k = 0; k < components; k++) {
        for (int d = 0; d < 2; d++) {
            bias[2 * k + d] = (float)toy_mean[first + k][d];
            bias[2 * (components + k) + d] = (float)raw_variance(toy_sd[first + k][d]);
        }
    }
    for (int i = 0; i < n; i++) {
        for (int d = 0; d < 2; d++) {
            posterior[4 * i + d] = (float)toy_q[0][d];
            posterior[4 * i + 2 + d] = (float)raw_variance(toy_q[1][d]);
        }
    }
    mixture_case c = {.objective = objective,
                      .cells = n,
                      .draws = 1,
                      .components = components,
                      .dim = 2,
                      .width = 1,
                      .scale = 1.0f,
                      .probability = 1,
                      .hidden = t_host_floats((size_t)n),
                      .weight = t_host_floats(4 * (size_t)components),
                      .bias = bias,
                      .x = x,
                      .posterior = posterior};
    return c;
}

static void the_worked_example_at_a_point(void **state)
{
    (void)state;
    static const double pi[] = {0.5135513586, 0.4088398205, 0.0776088209};
    static const double kl[] = {0.3535076962, 1.2148237526, 2.8156766449};
    static const float x[] = {0.3f, -0.6f};
    mixture_case c = toy(GMV_OBJECTIVE_PUBLISHED, 0, 3, 1, x);
    t_outputs out = t_repeatable(run, &c);
    for (int k = 0; k < 3; k++) {
        t_near("pi", (double)out.at[PROBABILITY][k], pi[k], T_POINTWISE, 0.0);
        mixture_case one = toy(GMV_OBJECTIVE_PUBLISHED, k, 1, 1, x);
        t_outputs alone = t_repeatable(run, &one);
        t_near("KL_k", (double)alone.at[TERMS][FIRST + GMV_MIXTURE_PRIOR], kl[k], T_POINTWISE, 0.0);
        t_near("KL_Z of one component", (double)alone.at[TERMS][FIRST + GMV_MIXTURE_KL_Z], 0.0, T_POINTWISE, 1.0);
    }
    t_near("KL_Z", (double)out.at[TERMS][FIRST + GMV_MIXTURE_KL_Z], 0.1923257181, T_POINTWISE, 0.0);
    t_near("published conditional prior", (double)out.at[TERMS][FIRST + GMV_MIXTURE_PRIOR] - 0.1923257181, 0.8967340271,
           T_POINTWISE, 1.0);
}

/* Expectations over q by the trapezoidal rule, which is exact to rounding for smooth decaying integrands. */
static void the_worked_example_in_expectation(void **state)
{
    (void)state;
    enum { SIDE = 81 };
    float *x = t_host_floats(2 * SIDE * SIDE);
    double *share = t_doubles(SIDE * SIDE), total = 0.0;
    for (int i = 0; i < SIDE * SIDE; i++) {
        double e[2] = {0.2 * (i / SIDE - SIDE / 2), 0.2 * (i % SIDE - SIDE / 2)};
        for (int d = 0; d < 2; d++) {
            x[2 * i + d] = (float)(toy_q[0][d] + toy_q[1][d] * e[d]);
        }
        share[i] = exp(-0.5 * (e[0] * e[0] + e[1] * e[1]));
        total += share[i];
    }
    double kl_z = 0.0, kl_x = 0.0, prior[3] = {0.0, 0.0, 0.0};
    for (int objective = GMV_OBJECTIVE_MARGINAL; objective <= GMV_OBJECTIVE_MC; objective++) {
        mixture_case c = toy((gmv_objective)objective, 0, 3, SIDE * SIDE, x);
        t_outputs out = t_repeatable(run, &c);
        for (int i = 0; i < SIDE * SIDE; i++) {
            const float *terms = out.at[TERMS] + i * COLUMNS + FIRST;
            prior[objective] += share[i] / total * (double)terms[GMV_MIXTURE_PRIOR];
            kl_z += objective == 0 ? share[i] / total * (double)terms[GMV_MIXTURE_KL_Z] : 0.0;
            kl_x += objective == 0 ? share[i] / total * (double)terms[GMV_MIXTURE_KL_X] : 0.0;
        }
    }
    t_near("E KL_Z", kl_z, 0.26851933, T_POINTWISE, 0.0);
    t_near("E KL_X", kl_x, 0.41005686, T_POINTWISE, 0.0);
    t_near("exact total", prior[GMV_OBJECTIVE_MARGINAL], 0.67857619, T_POINTWISE, 0.0);
    t_near("published total", prior[GMV_OBJECTIVE_PUBLISHED], 1.42087995, T_POINTWISE, 0.0);
    t_near("mc total", prior[GMV_OBJECTIVE_MC], 0.67857619, T_POINTWISE, 0.0);
}

static const struct CMUnitTest tests[] = {
    T_TEST(terms_and_gradients),
    T_TEST(weights_and_static_components),
    T_TEST(free_nats_stop_the_cluster_term),
    T_TEST(evaluation_wants_no_gradients),
    T_TEST(distant_components_stay_finite),
    T_TEST(permuted_cells_permute_the_outputs),
    T_TEST(rows_behind_the_cells),
    T_TEST(the_worked_example_at_a_point),
    T_TEST(the_worked_example_in_expectation),
};
T_MAIN_ON_BACKEND(tests)
