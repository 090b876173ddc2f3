/* All likelihoods: one include line and one row of likelihoods.def each.
 *
 * For likelihood NAME with predictors p = {values of its heads..., raw per-gene parameter}:
 *   float gmv_lik_NAME_zero(p, g)      log p(0), g = gradient in p
 *   float gmv_lik_NAME_count(y, p, g)  log p(y) - log p(0) for y >= 1, its gradient added to g
 *   float gmv_lik_NAME_few(y, most, p, g)  the same for 1 <= y <= most, most 1 or 4: branch-free
 *   float gmv_lik_NAME_log_mean(p)     log of the mean of y
 *   float gmv_lik_NAME_draw(p, uniforms)  a draw of y (draw.h)
 * With an observed library a cell without counts has p[0] near -1e4: log p(0) and its gradient are then 0.
 */
#pragma once

#include "gmvae/ops.h"

#include "gmvae/math/lik_nb.h"
#include "gmvae/math/lik_nb_logit.h"

/* Facts of a likelihood, from its table row. */
typedef struct gmv_likelihood_info {
    const char *name;
    int heads;
    const char *head[GMV_MAX_HEADS]; /* names in checkpoints */
    bool softmax;                    /* head 0 is a log mean that observed libraries normalise over genes */
    bool gene_param;                 /* has decoder.theta */
    const char *description;
} gmv_likelihood_info;

#define GMV_HEAD_NAMES(...)                                                                                            \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

#ifndef __cplusplus /* as C++ has no sizeof of a list */
#define GMV_LIKELIHOOD(name, heads, softmax, gene_params, names, description)                                          \
    _Static_assert((heads) == sizeof((const char *[])GMV_HEAD_NAMES names) / sizeof(char *), #name ": a name a head"); \
    _Static_assert((heads) >= 1 && (heads) <= GMV_MAX_HEADS, #name ": heads");                                         \
    _Static_assert(((softmax) | (gene_params)) <= 1 && (softmax) >= 0 && (gene_params) >= 0, #name ": 0 or 1");
#include "gmvae/likelihoods.def"
#undef GMV_LIKELIHOOD
#endif

static inline gmv_likelihood_info gmv_likelihood_of(gmv_likelihood which)
{
    static const gmv_likelihood_info table[] = {
#define GMV_LIKELIHOOD(name, heads, softmax, gene_params, names, description)                                          \
    {#name, heads, GMV_HEAD_NAMES names, (softmax) != 0, (gene_params) != 0, description},
#include "gmvae/likelihoods.def"
#undef GMV_LIKELIHOOD
    };
    return table[which];
}
