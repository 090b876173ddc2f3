/* Sums over flat buffers, Adam, and the fixed-point sums of `reduction: exact`. */
#include "cpu.h"

#include "gmvae/mem.h"

#include <math.h>

enum { piece = 1 << 16 };

gmv_status GMV_CPU(sum_columns)(gmv_backend *b, gmv_mat x, double *host_sums)
{
    (void)b;
    for (int c = 0; c < x.cols; c++) {
        host_sums[c] = 0.0;
    }
    for (int r = 0; r < x.rows; r++) {
        for (int c = 0; c < x.cols; c++) {
            host_sums[c] += (double)x.at[(size_t)r * (size_t)x.ld + (size_t)c];
        }
    }
    return GMV_OK;
}

gmv_status GMV_CPU(add_column_sums)(gmv_backend *b, gmv_mat x, float scale, gmv_vec out)
{
    (void)b;
    GMV_CHECK(out.n >= x.cols);
    for (int c = 0; c < x.cols; c++) {
        double sum = 0.0;
        for (int r = 0; r < x.rows; r++) {
            sum += (double)x.at[(size_t)r * (size_t)x.ld + (size_t)c];
        }
        out.at[c] += (float)(sum * (double)scale);
    }
    return GMV_OK;
}

gmv_status GMV_CPU(sum_squares)(gmv_backend *b, gmv_vec x, double *host_sum)
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
    *host_sum = total;
    return GMV_OK;
}

gmv_status GMV_CPU(adam)(gmv_backend *b, const gmv_adam_args *args)
{
    (void)b;
    float correct1 = (float)(1.0 - pow((double)args->beta1, (double)args->step));
    float correct2 = (float)sqrt(1.0 - pow((double)args->beta2, (double)args->step));
    float rate = args->lr / correct1, inverse2 = 1.0f / correct2;
    float beta1 = args->beta1, beta2 = args->beta2, epsilon = args->epsilon, scale = args->grad_scale;
    float *GMV_RESTRICT value = args->value.at, *GMV_RESTRICT m = args->m.at, *GMV_RESTRICT v = args->v.at;
    const float *GMV_RESTRICT grad = args->grad.at;
    int64_t n = args->value.n;
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++) {
        float g = grad[i] * scale;
        m[i] = beta1 * m[i] + (1.0f - beta1) * g;
        v[i] = beta2 * v[i] + (1.0f - beta2) * g * g;
        value[i] -= rate * m[i] / (sqrtf(v[i]) * inverse2 + epsilon);
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

gmv_status GMV_CPU(fixed_value)(gmv_backend *b, const int64_t *total, gmv_vec x)
{
    (void)b;
    double scale = 1.0 / (double)((int64_t)1 << GMV_FIXED_BITS);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < x.n; i++) {
        x.at[i] = (float)((double)total[i] * scale);
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
