/* Arguments of the operations in ops.def, and the table that a backend fills.
 *
 * All arrays inside these structs are backend memory unless marked host. Nothing here owns memory.
 */
#pragma once

#include "gmvae/choices.h"
#include "gmvae/status.h"
#include "gmvae/types.h"

#include <assert.h>

typedef struct gmv_backend gmv_backend;

typedef enum gmv_trans { GMV_N, GMV_T } gmv_trans;

/* How counts become encoder input (gmv_input_kind); zeros stay implicit.
 * log1p: log(1 + y). standardize: (y - mean) / std with two scalars for the whole matrix;
 * its constant part enters through `shift`. unit_sphere: log1p, then every row has unit length. */
typedef struct gmv_input {
    gmv_input_kind kind;
    float mean, std;
} gmv_input;

/* Rows of the count matrix as a rank keeps them: CSR, 3 bytes a non-zero where G <= 65,536.
 * Genes ascend within a row and are distinct; stored counts are > 0. */
typedef struct gmv_packed {
    int64_t rows;
    int32_t genes;
    gmv_gidx first_cell;            /* global id of row 0 */
    const gmv_gidx *cell;           /* [rows] global ids where they do not follow from the first, else NULL */
    const gmv_nnz *indptr;          /* [rows + 1] */
    const uint16_t *gene16;         /* [nnz], or NULL when gene32 is used */
    const uint32_t *gene32;         /* [nnz], or NULL */
    const uint8_t *count8;          /* [nnz]; 255 means: look in the overflow list */
    int64_t overflows;              /* length of the overflow list */
    const gmv_nnz *overflow_at;     /* [overflows] ascending positions in count8 */
    const uint32_t *overflow_count; /* [overflows] counts >= 255, < 2^24 */
    int covariates;                 /* C */
    const int32_t *level;           /* [rows, C] one-hot column: offset of the key plus its level */
    int sets;               /* of genes, where not every row was measured for all; else 0, and the next two are NULL */
    const int32_t *set;     /* [rows] */
    const uint8_t *present; /* [sets, G] 1, or 0 for a gene that a set lacks: its rows have no count of it */
} gmv_packed;

/* A batch as the operations see it. Filled by batch_fetch into arrays that its owner made large enough. */
typedef struct gmv_batch {
    int cells;              /* B */
    int32_t genes;          /* G */
    int covariates;         /* C */
    int32_t *indptr;        /* [B + 1] CSR */
    int32_t *gene;          /* [Z] */
    float *x;               /* [Z] encoder input of each non-zero, CSR order */
    int32_t *colptr;        /* [G + 1] CSC */
    int32_t *cell;          /* [Z] ascending within a gene */
    float *col_x;           /* [Z] encoder input, CSC order */
    float *col_count;       /* [Z] counts, CSC order */
    float *library;         /* [B] total count of the cell over the genes in use */
    int32_t *level;         /* [B, C] */
    gmv_gidx *cell_id;      /* [B] global id */
    int32_t *set;           /* [B] set of genes; NULL: all cells have all */
    const uint8_t *present; /* [sets, G] of the packed matrix, not copied; NULL likewise */
} gmv_batch;

/* Numbers that change from step to step, in backend memory. */
typedef struct gmv_step {
    int64_t first_row;       /* where the batch starts in the list of rows */
    int64_t next_row;        /* where the next one does */
    int32_t filled;          /* rows of the batch that are cells: those behind them fill it up */
    int32_t next_filled;     /* of the next one */
    uint32_t epoch;          /* counter of the noise */
    float scale;             /* 1 / cells in the global batch */
    float kl_scale;          /* weight of the KL terms * scale */
    float stop;              /* 1: this rank has seen a signal */
    float adam_rate;         /* learning rate / (1 - beta1^t) for update t = 1, 2, ... */
    float adam_inverse_root; /* 1 / sqrt(1 - beta2^t) */
} gmv_step;

