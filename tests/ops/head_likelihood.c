/* head_likelihood: reconstruction term and all gradients, every likelihood, with and without a library. */
#include "harness.h"
#include "ref/dataset.h"
#include "ref/head_ref.h"

#include "gmvae/likelihoods.h"

typedef struct head_case {
    gmv_likelihood likelihood;
    int observed_library, draws, width, n, gradients;
    float scale;
    t_dataset data;
    int64_t *rows;
    const float *hidden, *weight[GMV_MAX_HEADS], *bias[GMV_MAX_HEADS], *gene;
    int behind; /* rows that fill the batch up; `hidden` has theirs, too */
} head_case;

/* The term is a column of a wider matrix. */
enum { COLUMNS = 5 };
enum { TERMS, D_HIDDEN, D_WEIGHT, D_BIAS = D_WEIGHT + GMV_MAX_HEADS, D_GENE = D_BIAS + GMV_MAX_HEADS, OUTPUTS };

static void keep_gradients(const gmv_head_args *a, t_outputs *out)
{
    t_keep_mat(out, a->d_hidden);
    for (int h = 0; h < GMV_MAX_HEADS; h++) {
        t_keep_mat(out, a->d_weight[h]);
    }
    for (int h = 0; h < GMV_MAX_HEADS; h++) {
        t_keep_vec(out, a->d_bias[h]);
    }
    t_keep_vec(out, a->d_gene_param);
}

static void run(const void *context, t_outputs *out)
{
    const head_case *c = context;
    gmv_likelihood_info info = gmv_likelihood_of(c->likelihood);
    gmv_input input = {GMV_INPUT_NONE, 0.0f, 1.0f};
    gmv_batch batch = t_fetch_filled(&c->data, 0, c->rows, c->n, c->behind, input);
    int cells = c->n + c->behind, rows = cells * c->draws, genes = c->data.genes;
    gmv_head_args a = {0};
    a.filled = c->behind > 0 ? t_filled(c->n) : NULL;
    a.likelihood = c->likelihood;
    a.observed_library = c->observed_library != 0;
    a.draws = c->draws;
    a.batch = &batch;
    a.hidden = t_mat(rows, c->width, c->hidden);
    gmv_mat terms = t_mat(cells, COLUMNS, t_random(1, (size_t)cells * COLUMNS, 1.0));
    a.terms = gmv_mat_columns(terms, 0, 1);
    a.gene_param = gmv_vec_of(NULL, 0);
    for (int h = 0; h < info.heads; h++) {
        a.weight[h] = t_mat(genes, c->width, c->weight[h]);
        a.bias[h] = t_vec(genes, c->bias[h]);
    }
    if (info.gene_param) {
        a.gene_param = t_vec(genes, c->gene);
    }
    if (c->gradients) {
        a.scale = t_number(c->scale);
        a.d_hidden = t_mat(rows, c->width, NULL);
        for (int h = 0; h < info.heads; h++) {
            a.d_weight[h] = t_mat(genes, c->width, t_host_floats((size_t)(genes * c->width)));
            a.d_bias[h] = t_vec(genes, t_host_floats((size_t)genes));
        }
        if (info.gene_param) {
            a.d_gene_param = t_vec(genes, t_host_floats((size_t)genes));
        }
    }
    T_OP(head_likelihood, &a);
    t_keep_mat(out, terms);
    keep_gradients(&a, out);
    if (c->gradients) { /* a second call adds the same again */
        T_OP(head_likelihood, &a);
        keep_gradients(&a, out);
    }
}

/* `most`: larger counts are cut to it, so that no single entry hides the gradient of the others. */
static head_case make(uint64_t seed, gmv_likelihood likelihood, int observed, int n, int draws, int genes, int width,
                      double most)
{
    head_case c = {likelihood,
                   observed,
                   draws,
                   width,
                   n,
                   1,
                   0.125f,
                   t_counts(seed, n + 4, genes, 0.15, 0),
                   t_rows(seed, n, n + 4),
                   NULL,
                   {NULL},
                   {NULL},
                   NULL,
                   0};
    for (int i = 0; i < (n + 4) * genes; i++) {
        c.data.count[i] = fmin(c.data.count[i], most);
    }
    c.hidden = t_random(seed + 2, (size_t)(n * draws * width), 1.0);
    for (int h = 0; h < GMV_MAX_HEADS; h++) {
        c.weight[h] = t_random(seed + 3 + (uint64_t)h, (size_t)(genes * width), 1.5 / sqrt((double)width));
        c.bias[h] = t_random(seed + 6 + (uint64_t)h, (size_t)genes, 1.0);
    }
    c.gene = t_random(seed + 9, (size_t)genes, 2.0);
    return c;
}

