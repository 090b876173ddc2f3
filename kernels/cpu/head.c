/* Decoder heads and likelihood over tiles of genes, value and gradient together; logits live in a tile only.
 *
 * Rows are taken in blocks; genes in tiles of fixed width, and tiles in a fixed number of groups. A group is
 * worked through by one thread in order and has its own partial sums, added in group order at the end:
 * the bits do not depend on the number of threads.
 *
 * A likelihood with softmax needs three passes over the tiles of a block: logits and the normaliser of every row;
 * the likelihood and E = sum of the gradient in log mean (because d log mean_g / d logit_h = [g = h] - softmax_h);
 * the gradient. Logits and gradients of the block are kept between them: reading them back from memory costs a
 * fraction of their product. Others need one pass, in which they live in a tile only. */
#include "head_tile.h"

#include <math.h>
#include <omp.h>

static head_tile tile_of(const head_work *work, int t)
{
    head_tile tile;
    tile.first = t * tile_genes;
    int genes = work->args->weight[0].rows, left = genes - tile.first;
    tile.genes = left < tile_genes ? left : tile_genes;
    float *at = work->tile + (size_t)omp_get_thread_num() * (size_t)work->tile_floats;
    tile.d_gene = at;
    size_t one = (size_t)work->rows * (size_t)(work->normalised ? genes : tile_genes);
    at = work->normalised ? work->kept + (size_t)work->rows * (size_t)tile.first : at + tile_genes;
    for (int h = 0; h < work->heads; h++) {
        tile.value[h] = at + (size_t)h * one;
        tile.grad[h] = at + (size_t)(work->heads + h) * one;
    }
    return tile;
}

/* value = hidden weight^T + bias, for heads [first, end). */
static void logits(const head_work *work, const head_tile *tile, int first, int end)
{
    const gmv_head_args *args = work->args;
    for (int h = first; h < end; h++) {
        const float *bias = args->bias[h].at + tile->first;
        for (int r = 0; r < work->rows; r++) {
            gmv_cpu_copy(tile->value[h] + (size_t)r * (size_t)tile->genes, bias, (size_t)tile->genes);
        }
        GMV_CPU(sgemm)
        (GMV_N, GMV_T, work->rows, tile->genes, work->hidden.cols, 1.0f, work->hidden.at, work->hidden.ld,
         args->weight[h].at + (size_t)tile->first * (size_t)args->weight[h].ld, args->weight[h].ld, 1.0f,
         tile->value[h], tile->genes);
    }
}

/* Takes genes that a row lacks out of its softmax: the exponential of their logit is 0. */
static void mask_logits(const head_work *work, const head_tile *tile)
{
    for (int r = 0; r < work->rows; r++) {
        const uint8_t *present = present_in_tile(work, tile, r);
        float *value = tile->value[0] + (size_t)r * (size_t)tile->genes;
        for (int t = 0; present != NULL && t < tile->genes; t++) {
            value[t] = present[t] != 0 ? value[t] : -1e30f;
        }
    }
}

/* Running maximum and sum of exponentials of head 0, for the rows of a group. */
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

/* E of every row, for the rows of a group. */
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

/* Gradient of the loss in the logits, then in weights, biases and hidden rows. */
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
        GMV_CPU(sgemm)
        (GMV_N, GMV_N, work->rows, width, genes, 1.0f, tile->grad[h], genes, weight, args->weight[h].ld, 1.0f, d_hidden,
         width);
        GMV_CPU(sgemm)
        (GMV_T, GMV_N, genes, width, work->rows, 1.0f, tile->grad[h], genes, work->hidden.at, work->hidden.ld, 1.0f,
         d_weight, args->d_weight[h].ld);
    }
}

static void add_gene_gradient(const head_work *work, const head_tile *tile)
{
    float factor = -*work->args->scale / (float)work->args->draws;
    float *to = work->args->d_gene_param.at + tile->first;
    for (int t = 0; t < tile->genes; t++) {
        to[t] += factor * tile->d_gene[t];
    }
}

typedef enum head_pass { pass_normaliser, pass_likelihood, pass_gradient } head_pass;

/* Likelihood of one tile; without softmax, what follows from it too. */
static void work_on_tile(const head_work *work, const head_tile *tile, double *ll, double *e, float *d_hidden)
{
    logits(work, tile, work->normalised ? 1 : 0, work->heads);
    likelihood_tile(work, tile, ll);
    if (!work->gradients) {
        return;
    }
    if (work->gene_param) {
        add_gene_gradient(work, tile);
    }
    if (work->normalised) {
        sum_gradient_tile(work, tile, e);
    } else {
        gradient_tile(work, tile, d_hidden);
    }
}

