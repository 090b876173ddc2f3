/* Output layer of the beta network, the mixture's densities, the conditional prior and all gradients.
 *
 * Rows are taken in blocks that bound the memory; within a block every piece of whole cells computes its
 * raw component parameters by a matrix product, turns them into their own gradient in place, and multiplies
 * back; then the block's weight gradient is formed. Formulas: docs/math.md, "conditional prior". */
#include "cpu.h"

#include "gmvae/math/latent_gaussian.h"

#include <math.h>

enum { block_rows = 1024, piece_rows = 32 };

/* Per-row and per-component numbers of one cell's rows; K = components, M = draws. */
typedef struct cell_work {
    float *log_density; /* [M, K] log p_k(x), then its coefficient in the gradient */
    float *share;       /* [M, K] pi_k = p(z = k | x, w) */
    float *kl;          /* [M, K] KL(q || p_k), published objective only */
} cell_work;

static int64_t cell_work_floats(const gmv_mixture_args *args)
{
    return (int64_t)3 * args->draws * args->components;
}

/* Turns raw variances of one row into variances, and computes log p_k(x) (and KL_k) of every component. */
static void densities(const gmv_mixture_args *args, float *GMV_RESTRICT component, const float *GMV_RESTRICT x,
                      const float *GMV_RESTRICT posterior, float *GMV_RESTRICT log_density, float *GMV_RESTRICT kl)
{
    int dim = args->x.cols, components = args->components;
    for (int k = 0; k < components; k++) {
        const float *GMV_RESTRICT mean = component + (size_t)k * (size_t)dim;
        float *GMV_RESTRICT variance = component + ((size_t)components + (size_t)k) * (size_t)dim;
        float logs = 0.0f, squares = 0.0f;
#pragma omp simd reduction(+ : logs, squares)
        for (int d = 0; d < dim; d++) {
            float v = gmv_variance(variance[d]);
            variance[d] = v;
            logs += gmv_logf(v);
            squares += (x[d] - mean[d]) * (x[d] - mean[d]) / v;
        }
        log_density[k] = -0.5f * (logs + squares) - (float)dim * 0.918938533f;
        if (args->objective != GMV_OBJECTIVE_PUBLISHED) {
            continue;
        }
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int d = 0; d < dim; d++) {
            float vq = gmv_variance(posterior[dim + d]), difference = posterior[d] - mean[d];
            sum += (vq + difference * difference) / variance[d] - gmv_logf(vq);
        }
        kl[k] = 0.5f * (sum + logs - (float)dim);
    }
}

/* log q(x | y) of one row. */
static float posterior_density(const float *GMV_RESTRICT x, const float *GMV_RESTRICT posterior, int dim)
{
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int d = 0; d < dim; d++) {
        float v = gmv_variance(posterior[dim + d]), difference = x[d] - posterior[d];
        sum += gmv_logf(v) + difference * difference / v;
    }
    return -0.5f * sum - (float)dim * 0.918938533f;
}

/* share = softmax(log_density + log_weight); returns log of the mean density, logsumexp_k of these; without weights they
 * are 1 / K. */
static float responsibilities(const float *log_density, const float *log_weight, int components, float *share)
{
    float top = -INFINITY, sum = 0.0f;
    for (int k = 0; k < components; k++) {
        share[k] = log_weight != NULL ? log_density[k] + log_weight[k] : log_density[k];
        top = share[k] > top ? share[k] : top;
    }
    for (int k = 0; k < components; k++) {
        share[k] = gmv_expf(share[k] - top);
        sum += share[k];
    }
    for (int k = 0; k < components; k++) {
        share[k] /= sum;
    }
    return top + gmv_logf(sum) - (log_weight != NULL ? 0.0f : gmv_logf((float)components));
}

/* log(pi_k / weight_k), finite also where pi_k is 0. */
static float log_relative_share(float log_density, float log_mean_density)
{
    return log_density - log_mean_density;
}

/* Value of the terms of one cell; leaves log densities and shares of all its draws in `work`.
 * Returns 1 when the gradient of KL_Z flows (above its free nats). */
