/* Likelihoods in long double from their textbook formulas; nothing here is shared with include/gmvae/math.
 * log p(y) and its derivative in each predictor, for the links of docs/math.md. */
#pragma once

#include "gmvae/ops.h"

#include <math.h>

/* log of Gamma(a + y) / (Gamma(a) Gamma(y + 1)): the product where it is short, as the difference of large
 * gamma functions loses digits when a >> y. */
static inline long double ref_log_rise(long double a, long double y)
{
    if (y > 5000.0L) {
        return lgammal(a + y) - lgammal(a) - lgammal(y + 1.0L);
    }
    long double sum = 0.0L;
    for (int j = 0; j < (int)y; j++) {
        sum += logl((a + (long double)j) / ((long double)j + 1.0L));
    }
    return sum;
}

/* psi(a + y) - psi(a) for whole y. */
static inline long double ref_psi_rise(long double a, long double y)
{
    long double sum = 0.0L;
    for (long j = (long)y - 1; j >= 0; j--) {
        sum += 1.0L / (a + (long double)j);
    }
    return sum;
}

static inline long double ref_softplus(long double x)
{
    return x > 0.0L ? x + log1pl(expl(-x)) : log1pl(expl(x));
}

static inline long double ref_sigmoid(long double x)
{
    return 1.0L / (1.0L + expl(-x));
}

/* NB(y; mu, theta); mu 0 is the point mass at 0. */
static inline long double ref_nb_mean(long double y, long double mu, long double theta)
{
    long double zero = -theta * log1pl(mu / theta);
    return y > 0.0L ? ref_log_rise(theta, y) + y * (logl(mu) - logl(theta + mu)) + zero : zero;
}

/* NB(y; r, logit l). */
static inline long double ref_nb_logit(long double y, long double r, long double l)
{
    return ref_log_rise(r, y) - r * ref_softplus(l) - y * ref_softplus(-l);
}

/* p = {log mu, raw theta}, theta = exp(raw). */
static inline long double ref_lik_nb(long double y, const double *p, double *g)
{
    long double mu = expl((long double)p[0]), theta = expl((long double)p[1]);
    if (g != NULL) {
        long double share = mu / (theta + mu);
        g[0] = (double)(theta * (y - mu) / (theta + mu));
        /* theta (log(theta/(theta+mu)) + 1 - (theta+y)/(theta+mu) + psi(y+theta) - psi(theta)) */
        long double t = mu / theta, excess = log1pl(t) - share;
        if (t < 1e-4L) { /* the difference cancels even in long double */
            excess = t * t * (0.5L + t * (-2.0L / 3.0L + t * (0.75L + t * (-0.8L + t * 5.0L / 6.0L))));
        }
        long double counted = theta * ref_psi_rise(theta, y) - y * (1.0L - share);
        if (y <= 1000.0L) { /* term by term, for the same reason */
            counted = 0.0L;
            for (long double j = 0.0L; j < y; j += 1.0L) {
                counted += theta * (mu - j) / ((theta + j) * (theta + mu));
            }
        }
        g[1] = (double)(counted - theta * excess);
    }
    return ref_nb_mean(y, mu, theta);
}

/* p = {raw r, logit}, r = softplus(raw) + 1e-3. */
static inline long double ref_lik_nb_logit(long double y, const double *p, double *g)
{
    long double raw = (long double)p[0], l = (long double)p[1];
    long double r = ref_softplus(raw) + 1e-3L;
    if (g != NULL) {
        g[0] = (double)((ref_psi_rise(r, y) - ref_softplus(l)) * ref_sigmoid(raw));
        g[1] = (double)(y * ref_sigmoid(-l) - r * ref_sigmoid(l));
    }
    return ref_nb_logit(y, r, l);
}

/* By table row. `g` may be NULL. */
static inline double ref_likelihood(gmv_likelihood which, double y, const double *p, double *g)
{
    switch (which) {
    case GMV_LIKELIHOOD_nb:
        return (double)ref_lik_nb((long double)y, p, g);
    case GMV_LIKELIHOOD_nb_logit:
        return (double)ref_lik_nb_logit((long double)y, p, g);
    case GMV_LIKELIHOODS:
        break;
    }
    return NAN;
}
