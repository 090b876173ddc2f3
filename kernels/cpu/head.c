/* Decoder heads and likelihood over tiles of genes, value and gradient together; logits live in a tile only.
 *
 * Rows are taken in blocks; genes in tiles of fixed width, and tiles in a fixed number of groups. A group is
 * worked through by one thread in order and has its own partial sums, added in group order at the end:
 * the bits do not depend on the number of threads.
 *
 * A likelihood with softmax needs three passes over the tiles: the normaliser of every row; the value and
 * E = sum of the gradient in log mean (because d log mean_g / d logit_h = [g = h] - softmax_h); the gradient.
 * Others need the last only. Recomputing the logits is cheaper than keeping [rows, genes] of them. */
#include "head_tile.h"

#include <math.h>
#include <omp.h>

static head_tile tile_of(const head_work *work, int t)
{
    head_tile tile;
    tile.first = t * tile_genes;
    int left = work->args->weight[0].rows - tile.first;
    tile.genes = left < tile_genes ? left : tile_genes;
    float *at = work->tile + (size_t)omp_get_thread_num() * (size_t)work->tile_floats;
    size_t one = (size_t)block_rows * tile_genes;
    for (int h = 0; h < GMV_MAX_HEADS; h++) {
        tile.value[h] = at + (size_t)h * one;
        tile.grad[h] = at + (size_t)(work->heads + h) * one;
    }
    tile.d_gene = at + (size_t)(2 * work->heads) * one;
    return tile;
}

/* value = hidden weight^T + bias, for every head. */
static void logits(const head_work *work, const head_tile *tile, int heads)
{
    const gmv_head_args *args = work->args;
    for (int h = 0; h < heads; h++) {
        const float *bias = args->bias[h].at + tile->first;
        for (int r = 0; r < work->rows; r++) {
            gmv_cpu_copy(tile->value[h] + (size_t)r * (size_t)tile->genes, bias, (size_t)tile->genes);
        }
        GMV_CPU(sgemm)(GMV_N, GMV_T, work->rows, tile->genes, work->hidden.cols, 1.0f, work->hidden.at,
                       work->hidden.ld, args->weight[h].at + (size_t)tile->first * (size_t)args->weight[h].ld,
                       args->weight[h].ld, 1.0f, tile->value[h], tile->genes);
    }
}

/* First pass: running maximum and sum of exponentials of head 0, for the rows of a group. */
static void normaliser_tile(const head_work *work, const head_tile *tile, float *top, float *sum)
{
    for (int r = 0; r < work->rows; r++) {
        const float *value = tile->value[0] + (size_t)r * (size_t)tile->genes;
        float highest = top[r], total = 0.0f;
#pragma omp simd reduction(max : highest)
        for (int t = 0; t < tile->genes; t++) {
            highest = value[t] > highest ? value[t] : highest;
        }
#pragma omp simd reduction(+ : total)
        for (int t = 0; t < tile->genes; t++) {
            total += gmv_expf(value[t] - highest);
        }
        sum[r] = sum[r] * gmv_expf(top[r] - highest) + total;
        top[r] = highest;
    }
}

/* Second pass: E of every row. */
static void sum_gradient_tile(const head_work *work, const head_tile *tile, double *e)
{
    for (int r = 0; r < work->rows; r++) {
        const float *g = tile->grad[0] + (size_t)r * (size_t)tile->genes;
        float total = 0.0f;
#pragma omp simd reduction(+ : total)
        for (int t = 0; t < tile->genes; t++) {
            total += g[t];
        }
        e[r] += (double)total;
    }
}

