/* From rows as stored to packed counts: every value checked, genes mapped, sorted, zeros dropped. */
#pragma once

#include "block.h"
#include "fast_rows.h"
#include "row_names.h"

#include "gmvae/ops.h"

/* Packed rows while they grow. Becomes a gmv_packed with gmv_packer_finish. */
typedef struct gmv_packer {
    int32_t genes;
    bool wide; /* 32-bit genes */
    bool lent; /* the values lie in another packer's room */
    int64_t rows, row_capacity;
    gmv_nnz *indptr; /* [row_capacity + 1] */
    uint16_t *gene16;
    uint32_t *gene32;
    uint8_t *count8;
    gmv_nnz nnz, capacity;
    gmv_nnz *overflow_at;
    uint32_t *overflow_count;
    int64_t overflows, overflow_capacity;
    int64_t rounded; /* values of its rows that are not as they are stored (data.round) */
    uint64_t *row;   /* [row_room] the row at hand: gene << 24 | count */
    int64_t row_room;
} gmv_packer;

/* What messages need to name a place, and how genes of the file become genes in use. */
typedef struct gmv_row_source {
    const gmv_matrix *matrix;
    struct gmv_transpose *by_rows; /* its rows put together, which are read in its place; NULL */
    char *const *gene;             /* names */
    const int32_t *map;            /* [matrix->cols] gene in use or -1; NULL: the same */
    gmv_row_names *cell;           /* names of the cells; NULL: there are none */
    const int32_t *name;           /* [matrix->cols] place in `gene` of the name of each; NULL: the same */
} gmv_row_source;

/* Whether so many genes take 32 bits each. */
bool gmv_packer_is_wide(int32_t genes);

/* Room for `rows` rows and at first for `nnz` values; values beyond make it grow. */
gmv_status gmv_packer_init(gmv_packer *packer, int32_t genes, int64_t rows, int64_t nnz);
void gmv_packer_fini(gmv_packer *packer);

/* Room for `nnz` values more, at once instead of growing. */
gmv_status gmv_packer_reserve(gmv_packer *packer, int64_t nnz);

/* Appends the rows of a block. Errors: GMV_ERR_DATA with file, row and gene. */
gmv_status gmv_packer_add(gmv_packer *packer, const gmv_row_source *source, const gmv_block *block);

/* Appends one row that is as nearly all are: genes ascend, and their order is that of the genes in use.
 * @param[in] column, value  [n]; zeros are dropped
 * @param[in] map            [cols] gene in use or -1, the genes in use ascending; NULL: the same
 * @return  false: it is not, or there is no memory; nothing was appended */
bool gmv_packer_add_numbers(gmv_packer *packer, const gmv_fast_rows *narrow, gmv_numbers column, gmv_numbers value,
                            int64_t n, int64_t cols, const int32_t *map);

/* Appends one row if it is as it should be: genes within [0, cols) and each once, counts below 2^24.
 * @param[in] column, count  [n] in any order; zeros are dropped
 * @param[in] map            [cols] gene in use or -1; NULL: the same
 * @return  false: it is not, or there is no memory; nothing was appended */
bool gmv_packer_add_row(gmv_packer *packer, const int32_t *column, const uint32_t *count, int64_t n, int64_t cols,
                        const int32_t *map);

/* Inside the packer: room for one row of n values more, which does not grow where it is lent; an entry of the list of
 * large counts. */
bool gmv_packer_make_room(gmv_packer *packer, int64_t n);
gmv_status gmv_packer_append_large(gmv_packer *packer, gmv_nnz at, uint32_t count);

/* Appends the rows of another packer of the same genes. */
gmv_status gmv_packer_append(gmv_packer *packer, const gmv_packer *from);

/* Gives places [at, at + n) of a packer's room to another, which writes there instead of into room of its own, which it
 * must not have. gmv_packer_append then need not copy when nothing before was dropped. */
void gmv_packer_lend(const gmv_packer *from, gmv_nnz at, gmv_nnz n, gmv_packer *to);

/* The rows as they are, valid until the packer changes. */
gmv_packed gmv_packer_view(const gmv_packer *packer);

/* Forgets the rows and keeps the memory. */
void gmv_packer_reset(gmv_packer *packer);

/* Hands the arrays over, cut to their length. Ownership: gmv_packed_fini. */
gmv_status gmv_packer_finish(gmv_packer *packer, gmv_packed *packed);
void gmv_packed_fini(gmv_packed *packed);

/* Keeps the genes with map[g] >= 0 (ascending), renumbered to map[g]; `genes` are left. In place. */
gmv_status gmv_packed_keep_genes(gmv_packed *packed, const int32_t *map, int32_t genes);
