/* Counter-based random numbers: Philox4x32-10 (Salmon et al., SC'11), the bits of Random123 and cuRAND.
 *
 * Every number is a pure function of (seed, what for, epoch, global cell id, draw, index): the same on
 * any number of ranks, on every backend and after a resume. There is no generator state anywhere.
 *
 * Counter words: {index / 4, draw << 16 | stream, cell low, cell high << 24 | epoch}; key: the seed.
 * So up to 2^34 numbers per (cell, draw), 2^16 draws, 2^16 streams, 2^40 cells, 2^24 epochs.
 */
#pragma once

#include "gmvae/hd.h"
#include "gmvae/math/special.h"

#include <stdint.h>
#if defined(__CUDACC__)
#define QUALIFIERS static __host__ __device__ __forceinline__ /* of cuRAND's functions: callable where GMV_HD is */
#include <curand_philox4x32_x.h>
#undef QUALIFIERS
#elif defined(GMV_CUDA_ON_HOST)
#include <curand_philox4x32_x.h>
#else
#include <Random123/philox.h>
#endif

/* What numbers are for. Streams of dropout layers follow GMV_STREAM_DROPOUT, one each. */
enum {
    GMV_STREAM_INIT = 1,     /* initial values: cell = tensor index */
    GMV_STREAM_SHUFFLE = 2,  /* order of the cells of a shard: cell = shard */
    GMV_STREAM_HOLDOUT = 3,  /* which cells are held out */
    GMV_STREAM_METRICS = 4,  /* which cells metrics are of */
    GMV_STREAM_KMEANS = 5,   /* first centres: epoch = k, draw = centre */
    GMV_STREAM_LATENT_X = 8, /* reparameterised draws in training */
    GMV_STREAM_LATENT_W = 9,
    GMV_STREAM_EVAL_X = 10, /* the same in evaluation */
    GMV_STREAM_EVAL_W = 11,
    GMV_STREAM_SYNTH_GENE = 16,  /* synthetic atlas: rates of genes; cell = type or batch, index = gene */
    GMV_STREAM_SYNTH_CELL = 17,  /* type, batch and library of a cell */
    GMV_STREAM_SYNTH_COUNT = 18, /* its counts */
    GMV_STREAM_LAYOUT = 20,      /* where points are drawn; cell = point */
    GMV_STREAM_SWEEP = 24,       /* combinations of a sweep: cell = attempt, draw = key */
    GMV_STREAM_MARKER_CELL = 26, /* which cells of a cluster are drawn: cell = draw, draw = cluster */
    GMV_STREAM_MARKER_X = 27,    /* and their latents */
    GMV_STREAM_GENERATE = 28,    /* generated cells: epoch = generate.seed; whose library, which component */
    GMV_STREAM_GENERATE_W = 29,  /* their w */
    GMV_STREAM_GENERATE_X = 30,  /* x */
    GMV_STREAM_GENERATE_Y = 31,  /* counts: 2^12 blocks of each gene */
    GMV_STREAM_DROPOUT = 32
};

typedef struct gmv_philox {
    uint32_t word[4];
} gmv_philox;

/* One block of four words: Random123 on the host, cuRAND's own device function on a GPU. */
GMV_HD gmv_philox gmv_philox4x32(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1)
{
    gmv_philox out;
#if defined(__CUDACC__) || defined(GMV_CUDA_ON_HOST)
    uint4 word = curand_Philox4x32_10(make_uint4(c0, c1, c2, c3), make_uint2(k0, k1));
    out.word[0] = word.x;
    out.word[1] = word.y;
    out.word[2] = word.z;
    out.word[3] = word.w;
#else
    philox4x32_ctr_t counter = {{c0, c1, c2, c3}};
    philox4x32_key_t key = {{k0, k1}};
    philox4x32_ctr_t word = philox4x32(counter, key);
    for (int i = 0; i < 4; i++) {
        out.word[i] = word.v[i];
    }
#endif
    return out;
}

/* The four numbers with indices 4 * block .. 4 * block + 3. */
GMV_HD gmv_philox gmv_random_block(uint64_t seed, uint32_t stream, uint32_t epoch, int64_t cell, uint32_t draw,
                                   uint32_t block)
{
    return gmv_philox4x32(block, draw << 16 | stream, (uint32_t)cell,
                          (uint32_t)((uint64_t)cell >> 32) << 24 | (epoch & 0xFFFFFFu), (uint32_t)seed,
                          (uint32_t)(seed >> 32));
}

/* Uniform on the open interval (0, 1): 23 bits, never 0 or 1 (with 24, the largest would round to 1). */
GMV_HD float gmv_uniform(uint32_t word)
{
    return ((float)(word >> 9) + 0.5f) * (1.0f / 8388608.0f);
}

/* Box-Muller: words 0, 1 give normals 0, 1; words 2, 3 give normals 2, 3. Own transform on both
 * backends, because cuRAND's uses fast intrinsics (other bits). @param[out] normal  4 values */
GMV_HD void gmv_normals(gmv_philox block, float *normal)
{
    for (int pair = 0; pair < 2; pair++) {
        float radius = sqrtf(-2.0f * gmv_logf(gmv_uniform(block.word[2 * pair])));
        float sine, cosine;
        gmv_sincos_turn(gmv_uniform(block.word[2 * pair + 1]), &sine, &cosine);
        normal[2 * pair] = radius * cosine;
        normal[2 * pair + 1] = radius * sine;
    }
}
