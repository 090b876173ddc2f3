/* Sums over flat buffers, Adam, and the fixed-point sums of `reduction: exact`. */
#include "cpu.h"

#include "gmvae/math/optim.h"

#include <math.h>

enum { piece = 1 << 16 };

gmv_status GMV_CPU(add_column_sums)(gmv_backend *b, gmv_mat x, const float *scale, gmv_vec out)
{
    (void)b;
    GMV_CHECK(out.n >= x.cols);
    double factor = scale != NULL ? (double)*scale : 1.0;
    for (int c = 0; c < x.cols; c++) {
        double sum = 0.0;
        for (int r = 0; r < x.rows; r++) {
            sum += (double)x.at[(size_t)r * (size_t)x.ld + (size_t)c];
        }
        out.at[c] += (float)(sum * factor);
    }
    return GMV_OK;
}

gmv_status GMV_CPU(sum_squares)(gmv_backend *b, gmv_vec x, double *sum_out)
{
    int pieces = gmv_cpu_pieces(x.n, piece);
    double *partial;
    GMV_TRY(GMV_CPU(scratch)(b, (int64_t)pieces * (int64_t)sizeof(double), (void **)&partial));
#pragma omp parallel for schedule(static)
    for (int p = 0; p < pieces; p++) {
        int64_t end = (int64_t)(p + 1) * piece < x.n ? (int64_t)(p + 1) * piece : x.n;
        double sum = 0.0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = (int64_t)p * piece; i < end; i++) {
            sum += (double)x.at[i] * (double)x.at[i];
        }
        partial[p] = sum;
    }
    double total = 0.0;
    for (int p = 0; p < pieces; p++) {
        total += partial[p];
    }
    *sum_out = total;
    return GMV_OK;
}

gmv_status GMV_CPU(judge)(gmv_backend *b, gmv_vec extra, gmv_outcome *outcome)
{
    (void)b;
    GMV_CHECK(extra.n == GMV_GRAD_EXTRA);
    bool good = isfinite(outcome->squares);
    for (int i = 0; i < GMV_GRAD_EXTRA; i++) {
        outcome->extra[i] = extra.at[i];
        good = good && isfinite(extra.at[i]);
    }
    outcome->bad = good ? outcome->bad : 1;
    return GMV_OK;
}

gmv_status GMV_CPU(adam)(gmv_backend *b, const gmv_adam_args *args)
{
    (void)b;
    if (args->outcome->bad != 0) {
        return GMV_OK;
    }
    float rate = args->step->adam_rate, inverse_root = args->step->adam_inverse_root;
    float beta1 = args->beta1, beta2 = args->beta2, epsilon = args->epsilon;
    float scale = gmv_clip_scale(args->outcome->squares, args->clip_norm);
    float *GMV_RESTRICT value = args->value.at, *GMV_RESTRICT m = args->m.at, *GMV_RESTRICT v = args->v.at;
    const float *GMV_RESTRICT grad = args->grad.at;
    int64_t n = args->value.n;
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++) {
        float g = grad[i] * scale;
        m[i] = beta1 * m[i] + (1.0f - beta1) * g;
        v[i] = beta2 * v[i] + (1.0f - beta2) * g * g;
        value[i] -= rate * m[i] / (sqrtf(v[i]) * inverse_root + epsilon);
    }
    return GMV_OK;
}

gmv_status GMV_CPU(fixed_add)(gmv_backend *b, gmv_vec x, int64_t addends, int64_t *total, int64_t *overflow)
{
    (void)b;
    GMV_CHECK(addends > 0);
    double scale = (double)((int64_t)1 << GMV_FIXED_BITS), limit = ldexp(1.0, 62) / (double)addends;
    int64_t bad = 0;
#pragma omp parallel for schedule(static) reduction(| : bad)
    for (int64_t i = 0; i < x.n; i++) {
        double scaled = (double)x.at[i] * scale;
        if (!(fabs(scaled) < limit)) { /* also catches NaN */
            bad = 1;
        } else {
            total[i] += (int64_t)rint(scaled);
        }
    }
    *overflow |= bad;
    return GMV_OK;
}

gmv_status GMV_CPU(fixed_value)(gmv_backend *b, const int64_t *total, const int64_t *overflow, gmv_vec x)
{
    (void)b;
    bool good = *overflow == 0;
    double scale = 1.0 / (double)((int64_t)1 << GMV_FIXED_BITS);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < x.n; i++) {
        x.at[i] = good ? (float)((double)total[i] * scale) : NAN;
    }
    return GMV_OK;
}

gmv_status GMV_CPU(allreduce_f32)(gmv_backend *b, gmv_vec x)
{
    gmv_comm_sum_f32(b->comm, x.at, x.n);
    return GMV_OK;
}

gmv_status GMV_CPU(allreduce_i64)(gmv_backend *b, int64_t *x, int64_t n)
{
    gmv_comm_sum_i64(b->comm, x, n);
    return GMV_OK;
}

gmv_status GMV_CPU(allreduce_wait)(gmv_backend *b)
{
    (void)b; /* the sums above were complete when they returned */
    return GMV_OK;
}
