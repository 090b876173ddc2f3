/* Bias, GELU, LayerNorm and dropout of a trunk layer in one pass over its rows, forward and backward. */
#include "cpu.h"

#include "gmvae/math/act.h"
#include "gmvae/rng.h"

static const float norm_epsilon = 1e-5f;

/* Multiplies a row by its dropout mask: element j is kept when its uniform number is at least `rate`. */
static void apply_dropout(float *row, int n, float rate, const gmv_noise *noise, int r)
{
    int cell = r / noise->draws;
    uint32_t draw = noise->first_draw + (uint32_t)(r % noise->draws);
    float keep = 1.0f / (1.0f - rate);
    for (int j = 0; j < n; j += 4) {
        gmv_philox block = gmv_random_block(noise->seed, noise->stream, noise->step->epoch, noise->cell_id[cell], draw,
                                            (uint32_t)(j / 4));
        for (int k = 0; k < 4 && j + k < n; k++) {
            row[j + k] *= gmv_uniform(block.word[k]) >= rate ? keep : 0.0f;
        }
    }
}

gmv_status GMV_CPU(layer_forward)(gmv_backend *b, gmv_mat pre, const gmv_layer *layer, float rate,
                                  const gmv_noise *noise, gmv_mat stats, gmv_mat out)
{
    (void)b;
    int n = pre.cols;
    GMV_CHECK(layer->bias.n == n && layer->norm_weight.n == n && layer->norm_bias.n == n);
    GMV_CHECK(out.rows == pre.rows && out.cols == n && stats.rows == pre.rows && stats.cols == 2);
    const float *GMV_RESTRICT bias = layer->bias.at;
    const float *GMV_RESTRICT weight = layer->norm_weight.at;
    const float *GMV_RESTRICT shift = layer->norm_bias.at;
#pragma omp parallel for schedule(static)
    for (int r = 0; r < pre.rows; r++) {
        const float *GMV_RESTRICT x = pre.at + (size_t)r * (size_t)pre.ld;
        float *GMV_RESTRICT y = out.at + (size_t)r * (size_t)out.ld;
        float sum = 0.0f, square = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int j = 0; j < n; j++) {
            float slope;
            y[j] = gmv_geluf(x[j] + bias[j], &slope);
            sum += y[j];
        }
        float mean = n > 0 ? sum / (float)n : 0.0f;
#pragma omp simd reduction(+ : square)
        for (int j = 0; j < n; j++) {
            square += (y[j] - mean) * (y[j] - mean);
        }
        float inverse_sd = 1.0f / sqrtf((n > 0 ? square / (float)n : 0.0f) + norm_epsilon);
#pragma omp simd
        for (int j = 0; j < n; j++) {
            y[j] = (y[j] - mean) * inverse_sd * weight[j] + shift[j];
        }
        stats.at[(size_t)r * (size_t)stats.ld] = mean;
        stats.at[(size_t)r * (size_t)stats.ld + 1] = inverse_sd;
        if (rate > 0.0f) {
            apply_dropout(y, n, rate, noise, r);
        }
    }
    return GMV_OK;
}

/* One row: d (in: gradient of the row's output after dropout's mask; out: gradient of pre). Adds to the
 * column sums of this piece. `xhat`, `slope`: scratch of n floats. */
static void backward_row(const float *GMV_RESTRICT x, const gmv_layer *layer, float mean, float inverse_sd, int n,
                         float *GMV_RESTRICT d, float *GMV_RESTRICT sums, float *GMV_RESTRICT xhat,
                         float *GMV_RESTRICT slope)
{
    const float *GMV_RESTRICT bias = layer->bias.at;
    const float *GMV_RESTRICT weight = layer->norm_weight.at;
    float *GMV_RESTRICT d_bias = sums, *GMV_RESTRICT d_weight = sums + n, *GMV_RESTRICT d_shift = sums + 2 * n;
    float sum = 0.0f, dot = 0.0f;
#pragma omp simd reduction(+ : sum, dot)
    for (int j = 0; j < n; j++) {
        float s;
        float h = (gmv_geluf(x[j] + bias[j], &s) - mean) * inverse_sd;
        d_weight[j] += d[j] * h;
        d_shift[j] += d[j];
        float dh = d[j] * weight[j];
        sum += dh;
        dot += dh * h;
        xhat[j] = h;
        slope[j] = s;
        d[j] = dh;
    }
    sum /= (float)n;
    dot /= (float)n;
#pragma omp simd
    for (int j = 0; j < n; j++) {
        d[j] = inverse_sd * (d[j] - sum - xhat[j] * dot) * slope[j];
        d_bias[j] += d[j];
    }
}

gmv_status GMV_CPU(layer_backward)(gmv_backend *b, gmv_mat pre, const gmv_layer *layer, float rate,
                                   const gmv_noise *noise, gmv_mat stats, gmv_mat d_out, gmv_mat d_pre,
                                   const gmv_layer *d_layer)
{
    int n = pre.cols, pieces = gmv_cpu_pieces(pre.rows, GMV_CPU_ROWS);
    GMV_CHECK(d_out.rows == pre.rows && d_out.cols == n && d_pre.rows == pre.rows && d_pre.cols == n);
    float *partial; /* [pieces, 3 n] column sums, then 2 n of row scratch for each piece */
    GMV_TRY(GMV_CPU(scratch)(b, (int64_t)pieces * 5 * n * (int64_t)sizeof(float), (void **)&partial));
    float *rows = partial + (size_t)pieces * 3 * (size_t)n;
#pragma omp parallel for schedule(static)
    for (int p = 0; p < pieces; p++) {
        int first = p * GMV_CPU_ROWS, end = first + GMV_CPU_ROWS < pre.rows ? first + GMV_CPU_ROWS : pre.rows;
        float *sums = partial + (size_t)p * 3 * (size_t)n;
        float *xhat = rows + (size_t)p * 2 * (size_t)n;
        gmv_cpu_zero(sums, 3 * (size_t)n);
        for (int r = first; r < end; r++) {
            float *d = d_pre.at + (size_t)r * (size_t)d_pre.ld;
            const float *from = d_out.at + (size_t)r * (size_t)d_out.ld;
            if (d != from) {
                gmv_cpu_copy(d, from, (size_t)n);
            }
            if (rate > 0.0f) {
                apply_dropout(d, n, rate, noise, r);
            }
            const float *stat = stats.at + (size_t)r * (size_t)stats.ld;
            backward_row(pre.at + (size_t)r * (size_t)pre.ld, layer, stat[0], stat[1], n, d, sums, xhat, xhat + n);
        }
    }
    for (int p = 0; p < pieces; p++) {
        const float *sums = partial + (size_t)p * 3 * (size_t)n;
        GMV_CPU(add_partials)(sums, 1, n, d_layer->bias.at);
        GMV_CPU(add_partials)(sums + n, 1, n, d_layer->norm_weight.at);
        GMV_CPU(add_partials)(sums + 2 * n, 1, n, d_layer->norm_bias.at);
    }
    return GMV_OK;
}