/* Floats that ride before the gradient in its all-reduce; bytes of a report; reports that may wait. */
enum { GMV_GRAD_EXTRA = 16, GMV_REPORT_BYTES = 128, GMV_REPORTS = 2 };

/* What tells a sequence of operations from others. */
typedef struct gmv_sequence_key {
    int32_t kind;           /* the caller's number of it */
    int32_t rows;           /* of its batches */
    int32_t turn;           /* which of two batches is at hand */
    int32_t fetched, ahead; /* 1: the batch is there already; the next one is fetched, too */
} gmv_sequence_key;

/* Calls the operations of a sequence. Not called when a record of them is run instead; `context` is the caller's, and what
 * it points to need only live as long as the call of `sequence`. */
typedef gmv_status gmv_sequence_body(void *context);

/* What came of a step, in backend memory and in reports. */
typedef struct gmv_outcome {
    double squares;              /* of the whole gradient */
    float extra[GMV_GRAD_EXTRA]; /* sums over all ranks */
    int32_t bad;                 /* 1: this step or one before it was not finite, parameters stay as they are */
    int32_t unused;
} gmv_outcome;

static_assert(sizeof(gmv_outcome) <= GMV_REPORT_BYTES, "an outcome is reported");

/* Key of the random numbers of one use in one step; see rng.h. */
typedef struct gmv_noise {
    uint64_t seed;
    uint32_t stream;
    const gmv_step *step;    /* its epoch counts */
    uint32_t first_draw;     /* draw number of m = 0; draws are numbered from here */
    const gmv_gidx *cell_id; /* [B] */
    int draws;               /* M: row i * M + m of a matrix belongs to cell i, draw m */
} gmv_noise;

/* Trainable tensors of one trunk layer after its matrix product: y = dropout(norm(gelu(pre + bias))). */
typedef struct gmv_layer {
    gmv_vec bias, norm_weight, norm_bias; /* [H] */
} gmv_layer;

/* What the mixture says of each cell, means over draws, nats. KL_Z + KL_X is the exact (marginal) conditional term for
 * every objective; PRIOR is the one that is trained (without warm-up weight, with free nats). */
enum { GMV_MIXTURE_KL_Z, GMV_MIXTURE_KL_X, GMV_MIXTURE_PRIOR, GMV_MIXTURE_TERMS };

/* Mixture prior of x: output layer of the components, from w or static (H = 0), their densities, conditional prior, and
 * gradients. */
typedef struct gmv_mixture_args {
    gmv_objective objective; /* docs/math.md, equations 16 to 18 */
    int components;          /* K */
    float free_nats;         /* lambda, per cell on the mean over draws; not for marginal */
    int draws;               /* M */
    gmv_mat hidden;          /* [R, H] output of the beta trunk */
    gmv_mat weight;          /* [2 K D, H] rows viewed as [2, K, D]: means, then raw variances */
    gmv_vec bias;            /* [2 K D] */
    gmv_vec log_weight;  /* [K] logits of the components' weights, for the marginal objective; at == NULL: all equal */
    gmv_mat x;           /* [R, D] drawn latents */
    gmv_mat posterior;   /* [B, 2 D] means, then raw variances, of q(x|y) */
    gmv_mat terms;       /* out [B, GMV_MIXTURE_TERMS] */
    gmv_mat probability; /* out [B, K] mean over draws of p(z|x,w); at == NULL: not wanted, nor d_log_weight */
    const int32_t *filled; /* as in gmv_head_args; probabilities of the rows behind are 0, too */
    /* Gradients of *scale * sum over cells of PRIOR; all of them NULL (at) in evaluation. */
    const float *scale;   /* KL weight / cells in the global batch */
    gmv_mat d_hidden;     /* out [R, H] */
    gmv_mat d_weight;     /* added to [2 K D, H] */
    gmv_vec d_bias;       /* added to [2 K D] */
    gmv_vec d_log_weight; /* added to [K] */
    gmv_mat d_x;          /* added to [R, D] */
    /* x must be mean + sd * noise of the posterior: log q(x|y) then depends on the posterior's variance alone,
     * and its gradient goes to d_posterior whole, none of it to d_x. */
    gmv_mat d_posterior; /* added to [B, 2 D]: the part that does not pass through x */
} gmv_mixture_args;

