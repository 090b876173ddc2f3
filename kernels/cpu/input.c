/* First layer on sparse input: neither direction touches a zero of the counts. */
#include "cpu.h"

/* Genes per block: their weight rows (block * H floats) stay in the second-level cache while the rows of a
 * piece pass over them. */
enum { gene_block = 192 };

/* sum[0..n) += sum over k < count of value[k] * row(index[k]); four rows at a time halve the traffic on sum. */
static void add_rows(float *GMV_RESTRICT sum, int n, const float *value, const int32_t *index, int count,
                     const float *rows, int ld)
{
    int k = 0;
    for (; k + 4 <= count; k += 4) {
        const float *GMV_RESTRICT r0 = rows + (size_t)index[k] * (size_t)ld;
        const float *GMV_RESTRICT r1 = rows + (size_t)index[k + 1] * (size_t)ld;
        const float *GMV_RESTRICT r2 = rows + (size_t)index[k + 2] * (size_t)ld;
        const float *GMV_RESTRICT r3 = rows + (size_t)index[k + 3] * (size_t)ld;
        float v0 = value[k], v1 = value[k + 1], v2 = value[k + 2], v3 = value[k + 3];
#pragma omp simd
        for (int j = 0; j < n; j++) {
            sum[j] += (v0 * r0[j] + v1 * r1[j]) + (v2 * r2[j] + v3 * r3[j]);
        }
    }
    for (; k < count; k++) {
        const float *GMV_RESTRICT r0 = rows + (size_t)index[k] * (size_t)ld;
        float v0 = value[k];
#pragma omp simd
        for (int j = 0; j < n; j++) {
            sum[j] += v0 * r0[j];
        }
    }
}

static float zero_value(gmv_input input)
{
    return input.kind == GMV_INPUT_STANDARDIZE ? -input.mean / input.std : 0.0f;
}

/* total[n] = scale * column sums of x, in pieces of fixed size. */
static gmv_status column_sums(gmv_backend *b, gmv_mat x, float scale, float **total)
{
    int n = x.cols, piece = 1024, pieces = gmv_cpu_pieces(x.rows, piece);
    float *partial;
    GMV_TRY(GMV_CPU(scratch)(b, (int64_t)(pieces + 1) * n * (int64_t)sizeof(float), (void **)&partial));
    gmv_cpu_zero(partial, (size_t)(pieces + 1) * (size_t)n);
#pragma omp parallel for schedule(static)
    for (int p = 0; p < pieces; p++) {
        float *sum = partial + (size_t)(p + 1) * (size_t)n;
        int end = (p + 1) * piece < x.rows ? (p + 1) * piece : x.rows;
        for (int r = p * piece; r < end; r++) {
            const float *row = x.at + (size_t)r * (size_t)x.ld;
            for (int j = 0; j < n; j++) {
                sum[j] += row[j];
            }
        }
    }
    GMV_CPU(add_partials)(partial + n, pieces, n, partial);
    for (int j = 0; j < n; j++) {
        partial[j] *= scale;
    }
    *total = partial;
    return GMV_OK;
}

