/* The w-conditioned mixture prior in double, by the formulas: component densities, responsibilities, the
 * terms of each objective. Axis order: row (cell, draw), component, dimension. */
#pragma once

#include "harness.h"

typedef struct mixture_ref {
    gmv_objective objective;
    int cells, draws, components, dim, width;
    double free_nats;
    double *hidden, *weight, *bias, *x, *posterior;
    double *log_weight;                        /* [K] logits, NULL: all equal */
    double *noise;                             /* [R, D]: x = mean + sd * noise at the point of interest; held fixed */
    double *kl_z, *kl_x, *prior, *probability; /* [B], [B], [B], [B, K]; written by each evaluation */
} mixture_ref;

/* log of the normal density of one dimension. */
static inline double ref_log_normal(double x, double mean, double variance)
{
    return -0.5 * (log(6.283185307179586476925 * variance) + (x - mean) * (x - mean) / variance);
}

/* KL( N(m, v) || N(mean, variance) ) of one dimension. */
static inline double ref_normal_kl(double m, double v, double mean, double variance)
{
    return 0.5 * (log(variance / v) + (v + (m - mean) * (m - mean)) / variance - 1.0);
}

/* Raw mean (part 0) or variance (part 1) of component k, dimension d, from row r of the hidden layer. */
static inline double ref_component(const mixture_ref *c, int r, int part, int k, int d)
{
    int row = (part * c->components + k) * c->dim + d;
    double sum = c->bias[row];
    for (int h = 0; h < c->width; h++) {
        sum += c->hidden[r * c->width + h] * c->weight[row * c->width + h];
    }
    return sum;
}

/* Adds one draw's means to the terms of cell i; returns its published conditional term. */
static inline double ref_mixture_row(mixture_ref *c, int i, int m, double *log_p, double *kl)
{
    int r = i * c->draws + m, K = c->components;
    const double *q = c->posterior + (size_t)i * 2 * (size_t)c->dim;
    double log_q = 0.0, top = -INFINITY, sum = 0.0, weights = 0.0;
    for (int k = 0; k < K; k++) {
        weights += c->log_weight != NULL ? exp(c->log_weight[k]) : 1.0;
    }
    for (int k = 0; k < K; k++) {
        log_p[k] = 0.0;
        kl[k] = 0.0;
        for (int d = 0; d < c->dim; d++) {
            double mean = ref_component(c, r, 0, k, d), v = exp(ref_component(c, r, 1, k, d)) + 1e-4;
            log_p[k] += ref_log_normal(c->x[r * c->dim + d], mean, v);
            kl[k] += ref_normal_kl(q[d], exp(q[c->dim + d]) + 1e-4, mean, v);
        }
        log_p[k] += c->log_weight != NULL ? c->log_weight[k] : 0.0;
        top = log_p[k] > top ? log_p[k] : top;
    }
    /* log q at the draw: with the noise held fixed it depends on the variance alone */
    for (int d = 0; d < c->dim; d++) {
        double e = c->noise[r * c->dim + d];
        log_q += -0.5 * (log(6.283185307179586476925 * (exp(q[c->dim + d]) + 1e-4)) + e * e);
    }
    for (int k = 0; k < K; k++) {
        sum += exp(log_p[k] - top);
    }
    double published = 0.0, kl_z = 0.0, kl_x = 0.0;
    for (int k = 0; k < K; k++) {
        double log_pi = log_p[k] - top - log(sum), pi = exp(log_pi);
        double logit = c->log_weight != NULL ? c->log_weight[k] : 0.0;
        kl_z += pi * (log_pi - logit + log(weights));
        kl_x += pi * (log_q - log_p[k] + logit);
        published += pi * kl[k];
        c->probability[i * K + k] += pi / c->draws;
    }
    c->kl_z[i] += kl_z / c->draws;
    c->kl_x[i] += kl_x / c->draws;
    return published / c->draws;
}

/* Sum of PRIOR over the cells. */
static inline double ref_mixture(void *context)
{
    mixture_ref *c = context;
    double total = 0.0;
    double *work = malloc(2 * (size_t)(c->components + 1) * sizeof *work);
    for (int i = 0; i < c->cells; i++) {
        double published = 0.0;
        c->kl_z[i] = c->kl_x[i] = 0.0;
        for (int k = 0; k < c->components; k++) {
            c->probability[i * c->components + k] = 0.0;
        }
        for (int m = 0; m < c->draws; m++) {
            published += ref_mixture_row(c, i, m, work, work + c->components);
        }
        double gated = c->kl_z[i] > c->free_nats ? c->kl_z[i] : c->free_nats;
        c->prior[i] = c->objective == GMV_OBJECTIVE_MARGINAL    ? c->kl_z[i] + c->kl_x[i]
                      : c->objective == GMV_OBJECTIVE_PUBLISHED ? gated + published
                                                                : gated + c->kl_x[i];
        total += c->prior[i];
    }
    free(work);
    return total;
}
