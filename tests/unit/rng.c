/* Random numbers: the published vectors of Philox4x32-10, the layout of the counter, and the distribution
 * of what is made of the bits. */
#include "harness.h"

/* Random123's kat_vectors, philox4x32 with 10 rounds: counter, key, expected block. */
static const uint32_t known[][10] = {
    {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
    {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d, 0x41c83b0e, 0xa20bc7c6,
     0x6d5451fd},
    {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420,
     0x24126ea1},
};

static void philox_gives_the_published_blocks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const uint32_t *k = known[i];
        gmv_philox got = gmv_philox4x32(k[0], k[1], k[2], k[3], k[4], k[5]);
        t_same_bits("philox4x32", got.word, k + 6, sizeof got.word);
    }
}

/* The cipher from its paper, without Random123. */
static gmv_philox philox_from_paper(const uint32_t *counter, uint32_t k0, uint32_t k1)
{
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]};
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k0, (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ k1, (uint32_t)a};
        memcpy(c, next, sizeof c);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    gmv_philox out = {{c[0], c[1], c[2], c[3]}};
    return out;
}

/* The header's promise: {index / 4, draw << 16 | stream, cell low, cell high << 24 | epoch}, key = seed. */
static void the_counter_is_laid_out_as_promised(void **state)
{
    (void)state;
    static const uint64_t seeds[] = {0, 1, 0x123456789ABCDEFu, 9007199254740991u};
    static const int64_t cells[] = {0, 1, 0xFFFFFFFF, 0x100000000, 0xFFFFFFFFFF};
    static const uint32_t streams[] = {GMV_STREAM_INIT, GMV_STREAM_LATENT_X, GMV_STREAM_DROPOUT, 0xFFFF};
    static const uint32_t epochs[] = {0, 1, 0xFFFFFF};
    static const uint32_t draws[] = {0, 1, 0xFFFF};
    static const uint32_t blocks[] = {0, 1, 0xFFFFFFFF};
    for (int i = 0; i < 4 * 5 * 4 * 3 * 3 * 3; i++) {
        int n = i;
        uint64_t seed = seeds[n % 4];
        int64_t cell = cells[(n /= 4) % 5];
        uint32_t stream = streams[(n /= 5) % 4], epoch = epochs[(n /= 4) % 3], draw = draws[(n /= 3) % 3];
        uint32_t block = blocks[(n / 3) % 3];
        uint32_t counter[4] = {block, draw << 16 | stream, (uint32_t)((uint64_t)cell & 0xFFFFFFFFu),
                               (uint32_t)((uint64_t)cell >> 32 << 24) | epoch};
        gmv_philox want = philox_from_paper(counter, (uint32_t)(seed & 0xFFFFFFFFu), (uint32_t)(seed >> 32));
        gmv_philox got = gmv_random_block(seed, stream, epoch, cell, draw, block);
        t_same_bits("gmv_random_block", got.word, want.word, sizeof got.word);
    }
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Neighbouring uses never share a block: 2^15 blocks, 64 bits of each. */
static void no_two_uses_share_numbers(void **state)
{
    (void)state;
    enum { EACH = 8, N = EACH * EACH * EACH * EACH * EACH };
    uint64_t *head = t_alloc(N, sizeof *head);
    for (int i = 0; i < N; i++) {
        uint32_t d[5];
        for (int k = 0, n = i; k < 5; k++, n /= EACH) {
            d[k] = (uint32_t)(n % EACH);
        }
        int64_t cell = (int64_t)d[2] << (d[2] % 2 == 0 ? 0 : 32);
        gmv_philox block = gmv_random_block(1, d[0], d[1], cell, d[3], d[4]);
        head[i] = (uint64_t)block.word[0] << 32 | block.word[1];
    }
    qsort(head, N, sizeof *head, by_value);
    for (int i = 1; i < N; i++) {
        assert_true(head[i] != head[i - 1]);
    }
}

static void uniforms_stay_inside_the_open_interval(void **state)
{
    (void)state;
    assert_true(gmv_uniform(0) > 0.0f);
    assert_true(gmv_uniform(0xFFFFFFFFu) < 1.0f);
    float before = 0.0f;
    for (uint64_t word = 0; word <= 0xFFFFFFFFu; word += (1u << 16) - 1) {
        float u = gmv_uniform((uint32_t)word);
        assert_true(u > 0.0f && u < 1.0f && u >= before);
        before = u;
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Kolmogorov's distance of sorted values of [0, 1] from the uniform, times sqrt(n). */
static double kolmogorov(double *value, int n)
{
    qsort(value, (size_t)n, sizeof *value, by_size);
    double worst = 0.0;
    for (int i = 0; i < n; i++) {
        worst = fmax(worst, fmax(value[i] - (double)i / n, (double)(i + 1) / n - value[i]));
    }
    return worst * sqrt((double)n);
}

static void normals_are_normal(void **state)
{
    (void)state;
    int n = 4 * t_thin(100000);
    double sum = 0.0, square = 0.0, fourth = 0.0, neighbour = 0.0, before = 0.0;
    double *probability = t_doubles((size_t)n);
    for (int b = 0; b < n / 4; b++) {
        float normal[4];
        gmv_normals(gmv_random_block(42, GMV_STREAM_LATENT_X, 3, b / 20, 0, (uint32_t)(b % 20)), normal);
        for (int i = 0; i < 4; i++) {
            double x = (double)normal[i];
            assert_true(isfinite(x));
            sum += x;
            square += x * x;
            fourth += x * x * x * x;
            neighbour += x * before;
            before = x;
            probability[4 * b + i] = 0.5 * erfc(-x * 0.70710678118654752440);
        }
    }
    double root = sqrt((double)n);
    /* moments of x, x^2, x^4 and of products: variances 1, 2, 96, 1 */
    t_near("mean", sum / n, 0.0, T_SIGMAS, 1.0 / root);
    t_near("variance", square / n - 1.0, 0.0, T_SIGMAS, sqrt(2.0) / root);
    t_near("fourth moment", fourth / n - 3.0, 0.0, T_SIGMAS, sqrt(96.0) / root);
    t_near("correlation of neighbours", neighbour / n, 0.0, T_SIGMAS, 1.0 / root);
    /* P(sqrt(n) D > 3) = 3e-8 */
    t_near("Kolmogorov-Smirnov", kolmogorov(probability, n), 0.0, T_SIGMAS, 0.5);
}

/* Box-Muller in double from the same words. */
static void normals_follow_their_words(void **state)
{
    (void)state;
    for (uint32_t b = 0; b < 10000; b++) {
        gmv_philox block = gmv_random_block(7, 9, 1, 123456789012, 2, b);
        if (b < 4) { /* the largest and the smallest radius */
            block.word[0] = b % 2 == 0 ? 0 : 0xFFFFFFFFu;
            block.word[3] = b / 2 == 0 ? 0 : 0xFFFFFFFFu;
        }
        float normal[4];
        gmv_normals(block, normal);
        for (int pair = 0; pair < 2; pair++) {
            double u = (double)gmv_uniform(block.word[2 * pair]), v = (double)gmv_uniform(block.word[2 * pair + 1]);
            double radius = sqrt(-2.0 * log(u)), angle = 2.0 * 3.14159265358979323846 * v;
            /* the angle's error moves a coordinate on the scale of the radius */
            t_near("cosine normal", (double)normal[2 * pair], radius * cos(angle), T_POINTWISE, radius);
            t_near("sine normal", (double)normal[2 * pair + 1], radius * sin(angle), T_POINTWISE, radius);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T_TEST(philox_gives_the_published_blocks),
        T_TEST(the_counter_is_laid_out_as_promised),
        T_TEST(no_two_uses_share_numbers),
        T_TEST(uniforms_stay_inside_the_open_interval),
        T_TEST(normals_are_normal),
        T_TEST(normals_follow_their_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