gmv_status GMV_CPU(input_forward)(gmv_backend *b, const gmv_batch *batch, gmv_input input, gmv_mat weight, gmv_mat out)
{
    GMV_CHECK(weight.rows == batch->genes && out.rows == batch->cells && out.cols == weight.cols);
    float *constant = NULL;
    if (zero_value(input) != 0.0f) {
        GMV_TRY(column_sums(b, weight, zero_value(input), &constant));
    }
    int n = out.cols, pieces = gmv_cpu_pieces(batch->cells, GMV_CPU_ROWS);
#pragma omp parallel for schedule(dynamic, 1)
    for (int p = 0; p < pieces; p++) {
        int first = p * GMV_CPU_ROWS;
        int rows = batch->cells - first < GMV_CPU_ROWS ? batch->cells - first : GMV_CPU_ROWS;
        int32_t next[GMV_CPU_ROWS];
        for (int i = 0; i < rows; i++) {
            float *row = out.at + (size_t)(first + i) * (size_t)out.ld;
            next[i] = batch->indptr[first + i];
            if (constant != NULL) {
                gmv_cpu_copy(row, constant, (size_t)n);
            } else {
                gmv_cpu_zero(row, (size_t)n);
            }
        }
        for (int g = 0; g < batch->genes; g += gene_block) {
            for (int i = 0; i < rows; i++) {
                int32_t from = next[i], at = from, end = batch->indptr[first + i + 1];
                while (at < end && batch->gene[at] < g + gene_block) {
                    at++;
                }
                add_rows(out.at + (size_t)(first + i) * (size_t)out.ld, n, batch->x + from, batch->gene + from,
                         at - from, weight.at, weight.ld);
                next[i] = at;
            }
        }
    }
    return GMV_OK;
}

gmv_status GMV_CPU(input_backward)(gmv_backend *b, const gmv_batch *batch, gmv_input input, gmv_mat d_out,
                                   gmv_mat d_weight)
{
    GMV_CHECK(d_weight.rows == batch->genes && d_out.rows == batch->cells && d_out.cols == d_weight.cols);
    float *constant = NULL;
    if (zero_value(input) != 0.0f) {
        GMV_TRY(column_sums(b, d_out, zero_value(input), &constant));
    }
    int n = d_out.cols;
#pragma omp parallel for schedule(dynamic, 64)
    for (int g = 0; g < batch->genes; g++) {
        float *row = d_weight.at + (size_t)g * (size_t)d_weight.ld;
        int32_t from = batch->colptr[g];
        add_rows(row, n, batch->col_x + from, batch->cell + from, batch->colptr[g + 1] - from, d_out.at, d_out.ld);
        for (int j = 0; constant != NULL && j < n; j++) {
            row[j] += constant[j];
        }
    }
    return GMV_OK;
}

gmv_status GMV_CPU(onehot_forward)(gmv_backend *b, const gmv_batch *batch, int draws, gmv_mat weight, gmv_mat out)
{
    (void)b;
    GMV_CHECK(out.rows == batch->cells * draws && out.cols == weight.cols);
#pragma omp parallel for schedule(static)
    for (int r = 0; r < out.rows; r++) {
        float *row = out.at + (size_t)r * (size_t)out.ld;
        for (int c = 0; c < batch->covariates; c++) {
            int32_t level = batch->level[(r / draws) * batch->covariates + c];
            const float *add = weight.at + (size_t)level * (size_t)weight.ld;
            for (int j = 0; j < out.cols; j++) {
                row[j] += add[j];
            }
        }
    }
    return GMV_OK;
}

gmv_status GMV_CPU(onehot_backward)(gmv_backend *b, const gmv_batch *batch, int draws, gmv_mat d_out, gmv_mat d_weight)
{
    (void)b;
    GMV_CHECK(d_out.rows == batch->cells * draws && d_out.cols == d_weight.cols);
    enum { columns = 32 }; /* each piece of columns adds the rows in their order */
    int pieces = gmv_cpu_pieces(d_out.cols, columns);
#pragma omp parallel for schedule(static)
    for (int p = 0; p < pieces; p++) {
        int first = p * columns, end = first + columns < d_out.cols ? first + columns : d_out.cols;
        for (int r = 0; r < d_out.rows; r++) {
            const float *from = d_out.at + (size_t)r * (size_t)d_out.ld;
            for (int c = 0; c < batch->covariates; c++) {
                int32_t level = batch->level[(r / draws) * batch->covariates + c];
                float *to = d_weight.at + (size_t)level * (size_t)d_weight.ld;
                for (int j = first; j < end; j++) {
                    to[j] += from[j];
                }
            }
        }
    }
    return GMV_OK;
}
