/* layer_forward and layer_backward against GELU, LayerNorm and dropout in double. */
#include "harness.h"
#include "ref/noise_ref.h"

typedef struct layer_case {
    int cells, draws, width;
    float rate;
    gmv_noise noise; /* in host memory */
    const float *pre, *bias, *norm_weight, *norm_bias, *d_out;
    int in_place; /* d_pre is d_out itself */
} layer_case;

static void run(const void *context, t_outputs *out)
{
    const layer_case *c = context;
    int rows = c->cells * c->draws, width = c->width;
    gmv_noise noise = t_noise(&c->noise, c->cells);
    const gmv_noise *given = c->rate > 0.0f ? &noise : NULL;
    gmv_layer layer = {t_vec(width, c->bias), t_vec(width, c->norm_weight), t_vec(width, c->norm_bias)};
    gmv_layer d_layer = {t_vec(width, c->bias), t_vec(width, c->norm_weight), t_vec(width, c->norm_bias)};
    gmv_mat pre = t_mat(rows, width, c->pre), y = t_mat(rows, width, NULL), stats = t_mat(rows, 2, NULL);
    gmv_mat d_out = t_mat(rows, width, c->d_out), d_pre = c->in_place ? d_out : t_mat(rows, width, NULL);
    T_OP(layer_forward, pre, &layer, c->rate, given, stats, y);
    T_OP(layer_backward, pre, &layer, c->rate, given, stats, d_out, d_pre, &d_layer);
    t_keep_mat(out, y);
    t_keep_mat(out, stats);
    t_keep_mat(out, d_pre);
    t_keep_vec(out, d_layer.bias);
    t_keep_vec(out, d_layer.norm_weight);
    t_keep_vec(out, d_layer.norm_bias);
    t_keep_mat(out, pre);
    if (!c->in_place) {
        t_keep_mat(out, d_out);
    }
}

/* The double reference: sum of out * d_out, as a function of everything. */
typedef struct layer_ref {
    int rows, width;
    double *pre, *bias, *norm_weight, *norm_bias, *d_out, *mask;
    double *out, *stats; /* written when not NULL */
} layer_ref;

static double value(void *context)
{
    layer_ref *c = context;
    double total = 0.0;
    double *h = malloc((size_t)(c->width + 1) * sizeof *h);
    for (int r = 0; r < c->rows; r++) {
        double mean = 0.0, variance = 0.0;
        for (int j = 0; j < c->width; j++) {
            double x = c->pre[r * c->width + j] + c->bias[j];
            h[j] = 0.5 * x * erfc(-x * 0.70710678118654752440);
            mean += h[j] / c->width;
        }
        for (int j = 0; j < c->width; j++) {
            variance += (h[j] - mean) * (h[j] - mean) / c->width;
        }
        double inverse = 1.0 / sqrt(variance + 1e-5);
        for (int j = 0; j < c->width; j++) {
            int at = r * c->width + j;
            double y = ((h[j] - mean) * inverse * c->norm_weight[j] + c->norm_bias[j]) * c->mask[at];
            total += y * c->d_out[at];
            if (c->out != NULL) {
                c->out[at] = y;
                c->stats[2 * r] = mean;
                c->stats[2 * r + 1] = inverse;
            }
        }
    }
    free(h);
    return total;
}

static layer_case make(uint64_t seed, int cells, int draws, int width, float rate)
{
    size_t n = (size_t)(cells * draws * width), w = (size_t)width;
    layer_case c = {cells,
                    draws,
                    width,
                    rate,
                    {seed * 77, GMV_STREAM_DROPOUT + 3, t_epoch(5), 2, t_cell_ids(cells), draws},
                    t_random(seed, n, 3.0),
                    t_random(seed + 1, w, 1.0),
                    t_random(seed + 2, w, 1.5),
                    t_random(seed + 3, w, 1.0),
                    t_random(seed + 4, n, 1.0),
                    (int)(seed % 2)};
    return c;
}