/* Last pass: gradient of the loss in the logits, then in weights, biases and hidden rows. */
static void gradient_tile(const head_work *work, const head_tile *tile, float *d_hidden)
{
    const gmv_head_args *args = work->args;
    float factor = -*args->scale / (float)args->draws;
    int genes = tile->genes, width = work->hidden.cols;
    for (int h = 0; h < work->heads; h++) {
        float *GMV_RESTRICT d_bias = args->d_bias[h].at + tile->first;
        for (int r = 0; r < work->rows; r++) {
            float *GMV_RESTRICT g = tile->grad[h] + (size_t)r * (size_t)genes;
            const float *GMV_RESTRICT value = tile->value[h] + (size_t)r * (size_t)genes;
            bool chain = h == 0 && work->normalised;
            float norm = chain ? work->log_norm[r] : 0.0f, e = chain ? work->total_e[r] : 0.0f;
#pragma omp simd
            for (int t = 0; t < genes; t++) {
                float chained = chain ? g[t] - e * gmv_expf(value[t] - norm) : g[t];
                g[t] = factor * chained;
                d_bias[t] += g[t];
            }
        }
        const float *weight = args->weight[h].at + (size_t)tile->first * (size_t)args->weight[h].ld;
        float *d_weight = args->d_weight[h].at + (size_t)tile->first * (size_t)args->d_weight[h].ld;
        GMV_CPU(sgemm)(GMV_N, GMV_N, work->rows, width, genes, 1.0f, tile->grad[h], genes, weight, args->weight[h].ld,
                       1.0f, d_hidden, width);
        GMV_CPU(sgemm)(GMV_T, GMV_N, genes, width, work->rows, 1.0f, tile->grad[h], genes, work->hidden.at,
                       work->hidden.ld, 1.0f, d_weight, args->d_weight[h].ld);
    }
    for (int t = 0; work->predictors > work->heads && t < genes; t++) {
        args->d_gene_param.at[tile->first + t] += factor * tile->d_gene[t];
    }
}

typedef enum head_pass { pass_normaliser, pass_value, pass_gradient } head_pass;

/* One pass of one group over its tiles. */
static void run_group(const head_work *work, head_pass pass, int group)
{
    size_t at = (size_t)group * (size_t)work->rows;
    int end = (int)((int64_t)work->tiles * (group + 1) / work->groups);
    double *ll = work->ll + at, *e = work->e + at;
    float *d_hidden = NULL;
    if (pass == pass_gradient) {
        d_hidden = work->d_hidden + at * (size_t)work->hidden.cols;
        gmv_cpu_zero(d_hidden, (size_t)work->rows * (size_t)work->hidden.cols);
    }
    for (int r = 0; r < work->rows; r++) {
        if (pass == pass_normaliser) {
            work->top[at + (size_t)r] = -1e30f;
            work->sum[at + (size_t)r] = 0.0f;
        } else if (pass == pass_value || !work->normalised) { /* the value pass already has log p */
            ll[r] = 0.0;
            e[r] = 0.0;
        }
    }
    for (int t = (int)((int64_t)work->tiles * group / work->groups); t < end; t++) {
        head_tile tile = tile_of(work, t);
        logits(work, &tile, pass == pass_normaliser ? 1 : work->heads);
        if (pass == pass_normaliser) {
            normaliser_tile(work, &tile, work->top + at, work->sum + at);
            continue;
        }
        if (pass == pass_value) {
            likelihood_tile(work, work->gradients ? want_value | want_first_gradient : want_value, &tile, ll);
        } else {
            likelihood_tile(work, work->normalised ? want_gradient : want_value | want_gradient, &tile, ll);
        }
        if (pass == pass_value && work->gradients) {
            sum_gradient_tile(work, &tile, e);
        } else if (pass == pass_gradient) {
            gradient_tile(work, &tile, d_hidden);
        }
    }
}

static void run_pass(const head_work *work, head_pass pass)
{
#pragma omp parallel for schedule(dynamic, 1)
    for (int group = 0; group < work->groups; group++) {
        run_group(work, pass, group);
    }
}

/* log library - log normaliser of every row, from the groups' partial sums. */
static void finish_normaliser(const head_work *work)
{
    for (int r = 0; r < work->rows; r++) {
        float top = -1e30f;
        double sum = 0.0;
        for (int group = 0; group < work->groups; group++) {
            float mine = work->top[(size_t)group * (size_t)work->rows + (size_t)r];
            top = mine > top ? mine : top;
        }
        for (int group = 0; group < work->groups; group++) {
            size_t at = (size_t)group * (size_t)work->rows + (size_t)r;
            sum += (double)work->sum[at] * exp((double)(work->top[at] - top));
        }
        double norm = (double)top + log(sum);
        float library = work->args->batch->library[work->first_cell + r / work->args->draws];
        work->log_norm[r] = (float)norm;
        /* a cell without counts has mean 0 everywhere and no loss */
        work->shift[r] = library > 0.0f ? (float)(log((double)library) - norm) : -1e4f;
    }
}

static void finish_value(const head_work *work)
{
    for (int r = 0; r < work->rows; r++) {
        double e = 0.0;
        for (int group = 0; group < work->groups; group++) {
            e += work->e[(size_t)group * (size_t)work->rows + (size_t)r];
        }
        work->total_e[r] = (float)e;
    }
}