/* Likelihoods, one row each in likelihoods.def. */
typedef enum gmv_likelihood {
#define GMV_LIKELIHOOD(name, heads, softmax, gene_params, names, description) GMV_LIKELIHOOD_##name,
#include "gmvae/likelihoods.def"
#undef GMV_LIKELIHOOD
    GMV_LIKELIHOODS
} gmv_likelihood;

enum { GMV_MAX_HEADS = 3 };

/* Decoder heads and likelihood in one pass over tiles of genes. Genes that a cell's set lacks have no term, no gradient
 * and no part in the softmax: library and mean are over the genes that are there. */
typedef struct gmv_head_args {
    gmv_likelihood likelihood;
    bool observed_library; /* mean = library * softmax(head 0), else mean = exp(head 0) */
    int draws;             /* M */
    const gmv_batch *batch;
    gmv_mat hidden;                /* [R, H] output of the decoder trunk */
    gmv_mat weight[GMV_MAX_HEADS]; /* [G, H] */
    gmv_vec bias[GMV_MAX_HEADS];   /* [G] */
    gmv_vec gene_param;            /* [G] raw per-gene parameter, or at == NULL */
    gmv_mat terms;                 /* out [B, 1]: -mean over draws of log p(y|x) */
    /* Cells of the batch, in backend memory: the rows behind them fill it up, have terms and gradients of 0 and no part in
     * any sum. NULL: all rows are cells. */
    const int32_t *filled;
    /* Gradients of *scale * sum of the terms; all NULL (at) in evaluation. */
    const float *scale;              /* 1 / cells in the global batch */
    gmv_mat d_hidden;                /* out [R, H] */
    gmv_mat d_weight[GMV_MAX_HEADS]; /* added to */
    gmv_vec d_bias[GMV_MAX_HEADS];   /* added to */
    gmv_vec d_gene_param;            /* added to */
} gmv_head_args;

/* Expected expression: each gene's share in the sum of the means of a row's genes. */
typedef struct gmv_fraction_args {
    gmv_likelihood likelihood;
    int draws;                        /* M */
    const gmv_batch *batch;           /* genes that a cell's set lacks have no part in the sum; NULL: all have */
    gmv_mat predictor[GMV_MAX_HEADS]; /* [R, G] hidden weight^T + bias of each head; the first is overwritten */
    gmv_vec gene_param;               /* [G] raw per-gene parameter, or at == NULL */
    float weight;
    gmv_mat out; /* added to [B, G]: weight * sum over draws of the fractions */
} gmv_fraction_args;

/* Exact nearest points, by Euclidean distance. */
enum { GMV_MOST_NEAREST = 128 };
typedef struct gmv_nearest_args {
    gmv_mat among, of; /* [N, D], [M, D] */
    int own;        /* row of `among` that the first of `of` is, the next the next: none is near itself; -1: others */
    int k;          /* at most GMV_MOST_NEAREST, and as many as there are */
    int32_t *index; /* [M, k] rows of `among` */
    float *squared; /* [M, k] */
} gmv_nearest_args;

typedef struct gmv_adam_args {
    gmv_vec value, grad, m, v; /* [P] */
    float beta1, beta2, epsilon;
    double clip_norm;           /* largest norm of the gradient, 0: any */
    const gmv_step *step;       /* adam_rate, adam_inverse_root */
    const gmv_outcome *outcome; /* squares, bad */
} gmv_adam_args;

/* The table: one pointer per row of ops.def. */
typedef struct gmv_ops {
#define GMV_OP(name, parameters) gmv_status(*name) parameters;
#include "gmvae/ops.def"
#undef GMV_OP
} gmv_ops;