static head_ref reference(const head_case *c)
{
    gmv_likelihood_info info = gmv_likelihood_of(c->likelihood);
    size_t genes = (size_t)c->data.genes, n = (size_t)c->n;
    double *count = t_doubles(n * genes);
    uint8_t *present = c->data.sets > 0 ? t_alloc(n * genes, 1) : NULL;
    for (size_t i = 0; i < n; i++) {
        memcpy(count + i * genes, c->data.count + (size_t)c->rows[i] * genes, genes * sizeof *count);
        if (present != NULL) {
            memcpy(present + i * genes, c->data.present + (size_t)c->data.set[c->rows[i]] * genes, genes);
        }
    }
    head_ref ref = {c->likelihood,
                    c->observed_library,
                    info.heads,
                    info.gene_param,
                    info.softmax,
                    c->n,
                    c->draws,
                    c->data.genes,
                    c->width,
                    count,
                    present,
                    t_widen(c->hidden, n * (size_t)(c->draws * c->width)),
                    {NULL},
                    {NULL},
                    t_widen(c->gene, genes),
                    t_doubles(n)};
    for (int h = 0; h < info.heads; h++) {
        ref.weight[h] = t_widen(c->weight[h], genes * (size_t)c->width);
        ref.bias[h] = t_widen(c->bias[h], genes);
    }
    return ref;
}

static void check_gradient(const head_case *c, head_ref *ref, const t_outputs *out, int which, double *variable,
                           double floor)
{
    size_t n = out->size[which];
    float *gradient = t_host_floats(n);
    char name[32];
    snprintf(name, sizeof name, "gradient %d", which);
    for (size_t i = 0; i < n; i++) {
        gradient[i] = out->at[which][i] / c->scale;
        float again = out->at[OUTPUTS - 1 + which][i];
        /* twice the gradient after the second call; d_hidden is overwritten */
        double expected = (which == D_HIDDEN ? 1.0 : 2.0) * (double)out->at[which][i];
        t_near("added to", (double)again, expected, T_POINTWISE, floor * (double)c->scale);
    }
    if (n <= 100) {
        t_gradient(name, gradient, t_differences(ref_head, ref, variable, n, 1e-4), n, floor);
    } else {
        t_directions(name, ref_head, ref, variable, gradient, n, 1e-5, floor);
    }
}

static void check(const head_case *c)
{
    t_outputs out = t_repeatable(run, c);
    head_ref ref = reference(c);
    const float *other = t_random(1, (size_t)c->n * COLUMNS, 1.0);
    ref_head(&ref);
    for (int i = 0; i < c->n; i++) {
        const float *terms = out.at[TERMS] + i * COLUMNS;
        t_near("RECONSTRUCTION", (double)terms[0], ref.reconstruction[i], T_POINTWISE, 0.0);
        t_same_bits("other columns", terms + 1, other + i * COLUMNS + 1, (COLUMNS - 1) * sizeof *terms);
    }
    if (!c->gradients) {
        return;
    }
    double floor = 0.1 * sqrt((double)c->n);
    check_gradient(c, &ref, &out, D_HIDDEN, ref.hidden, floor);
    for (int h = 0; h < ref.heads; h++) {
        check_gradient(c, &ref, &out, D_WEIGHT + h, ref.weight[h], floor);
        check_gradient(c, &ref, &out, D_BIAS + h, ref.bias[h], floor);
    }
    if (ref.gene_param) {
        check_gradient(c, &ref, &out, D_GENE, ref.gene, floor);
    }
}

/* Runs `shape` = cells, draws, G, H with one likelihood, with its library or without, which are others for the next
 * seed; with each where `every` says so. */
