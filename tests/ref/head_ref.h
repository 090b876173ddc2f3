/* Decoder heads and likelihood in double: logits by plain sums, softmax over the cell's genes, log p gene by gene. */
#pragma once

#include "harness.h"
#include "ref/likelihood_ref.h"

typedef struct head_ref {
    gmv_likelihood likelihood;
    int observed_library, heads, gene_param, softmax;
    int cells, draws, genes, width;
    const double *count;                                        /* [B, G] */
    const uint8_t *present;                                     /* [B, G], or NULL: all 1 */
    double *hidden;                                             /* [R, H] */
    double *weight[GMV_MAX_HEADS], *bias[GMV_MAX_HEADS], *gene; /* [G, H], [G], [G] */
    double *reconstruction;                                     /* [B] written by each evaluation */
} head_ref;

/* -log p of row r. @param value  [heads, G] scratch */
static inline double ref_head_row(const head_ref *c, int r, double *value)
{
    size_t cell = (size_t)(r / c->draws) * (size_t)c->genes;
    const double *y = c->count + cell;
    const uint8_t *there = c->present != NULL ? c->present + cell : NULL;
    double library = 0.0, top = -INFINITY, sum = 0.0, total = 0.0;
    for (int g = 0; g < c->genes; g++) {
        library += y[g];
        for (int k = 0; k < c->heads; k++) {
            double v = c->bias[k][g];
            for (int h = 0; h < c->width; h++) {
                v += c->hidden[(size_t)r * (size_t)c->width + (size_t)h] *
                     c->weight[k][(size_t)g * (size_t)c->width + (size_t)h];
            }
            value[k * c->genes + g] = v;
        }
        top = value[g] > top ? value[g] : top;
    }
    for (int g = 0; g < c->genes; g++) {
        sum += there == NULL || there[g] ? exp(value[g] - top) : 0.0;
    }
    double shift = c->softmax && c->observed_library ? log(library) - top - log(sum) : 0.0;
    for (int g = 0; g < c->genes; g++) {
        double p[GMV_MAX_HEADS + 1] = {0};
        if (there != NULL && !there[g]) {
            continue;
        }
        for (int k = 0; k < c->heads; k++) {
            p[k] = value[k * c->genes + g] + (k == 0 ? shift : 0.0);
        }
        if (c->gene_param) {
            p[c->heads] = c->gene[g];
        }
        total -= ref_likelihood(c->likelihood, y[g], p, NULL);
    }
    return total;
}

/* Sum of RECONSTRUCTION over the cells. */
static inline double ref_head(void *context)
{
    head_ref *c = context;
    double total = 0.0;
    double *value = malloc((size_t)(c->heads * c->genes + 1) * sizeof *value);
    for (int i = 0; i < c->cells; i++) {
        c->reconstruction[i] = 0.0;
        for (int m = 0; m < c->draws; m++) {
            c->reconstruction[i] += ref_head_row(c, i * c->draws + m, value) / c->draws;
        }
        total += c->reconstruction[i];
    }
    free(value);
    return total;
}
