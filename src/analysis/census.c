/* Counting cells by cluster and level. */
#include "gmvae/clusters.h"
#include "gmvae/comm.h"
#include "gmvae/mem.h"

#include <string.h>

typedef struct count {
    gmv_census *census; /* [factors] */
    int factors;
    const gmv_factor *const *factor;
    const gmv_clustering *clustering;
    gmv_gidx first; /* local row 0 */
    int output;     /* of the model: the components */
    float *merged;  /* [GMV_EVAL_CELLS, C] */
} count;

int gmv_largest_of(const float *value, int n)
{
    int best = 0;
    for (int k = 1; k < n; k++) {
        best = value[k] > value[best] ? k : best;
    }
    return best;
}

static gmv_status add_rows(void *context, const gmv_row_results *results)
{
    count *c = context;
    int clusters = c->clustering->clusters;
    gmv_clustering_merge(c->clustering, results->n, results->output[c->output], c->merged);
    for (int i = 0; i < results->n; i++) {
        int cluster = gmv_largest_of(c->merged + (int64_t)i * clusters, clusters);
        for (int f = 0; f < c->factors; f++) {
            gmv_census *census = &c->census[f];
            int level = c->factor[f] != NULL ? gmv_factor_code(c->factor[f], results->row[i] - c->first) : -1;
            census->cells++;
            census->of_cluster[cluster]++;
            if (level >= 0) {
                census->table[(int64_t)level * clusters + cluster]++;
            }
        }
    }
    return GMV_OK;
}

static gmv_status begin(gmv_census *census, const gmv_factor *factor, int clusters)
{
    *census = (gmv_census){.clusters = clusters, .levels = factor != NULL ? factor->levels : 0};
    GMV_TRY(GMV_NEW(census->of_cluster, clusters, "cells of clusters"));
    return GMV_NEW(census->table, (int64_t)clusters * census->levels, "cells of clusters and levels");
}

static void add_up(gmv_census *census, const gmv_comm *comm)
{
    gmv_comm_sum_i64(comm, &census->cells, 1);
    gmv_comm_sum_i64(comm, census->of_cluster, census->clusters);
    gmv_comm_sum_i64(comm, census->table, (int64_t)census->clusters * census->levels);
}

gmv_status gmv_take_census(gmv_census *census, int factors, const gmv_factor *const *factor,
                           const gmv_clustering *clustering, gmv_model *model, gmv_feed *feed, const gmv_cells *cells,
                           const gmv_comm *comm, gmv_which_cells which)
{
    count c = {.census = census, .factors = factors, .factor = factor, .clustering = clustering, .first = cells->first};
    gmv_row_sink sink = {add_rows, &c};
    gmv_status status = GMV_OK;
    memset(census, 0, (size_t)factors * sizeof *census);
    if (clustering->clusters == 0) {
        return GMV_OK;
    }
    c.output = (int)(gmv_components_of(&model->outputs) - model->outputs.at);
    for (int f = 0; f < factors; f++) {
        GMV_GO(begin(&census[f], factor[f], clustering->clusters));
    }
    GMV_GO(GMV_NEW(c.merged, (int64_t)GMV_EVAL_CELLS * clustering->clusters, "probabilities of clusters"));
    GMV_GO(gmv_embed_rows(model, feed, cells, which, &sink));
done:
    status = gmv_comm_agree(comm, status);
    for (int f = 0; status == GMV_OK && f < factors; f++) {
        add_up(&census[f], comm);
    }
    GMV_FREE(c.merged);
    return status;
}

/* Moves the columns of a table [rows, n]. */
static gmv_status move_columns(int64_t *table, int64_t rows, int n, const int *number)
{
    int64_t *row = NULL;
    GMV_TRY(GMV_NEW(row, n, "cells of clusters"));
    for (int64_t r = 0; r < rows; r++) {
        memcpy(row, table + r * n, (size_t)n * sizeof *row);
        for (int c = 0; c < n; c++) {
            table[r * n + number[c]] = row[c];
        }
    }
    GMV_FREE(row);
    return GMV_OK;
}

gmv_status gmv_census_renumber(gmv_census *census, const int *number)
{
    GMV_TRY(move_columns(census->of_cluster, 1, census->clusters, number));
    return move_columns(census->table, census->levels, census->clusters, number);
}

void gmv_census_fini(gmv_census *census)
{
    GMV_FREE(census->of_cluster);
    GMV_FREE(census->table);
}