static void likelihoods(uint64_t seed, const int *shape, double most, int gradients, bool every)
{
    for (int variant = 0; variant < 2 * GMV_LIKELIHOODS; variant++) {
        if (!t_case(seed, variant, 2 * GMV_LIKELIHOODS, every)) {
            continue;
        }
        head_case c =
            make(seed, (gmv_likelihood)(variant / 2), variant % 2 == 0, shape[0], shape[1], shape[2], shape[3], most);
        c.gradients = gradients;
        check(&c);
    }
}

static const double ordinary = 300.0;

static void small_shapes(void **state)
{
    (void)state;
    static const int shapes[][4] = {{0, 1, 5, 3},  {1, 1, 1, 1}, {2, 1, 7, 3},
                                    {2, 3, 11, 2}, {5, 3, 9, 4}, {6, 1, 33, 1}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        likelihoods(1100 + s, shapes[s], ordinary, 1, s == 4);
    }
}

static void larger_shapes(void **state)
{
    (void)state;
    static const int shapes[][4] = {
        {31, 1, 257, 33}, {11, 3, 193, 31}, {32, 2, 192, 8}, {257, 1, 61, 5}, {2, 70, 150, 3}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        likelihoods(1200 + s, shapes[s], ordinary, 1, s == 1 && !t_few());
    }
}

/* More rows, and more draws of a cell, than a block of the CPU kernels, more genes than all groups of tiles. */
static void shapes_beyond_every_block(void **state)
{
    (void)state;
    static const int rows[] = {350, 3, 101, 4}, draws[] = {1, 600, 3, 2}, genes[] = {3, 2, 6700, 3};
    likelihoods(1302, genes, ordinary, 1, false);
    if (!t_few()) {
        likelihoods(1300, rows, ordinary, 1, false);
        likelihoods(1303, draws, ordinary, 1, false);
    }
}

static void counts_up_to_the_largest(void **state)
{
    (void)state;
    static const int shape[] = {60, 1, 101, 4};
    likelihoods(1400, shape, 16777215.0, 1, !t_few());
}

static void evaluation_wants_no_gradients(void **state)
{
    (void)state;
    static const int shape[] = {23, 3, 211, 7};
    likelihoods(1500, shape, ordinary, 0, !t_few());
}

/* A batch without a single count: with a library the loss is 0 and so is every gradient. */
static void cells_without_counts(void **state)
{
    (void)state;
    static const int shape[] = {9, 2, 67, 3};
    likelihoods(1600, shape, 0.0, 1, !t_few());
    head_case c = make(1600, GMV_LIKELIHOOD_nb, 1, 9, 2, 67, 3, 0.0);
    t_outputs out = t_repeatable(run, &c);
    for (int i = 0; i < 9; i++) {
        assert_true(out.at[TERMS][i * COLUMNS] == 0.0f);
    }
    for (int k = D_HIDDEN; k < OUTPUTS; k++) {
        for (size_t i = 0; i < out.size[k]; i++) {
            assert_true(out.at[k][i] == 0.0f);
        }
    }
}

static void permuted_cells_permute_the_outputs(void **state)
{
    (void)state;
    enum { B = 37, M = 3, G = 200, H = 5 };
    head_case c = make(1700, GMV_LIKELIHOOD_nb, 1, B, M, G, H, ordinary), p = c;
    float *hidden = t_host_floats(B * M * H);
    p.rows = t_alloc(B, sizeof *p.rows);
    for (int i = 0; i < B; i++) {
        int from = (i * 5 + 11) % B;
        p.rows[i] = c.rows[from];
        memcpy(hidden + i * M * H, c.hidden + from * M * H, M * H * sizeof(float));
    }
    p.hidden = hidden;
    t_outputs before = t_repeatable(run, &c), after = t_repeatable(run, &p);
    for (int i = 0; i < B; i++) {
        int from = (i * 5 + 11) % B;
        t_near("permuted reconstruction", (double)after.at[TERMS][i * COLUMNS],
               (double)before.at[TERMS][from * COLUMNS], T_POINTWISE, 0.0);
        t_pointwise("permuted gradient", after.at[D_HIDDEN] + i * M * H,
                    t_widen(before.at[D_HIDDEN] + from * M * H, M * H), M * H);
    }
}

/* ---- cells that were not measured for all genes ---- */

static head_case with_sets(head_case c, uint64_t seed)
{
    t_add_sets(&c.data, seed);
    return c;
}

