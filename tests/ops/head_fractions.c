/* head_fractions: shares of genes in the sum of their means, against the means in double. */
#include "harness.h"
#include "ref/likelihood_ref.h"

#include "gmvae/likelihoods.h"

typedef struct fraction_case {
    gmv_likelihood likelihood;
    int cells, draws, genes, sets; /* sets 0: every cell has all genes */
    float weight;
    const float *predictor[GMV_MAX_HEADS], *gene, *start; /* [R, G], [G], [B, G] */
    const int32_t *set;                                   /* [B] */
    const uint8_t *present;                               /* [sets, G] */
} fraction_case;

static void run(const void *context, t_outputs *out)
{
    const fraction_case *c = context;
    gmv_likelihood_info info = gmv_likelihood_of(c->likelihood);
    gmv_batch batch = {.cells = c->cells, .genes = c->genes};
    gmv_fraction_args args = {.likelihood = c->likelihood, .draws = c->draws, .weight = c->weight};
    for (int h = 0; h < info.heads; h++) {
        args.predictor[h] = t_mat(c->cells * c->draws, c->genes, c->predictor[h]);
    }
    if (info.gene_param) {
        args.gene_param = t_vec(c->genes, c->gene);
    }
    if (c->sets > 0) {
        batch.set = t_bytes(c->cells * (int64_t)sizeof *c->set, c->set);
        batch.present = t_bytes((int64_t)c->sets * c->genes, c->present);
        args.batch = &batch;
    }
    args.out = t_mat(c->cells, c->genes, c->start);
    T_OP(head_fractions, &args);
    t_keep_mat(out, args.out);
}

/* The mean by the formula of each likelihood's page in docs/math.md. */
static double mean_of(gmv_likelihood likelihood, const double *p)
{
    switch (likelihood) {
    case GMV_LIKELIHOOD_nb:
        return exp(p[0]);
    case GMV_LIKELIHOOD_nb_logit:
        return (log1p(exp(p[0])) + 1e-3) * exp(p[1]);
    case GMV_LIKELIHOODS:
        break;
    }
    return NAN;
}

static void check(const fraction_case *c)
{
    t_outputs out = t_repeatable(run, c);
    gmv_likelihood_info info = gmv_likelihood_of(c->likelihood);
    size_t genes = (size_t)c->genes;
    double *want = t_widen(c->start, (size_t)c->cells * genes), *mean = t_doubles(genes);
    for (size_t r = 0; r < (size_t)(c->cells * c->draws); r++) {
        size_t i = r / (size_t)c->draws;
        double sum = 0.0;
        for (size_t g = 0; g < genes; g++) {
            double p[GMV_MAX_HEADS + 1] = {0};
            for (int h = 0; h < info.heads; h++) {
                p[h] = (double)c->predictor[h][r * genes + g];
            }
            p[info.heads] = (double)c->gene[g];
            mean[g] = mean_of(c->likelihood, p);
            sum += c->sets == 0 || c->present[(size_t)c->set[i] * genes + g] != 0 ? mean[g] : 0.0;
        }
        for (size_t g = 0; g < genes; g++) {
            want[i * genes + g] += (double)c->weight * mean[g] / sum;
        }
    }
    t_pointwise("head_fractions", out.at[0], want, (size_t)c->cells * genes);
}

static fraction_case make(uint64_t seed, gmv_likelihood likelihood, const int *shape, int sets)
{
    int cells = shape[0], draws = shape[1], genes = shape[2];
    fraction_case c = {likelihood, cells, draws, genes, sets, 0.75f, {NULL}, NULL, NULL, NULL, NULL};
    size_t n = (size_t)(cells * draws) * (size_t)genes;
    uint8_t *present = t_alloc((size_t)sets * (size_t)genes, 1);
    int32_t *set = t_alloc((size_t)cells, sizeof *set);
    for (int h = 0; h < GMV_MAX_HEADS; h++) {
        c.predictor[h] = t_random(seed + (uint64_t)h, n, 4.0);
    }
    c.gene = t_random(seed + 9, (size_t)genes, 2.0);
    c.start = t_random(seed + 10, (size_t)(cells * genes), 1.0 / (1 + genes));
    for (int i = 0; i < sets * genes; i++) { /* the first gene is in every set */
        present[i] = i % genes == 0 || t_unit(seed + 11, (uint64_t)i) < 0.6;
    }
    for (int i = 0; i < cells && sets > 0; i++) {
        set[i] = i % sets;
    }
    c.present = present;
    c.set = set;
    return c;
}

static void all_likelihoods(void **state)
{
    (void)state;
    static const int shapes[][3] = {{0, 1, 5},   {3, 2, 0},    {1, 1, 1},    {5, 3, 17},
                                    {2, 1, 255}, {33, 2, 300}, {3, 10, 1031}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        for (int likelihood = 0; likelihood < GMV_LIKELIHOODS; likelihood++) {
            fraction_case all = make(100 * s, (gmv_likelihood)likelihood, shapes[s], 0);
            fraction_case some = make(100 * s + 50, (gmv_likelihood)likelihood, shapes[s], shapes[s][2] > 0 ? 3 : 0);
            check(&all);
            check(&some);
        }
    }
}

/* Logits as far apart as floats go: the largest has it all, nothing is NaN. */
static void far_apart(void **state)
{
    (void)state;
    static const float logits[] = {1e4f, -1e4f, 1e4f, 88.0f, -1e30f, 0.0f};
    static const float nothing[6], want[] = {0.5f, 0.0f, 0.5f, 0.0f, 0.0f, 0.0f};
    fraction_case c = {GMV_LIKELIHOOD_nb, 1, 1, 6, 0, 1.0f, {logits, NULL, NULL}, nothing, nothing, NULL, NULL};
    t_outputs out = t_repeatable(run, &c);
    t_same_bits("fractions", out.at[0], want, sizeof want);
}

static const struct CMUnitTest tests[] = {
    T_TEST(all_likelihoods),
    T_TEST(far_apart),
};
T_MAIN_ON_BACKEND(tests)