static float cell_terms(const gmv_mixture_args *args, int i, float *component, int64_t stride, cell_work work)
{
    int dim = args->x.cols, components = args->components, draws = args->draws;
    const float *posterior = args->posterior.at + (size_t)i * (size_t)args->posterior.ld;
    double kl_z = 0.0, kl_x = 0.0, published = 0.0;
    for (int m = 0; m < draws; m++) {
        const float *x = args->x.at + ((size_t)i * (size_t)draws + (size_t)m) * (size_t)args->x.ld;
        float *log_density = work.log_density + (size_t)m * (size_t)components;
        float *share = work.share + (size_t)m * (size_t)components;
        float *kl = work.kl + (size_t)m * (size_t)components;
        densities(args, component + m * stride, x, posterior, log_density, kl);
        float log_mean = responsibilities(log_density, args->log_weight.at, components, share);
        float log_q = posterior_density(x, posterior, dim);
        float z = 0.0f, c = 0.0f;
        for (int k = 0; k < components; k++) {
            z += share[k] * log_relative_share(log_density[k], log_mean);
            c += args->objective == GMV_OBJECTIVE_PUBLISHED ? share[k] * kl[k] : 0.0f;
        }
        kl_z += (double)z;
        kl_x += (double)(log_q - log_mean) - (double)z;
        published += (double)c;
    }
    float *terms = args->terms.at + (size_t)i * (size_t)args->terms.ld;
    double gated = kl_z / draws > (double)args->free_nats ? kl_z / draws : (double)args->free_nats;
    terms[GMV_MIXTURE_KL_Z] = (float)(kl_z / draws);
    terms[GMV_MIXTURE_KL_X] = (float)(kl_x / draws);
    switch (args->objective) {
    case GMV_OBJECTIVE_MARGINAL:
        terms[GMV_MIXTURE_PRIOR] = (float)((kl_z + kl_x) / draws);
        return 1.0f;
    case GMV_OBJECTIVE_PUBLISHED:
        terms[GMV_MIXTURE_PRIOR] = (float)(published / draws + gated);
        break;
    case GMV_OBJECTIVE_MC:
        terms[GMV_MIXTURE_PRIOR] = (float)(kl_x / draws + gated);
        break;
    }
    return args->free_nats <= 0.0f || kl_z / draws > (double)args->free_nats ? 1.0f : 0.0f;
}

/* Replaces log p_k by d(prior) / d(log p_k) of one row. */
static void density_coefficients(const gmv_mixture_args *args, float gate, float *log_density, const float *share,
                                 const float *kl)
{
    int components = args->components;
    if (args->objective == GMV_OBJECTIVE_MARGINAL) {
        for (int k = 0; k < components; k++) {
            log_density[k] = -share[k];
        }
        return;
    }
    /* With T_k = d(prior) / d(pi_k): published T_k = KL_k + gate log pi_k; mc T_k = (gate - 1) log pi_k, up
     * to a constant that the softmax removes; the derivative is pi_k (T_k - mean T), and -pi_k for mc. */
    bool published = args->objective == GMV_OBJECTIVE_PUBLISHED;
    float top = log_density[0], mean = 0.0f;
    for (int k = 1; k < components; k++) {
        top = log_density[k] > top ? log_density[k] : top;
    }
    for (int k = 0; k < components; k++) {
        float t = published ? kl[k] + gate * (log_density[k] - top) : (gate - 1.0f) * (log_density[k] - top);
        log_density[k] = t;
        mean += share[k] * t;
    }
    for (int k = 0; k < components; k++) {
        log_density[k] = share[k] * (log_density[k] - mean) - (published ? 0.0f : share[k]);
    }
}

/* Gradients of one row from its coefficients: `component` (means, variances) is overwritten by the gradient
 * of the raw component parameters; d_x and d_posterior are added to. */
static void row_gradients(const gmv_mixture_args *args, float factor, const float *GMV_RESTRICT coefficient,
                          const float *GMV_RESTRICT share, const float *GMV_RESTRICT x,
                          const float *GMV_RESTRICT posterior, float *GMV_RESTRICT component, float *GMV_RESTRICT d_x,
                          float *GMV_RESTRICT d_posterior)
{
    int dim = args->x.cols, components = args->components;
    bool published = args->objective == GMV_OBJECTIVE_PUBLISHED;
    for (int k = 0; k < components; k++) {
        float *GMV_RESTRICT mean = component + (size_t)k * (size_t)dim;
        float *GMV_RESTRICT variance = component + ((size_t)components + (size_t)k) * (size_t)dim;
        float a = factor * coefficient[k];
        float c = published ? factor * share[k] : 0.0f;
#pragma omp simd
        for (int d = 0; d < dim; d++) {
            float v = variance[d], inverse = 1.0f / v;
            float from_x = (x[d] - mean[d]) * inverse;
            float d_mean = a * from_x, d_v = 0.5f * a * (from_x * from_x - inverse);
            d_x[d] -= a * from_x;
            if (published) {
                float vq = gmv_variance(posterior[dim + d]), from_q = (mean[d] - posterior[d]) * inverse;
                d_mean += c * from_q;
                d_v += 0.5f * c * (inverse - vq * inverse * inverse - from_q * from_q);
                d_posterior[d] -= c * from_q;
                d_posterior[dim + d] += 0.5f * c * (inverse - 1.0f / vq) * gmv_variance_slope(posterior[dim + d]);
            }
            mean[d] = d_mean;
            /* capped raw variances have slope 0, see gmv_variance_slope */
            variance[d] = v < 1.06e13f ? d_v * (v - 1e-4f) : 0.0f;
        }
    }
    if (!published) {
        /* log q(x): what passes through x cancels against the mean's own part, since x = mean + sd * noise;
         * what is left is the entropy */
        for (int d = 0; d < dim; d++) {
            float raw = posterior[dim + d];
            d_posterior[dim + d] -= 0.5f * factor / gmv_variance(raw) * gmv_variance_slope(raw);
        }
    }
}