static void genes_that_cells_lack(void **state)
{
    (void)state;
    static const int shapes[][4] = {{0, 1, 5, 3}, {5, 3, 9, 4}, {6, 1, 33, 1}, {11, 3, 257, 13}, {270, 1, 61, 5}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const int *shape = shapes[s];
        if (t_few() && shape[0] >= 127) { /* borders of tiles: values, which others look at */
            continue;
        }
        for (int variant = 0; variant < 4 * GMV_LIKELIHOODS; variant++) {
            if (!t_case(4 * s + 2 + s % 2, variant, 4 * GMV_LIKELIHOODS,
                        s == 1 && !t_few())) { /* in turn, and with gradients */
                continue;
            }
            head_case c = make(1900 + s, (gmv_likelihood)(variant / 4), variant % 2, shape[0], shape[1], shape[2],
                               shape[3], ordinary);
            c.gradients = variant / 2 % 2;
            c = with_sets(c, 1900 + s);
            check(&c);
        }
    }
}

/* All rows have the same set, two thirds of the genes. @param[out] kept  [G] these genes; returns how many */
static int give_one_set(head_case *c, int *kept)
{
    int genes = c->data.genes, n = 0;
    for (int i = 0; i < c->data.rows; i++) {
        c->data.set[i] = 1;
    }
    for (int g = 0; g < genes; g++) {
        if (c->data.present[genes + g] != 0) {
            kept[n++] = g;
            continue;
        }
        for (int i = 0; i < c->data.rows; i++) {
            c->data.count[i * genes + g] = 0.0;
        }
        ((float *)(uintptr_t)c->bias[0])[g] = 40.0f; /* what make() made: no part in the softmax however large */
    }
    return n;
}

/* The case without the other genes. */
static head_case of_kept_genes(const head_case *c, const int *kept, int n)
{
    head_case small = *c;
    int genes = c->data.genes, rows = c->data.rows, width = c->width;
    float *weight[GMV_MAX_HEADS], *bias[GMV_MAX_HEADS], *gene = t_host_floats((size_t)n);
    small.gene = gene;
    small.data.genes = n;
    small.data.sets = 0;
    small.data.count = t_doubles((size_t)(rows * n));
    for (int h = 0; h < GMV_MAX_HEADS; h++) {
        small.weight[h] = weight[h] = t_host_floats((size_t)(n * width));
        small.bias[h] = bias[h] = t_host_floats((size_t)n);
    }
    for (int k = 0; k < n; k++) {
        for (int h = 0; h < GMV_MAX_HEADS; h++) {
            memcpy(weight[h] + k * width, c->weight[h] + kept[k] * width, (size_t)width * sizeof(float));
            bias[h][k] = c->bias[h][kept[k]];
        }
        gene[k] = c->gene[kept[k]];
        for (int i = 0; i < rows; i++) {
            small.data.count[i * n + k] = c->data.count[i * genes + kept[k]];
        }
    }
    return small;
}

/* The gradient of each kept gene's tensor, [G, width] against [n, width]; of the others it is exactly 0. */
static void check_kept(const t_outputs *whole, const t_outputs *part, int which, const int *kept, int n, int genes)
{
    size_t width = whole->size[which] / (size_t)genes;
    const float *all = whole->at[which];
    float *of_kept = t_host_floats((size_t)n * width);
    for (int g = 0, k = 0; g < genes; g++) {
        bool there = k < n && kept[k] == g;
        for (size_t j = 0; j < width; j++) {
            if (there) {
                of_kept[(size_t)k * width + j] = all[(size_t)g * width + j];
            } else {
                assert_true(all[(size_t)g * width + j] == 0.0f);
            }
        }
        k += there;
    }
    t_gradient("kept genes", of_kept, t_widen(part->at[which], (size_t)n * width), (size_t)n * width, 1e-3);
}

