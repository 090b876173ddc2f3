/* NVIDIA's libcurand, on the host: its Philox generator gives the words that ours gives. Skipped where CMake found none.
 *
 * The generator deals blocks of four words to 65,536 sequences in turn (CURAND_ORDERING_PSEUDO_LEGACY, which is promised
 * for all releases): word p of its output is word p % 4 of counter {b low, b high, q, 0}, for p / 4 = 65536 b + q, and
 * the seed is the key. Draws, epochs and cells above 65,535 are in bits of the counter that no offset reaches. */
#include "harness.h"

#if !defined(TEST_CURAND)
int main(void)
{
    puts("skipped: no libcurand was found");
    return 77;
}
#else
#include <curand.h>

enum { sequences = 65536, many = 1003 };

static const uint64_t seeds[] = {0, 1, 0x123456789ABCDEFu, 9007199254740991u, 0xFFFFFFFF00000000u, UINT64_MAX};
enum { SEEDS = sizeof seeds / sizeof *seeds };

static curandGenerator_t generator;

static void curand_ok(curandStatus_t status, const char *what)
{
    if (status != CURAND_STATUS_SUCCESS) {
        fail_msg("%s: status %d of cuRAND", what, (int)status);
    }
}

static int open_generator(void **state)
{
    (void)state;
    curand_ok(curandCreateGeneratorHost(&generator, CURAND_RNG_PSEUDO_PHILOX4_32_10), "curandCreateGeneratorHost");
    curand_ok(curandSetGeneratorOrdering(generator, CURAND_ORDERING_PSEUDO_LEGACY), "curandSetGeneratorOrdering");
    return 0;
}

static int close_generator(void **state)
{
    (void)state;
    curand_ok(curandDestroyGenerator(generator), "curandDestroyGenerator");
    return 0;
}

static void curand_words(uint64_t seed, uint64_t offset, uint32_t *word, size_t n)
{
    curand_ok(curandSetPseudoRandomGeneratorSeed(generator, seed), "curandSetPseudoRandomGeneratorSeed");
    curand_ok(curandSetGeneratorOffset(generator, offset), "curandSetGeneratorOffset");
    curand_ok(curandGenerate(generator, word, n), "curandGenerate");
}

/* Ours at position p of cuRAND's output for the seed. */
static uint32_t word_at(uint64_t seed, uint64_t p)
{
    uint64_t b = p / 4 / sequences, q = p / 4 % sequences;
    gmv_philox block = gmv_philox4x32((uint32_t)(b & 0xFFFFFFFFu), (uint32_t)(b >> 32), (uint32_t)q, 0,
                                      (uint32_t)(seed & 0xFFFFFFFFu), (uint32_t)(seed >> 32));
    return block.word[p % 4];
}

static void the_generator_gives_our_words(void **state)
{
    (void)state;
    /* starts within a block, the turn from the last sequence to the first, and the carry of the counter's first word */
    static const uint64_t offsets[] = {0, 1, 2, 7, 4 * sequences - 500, (1ull << 50) - 500, (1ull << 63) + 9};
    uint32_t got[many], want[many];
    for (size_t i = 0; i < SEEDS * (sizeof offsets / sizeof *offsets); i++) {
        uint64_t seed = seeds[i % SEEDS], offset = offsets[i / SEEDS];
        curand_words(seed, offset, got, many);
        for (size_t k = 0; k < many; k++) {
            want[k] = word_at(seed, offset + k);
        }
        t_same_bits("words of cuRAND", got, want, sizeof got);
    }
}

/* The noise of a cell, as the kernels ask for it: stream and index are the sequence's position, the cell its number. */
static void the_generator_gives_the_noise_of_cells(void **state)
{
    (void)state;
    static const uint32_t streams[] = {GMV_STREAM_INIT, GMV_STREAM_LATENT_X, GMV_STREAM_EVAL_W, GMV_STREAM_DROPOUT + 3};
    static const uint32_t blocks[] = {0, 1, 24, 0xFFFFFFFFu};
    static const uint32_t cells[] = {0, 1, 257, 65535};
    for (int i = 0; i < 4 * SEEDS; i++) { /* every pair of a seed and a stream */
        uint64_t seed = seeds[i % SEEDS];
        uint32_t stream = streams[i / SEEDS], block = blocks[i % 4], cell = cells[(i / 4 + i) % 4], got[4];
        gmv_philox want = gmv_random_block(seed, stream, 0, cell, 0, block);
        curand_words(seed, (((uint64_t)stream << 32 | block) * sequences + cell) * 4, got, 4);
        t_same_bits("gmv_random_block", want.word, got, sizeof got);
    }
}

/* That the comparison can fail: of the 18,054 comparisons of words none is equal, and that will stay so. */
static void another_key_or_counter_gives_other_words(void **state)
{
    (void)state;
    uint32_t word[many];
    for (int s = 0; s < SEEDS; s++) {
        curand_words(seeds[s], 0, word, many);
        for (size_t k = 0; k < many; k++) {
            assert_true(word[k] != word_at(seeds[s] ^ 1u, k));
            assert_true(word[k] != word_at(seeds[s] ^ 1ull << 32, k));
            assert_true(word[k] != word_at(seeds[s], k + 4));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T_TEST(the_generator_gives_our_words),
        T_TEST(the_generator_gives_the_noise_of_cells),
        T_TEST(another_key_or_counter_gives_other_words),
    };
    return cmocka_run_group_tests(tests, open_generator, close_generator);
}
#endif