/* Cells [first, end): terms, probabilities, and (with gradients) d_x, d_posterior, d_hidden; `component`
 * [rows of these cells, 2 K D] is left holding the gradient of the raw parameters. */
static void piece_of_cells(const gmv_mixture_args *args, int first, int end, float *component, float *scratch)
{
    int dim = args->x.cols, components = args->components, draws = args->draws;
    int width = 2 * components * dim, rows = (end - first) * draws;
    bool gradients = args->d_bias.at != NULL;
    cell_work work = {scratch, scratch + (size_t)draws * (size_t)components,
                      scratch + 2 * (size_t)draws * (size_t)components};
    gmv_mat hidden = gmv_mat_rows(args->hidden, first * draws, rows);
    for (int r = 0; r < rows; r++) {
        gmv_cpu_copy(component + (size_t)r * (size_t)width, args->bias.at, (size_t)width);
    }
    GMV_CPU(sgemm)
    (GMV_N, GMV_T, rows, width, hidden.cols, 1.0f, hidden.at, hidden.ld, args->weight.at, args->weight.ld, 1.0f,
     component, width);
    for (int i = first; i < end; i++) {
        float *mine = component + (size_t)(i - first) * (size_t)draws * (size_t)width;
        float gate = cell_terms(args, i, mine, width, work);
        for (int k = 0; args->probability.at != NULL && k < components; k++) {
            float sum = 0.0f;
            for (int m = 0; m < draws; m++) {
                sum += work.share[(size_t)m * (size_t)components + (size_t)k];
            }
            args->probability.at[(size_t)i * (size_t)args->probability.ld + (size_t)k] = sum / (float)draws;
        }
        for (int m = 0; gradients && m < draws; m++) {
            size_t row = (size_t)i * (size_t)draws + (size_t)m, at = (size_t)m * (size_t)components;
            density_coefficients(args, gate, work.log_density + at, work.share + at, work.kl + at);
            row_gradients(args, *args->scale / (float)draws, work.log_density + at, work.share + at,
                          args->x.at + row * (size_t)args->x.ld,
                          args->posterior.at + (size_t)i * (size_t)args->posterior.ld, mine + (size_t)m * (size_t)width,
                          args->d_x.at + row * (size_t)args->d_x.ld,
                          args->d_posterior.at + (size_t)i * (size_t)args->d_posterior.ld);
        }
    }
    if (gradients) {
        gmv_mat d_hidden = gmv_mat_rows(args->d_hidden, first * draws, rows);
        GMV_CPU(sgemm)
        (GMV_N, GMV_N, rows, d_hidden.cols, width, 1.0f, component, width, args->weight.at, args->weight.ld, 0.0f,
         d_hidden.at, d_hidden.ld);
    }
}

/* d_weight and d_bias from the raw gradients [rows, 2 K D] of a block. */
static void block_weight_gradient(const gmv_mixture_args *args, const float *component, gmv_mat hidden)
{
    int width = args->weight.rows, piece = 128, pieces = gmv_cpu_pieces(width, piece);
#pragma omp parallel for schedule(dynamic, 1)
    for (int p = 0; p < pieces; p++) {
        int first = p * piece, count = width - first < piece ? width - first : piece;
        GMV_CPU(sgemm)
        (GMV_T, GMV_N, count, hidden.cols, hidden.rows, 1.0f, component + first, width, hidden.at, hidden.ld, 1.0f,
         args->d_weight.at + (size_t)first * (size_t)args->d_weight.ld, args->d_weight.ld);
        for (int r = 0; r < hidden.rows; r++) {
            const float *row = component + (size_t)r * (size_t)width;
            for (int j = first; j < first + count; j++) {
                args->d_bias.at[j] += row[j];
            }
        }
    }
}