/* A cell that has only some genes has the loss and the gradients of a model of these genes alone. */
static void one_set_is_a_smaller_model(void **state)
{
    (void)state;
    enum { B = 13, M = 2, G = 300, H = 6 };
    int kept[G];
    for (int variant = 0; variant < 2 * GMV_LIKELIHOODS; variant++) {
        head_case c = with_sets(make(1950, (gmv_likelihood)(variant / 2), variant % 2, B, M, G, H, ordinary), 1950);
        int n = give_one_set(&c, kept);
        head_case small = of_kept_genes(&c, kept, n);
        t_outputs whole = t_repeatable(run, &c), part = t_repeatable(run, &small);
        for (int i = 0; i < B; i++) {
            t_near("loss", (double)whole.at[TERMS][i * COLUMNS], (double)part.at[TERMS][i * COLUMNS], T_POINTWISE, 0.0);
        }
        t_gradient("hidden", whole.at[D_HIDDEN], t_widen(part.at[D_HIDDEN], B * M * H), B * M * H, 1e-3);
        for (int k = D_WEIGHT; k < OUTPUTS; k++) {
            if (whole.size[k] > 0) {
                check_kept(&whole, &part, k, kept, n, G);
            }
        }
    }
}

/* ---- rows that fill a batch up ---- */

/* They have no term and no gradient, and no part in a sum, whatever they hold. */
static void check_rows_behind(head_case alone, int behind, size_t width)
{
    size_t cells = (size_t)alone.n, own = cells * width, all = (cells + (size_t)behind) * width;
    head_case filled = alone, other = alone;
    float *hidden[2] = {t_random(2001, all, 1.0), t_random(2002, all, 3.0)};
    memcpy(hidden[0], alone.hidden, own * sizeof(float));
    memcpy(hidden[1], alone.hidden, own * sizeof(float));
    filled.hidden = hidden[0];
    other.hidden = hidden[1];
    filled.behind = other.behind = behind;
    t_outputs one = t_repeatable(run, &filled), two = t_repeatable(run, &other), fewer = t_repeatable(run, &alone);
    for (int i = 0; i < alone.n + behind; i++) {
        assert_true(i < alone.n || one.at[TERMS][i * COLUMNS] == 0.0f);
        assert_true(one.at[TERMS][i * COLUMNS] == two.at[TERMS][i * COLUMNS]);
    }
    for (int i = 0; i < alone.n; i++) {
        t_near("term", (double)one.at[TERMS][i * COLUMNS], (double)fewer.at[TERMS][i * COLUMNS], T_POINTWISE, 0.0);
    }
    for (size_t i = own; alone.gradients && i < all; i++) {
        assert_true(one.at[D_HIDDEN][i] == 0.0f && two.at[D_HIDDEN][i] == 0.0f);
    }
    for (int k = D_HIDDEN; k < OUTPUTS; k++) {
        for (size_t i = 0; i < one.size[k]; i++) { /* as numbers: a zero may have either sign */
            assert_true(one.at[k][i] == two.at[k][i]);
        }
        size_t n = k == D_HIDDEN ? own * (size_t)alone.gradients : one.size[k];
        t_gradient("gradient", one.at[k], t_widen(fewer.at[k], n), n, 1e-3);
    }
}

static void rows_behind_the_cells(void **state)
{
    (void)state;
    static const int shapes[][5] = {{13, 2, 130, 6, 5}, {3, 1, 300, 4, 60}, {257, 1, 40, 3, 7}}; /* and rows behind */
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const int *p = shapes[s];
        for (int variant = 0; variant < 4 * GMV_LIKELIHOODS; variant++) {
            if (!t_case(s, variant, 4 * GMV_LIKELIHOODS, s == 0 && !t_few())) {
                continue;
            }
            head_case c = make(2000 + s, (gmv_likelihood)(variant / 4), variant % 2, p[0], p[1], p[2], p[3], ordinary);
            c.gradients = variant % 4 != 3;
            c = variant / 2 % 2 == 0 ? c : with_sets(c, 2000 + s);
            check_rows_behind(c, p[4], (size_t)(p[1] * p[3]));
        }
    }
}

/* ---- bf16: operands and the gradients of logits are rounded, the likelihood and all sums are not ---- */

static void round_to_bf16(const float *at, size_t n)
{
    float *x = (float *)(uintptr_t)at; /* what make() made */
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = gmv_bits_of_float(x[i]);
        x[i] = gmv_float_of_bits((bits + 0x7FFFu + (bits >> 16 & 1u)) & 0xFFFF0000u);
    }
}

static head_case with_rounded_operands(head_case c)
{
    round_to_bf16(c.hidden, (size_t)(c.n * c.draws * c.width));
    for (int h = 0; h < GMV_MAX_HEADS; h++) {
        round_to_bf16(c.weight[h], (size_t)(c.data.genes * c.width));
    }
    return c;
}