/* One pass of one group over its tiles. */
static void run_group(const head_work *work, head_pass pass, int group)
{
    size_t at = (size_t)group * (size_t)work->rows;
    int end = (int)((int64_t)work->tiles * (group + 1) / work->groups);
    float *d_hidden = work->gradients ? work->d_hidden + at * (size_t)work->hidden.cols : NULL;
    if (work->gradients && pass == (work->normalised ? pass_gradient : pass_likelihood)) {
        gmv_cpu_zero(d_hidden, (size_t)work->rows * (size_t)work->hidden.cols);
    }
    for (int r = 0; r < work->rows; r++) {
        if (pass == pass_normaliser) {
            work->top[at + (size_t)r] = -1e30f;
            work->sum[at + (size_t)r] = 0.0f;
        } else if (pass == pass_likelihood) {
            work->ll[at + (size_t)r] = 0.0;
            work->e[at + (size_t)r] = 0.0;
        }
    }
    for (int t = (int)((int64_t)work->tiles * group / work->groups); t < end; t++) {
        head_tile tile = tile_of(work, t);
        if (pass == pass_normaliser) {
            logits(work, &tile, 0, 1);
            mask_logits(work, &tile);
            normaliser_tile(work, &tile, work->top + at, work->sum + at);
        } else if (pass == pass_likelihood) {
            work_on_tile(work, &tile, work->ll + at, work->e + at, d_hidden);
        } else {
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

static void finish_likelihood(const head_work *work)
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
        float *to =
            args->d_hidden.at + ((size_t)work->first_cell * (size_t)draws + (size_t)r) * (size_t)args->d_hidden.ld;
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
        args->terms.at[(size_t)(work->first_cell + i) * (size_t)args->terms.ld] = (float)(-sum / draws);
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
    int64_t planes = rows * work->heads * (work->gradients ? 2 : 1);
    work->tile_floats = tile_genes + (work->normalised ? 0 : planes * tile_genes);
    work->ll = take(base, &used, n * (int64_t)sizeof(double));
    work->e = take(base, &used, n * (int64_t)sizeof(double));
    work->top = take(base, &used, n * one);
    work->sum = take(base, &used, n * one);
    work->shift = take(base, &used, rows * one);
    work->log_norm = take(base, &used, rows * one);
    work->total_e = take(base, &used, rows * one);
    work->d_hidden = take(base, &used, work->gradients ? n * work->hidden.cols * one : 0);
    work->tile = take(base, &used, omp_get_max_threads() * work->tile_floats * one);
    work->kept = take(base, &used, work->normalised ? planes * work->args->weight[0].rows * one : 0);
    return used;
}

/* The rows that fill the batch up. */
static void clear_rows_behind(const gmv_head_args *args, int cells)
{
    for (int i = cells; i < args->terms.rows; i++) {
        args->terms.at[(size_t)i * (size_t)args->terms.ld] = 0.0f;
    }
    for (int r = cells * args->draws; args->d_hidden.at != NULL && r < args->d_hidden.rows; r++) {
        gmv_cpu_zero(args->d_hidden.at + (size_t)r * (size_t)args->d_hidden.ld, (size_t)args->d_hidden.cols);
    }
}

gmv_status GMV_CPU(head_likelihood)(gmv_backend *b, const gmv_head_args *args)
{
    gmv_likelihood_info info = gmv_likelihood_of(args->likelihood);
    const gmv_batch *batch = args->batch;
    int draws = args->draws, cells_of_block = draws < block_rows ? block_rows / draws : 1;
    int all = gmv_cpu_filled(args->filled, batch->cells);
    GMV_CHECK(args->hidden.rows == batch->cells * draws && args->weight[0].rows == batch->genes);
    GMV_CHECK(args->weight[0].cols == args->hidden.cols && args->terms.rows == batch->cells);
    head_work work = {.args = args, .heads = info.heads, .gene_param = info.gene_param};
    work.normalised = info.softmax && args->observed_library;
    work.gradients = args->d_hidden.at != NULL;
    work.tiles = gmv_cpu_pieces(batch->genes, tile_genes);
    work.groups = work.tiles < max_groups ? work.tiles : max_groups;
    work.hidden = args->hidden;
    int most = (all < cells_of_block ? all : cells_of_block) * draws;
    void *scratch;
    GMV_TRY(GMV_CPU(scratch)(b, arrange(&work, most, NULL), &scratch));
    arrange(&work, most, scratch);
    clear_rows_behind(args, all);
    for (int first = 0; first < all; first += cells_of_block) {
        int cells = all - first < cells_of_block ? all - first : cells_of_block;
        work.first_cell = first;
        work.rows = cells * draws;
        work.hidden = gmv_mat_rows(args->hidden, first * draws, work.rows);
        if (work.normalised) {
            run_pass(&work, pass_normaliser);
            finish_normaliser(&work);
        } else {
            gmv_cpu_zero(work.shift, (size_t)work.rows);
        }
        run_pass(&work, pass_likelihood);
        if (work.normalised && work.gradients) {
            finish_likelihood(&work);
            run_pass(&work, pass_gradient);
        }
        finish_block(&work);
    }
    return GMV_OK;
}