/* to = log(softmax(logit)). */
static void log_softmax(const float *logit, int n, float *to)
{
    float top = logit[0], sum = 0.0f;
    for (int k = 1; k < n; k++) {
        top = logit[k] > top ? logit[k] : top;
    }
    for (int k = 0; k < n; k++) {
        sum += gmv_expf(logit[k] - top);
    }
    for (int k = 0; k < n; k++) {
        to[k] = logit[k] - top - gmv_logf(sum);
    }
}

/* Of the marginal objective: the weights' share of the cells less that of the posterior. */
static void weight_logit_gradient(const gmv_mixture_args *args)
{
    int cells = gmv_cpu_filled(args->filled, args->probability.rows);
    for (int k = 0; k < args->components; k++) {
        double sum = 0.0;
        for (int i = 0; i < cells; i++) {
            sum += (double)args->probability.at[(size_t)i * (size_t)args->probability.ld + (size_t)k];
        }
        double all = (double)gmv_expf(args->log_weight.at[k]) * cells;
        args->d_log_weight.at[k] += (float)((double)*args->scale * (all - sum));
    }
}

static gmv_status check_shapes(const gmv_mixture_args *args)
{
    int dim = args->x.cols, rows = args->posterior.rows * args->draws, width = 2 * args->components * dim;
    GMV_CHECK(args->weight.rows == width && args->bias.n == width && args->weight.cols == args->hidden.cols);
    GMV_CHECK(args->x.rows == rows && args->hidden.rows == rows && args->posterior.cols == 2 * dim);
    GMV_CHECK(args->terms.rows == args->posterior.rows && args->terms.cols == GMV_MIXTURE_TERMS);
    GMV_CHECK(args->log_weight.at == NULL || args->objective == GMV_OBJECTIVE_MARGINAL);
    GMV_CHECK(args->d_log_weight.at == NULL || args->probability.at != NULL);
    return GMV_OK;
}

/* The rows that fill the batch up. */
static void clear_rows_behind(const gmv_mixture_args *args, int cells)
{
    gmv_mat d_hidden = args->d_bias.at != NULL ? args->d_hidden : (gmv_mat){0};
    for (int i = cells; i < args->posterior.rows; i++) {
        gmv_cpu_zero(args->terms.at + (size_t)i * (size_t)args->terms.ld, (size_t)args->terms.cols);
        if (args->probability.at != NULL) {
            gmv_cpu_zero(args->probability.at + (size_t)i * (size_t)args->probability.ld, (size_t)args->components);
        }
    }
    for (int r = cells * args->draws; r < d_hidden.rows; r++) {
        gmv_cpu_zero(d_hidden.at + (size_t)r * (size_t)d_hidden.ld, (size_t)d_hidden.cols);
    }
}

gmv_status GMV_CPU(mixture)(gmv_backend *b, const gmv_mixture_args *all)
{
    gmv_mixture_args normalised = *all, *args = &normalised;
    int components = args->components, draws = args->draws, width = 2 * components * args->x.cols;
    int cells = gmv_cpu_filled(args->filled, args->posterior.rows);
    GMV_TRY(check_shapes(args));
    clear_rows_behind(args, cells);
    int block = block_rows / draws < 1 ? 1 : block_rows / draws;
    int piece = piece_rows / draws < 1 ? 1 : piece_rows / draws;
    block = (block + piece - 1) / piece * piece;
    if (block > cells) {
        block = cells;
    }
    int64_t work = cell_work_floats(args), raw = (int64_t)block * draws * width;
    float *scratch;
    GMV_TRY(GMV_CPU(scratch)(b, (raw + gmv_cpu_pieces(block, piece) * work + components) * (int64_t)sizeof(float),
                             (void **)&scratch));
    float *work_at = scratch + raw;
    if (args->log_weight.at != NULL) {
        args->log_weight.at = work_at + gmv_cpu_pieces(block, piece) * work;
        log_softmax(all->log_weight.at, components, args->log_weight.at);
    }
    for (int start = 0; start < cells; start += block) {
        int end = start + block < cells ? start + block : cells, pieces = gmv_cpu_pieces(end - start, piece);
#pragma omp parallel for schedule(dynamic, 1)
        for (int p = 0; p < pieces; p++) {
            int first = start + p * piece, stop = first + piece < end ? first + piece : end;
            piece_of_cells(args, first, stop, scratch + (size_t)p * (size_t)piece * (size_t)draws * (size_t)width,
                           work_at + p * work);
        }
        if (args->d_bias.at != NULL) {
            block_weight_gradient(args, scratch, gmv_mat_rows(args->hidden, start * draws, (end - start) * draws));
        }
    }
    if (args->d_log_weight.at != NULL) {
        weight_logit_gradient(args);
    }
    return GMV_OK;
}