/* Distance of two arrays, relative to the second's norm or `floor`. */
static double distance(const float *a, const float *b, size_t n, double floor)
{
    double square = 0.0, norm = 0.0;
    for (size_t i = 0; i < n; i++) {
        square += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        norm += (double)b[i] * (double)b[i];
    }
    return sqrt(square) / fmax(sqrt(norm), floor);
}

/* One rounding to bf16 changes a number by at most 2^-8 of it; through the softmax two parts and their sum are rounded. */
static double allowed(const head_case *c, int output)
{
    bool softmax = gmv_likelihood_of(c->likelihood).softmax && c->observed_library;
    bool product = output < D_BIAS;
    return product ? (softmax ? 8e-3 : 4e-3) : (output == D_BIAS && softmax ? 1e-3 : 1e-5);
}

/* Against the same in fp32, whose operands are the same numbers. */
static void check_in_bf16(const head_case *c, gmv_backend *rounding)
{
    gmv_backend *own = t_backend;
    t_outputs exact = {0}, got;
    run(c, &exact);
    t_release_blocks();
    t_backend = rounding;
    got = t_repeatable(run, c);
    t_backend = own;
    for (int i = 0; i < c->n; i++) {
        t_near("RECONSTRUCTION in bf16", (double)got.at[TERMS][i * COLUMNS], (double)exact.at[TERMS][i * COLUMNS],
               T_POINTWISE, 0.0);
    }
    for (int k = D_HIDDEN; c->gradients && k < OUTPUTS; k++) {
        double error =
            distance(got.at[k], exact.at[k], exact.size[k], 0.3 * sqrt((double)c->n + 1.0) * (double)c->scale);
        if (!(error <= allowed(c, k))) {
            fail_msg("%s, %d cells, %d draws, %d genes, %d wide%s: output %d in bf16 is off by %.3g, allowed %.3g",
                     gmv_likelihood_of(c->likelihood).name, c->n, c->draws, c->data.genes, c->width,
                     c->observed_library ? ", library" : "", k, error, allowed(c, k));
        }
    }
}

static void logits_of_rounded_operands(void **state)
{
    (void)state;
    static const int shapes[][4] = {{0, 1, 5, 3},     {1, 1, 1, 1},     {6, 1, 33, 1},   {31, 1, 257, 33},
                                    {11, 3, 193, 31}, {65, 1, 63, 300}, {129, 1, 64, 8}, {257, 1, 61, 65},
                                    {2, 70, 150, 17}, {3, 2, 6700, 3}};
    gmv_backend *rounding = t_open_with(GMV_BF16);
    for (size_t s = 0; rounding != NULL && s < sizeof shapes / sizeof *shapes; s++) {
        const int *shape = shapes[s];
        if (t_few() && shape[0] >= 127) { /* borders of tiles: values, which others look at */
            continue;
        }
        for (int variant = 0; variant < 4 * GMV_LIKELIHOODS; variant++) {
            if (!t_case(4 * (s / 2) + 2 + s % 2, variant, 4 * GMV_LIKELIHOODS, s == (t_few() ? 2 : 4))) {
                continue;
            }
            head_case c = make(1800 + s, (gmv_likelihood)(variant / 4), variant % 2, shape[0], shape[1], shape[2],
                               shape[3], ordinary);
            c.gradients = variant / 2 % 2;
            c = with_rounded_operands(s % 2 == 1 ? with_sets(c, 1800 + s) : c);
            check_in_bf16(&c, rounding);
        }
    }
    gmv_backend_close(&rounding);
}

static const struct CMUnitTest tests[] = {
    T_TEST(small_shapes),
    T_TEST(larger_shapes),
    T_TEST(shapes_beyond_every_block),
    T_TEST(counts_up_to_the_largest),
    T_TEST(evaluation_wants_no_gradients),
    T_TEST(cells_without_counts),
    T_TEST(permuted_cells_permute_the_outputs),
    T_TEST(genes_that_cells_lack),
    T_TEST(one_set_is_a_smaller_model),
    T_TEST(rows_behind_the_cells),
    T_TEST(logits_of_rounded_operands),
};
T_MAIN_ON_BACKEND(tests)
