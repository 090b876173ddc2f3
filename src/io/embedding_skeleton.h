/* All of embedding.h5ad but its rows of numbers. */
#pragma once

#include "h5ad_write.h"

#include "gmvae/embedding.h"
#include "gmvae/files.h"

/* Columns of obs with a number of each cell. */
#define GMV_EMBEDDING_BOUNDS "obs/gmvae_neg_elbo"
#define GMV_EMBEDDING_COUNTS "obs/gmvae_counts"

/* Room for paths in it. */
enum { GMV_EMBEDDING_PATH = 1120 };

/* Where a matrix is, in obsm or layers, and a column of obs. */
void gmv_embedding_matrix_at(const gmv_cell_output *output, char *path, size_t size);
void gmv_embedding_column_at(const char *name, char *path, size_t size);

/* uns/gmvae_dist: where results come from, and how components become clusters. */
gmv_status gmv_embedding_uns(const gmv_h5ad *out, const gmv_cells *cells, const gmv_embedding *embedding);

/* Writes output->temporary: everything, with datasets whose space is allocated. Not collective.
 * Errors: GMV_ERR_ENVIRONMENT. */
gmv_status gmv_embedding_skeleton(const gmv_output *output, const gmv_cells *cells, const gmv_embedding *embedding);