static layer_ref reference(const layer_case *c)
{
    size_t n = (size_t)(c->cells * c->draws * c->width), w = (size_t)c->width;
    layer_ref ref = {c->cells * c->draws,
                     c->width,
                     t_widen(c->pre, n),
                     t_widen(c->bias, w),
                     t_widen(c->norm_weight, w),
                     t_widen(c->norm_bias, w),
                     t_widen(c->d_out, n),
                     t_doubles(n),
                     t_doubles(n),
                     t_doubles(2 * (size_t)(c->cells * c->draws))};
    for (int r = 0; r < ref.rows; r++) {
        for (int j = 0; j < c->width; j++) {
            ref.mask[r * c->width + j] =
                ref_dropout(&c->noise, c->noise.cell_id[r / c->draws], r % c->draws, j, c->rate);
        }
    }
    return ref;
}

/* Without what the buffers held before: gradients of the tensors are added to. */
static float *added(const float *now, const float *before, size_t n)
{
    float *difference = t_host_floats(n);
    for (size_t i = 0; i < n; i++) {
        difference[i] = now[i] - before[i];
    }
    return difference;
}

static void check(const layer_case *c)
{
    t_outputs out = t_repeatable(run, c);
    layer_ref ref = reference(c);
    size_t n = (size_t)(ref.rows * c->width), w = (size_t)c->width;
    value(&ref);
    t_pointwise("layer_forward", out.at[0], ref.out, n);
    t_pointwise("layer_forward statistics", out.at[1], ref.stats, 2 * (size_t)ref.rows);
    t_same_bits("input of the layer", out.at[6], c->pre, n * sizeof(float));
    if (!c->in_place) {
        t_same_bits("gradient of the output", out.at[7], c->d_out, n * sizeof(float));
    }
    ref.out = NULL;
    const float *gradient[] = {out.at[2], added(out.at[3], c->bias, w), added(out.at[4], c->norm_weight, w),
                               added(out.at[5], c->norm_bias, w)};
    double *variable[] = {ref.pre, ref.bias, ref.norm_weight, ref.norm_bias};
    static const char *const name[] = {"d pre", "d bias", "d norm weight", "d norm bias"};
    for (int k = 0; k < 4; k++) {
        size_t size = k == 0 ? n : w;
        /* the scale of what flows in; one unit wide, LayerNorm's gradient is 0 and 1/sd is 316 */
        double floor = t_norm(ref.d_out, n) / (c->width == 1 ? 1.0 : 10.0);
        if (size <= 64) {
            t_gradient(name[k], gradient[k], t_differences(value, &ref, variable[k], size, 1e-5), size, floor);
        } else {
            t_directions(name[k], value, &ref, variable[k], gradient[k], size, 1e-6, floor);
        }
    }
}

static void values_and_gradients(void **state)
{
    (void)state;
    static const int shapes[][3] = {{0, 1, 5},   {1, 1, 1},   {2, 3, 1},    {1, 1, 2},    {2, 2, 5},
                                    {3, 3, 7},   {33, 1, 31}, {11, 3, 33},  {64, 1, 257}, {67, 3, 61},
                                    {40, 1, 64}, {9, 1, 250}, {3, 1, 2300}, {2, 1, 2101}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        for (int v = 0; v < 4; v++) {
            if (t_few() && !t_case(s, v, 4, s == 5)) {
                continue;
            }
            layer_case c = make(100 + 10 * s + (uint64_t)v, shapes[s][0], shapes[s][1], shapes[s][2],
                                v < 2 ? 0.0f : (v == 2 ? 0.05f : 0.5f));
            check(&c);
        }
    }
}

static void dropout_keeps_the_stated_share(void **state)
{
    (void)state;
    layer_case c = make(200, 200, 1, 250, 0.3f);
    t_outputs out = t_repeatable(run, &c);
    double kept = 0.0, n = 200.0 * 250.0;
    for (int i = 0; i < 200 * 250; i++) {
        kept += out.at[0][i] != 0.0f;
    }
    t_near("share kept", kept / n, 0.7, T_SIGMAS, sqrt(0.3 * 0.7 / n));
}

static const struct CMUnitTest tests[] = {
    T_TEST(values_and_gradients),
    T_TEST(dropout_keeps_the_stated_share),
};
T_MAIN_ON_BACKEND(tests)
