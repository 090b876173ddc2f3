/* What generated cells have of cells at hand (library, levels, posterior), each of one, which may be on another rank. */
#pragma once

#include "gmvae/generate.h"

/* All generated cells, on every rank. */
typedef struct gmv_sources {
    int covariates;
    gmv_gidx *row;  /* [N] */
    int64_t *level; /* [N, C] */
    float *library; /* [N] */
    float *latent;  /* [N, D] draws of their posteriors; NULL: from the prior */
} gmv_sources;

/* Collective. Ownership: gmv_sources_fini, also after an error. Errors: as gmv_generate. */
gmv_status gmv_sources_gather(gmv_sources *from, const gmv_generation *how, gmv_model *model, gmv_feed *feed,
                              const gmv_cells *cells, const gmv_comm *comm);
void gmv_sources_fini(gmv_sources *from);

/* n standard normal numbers of a generated cell, of a stream. */
void gmv_draw_normals(const gmv_model *model, const gmv_generation *how, uint32_t stream, int64_t cell, int n,
                      float *normal);

/* x = mean + sd * normal, [D], of means and raw variances. */
void gmv_draw_x(const gmv_model *model, const gmv_generation *how, int64_t cell, const float *mean, const float *raw,
                float *x);