/* Adds the groups' parts of d_hidden, and writes the reconstruction term of the block's cells. */
static void finish_block(const head_work *work)
{
    const gmv_head_args *args = work->args;
    int width = work->hidden.cols, draws = args->draws;
#pragma omp parallel for schedule(static)
    for (int r = 0; r < work->rows; r++) {
        if (!work->gradients) {
            continue;
        }
        float *to = args->d_hidden.at +
                    ((size_t)work->first_cell * (size_t)draws + (size_t)r) * (size_t)args->d_hidden.ld;
        gmv_cpu_zero(to, (size_t)width);
        for (int group = 0; group < work->groups; group++) {
            const float *from = work->d_hidden + ((size_t)group * (size_t)work->rows + (size_t)r) * (size_t)width;
            for (int j = 0; j < width; j++) {
                to[j] += from[j];
            }
        }
    }
    for (int i = 0; i < work->rows / draws; i++) {
        double sum = 0.0;
        for (int m = 0; m < draws; m++) {
            for (int group = 0; group < work->groups; group++) {
                sum += work->ll[(size_t)group * (size_t)work->rows + (size_t)(i * draws + m)];
            }
        }
        args->terms.at[(size_t)(work->first_cell + i) * (size_t)args->terms.ld + GMV_TERM_RECONSTRUCTION] =
            (float)(-sum / draws);
    }
}

/* A cursor through scratch memory in whole cache lines. */
static void *take(char *base, int64_t *used, int64_t bytes)
{
    void *at = base == NULL ? NULL : base + *used;
    *used += (bytes + 63) / 64 * 64;
    return at;
}

/* Lays the block's arrays out at `base` (NULL: only counts) and returns the bytes they take. */
static int64_t arrange(head_work *work, int64_t rows, char *base)
{
    int64_t n = (int64_t)work->groups * rows, used = 0, one = (int64_t)sizeof(float);
    work->tile_floats = ((int64_t)2 * work->heads * block_rows * tile_genes + tile_genes + 15) / 16 * 16;
    work->ll = take(base, &used, n * (int64_t)sizeof(double));
    work->e = take(base, &used, n * (int64_t)sizeof(double));
    work->top = take(base, &used, n * one);
    work->sum = take(base, &used, n * one);
    work->shift = take(base, &used, rows * one);
    work->log_norm = take(base, &used, rows * one);
    work->total_e = take(base, &used, rows * one);
    work->d_hidden = take(base, &used, work->gradients ? n * work->hidden.cols * one : 0);
    work->tile = take(base, &used, omp_get_max_threads() * work->tile_floats * one);
    return used;
}

gmv_status GMV_CPU(head_likelihood)(gmv_backend *b, const gmv_head_args *args)
{
    gmv_likelihood_info info = gmv_likelihood_of(args->likelihood);
    const gmv_batch *batch = args->batch;
    int draws = args->draws, cells_of_block = block_rows / draws;
    GMV_CHECK(args->hidden.rows == batch->cells * draws && args->weight[0].rows == batch->genes);
    GMV_CHECK(args->weight[0].cols == args->hidden.cols && args->terms.rows == batch->cells);
    GMV_CHECK(draws <= block_rows);
    head_work work = {.args = args, .heads = info.heads, .predictors = info.heads + (info.gene_param ? 1 : 0)};
    work.normalised = info.softmax && args->observed_library;
    work.gradients = args->d_hidden.at != NULL;
    work.tiles = gmv_cpu_pieces(batch->genes, tile_genes);
    work.groups = work.tiles < max_groups ? work.tiles : max_groups;
    work.hidden = args->hidden;
    int most = (batch->cells < cells_of_block ? batch->cells : cells_of_block) * draws;
    void *scratch;
    GMV_TRY(GMV_CPU(scratch)(b, arrange(&work, most, NULL), &scratch));
    arrange(&work, most, scratch);
    for (int first = 0; first < batch->cells; first += cells_of_block) {
        int cells = batch->cells - first < cells_of_block ? batch->cells - first : cells_of_block;
        work.first_cell = first;
        work.rows = cells * draws;
        work.hidden = gmv_mat_rows(args->hidden, first * draws, work.rows);
        if (work.normalised) {
            run_pass(&work, pass_normaliser);
            finish_normaliser(&work);
            run_pass(&work, pass_value);
            finish_value(&work);
        } else {
            gmv_cpu_zero(work.shift, (size_t)work.rows);
        }
        if (work.gradients) {
            run_pass(&work, pass_gradient);
        } else if (!work.normalised) {
            run_pass(&work, pass_value);
        }
        finish_block(&work);
    }
    return GMV_OK;
}
